"""Texts that are about orders but are no single order: two at once, refusals, what a model may not turn into one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from retainer.agent.grammar import Match
from retainer.agent.text import core_words, normal, tokens
from retainer.core.capabilities import Capability
from retainer.core.effects import EffectClass

ORDER_VERBS = frozenset({"buy", "sell", "purchase", "liquidate", "short", "invest"})
"""A message that begins with one of these is an order or nothing."""
NOT_ORDERED = (
    "Nothing was ordered, and no order of yours goes out without your yes. The bot's own trades go on within its "
    "mandate: “pause” blocks new entries, “stop” ends all orders at once."
)
_PARTS = re.compile(
    r"[.?!;\n]+(?:\s+|$)|\s*,\s+(?:and |then |also )*|\s+(?:and|then|plus|also)\s+(?:then |also )?", re.I
)
_MOST_PARTS = 6
_NO_WISH = re.compile(
    r"\b(?:don'?t|do not|never|not|no|without|if|unless|when|why|should|would|could|did|does|was|were|were|had|have"
    r"|has|sold|bought|yesterday|tomorrow|later|might|wish|told|said|says|imagine|suppose|pretend"
    r"|hypothetically|wants|wanted|he|she|they|his|her|their|but|except|besides|what|which|who|how)\b",
    re.I,
)
_WHOLE = frozenset({"everything", "all", "order", "orders"})
_REFUSAL = re.compile(
    r"(?:please )?(?:do not|dont|never|stop|no more) (?:buy|buying|sell|selling|order|ordering|trade|trading|short)\b"
)


def plain_wish(text: str) -> bool:
    """Whether a model may propose an order from ``text`` at all: no negation, condition, question, past or hearsay."""
    return "?" not in text and _NO_WISH.search(text.replace("’", "'")) is None


def may_propose(text: str, capability: Capability, names: Mapping[str, str]) -> bool:
    """Whether a model may propose ``capability``, which moves money, from ``text``.

    The text is a plain wish, and it names what is traded; or it says
    *everything* or *orders* and no argument is needed.
    """
    said = tokens(text)
    named = not set(names).isdisjoint(said)
    needs = any(info.is_required() for info in capability.parameters.model_fields.values())
    return plain_wish(text) and (named or (not needs and not _WHOLE.isdisjoint(said)))


def refuses_orders(text: str) -> bool:
    """``don't buy AAPL``: a wish that nothing is ordered."""
    words = tokens(text)
    return len(words) <= 10 and _REFUSAL.match(" ".join(words)) is not None


def several_orders(text: str, match: Callable[[str], Match | None]) -> str | None:
    """What to say to a text that holds an order among other parts; ``None`` when it is not one of those.

    At most one order is taken from a message, so that each has its own card and nothing is ordered by a slip.
    """
    parts = [part.strip() for part in _PARTS.split(text) if part and tokens(part)]
    if not 2 <= len(parts) <= _MOST_PARTS or match(text) is not None:
        return None
    orders: list[str] = []
    unread, verb, money = False, "", False
    for part in parts:
        words = core_words(part)
        if words and words[0] in ORDER_VERBS:
            verb, sentence = words[0], normal_order(part)
        else:
            sentence = f"{verb} {part}" if verb and match(part) is None else part
        found = match(sentence)
        if found is None or not _orders(sentence, found):
            unread = unread or found is None
            continue
        money = money or found.capability.effect_class is EffectClass.MONEY
        orders.append(sentence)
    if not money and len(orders) < 2:
        return None
    if len(orders) > 1:
        first, *rest = [f"“{order}”" for order in orders]
        return (
            f"That is {len(orders)} orders, and I take one at a time, so that each has its own card. "
            f"Send {first} first, then {', then '.join(rest)}. Nothing was ordered."
        )
    beside = "I cannot read the rest of it. " if unread else ""
    return f"An order stands alone in its message. {beside}If you want it, send “{orders[0]}” by itself. " + (
        "Nothing was ordered."
    )


def normal_order(part: str) -> str:
    """An order without the politeness around it, in the person's own words."""
    words = core_words(part)
    start = part.casefold().find(words[0]) if words else 0
    return part[max(start, 0) :].strip(" .!?,;")


def _orders(sentence: str, found: Match) -> bool:
    if found.capability.effect_class is EffectClass.MONEY:
        return True
    return normal(sentence).partition(" ")[0] in ORDER_VERBS
