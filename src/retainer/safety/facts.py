"""Facts for the policy, read from rows: control, scopes, mandates, and what was done lately."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from retainer.core.clock import from_epoch, to_epoch, utc
from retainer.core.effects import Effect, EffectClass, EffectState, StoredEffect, Turn
from retainer.core.orders import increases_exposure
from retainer.core.protocols import View
from retainer.runtime import effects
from retainer.runtime.control import read_control
from retainer.safety import mandate as mandates
from retainer.safety.identity import OWNER_ID, approver_address, known, principal_at
from retainer.safety.limits import Limits
from retainer.safety.policy import Facts, approver_scope, own_order, personal

EquityOf = Callable[[View, str], Decimal | None]
"""The equity of an account in dollars, or ``None`` while it has none."""

_HOUR = timedelta(hours=1)
_PAGE = 128
"""Orders of an account that are looked at together."""
_NEWEST = 2**62
_SENT = "('ready', 'sending', 'done', 'unknown')"


def account_of(effect: Effect) -> str:
    """The account an order is for."""
    named = effect.args.get("account")
    return named if isinstance(named, str) and named else effect.queue.removeprefix("account:")


def is_live(account: str) -> bool:
    """Whether an account holds real money: every one whose name does not start with ``paper``."""
    return not account.startswith("paper")


def order_time(effect: Effect, fallback: datetime) -> datetime:
    """When an order was made, on its account's clock (``args.at``, ISO); ``fallback`` where it does not say."""
    at = effect.args.get("at")
    if not isinstance(at, str):
        return fallback
    try:
        parsed = datetime.fromisoformat(at)
    except ValueError:
        return fallback
    return parsed.astimezone(UTC) if parsed.tzinfo is not None else fallback


def gather(
    view: View, effect: Effect, turn: Turn, now: datetime, *, limits: Limits, equity: EquityOf | None = None
) -> Facts:
    """All that :func:`retainer.safety.policy.check` needs, and nothing it does not need for this class."""
    person = turn.sender is not None and known(view, turn.sender)
    device = principal_at(view, turn.sender, turn.reply_to, turn.channel) if person and turn.sender else None
    scope = None if device is None else device.scope
    kind = effect.effect_class
    if kind is EffectClass.READ or (kind is EffectClass.COMMUNICATE and effect.queue == turn.reply_to):
        return Facts(person=person, scope=scope, limits=limits)
    base = Facts(person=person, scope=scope, limits=limits)
    approver = approver_address(view, approver_scope(kind)) is not None
    own = personal(effect, turn, base)
    asked = approvals_since(view, now - _HOUR, own=own)
    most = limits.own_approvals_per_hour if own else limits.approvals_per_hour
    asks_free = _approvals_free(view, now - _HOUR, asked, most, own=own)
    if kind is not EffectClass.MONEY:
        done = _effects_since(view, turn.agent, now - _HOUR)
        return Facts(
            person=person,
            scope=scope,
            limits=limits,
            approver=approver,
            approvals_hour=asked,
            paired_address=kind is EffectClass.COMMUNICATE and _paired(view, effect.queue),
            own_address=kind is EffectClass.COMMUNICATE and _own(view, effect.queue, turn.sender),
            effects_hour=done,
            now=now,
            approvals_free_at=asks_free,
            effects_free_at=_effects_free(view, turn.agent, now - _HOUR, done, limits.effects_per_hour),
        )
    facts = _order_facts(view, effect, turn, now, limits, equity, person, scope, approver, asked)
    return facts if asks_free is None else replace(facts, approvals_free_at=asks_free)


def _order_facts(
    view: View,
    effect: Effect,
    turn: Turn,
    now: datetime,
    limits: Limits,
    equity: EquityOf | None,
    person: bool,
    scope: str | None,
    approver: bool,
    asked: int,
) -> Facts:
    account = account_of(effect)
    own = own_order(turn)
    minute, day, spent = orders_lately(view, effect, now, own=own, limits=limits)
    strategy = effect.args.get("strategy")
    if own:
        mandate = mandates.active(view, account, strategy, now) if isinstance(strategy, str) else None
    else:
        mandate = next(iter(mandates.in_force(view, now, account=account)), None)
    return Facts(
        control=read_control(view).state,
        person=person,
        scope=scope,
        approver=approver,
        live=is_live(account),
        mandate=mandate,
        equity=None if equity is None else equity(view, account),
        spent_today=spent,
        orders_minute=minute,
        orders_day=day,
        approvals_hour=asked,
        now=now,
        limits=limits,
    )


def approvals_since(view: View, since: datetime, *, own: bool) -> int:
    """Approval requests since then, of those that a person's clean words led to, or of the others."""
    row = view.one(
        "SELECT COUNT(*) AS n FROM approval WHERE created_at > ? AND origin = ?",
        (to_epoch(since), "person" if own else "other"),
    )
    return 0 if row is None else int(row["n"])


def orders_lately(view: View, effect: Effect, now: datetime, *, own: bool, limits: Limits) -> tuple[int, int, Decimal]:
    """Orders of the account in the last minute and on this day, and what the strategy's own cost this day.

    A strategy's own orders on a paper account are counted on the account's clock, so that a replay is not slowed; all
    others on real time, which no order can misstate. Days are UTC days. The effect itself does not count.
    """
    replayed = own and not is_live(account_of(effect))
    at = order_time(effect, now) if replayed else utc(now)
    most = limits.orders_per_day if own else limits.approved_orders_per_day
    minute = day = 0
    spent = Decimal(0)
    for row in _orders(view, effect, own=own):
        when = order_time(row, row.created_at) if replayed else row.created_at
        if day > most or when.date() < at.date() - timedelta(days=1):
            break
        if when.date() != at.date() or row.args.get("action") == "cancel":
            continue
        day += 1
        minute += abs(at - when) < timedelta(minutes=1)
        if row.args.get("strategy") == effect.args.get("strategy") and increases_exposure(row):
            spent += mandates.positive(row.args.get("notional")) or Decimal(0)
    return minute, day, spent


def _orders(view: View, effect: Effect, *, own: bool) -> Iterator[StoredEffect]:
    """The account's orders that were let through, cancellations too, the newest first; ``effect`` is left out."""
    key = effect.key if isinstance(effect, StoredEffect) else ""
    below = _NEWEST
    while True:
        rows = effects.select_rows(
            view,
            f"e.queue = ? AND e.effect_class = 'money' AND e.was_asked = ? AND e.state IN {_SENT} AND e.key <> ? "
            "AND e.id < ?",
            (effect.queue, 0 if own else 1, key, below),
            order="e.id DESC",
            limit=_PAGE,
        )
        yield from map(effects.to_effect, rows)
        if len(rows) < _PAGE:
            return
        below = rows[-1]["id"]


def _paired(view: View, address: str) -> bool:
    row = view.one("SELECT address FROM identity WHERE address = ? AND revoked_at IS NULL", (address,))
    return row is not None


def _own(view: View, address: str, person_id: str | None) -> bool:
    """Whether ``address`` is a device of this person's or of the owner's."""
    row = view.one(
        "SELECT address FROM identity WHERE address = ? AND revoked_at IS NULL AND person_id IN (?, ?)",
        (address, person_id or OWNER_ID, OWNER_ID),
    )
    return row is not None


def revoked_address(view: View, address: str) -> bool:
    """Whether ``address`` belonged to a device and belongs to none any more."""
    row = view.one(
        "SELECT COUNT(*) AS n, SUM(CASE WHEN revoked_at IS NULL THEN 1 ELSE 0 END) AS active "
        "FROM identity WHERE address = ?",
        (address,),
    )
    return row is not None and int(row["n"]) > 0 and int(row["active"] or 0) == 0


_COUNTED = (
    "FROM effect e JOIN event v ON v.seq = e.event_seq "
    "WHERE e.id > COALESCE((SELECT id FROM effect WHERE created_at <= ? ORDER BY id DESC LIMIT 1), 0) "
    "AND e.agent = ? AND e.state <> ? AND ("
    "e.effect_class IN ('fetch', 'write-own', 'destructive', 'admin') OR "
    "(e.effect_class = 'communicate' AND (v.reply_to IS NULL OR v.reply_to <> e.queue)))"
)


def _effects_since(view: View, agent: str, since: datetime) -> int:
    params = (to_epoch(since), agent, EffectState.REFUSED.value)
    row = view.one(f"SELECT COUNT(*) AS n {_COUNTED}", params)
    return 0 if row is None else int(row["n"])


def _effects_free(view: View, agent: str, since: datetime, done: int, limit: int) -> datetime | None:
    """When the effect that keeps the next one out is an hour old."""
    if done < limit:
        return None
    params = (to_epoch(since), agent, EffectState.REFUSED.value, done - limit)
    row = view.one(f"SELECT e.created_at AS at {_COUNTED} ORDER BY e.id LIMIT 1 OFFSET ?", params)
    return None if row is None else from_epoch(row["at"]) + _HOUR


def _approvals_free(view: View, since: datetime, asked: int, limit: int, *, own: bool) -> datetime | None:
    """When the request that keeps the next one out is an hour old."""
    if asked < limit:
        return None
    row = view.one(
        "SELECT created_at AS at FROM approval WHERE created_at > ? AND origin = ? "
        "ORDER BY created_at LIMIT 1 OFFSET ?",
        (to_epoch(since), "person" if own else "other", asked - limit),
    )
    return None if row is None else from_epoch(row["at"]) + _HOUR
