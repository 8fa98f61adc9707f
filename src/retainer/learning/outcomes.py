"""What came of decisions, each with the time it became known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Row, Tx, View


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedOutcome:
    """One decision and what came of it. ``value`` is a number to learn from, higher is better; ``None``: none."""

    agent: str
    event_seq: int
    decision: str
    outcome: str
    value: float | None = None
    at: datetime
    known_at: datetime


def record(tx: Tx, outcome: LearnedOutcome) -> bool:
    """Store an outcome once per (agent, event, decision); ``False`` if it is known.

    Raises :class:`InvalidInputError` when it claims to have been known before its decision was made.
    """
    if outcome.known_at < outcome.at:
        raise InvalidInputError(
            f"The outcome of event {outcome.event_seq} was known before the decision was made.",
            hint="known_at must not be earlier than at.",
        )
    return (
        tx.execute(
            "INSERT INTO outcome (agent, event_seq, decision, outcome, value, at, known_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (agent, event_seq, decision) DO NOTHING",
            (
                outcome.agent,
                outcome.event_seq,
                outcome.decision,
                outcome.outcome,
                outcome.value,
                to_epoch(outcome.at),
                to_epoch(outcome.known_at),
            ),
        )
        > 0
    )


def known(view: View, agent: str, now: datetime, *, limit: int = 1000) -> list[LearnedOutcome]:
    """The latest outcomes of ``agent`` that were known at ``now``, oldest first. Later ones do not exist yet."""
    rows = view.query(
        "SELECT * FROM outcome WHERE agent = ? AND known_at <= ? ORDER BY known_at DESC, id DESC LIMIT ?",
        (agent, to_epoch(now), limit),
    )
    return [_outcome(row) for row in reversed(rows)]


def _outcome(row: Row) -> LearnedOutcome:
    return LearnedOutcome(
        agent=row["agent"],
        event_seq=row["event_seq"],
        decision=row["decision"],
        outcome=row["outcome"],
        value=row["value"],
        at=from_epoch(row["at"]),
        known_at=from_epoch(row["known_at"]),
    )
