"""Safe mode: what was under way in a restored backup is kept back until the owner has confirmed.

A backup is older than the world. Its waiting messages may have been answered since, its *ready* orders sent, its
reminders told. So entering sets all of it aside: events become *kept*, effects are held, timers stay silent, and no
order at all goes out. What arrives afterwards is handled as always. Leaving decides about each thing once: orders by
what the broker says, the rest by what the owner says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from retainer.core.clock import to_epoch
from retainer.core.effects import EffectClass, EffectState, StoredEffect
from retainer.core.protocols import Tx, View
from retainer.runtime import bodies, effects, timers
from retainer.runtime.safe_mode import HELD, KEPT, KEY, OLD, SILENT, SafeMode, read_safe_mode

_ABSENT: Final = "Kept back after a restore; the broker does not have it. Ask for it again."
_UNASKED: Final = "Kept back after a restore; the broker could not be asked whether it has it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What safe mode keeps back."""

    events: int
    messages: int
    """Effects that are no orders."""
    orders: tuple[StoredEffect, ...]
    timers: int
    """Timers that fell due before the restore."""


def enter(tx: Tx, *, backup: str, made_at: datetime, now: datetime) -> SafeMode:
    """Keep back everything that is under way. Done once, on a restored database that nothing else uses yet."""
    row = tx.one("SELECT MAX(seq) AS seq FROM event")
    mode = SafeMode(backup=backup, made_at=made_at, since=now, last_event=int(row["seq"] or 0) if row else 0)
    tx.execute("UPDATE event SET state = ? WHERE state = 'waiting'", (KEPT,))
    tx.execute("UPDATE effect SET held = ? WHERE state IN ('ready', 'sending') AND held = 0", (HELD,))
    value = {
        "backup": backup,
        "made_at": to_epoch(made_at),
        "since": to_epoch(now),
        "last_event": mode.last_event,
    }
    tx.execute("DELETE FROM meta WHERE key IN (?, ?)", (KEY, SILENT))
    for key, text in ((KEY, json.dumps(value)), (SILENT, str(mode.last_event))):
        tx.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (key, text))
    return mode


def pending(view: View, mode: SafeMode) -> Pending:
    """What leaving will have to decide about."""
    kept = view.one("SELECT COUNT(*) AS n FROM event WHERE state = ?", (KEPT,))
    orders = _kept_orders(view, mode)
    others = view.one(
        "SELECT COUNT(*) AS n FROM effect WHERE effect_class <> ? AND event_seq <= ?"
        " AND state IN ('ready', 'sending', 'asked')",
        (EffectClass.MONEY.value, mode.last_event),
    )
    late = view.one(
        "SELECT COUNT(*) AS n FROM timer WHERE event_seq <= ? AND next_at <= ?",
        (mode.last_event, to_epoch(mode.since)),
    )
    return Pending(
        events=int(kept["n"]) if kept else 0,
        messages=int(others["n"]) if others else 0,
        orders=tuple(orders),
        timers=int(late["n"]) if late else 0,
    )


def _kept_orders(view: View, mode: SafeMode) -> list[StoredEffect]:
    return effects.select_effects(
        view,
        "e.effect_class = ? AND e.event_seq <= ? AND e.state IN ('ready', 'sending', 'asked')",
        (EffectClass.MONEY.value, mode.last_event),
    )


def leave(tx: Tx, now: datetime, *, send: bool, orders: Mapping[str, Any]) -> bool:
    """Decide about everything that was kept back and go on; ``False`` if there was no safe mode.

    ``orders`` says what the broker has: its result by effect key, ``None`` for a key it does not know; an order that is
    not in there becomes *unknown*. ``send``: messages go out, kept messages of people are handled and missed timers
    fire; otherwise all of that is dropped, with a reason in the records. No order of before is ever sent.
    """
    mode = read_safe_mode(tx)
    if mode is None:
        return False
    for order in _kept_orders(tx, mode):
        _end_order(tx, order, now, orders)
    _decide_messages(tx, mode, now, send=send)
    _decide_timers(tx, mode, now, send=send)
    _decide_events(tx, now, send=send)
    tx.execute("DELETE FROM meta WHERE key IN (?, ?)", (KEY, SILENT))
    return True


def _end_order(tx: Tx, order: StoredEffect, now: datetime, known: Mapping[str, Any]) -> None:
    result = known.get(order.key)
    if result is not None:
        effects.end(tx, order, EffectState.DONE, now, result=result)
    elif order.key in known or order.state is EffectState.ASKED:
        reason = OLD if order.state is EffectState.ASKED else _ABSENT
        effects.end(tx, order, EffectState.REFUSED, now, reason=reason)
    else:
        effects.end(tx, order, EffectState.UNKNOWN, now, reason=_UNASKED)


def _decide_messages(tx: Tx, mode: SafeMode, now: datetime, *, send: bool) -> None:
    if send:
        tx.execute("UPDATE effect SET held = 0 WHERE held = ?", (HELD,))
        return
    where = "e.effect_class <> ? AND e.event_seq <= ? AND e.state IN ('ready', 'sending', 'asked')"
    for row in effects.select_rows(tx, where, (EffectClass.MONEY.value, mode.last_event)):
        effect = effects.to_effect(row)
        state = EffectState.UNKNOWN if effect.state is EffectState.SENDING else EffectState.REFUSED
        if row["held"] == 1 and _continues(tx, effect.event_seq):
            continue  # its handler runs again and resolves it
        effects.end(tx, effect, state, now, reason=OLD)


def _decide_timers(tx: Tx, mode: SafeMode, now: datetime, *, send: bool) -> None:
    if send:
        return
    rows = tx.query(
        "SELECT lane, name, cron, zone FROM timer WHERE event_seq <= ? AND next_at <= ?",
        (mode.last_event, to_epoch(now)),
    )
    for row in rows:
        if row["cron"] is None:
            timers.cancel_timer(tx, row["lane"], row["name"])
        else:
            at = to_epoch(timers.next_time(row["cron"], row["zone"] or "UTC", now))
            tx.execute("UPDATE timer SET next_at = ? WHERE lane = ? AND name = ?", (at, row["lane"], row["name"]))


def _decide_events(tx: Tx, now: datetime, *, send: bool) -> None:
    """Bars and the like are handled now in any case: they change our own records only."""
    if not send:
        for row in tx.query(
            "SELECT seq FROM event WHERE state = ? AND NOT (sender IS NULL AND reply_to IS NULL)", (KEPT,)
        ):
            tx.execute(
                "UPDATE event SET state = 'parked', done_at = ?, error_id = ? WHERE seq = ?",
                (to_epoch(now), bodies.put(tx, OLD), row["seq"]),
            )
    tx.execute("UPDATE event SET state = 'waiting' WHERE state = ?", (KEPT,))


def _continues(view: View, seq: int) -> bool:
    row = view.one("SELECT seq FROM event WHERE seq = ? AND sender IS NULL AND reply_to IS NULL", (seq,))
    return row is not None
