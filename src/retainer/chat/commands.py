"""Exact commands: recognised word for word, never by a model, so that they work when nothing else does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from retainer.agent.text import core_words, peel, tokens

Control = Literal["stop", "pause", "resume"]

_URGENT: dict[str, tuple[Control, bool]] = {
    "stop": ("stop", False),
    "stop it": ("stop", False),
    "stop now": ("stop", False),
    "stop trading": ("stop", False),
    "stop trading now": ("stop", False),
    "stop the bot": ("stop", False),
    "stop the trading bot": ("stop", False),
    "stop all": ("stop", True),
    "stop everything": ("stop", True),
    "stop all orders": ("stop", True),
    "stop everything now": ("stop", True),
    "pause": ("pause", False),
    "pause it": ("pause", False),
    "pause trading": ("pause", False),
    "pause the bot": ("pause", False),
    "pause the trading bot": ("pause", False),
    "resume": ("resume", False),
    "resume trading": ("resume", False),
    "resume the bot": ("resume", False),
    "resume the trading bot": ("resume", False),
}


@dataclass(frozen=True, slots=True)
class UrgentCommand:
    """A command that takes effect when it is received, before anything that waits.

    ``all``: with *stop*, protective orders are cancelled too. ``scope``: least scope of the sender; the safe
    directions (*stop*, *pause*) need none beyond being paired.
    """

    command: Control
    all: bool = False

    @property
    def scope(self) -> str:
        return "trade" if self.command == "resume" else "chat"


def urgent_command(text: str) -> UrgentCommand | None:
    """The urgent command that ``text`` is, whole and exactly (politeness and punctuation aside), or ``None``."""
    if len(text) > 80:
        return None
    words = core_words(re.sub(r"^\s*/(\w+)(?:@\w+)?", r"\1", text))
    if len(set(words)) == 1:
        words = words[:1]
    found = _URGENT.get(" ".join(words))
    return UrgentCommand(*found) if found else None


@dataclass(frozen=True, slots=True)
class CardAnswer:
    """A yes or no to an approval card. ``approval`` is empty when the one pending card is meant."""

    yes: bool
    approval: str = ""
    code: str = ""
    explicit: bool = field(default=False, compare=False)
    """It can only be about a card, so that without one the answer is that none waits."""


_ABOUT_CARDS = re.compile(r"\b(?:approved?|reject(?:ed)?|(?:buy|sell) it)\b")
_APPROVAL_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{8}")
_CODE = re.compile(r"[0-9a-f]{4}|[0-9]{6}")
_YES = {"yes", "approve", "approved", "confirm"}
_NO = {"no", "reject", "rejected", "decline", "nope", "cancel"}
_MAYBE = {"ok", "okay", "yep", "yeah", "sure", "y", "fine", "yes yes", "alright", "good", "sounds good", "go", "k"}
_YES_WHOLE = {
    "do it",
    "go ahead",
    "yes do it",
    "yes go ahead",
    "buy it",
    "sell it",
    "yes buy it",
    "yes sell it",
    "approve it",
    "yes approve",
    "yes approve it",
    "yes i approve",
    "i approve",
    "i approve it",
}
_NO_WHOLE = {
    "dont",
    "dont do it",
    "no dont",
    "no dont do it",
    "reject it",
    "no reject it",
    "dont buy it",
    "dont buy",
    "dont sell it",
    "dont sell",
    "cancel it",
    "no cancel it",
    "no thanks",
    "never mind",
    "nevermind",
    "forget it",
}


def card_answer(text: str) -> CardAnswer | None:
    """The answer to a card that ``text`` is, whole: ``yes``, ``approve k3m9…``, ``YES 3F2A``, ``no``; else ``None``.

    It says nothing about whether a card waits: the caller looks.
    """
    if len(text) > 80:
        return None
    words = tokens(re.sub(r"^\s*/(\w+)(?:@\w+)?", r"\1", text))
    words = words[: len(words) - peel(words)[1]] if words else words
    whole = " ".join(words)
    if whole in _YES_WHOLE or whole in _NO_WHOLE:
        return CardAnswer(whole in _YES_WHOLE, explicit=_ABOUT_CARDS.search(whole) is not None)
    if not words or words[0] not in _YES | _NO or len(words) > 3:
        return None
    yes, rest = words[0] in _YES, words[1:]
    approval = code = ""
    for word in rest:
        if _CODE.fullmatch(word) and not code:
            code = word
        elif _APPROVAL_ID.fullmatch(word) and not approval:
            approval = word
        else:
            return None
    return CardAnswer(yes, approval, code, explicit=_ABOUT_CARDS.search(whole) is not None)


_STOPPISH = re.compile(
    r"\b(?:halt|freeze|kill|abort|quit|cease|shut (?:\w+ ){0,3}down|shutdown|stop|pause|suspend|hold off)\b",
    re.IGNORECASE,
)
_ABOUT_TRADING = re.compile(r"\b(?:bot|trad\w+|orders?|everything|all|buying|selling|it|now)\b", re.IGNORECASE)


def stop_like(text: str) -> bool:
    """Whether a short text sounds like a wish to stop that is no exact command; answered with the exact words."""
    words = core_words(text)
    if not 0 < len(words) <= 7 or words[0] in {
        "what",
        "why",
        "when",
        "how",
        "did",
        "does",
        "is",
        "are",
        "should",
        "whats",
    }:
        return False
    return bool(_STOPPISH.search(text)) and (len(words) <= 2 or bool(_ABOUT_TRADING.search(text)))


STOP_HINT = (
    "To stop all trading at once, say exactly: stop. To only block new entries, say: pause. I did not change anything."
)


NO_ADVICE = (
    "I give no advice on what to buy or sell. What I can do is show the records, for example the last price, why the "
    "bot bought or sold something, and how it did; “help” lists them. Nothing was ordered."
)
_ADVICE = re.compile(
    r"\b(?:should|shall|would you|do you think) (?:i|we|you) (?:\w+ )?(?:buy|sell|short|invest|hold)\b"
    r"|\b(?:is|are) .{1,40}\b(?:a )?(?:good|bad|safe|smart) (?:buy|investment|time to (?:buy|sell|invest))\b"
    r"|\b(?:what|which)\b.{0,20} should (?:i|we) (?:buy|sell|invest in)\b",
    re.IGNORECASE,
)


def advice_like(text: str) -> bool:
    """Whether a short text asks what to buy or sell, which no small model may answer."""
    return len(text) <= 200 and _ADVICE.search(text) is not None


def half_yes(text: str) -> bool:
    """Whether ``text`` may be meant as a yes but is too loose to spend an approval on."""
    return " ".join(core_words(text)) in _MAYBE


@dataclass(frozen=True, slots=True)
class Correction:
    """``wrong, I meant ...``. ``explicit``: it says that the earlier reading was wrong."""

    meant: str
    explicit: bool


_CORRECTION = re.compile(
    r"^\W*(?P<wrong>(?:no|nope|wrong|not that|that['’]?s (?:wrong|not it)|that is wrong)\b)?[\s,.:;!-]*"
    r"(?:i|what i) (?:meant|mean|was asking for)(?: was| is)?(?: to (?:say|ask))?[\s,:]+(?P<meant>.+?)\W*$",
    re.IGNORECASE | re.DOTALL,
)


def correction(text: str) -> Correction | None:
    """What the person says they meant: ``wrong, I meant how did it do last month``; ``None`` for anything else."""
    found = _CORRECTION.match(text.strip()) if len(text) <= 400 else None
    if found is None:
        return None
    meant = found["meant"].strip(" \"'“”‘’")
    return Correction(meant, found["wrong"] is not None) if meant else None
