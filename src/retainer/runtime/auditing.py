"""The end of every unit of the runtime: audit what changed state in it, and see who has to wake up for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from retainer.core.protocols import Guard, Tx
from retainer.core.values import digest
from retainer.runtime import bodies

_KINDS = {
    "asked": "effect.asked",
    "ready": "effect.allowed",
    "sending": "effect.allowed",  # begun in the transaction that allowed it
    "done": "effect.done",
    "refused": "effect.refused",
    "unknown": "effect.unknown",
}
_NEW = (
    "SELECT EXISTS (SELECT 1 FROM effect WHERE audited = 0) AS effects,"
    " EXISTS (SELECT 1 FROM control WHERE audited = 0) AS controls, (SELECT MAX(seq) FROM event) AS seq"
)
"""Whether there is anything to do: most units leave nothing, and this is asked twice in each."""


@dataclass(slots=True)
class Woken:
    """Lanes with new events and queues with new work."""

    lanes: set[str] = field(default_factory=set)
    queues: set[str] = field(default_factory=set)
    seq: int = field(default=0, compare=False)
    """The last event there was."""

    def join(self, other: Woken) -> Woken:
        """Both."""
        return Woken(self.lanes | other.lanes, self.queues | other.queues, max(self.seq, other.seq))


SettleWith: TypeAlias = Callable[[Tx, int | None, datetime], Woken]
"""``settle(tx, mark, now)`` with its guard bound."""


def settle(tx: Tx, guard: Guard, mark: int | None, now: datetime) -> Woken:
    """Record every state that is not in the audit yet, whoever wrote it, and collect what became runnable.

    ``mark`` is the last ``seq`` before the unit; ``None`` where the unit begins.
    """
    new = tx.one(_NEW)
    assert new is not None
    woken = Woken(seq=new["seq"] or 0)
    if new["effects"]:
        _audit_effects(tx, guard, now, woken)
    if new["controls"]:
        _audit_controls(tx, guard, now)
    if mark is not None and woken.seq > mark:
        for row in tx.query("SELECT DISTINCT lane FROM event WHERE seq > ? AND state = 'waiting'", (mark,)):
            woken.lanes.add(row["lane"])
    return woken


def _audit_effects(tx: Tx, guard: Guard, now: datetime, woken: Woken) -> None:
    for row in tx.query(
        "SELECT e.id, e.key, e.lane, e.queue, e.state, e.tool, e.agent, e.effect_class, e.reason, e.args_id, b.salt,"
        " b.bytes FROM effect e LEFT JOIN body b ON b.id = e.args_id WHERE e.audited = 0 ORDER BY e.id"
    ):
        kind = _KINDS.get(row["state"])
        if kind is not None:
            data = {
                "tool": row["tool"],
                "class": row["effect_class"],
                "agent": row["agent"],
                "reason": _digest(row["reason"]),
                "body": row["args_id"],
                "digest": "" if row["bytes"] is None else bodies.salted(row["salt"], row["bytes"]),
            }
            guard.record(tx, row["lane"], kind, row["key"], data, now)
        if row["state"] == "ready":
            woken.queues.add(row["queue"])
        tx.execute("UPDATE effect SET audited = 1 WHERE id = ?", (row["id"],))


def _audit_controls(tx: Tx, guard: Guard, now: datetime) -> None:
    for row in tx.query("SELECT id, state, by, reason FROM control WHERE audited = 0 ORDER BY id"):
        data = {"state": row["state"], "by": row["by"], "reason": _digest(row["reason"])}
        guard.record(tx, "control", "control", f"control:{row['id']}", data, now)
        tx.execute("UPDATE control SET audited = 1 WHERE id = ?", (row["id"],))


def _digest(words: str) -> str:
    """Reasons may hold names and quotations, which an audit could never forget."""
    return digest(words) if words else ""
