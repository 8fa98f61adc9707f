"""The policy: one pure function from an effect, its turn and the facts to allow, ask or deny.

No I/O, no clock, no model. The rule called *commit*: in a turn that has read untrusted text, an effectful call or
fetch runs unasked only if that exact call was committed by code from the sender's own message beforehand, and once.
A reply to the sender is always allowed. Orders never run unasked except inside a mandate; *stop* outranks everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from retainer.core.effects import Decision, Effect, EffectClass, Turn, Verdict
from retainer.core.labels import Trust
from retainer.core.orders import cancels, increases_exposure, legs, protective
from retainer.core.values import Json
from retainer.safety.identity import covers
from retainer.safety.limits import Limits, frees, over
from retainer.safety.mandate import Mandate, positive

PERSONAL_KINDS = frozenset({"message", "command", "request", "outcome", "reply"})
"""Kinds of events that begin with a person's words (when their sender is a person)."""

ALLOW = Verdict(Decision.ALLOW)
_EFFECTFUL = frozenset({EffectClass.WRITE_OWN, EffectClass.COMMUNICATE, EffectClass.FETCH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the policy needs to know beyond effect and turn; gathered from rows by :mod:`retainer.safety.facts`."""

    control: str = "running"
    person: bool = False
    """Whether the sender is (or was) a person, rather than a machine or an agent."""
    scope: str | None = None
    """Scope of the device the turn speaks for; ``None`` when that person has none left."""
    paired_address: bool = False
    """Whether the effect's queue is the address of a paired device."""
    own_address: bool = False
    """Whether the effect's queue is an address of the sender's own or of the owner's."""
    worded: bool = False
    """Whether every argument stands in the sender's own words."""
    approver: bool = True
    """Whether anybody is paired who may say yes to this effect."""
    live: bool = False
    """Whether the order's account holds real money."""
    mandate: Mandate | None = None
    """In force for the order's account and strategy; for a person's order, for its account."""
    equity: Decimal | None = None
    """The account's equity in dollars, where known."""
    spent_today: Decimal = Decimal(0)
    """Cost of the strategy's own orders that added exposure, this day of the account's clock."""
    orders_minute: int = 0
    orders_day: int = 0
    effects_hour: int = 0
    approvals_hour: int = 0
    effects_free_at: datetime | None = None
    """When the next action of the hour fits, where none fits now."""
    approvals_free_at: datetime | None = None
    now: datetime | None = None
    """When this is judged, for the words of a refusal alone."""
    limits: Limits = field(default_factory=Limits)


def tainted(effect: Effect, turn: Turn) -> bool:
    """Whether anything untrusted was read before this effect, or is in it."""
    return Trust.UNTRUSTED in (turn.label.trust, effect.label.trust)


def own_order(turn: Turn) -> bool:
    """Whether an order of this turn is a strategy's own: made on a feed's market event, on nobody's behalf."""
    return turn.kind == "bar" and turn.sender is None and turn.source.startswith("feed:")


def personal(effect: Effect, turn: Turn, facts: Facts) -> bool:
    """Whether a person's clean words led here."""
    return facts.person and turn.kind in PERSONAL_KINDS and not tainted(effect, turn)


def approver_scope(effect_class: EffectClass) -> str:
    """Scope that a yes to an effect of this class needs."""
    return "admin" if effect_class is EffectClass.ADMIN else "trade"


def check(effect: Effect, turn: Turn, facts: Facts) -> Verdict:
    """Allow, ask (and how the yes must be given), or deny, with the reason in words."""
    kind = effect.effect_class
    if facts.person and facts.scope is None:
        return _deny("The sender is no longer paired.")
    if kind is EffectClass.READ and over(turn.reads, facts.limits.tool_calls_per_event):
        most = facts.limits.tool_calls_per_event
        return _deny(f"{most} tool calls for one event is the limit; it frees with the next message or event.")
    if kind is EffectClass.COMMUNICATE and effect.queue == turn.reply_to:
        most = facts.limits.replies_per_event
        return ALLOW if not over(turn.replies, most) else _deny(f"{most} replies to one event is the limit.")
    if kind is EffectClass.READ:
        return ALLOW
    if over(turn.wishes, facts.limits.effects_per_event):
        most = facts.limits.effects_per_event
        return _deny(f"{most} actions for one event is the limit; it frees with the next message or event.")
    verdict = _money(effect, turn, facts) if kind is EffectClass.MONEY else _effectful(effect, turn, facts)
    return verdict if verdict.decision is not Decision.ASK else _askable(verdict, effect, turn, facts)


def _deny(reason: str) -> Verdict:
    return Verdict(Decision.DENY, reason)


def _ask(reason: str, level: str = "tap") -> Verdict:
    return Verdict(Decision.ASK, reason, level)


def _askable(verdict: Verdict, effect: Effect, turn: Turn, facts: Facts) -> Verdict:
    if not facts.approver:
        return _deny("Nobody who may approve this is paired; pair a device with scope trade on this machine.")
    limits = facts.limits
    limit = limits.own_approvals_per_hour if personal(effect, turn, facts) else limits.approvals_per_hour
    if over(facts.approvals_hour, limit):
        when = frees(facts.approvals_free_at, facts.now)
        return _deny(f"There were {limit} approval requests within an hour, which is the limit; {when}.")
    return verdict


# --- everything but orders -------------------------------------------------------------------------------------------
def _effectful(effect: Effect, turn: Turn, facts: Facts) -> Verdict:
    kind = effect.effect_class
    if kind is EffectClass.ADMIN:
        if facts.person and not covers(facts.scope or "", "admin"):
            return _deny("This needs a device with scope admin.")
        return _ask("It changes people, limits or configuration.", "totp")
    if over(facts.effects_hour, facts.limits.effects_per_hour):
        when = frees(facts.effects_free_at, facts.now)
        return _deny(f"There were {facts.limits.effects_per_hour} actions within an hour, which is the limit; {when}.")
    if kind is EffectClass.DESTRUCTIVE:
        return _ask("It cannot be undone.", "code")
    if kind not in _EFFECTFUL:
        return _deny(f"There is no rule for {kind.value}.")
    dirty = tainted(effect, turn)
    if dirty and _committed(effect, turn):
        return ALLOW
    if kind is EffectClass.COMMUNICATE and not facts.paired_address:
        return _ask("It speaks to somebody who is not paired.", "code")
    if dirty:
        return _ask("I read text from outside before this, and you did not ask for exactly this.")
    if _leaks(effect, turn, facts) and not _committed(effect, turn):
        return _ask("Private records were read before it, and you did not ask for exactly this.")
    return ALLOW


def _leaks(effect: Effect, turn: Turn, facts: Facts) -> bool:
    """Whether what is private could leave with this: in a question to the outside, or to somebody else."""
    if not (turn.label.private or effect.label.private):
        return False
    if effect.effect_class is EffectClass.FETCH:
        return not facts.worded
    return effect.effect_class is EffectClass.COMMUNICATE and not facts.own_address


def _committed(effect: Effect, turn: Turn) -> bool:
    if not turn.commitments:
        return False
    exact = effect.digest
    return exact in turn.commitments and exact not in turn.spent


# --- orders ----------------------------------------------------------------------------------------------------------
def controlled(effect: Effect, control: str) -> str:
    """Why *stop* or *pause* forbids this order; empty when they do not."""
    if control == "stopped" and not protective(effect) and not cancels(effect):
        return "Stopped: orders are refused until you say resume."
    if control == "paused" and increases_exposure(effect) and not cancels(effect):
        return "Paused: no new positions until you say resume."
    return ""


def _money(effect: Effect, turn: Turn, facts: Facts) -> Verdict:
    held = controlled(effect, facts.control)
    if held:
        return _deny(held)
    dirty = tainted(effect, turn)
    if cancels(effect) and not dirty:
        return ALLOW
    if facts.person and not covers(facts.scope or "", "propose"):
        return _deny("This device may not propose orders.")
    crowded = rate_reason(facts, own=own_order(turn))
    if crowded:
        return _deny(crowded)
    if own_order(turn) and not dirty:
        outside = mandate_reason(effect, facts)
        return ALLOW if not outside else _order_ask(effect, facts, outside)
    who = "text from outside was read before it" if dirty else "every order of a person or an agent needs a yes"
    return _order_ask(effect, facts, f"An order: {who}.")


def rate_reason(facts: Facts, *, own: bool) -> str:
    """Why one more order (a strategy's ``own``, or one that a person approves) is too many; empty when it is not."""
    limits = facts.limits
    minute = limits.orders_per_minute if own else limits.approved_orders_per_minute
    day = limits.orders_per_day if own else limits.approved_orders_per_day
    if over(facts.orders_minute, minute):
        return f"{minute} orders a minute is the limit of this account; it frees within a minute."
    if over(facts.orders_day, day):
        return f"{day} orders a day is the limit of this account; it frees at midnight UTC."
    return ""


def _order_ask(effect: Effect, facts: Facts, reason: str) -> Verdict:
    if not facts.live:
        return _ask(reason)
    inside = facts.mandate is not None and not cap_reason(effect, facts, facts.mandate)
    return _ask(reason, "tap" if inside else "code")


def mandate_reason(effect: Effect, facts: Facts) -> str:
    """Why a strategy's own order lies outside its mandate; empty when it lies inside."""
    mandate, orders = facts.mandate, legs(effect)
    if mandate is None or any(not _under(mandate, part) for part in (effect.args, *orders)):
        return "No mandate is in force for this strategy on this account."
    if effect.queue != f"account:{mandate.account}":  # by queue the day's orders are counted
        return "The order is not in the queue of its account."
    for order in orders:
        symbol = order.get("symbol")
        if not isinstance(symbol, str) or symbol not in mandate.symbols:
            return f"{symbol} is not in the mandate."
        if order.get("side") not in ("buy", "sell") or positive(order.get("quantity")) is None:
            return "The order's side or quantity is not valid."
    costs = [positive(order.get("notional")) or Decimal("NaN") for order in orders]
    if sum(costs, Decimal(0)) != positive(effect.args.get("notional")):
        return "The order's cost is not a valid number, or not that of its legs together."
    return cap_reason(effect, facts, mandate)


def _under(mandate: Mandate, order: Mapping[str, Json]) -> bool:
    return order.get("account") == mandate.account and order.get("strategy") == mandate.strategy


def loss_reason(facts: Facts, mandate: Mandate) -> str:
    """Why a mandate allows no more exposure: the account has lost what it may lose; empty when it has not."""
    equity = mandate.equity_at_signing if facts.equity is None else facts.equity
    limit = mandate.loss_limit()
    if limit is not None and mandate.equity_at_signing - equity >= limit:
        return f"The account has lost ${mandate.equity_at_signing - equity:,.2f}: the mandate's maximum."
    return ""


def cap_reason(effect: Effect, facts: Facts, mandate: Mandate) -> str:
    """Why an order lies outside the caps of a mandate; empty when it lies inside."""
    cost = positive(effect.args.get("notional"))
    if cost is None:
        return "The order's cost is not a valid number."
    if not increases_exposure(effect):
        return ""
    equity = mandate.equity_at_signing if facts.equity is None else facts.equity
    limit = mandate.order_limit(equity)
    if limit is not None and cost > limit:
        return f"${cost:,.2f} is more than the ${limit:,.2f} the mandate allows per order."
    limit = mandate.daily_limit(equity)
    if limit is not None and facts.spent_today + cost > limit:
        return f"With this order the day's ${limit:,.2f} of the mandate would be exceeded."
    return loss_reason(facts, mandate)
