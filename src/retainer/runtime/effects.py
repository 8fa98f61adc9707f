"""Effects as rows: their states, and the outcome event each one that matters leaves behind.

States: *asked* waits for a yes, *ready* waits for delivery, *sending* may or may not have happened, and *done*,
*refused*, *unknown* are final. Every change clears ``audited`` so that the next unit of the runtime audits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.effects import Effect, EffectClass, EffectState, RepeatClass, StoredEffect
from retainer.core.errors import NotFoundError
from retainer.core.events import NewEvent
from retainer.core.labels import TRUSTED, Label
from retainer.core.orders import cancels, protective
from retainer.core.protocols import Row, Tx, View
from retainer.runtime import bodies
from retainer.runtime.control import read_control
from retainer.runtime.inbox import MOST_HOPS, insert_event
from retainer.runtime.safe_mode import kept_back

ERASED = "(erased)"
STOPPED = "Stopped: orders are refused until you say resume."

_SELECT = (
    "SELECT e.*, a.bytes AS args_json, s.bytes AS summary_json, r.bytes AS result_json FROM effect e"
    " LEFT JOIN body a ON a.id = e.args_id LEFT JOIN body s ON s.id = e.summary_id"
    " LEFT JOIN body r ON r.id = e.result_id"
)


def effect_key(event_seq: int, name: str) -> str:
    """``e<seq>:<name>``: the idempotency key that the far side sees."""
    return f"e{event_seq}:{name}"


# --- reading ---------------------------------------------------------------------------------------------------------
def to_effect(row: Row) -> StoredEffect:
    """An effect from its row with the bodies joined (:func:`select`)."""
    args = bodies.decode(row["args_json"])
    summary = bodies.decode(row["summary_json"])
    if summary is None:
        text = (args or {}).get("text")
        summary = ERASED if args is None or row["summary_id"] is not None else text if isinstance(text, str) else ""
    return StoredEffect(
        name=row["name"],
        tool=row["tool"],
        args=args or {},
        effect_class=EffectClass(row["effect_class"]),
        queue=row["queue"],
        label=Label.decode(row["label"]),
        summary=summary,
        reply_to=row["reply_to"],
        approver_lane=row["approver_lane"],
        key=row["key"],
        event_seq=row["event_seq"],
        lane=row["lane"],
        agent=row["agent"],
        state=EffectState(row["state"]),
        repeat=RepeatClass(row["repeat"]),
        ref=row["ref"],
        result=bodies.decode(row["result_json"]),
        reason=row["reason"],
        attempts=row["attempts"],
        created_at=from_epoch(row["created_at"]),
    )


def select_rows(
    view: View, where: str, params: Sequence[Any] = (), *, order: str = "e.id", limit: int = -1
) -> list[Row]:
    """Raw rows ``e`` with bodies joined. ``where`` and ``order`` are constant SQL of ours, values go in ``params``."""
    sql = f"{_SELECT} WHERE {where} ORDER BY {order}"
    if limit >= 0:
        return view.query(f"{sql} LIMIT ?", (*params, limit))
    return view.query(sql, params)


def select_effects(
    view: View, where: str, params: Sequence[Any] = (), *, order: str = "e.id", limit: int = -1
) -> list[StoredEffect]:
    """Effects whose row ``e`` satisfies ``where``."""
    return [to_effect(row) for row in select_rows(view, where, params, order=order, limit=limit)]


def by_key(view: View, key: str) -> StoredEffect:
    """The effect with this key. Raises :class:`NotFoundError`."""
    found = find(view, key)
    if found is None:
        raise NotFoundError(f"There is no effect {key}.", hint="`retainer log` lists the latest.")
    return found


def find(view: View, key: str) -> StoredEffect | None:
    """The effect with this key, or ``None``."""
    rows = select_effects(view, "e.key = ?", (key,))
    return rows[0] if rows else None


def of_event(view: View, event_seq: int) -> list[StoredEffect]:
    """All effects of one event, oldest first."""
    return select_effects(view, "e.event_seq = ?", (event_seq,))


FINAL = frozenset({EffectState.DONE, EffectState.REFUSED, EffectState.UNKNOWN})


def in_state(view: View, state: EffectState, *, queue: str | None = None) -> list[StoredEffect]:
    """All effects in ``state`` (of ``queue``), oldest first."""
    if queue is None:
        return select_effects(view, "e.state = ?", (state.value,))
    return select_effects(view, "e.state = ? AND e.queue = ?", (state.value, queue))


# --- writing ---------------------------------------------------------------------------------------------------------
def insert_effect(
    tx: Tx,
    effect: Effect,
    *,
    event_seq: int,
    lane: str,
    agent: str,
    state: EffectState,
    repeat: RepeatClass,
    now: datetime,
    reason: str = "",
    held: bool = False,
) -> StoredEffect:
    """Store a new effect and, when it is born refused, its outcome. Its key must be new."""
    key, at = effect_key(event_seq, effect.name), to_epoch(now)
    args = bodies.encode(dict(effect.args))
    told = effect.args.get("text") == effect.summary
    asked = state is EffectState.ASKED
    tx.execute(
        "INSERT INTO effect (key, event_seq, name, lane, agent, tool, effect_class, repeat, queue, label, args_id,"
        " summary_id, reply_to, approver_lane, state, held, was_asked, reason, attempts, not_before, audited,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?)",
        (
            key,
            event_seq,
            effect.name,
            lane,
            agent,
            effect.tool,
            effect.effect_class.value,
            repeat.value,
            effect.queue,
            effect.label.encode(),
            bodies.put_text(tx, args),
            None if told else bodies.put(tx, effect.summary),
            effect.reply_to,
            effect.approver_lane,
            state.value,
            int(held),
            int(asked),
            reason,
            int(state is EffectState.SENDING),  # a placeholder says nothing yet: nothing to audit
            at,
            at,
        ),
    )
    stored = StoredEffect(
        name=effect.name,
        tool=effect.tool,
        args=bodies.decode(args),
        effect_class=effect.effect_class,
        queue=effect.queue,
        label=effect.label,
        summary=effect.summary,
        reply_to=effect.reply_to,
        approver_lane=effect.approver_lane,
        key=key,
        event_seq=event_seq,
        lane=lane,
        agent=agent,
        state=state,
        repeat=repeat,
        reason=reason,
        created_at=from_epoch(at),
    )
    if state is EffectState.REFUSED and not held:
        _tell_outcome(tx, stored, was_asked=False, now=now)
    return stored


def complete(tx: Tx, key: str, effect: Effect, state: EffectState, now: datetime, reason: str = "") -> StoredEffect:
    """Give an opened placeholder its final content and hand it to the deliverer (its reference stays).

    Without a reference it may have been shown all the same: that counts as an attempt, so that it is looked for first.
    """
    told = effect.args.get("text") == effect.summary
    for row in tx.query("SELECT args_id, summary_id FROM effect WHERE key = ?", (key,)):
        for body_id in (row["args_id"], row["summary_id"]):
            if body_id is not None:
                bodies.erase(tx, body_id)
    tx.execute(
        "UPDATE effect SET args_id = ?, summary_id = ?, label = ?, reply_to = ?, approver_lane = ?, state = ?,"
        " attempts = attempts + CASE WHEN ref IS NULL THEN 1 ELSE 0 END,"
        " held = 0, was_asked = ?, reason = ?, audited = 0, updated_at = ? WHERE key = ?",
        (
            bodies.put(tx, dict(effect.args)),
            None if told else bodies.put(tx, effect.summary),
            effect.label.encode(),
            effect.reply_to,
            effect.approver_lane,
            state.value,
            int(state is EffectState.ASKED),
            reason,
            to_epoch(now),
            key,
        ),
    )
    return by_key(tx, key)


def make_ready(tx: Tx, key: str, now: datetime) -> bool:
    """A yes: *asked* becomes *ready*. ``False`` (and refused, when stopped) if it cannot go ahead any more."""
    effect = find(tx, key)
    if effect is None or effect.state is not EffectState.ASKED:
        return False
    if reason := blocked(tx, effect):
        end(tx, effect, EffectState.REFUSED, now, reason=reason)
        return False
    _set_state(tx, key, EffectState.READY, now)
    return True


def refuse(tx: Tx, key: str, reason: str, now: datetime) -> bool:
    """A no: *asked* or *ready* becomes *refused* and its outcome is told. ``False`` if it was neither."""
    effect = find(tx, key)
    if effect is None or effect.state not in {EffectState.ASKED, EffectState.READY}:
        return False
    end(tx, effect, EffectState.REFUSED, now, reason=reason)
    return True


def refuse_orders(tx: Tx, reason: str, now: datetime, *, protective_too: bool = False) -> int:
    """Refuse every money effect that is *asked* or *ready*; protective ones stay unless ``protective_too``, and so do
    cancellations. Returns how many were refused.
    """
    waiting = select_effects(tx, "e.state IN ('asked', 'ready') AND e.effect_class = ?", (EffectClass.MONEY.value,))
    doomed = [e for e in waiting if not cancels(e) and (protective_too or not protective(e))]
    for effect in doomed:
        end(tx, effect, EffectState.REFUSED, now, reason=reason)
    return len(doomed)


def blocked(view: View, effect: Effect) -> str:
    """Why this effect is forbidden whatever the guard says, ``""`` if it is not.

    *stop* forbids every order that neither protects nor cancels, safe mode every order and what is older than the
    restore.
    """
    order = effect.effect_class is EffectClass.MONEY and not protective(effect) and not cancels(effect)
    return STOPPED if order and read_control(view).stopped else kept_back(view, effect)


def claim(tx: Tx, key: str, now: datetime) -> bool:
    """*ready* (or once more *sending*) becomes *sending*: from here on it may have happened."""
    changed = tx.execute(
        "UPDATE effect SET state = 'sending', attempts = attempts + 1, updated_at = ?"
        " WHERE key = ? AND state IN ('ready', 'sending')",
        (to_epoch(now), key),
    )
    return changed > 0


def back_off(
    tx: Tx, key: str, state: EffectState, not_before: float, reason: str, now: datetime, *, tries: int | None = None
) -> None:
    """Let an effect wait until ``not_before`` in *ready* (nothing was sent) or *sending* (nobody knows).

    ``tries``: how many are to be counted so far; as many as there were where it is left out.
    """
    tx.execute(
        "UPDATE effect SET state = ?, not_before = ?, reason = ?, updated_at = ?,"
        " attempts = COALESCE(CAST(? AS INTEGER), attempts) WHERE key = ? AND state IN ('ready', 'sending')",
        (state.value, not_before, reason, to_epoch(now), tries, key),
    )


def set_ref(tx: Tx, key: str, ref: str, now: datetime) -> None:
    """Keep the far side's reference before anything is built on it."""
    tx.execute("UPDATE effect SET ref = ?, updated_at = ? WHERE key = ?", (ref, to_epoch(now), key))


def end(
    tx: Tx,
    effect: StoredEffect,
    state: EffectState,
    now: datetime,
    *,
    result: Any = None,
    reason: str = "",
    ref: str | None = None,
    result_label: Label | None = None,
) -> StoredEffect:
    """Final state, result and outcome event, in one go. What has ended stays as it is."""
    row = tx.one("SELECT state, held, was_asked, ref, attempts FROM effect WHERE key = ?", (effect.key,))
    if row is None:
        raise NotFoundError(f"There is no effect {effect.key}.")
    if EffectState(row["state"]) in FINAL:
        return by_key(tx, effect.key)
    text = None if result is None else bodies.encode(result)
    tx.execute(
        "UPDATE effect SET state = ?, held = 0, result_id = ?, reason = ?, ref = COALESCE(?, ref), result_label = ?,"
        " audited = 0, updated_at = ? WHERE key = ?",
        (
            state.value,
            None if text is None else bodies.put_text(tx, text),
            reason,
            ref,
            None if result_label is None else result_label.encode(),
            to_epoch(now),
            effect.key,
        ),
    )
    was_asked = bool(row["was_asked"])
    if row["held"] != 1 and _tells(effect, was_asked=was_asked):  # nobody waits for it: its outcome is an event
        stored = by_key(tx, effect.key)  # not as it was remembered: its words may have been erased meanwhile
        _tell_outcome(tx, stored, was_asked=was_asked, now=now, result_label=result_label)
        return stored
    return replace(
        effect,
        state=state,
        result=bodies.decode(text),
        reason=reason,
        ref=ref or row["ref"],
        attempts=row["attempts"],
    )


def _set_state(tx: Tx, key: str, state: EffectState, now: datetime) -> None:
    tx.execute(
        "UPDATE effect SET state = ?, audited = 0, updated_at = ? WHERE key = ?", (state.value, to_epoch(now), key)
    )


def _tells(effect: Effect, *, was_asked: bool) -> bool:
    """Whether its outcome is an event: it was asked, moves money, or has somebody to tell."""
    return was_asked or effect.effect_class is EffectClass.MONEY or bool(effect.reply_to)


def _tell_outcome(
    tx: Tx, effect: StoredEffect, *, was_asked: bool, now: datetime, result_label: Label | None = None
) -> None:
    """Insert the ``outcome`` event of an effect that has one."""
    if not _tells(effect, was_asked=was_asked):
        return
    origin = tx.one("SELECT sender, hops FROM event WHERE seq = ?", (effect.event_seq,))
    hops = 1 + (origin["hops"] if origin else 0)
    if hops > MOST_HOPS:
        return  # it was refused for the length of its chain; to tell so would make the chain longer
    event = NewEvent(
        source="effect",
        external_id=f"{effect.key}:{effect.state.value}",
        agent=effect.agent,
        lane=effect.approver_lane or effect.lane,
        kind="outcome",
        body={
            "key": effect.key,
            "tool": effect.tool,
            "state": effect.state.value,
            "result": effect.result,
            "reason": effect.reason,
            "args": dict(effect.args),
            "summary": effect.summary,
        },
        sender=origin["sender"] if origin else None,
        label=TRUSTED.join(effect.label).join(result_label or TRUSTED),
        cause=effect.key,
        reply_to=effect.reply_to,
        occurred_at=now,
        hops=hops,
    )
    insert_event(tx, event, now)
