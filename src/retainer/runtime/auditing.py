"""The end of every unit of the runtime: audit what changed state in it, and see who has to wake up for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from retainer.core.protocols import Guard, Tx
from retainer.runtime import bodies

_KINDS = {
    "asked": "effect.asked",
    "ready": "effect.allowed",
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

    def join(self, other: Woken) -> Woken:
        """Both."""
        return Woken(self.lanes | other.lanes, self.queues | other.queues)


SettleWith: TypeAlias = Callable[[Tx, int, datetime], Woken]
"""``settle(tx, mark, now)`` with its guard bound; ``mark`` is the last ``seq`` before the unit."""


def settle(tx: Tx, guard: Guard, mark: int, now: datetime) -> Woken:
    """Record every state that is not in the audit yet, whoever wrote it, and collect what became runnable."""
    woken = Woken()
    new = tx.one(_NEW)
    assert new is not None
    if new["effects"]:
        _audit_effects(tx, guard, now, woken)
    if new["controls"]:
        _audit_controls(tx, guard, now)
    if (new["seq"] or 0) > mark:
        for row in tx.query("SELECT DISTINCT lane FROM event WHERE seq > ? AND state = 'waiting'", (mark,)):
            woken.lanes.add(row["lane"])
    return woken


def _audit_effects(tx: Tx, guard: Guard, now: datetime, woken: Woken) -> None:
    for row in tx.query(
        "SELECT id, key, lane, queue, state, tool, agent, effect_class, reason, args_id FROM effect"
        " WHERE audited = 0 ORDER BY id"
    ):
        kind = _KINDS.get(row["state"])
        if kind is not None:
            data = {
                "tool": row["tool"],
                "class": row["effect_class"],
                "agent": row["agent"],
                "reason": row["reason"],
                "body": row["args_id"],
                "digest": bodies.fingerprint(tx, row["args_id"]),
            }
            guard.record(tx, row["lane"], kind, row["key"], data, now)
        if row["state"] == "ready":
            woken.queues.add(row["queue"])
        tx.execute("UPDATE effect SET audited = 1 WHERE id = ?", (row["id"],))


def _audit_controls(tx: Tx, guard: Guard, now: datetime) -> None:
    for row in tx.query("SELECT id, state, by, reason FROM control WHERE audited = 0 ORDER BY id"):
        data = {"state": row["state"], "by": row["by"], "reason": row["reason"]}
        guard.record(tx, "control", "control", f"control:{row['id']}", data, now)
        tx.execute("UPDATE control SET audited = 1 WHERE id = ?", (row["id"],))
