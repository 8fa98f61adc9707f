"""What is recorded of the handling of one event: steps, commitments, effects; and the fold that rebuilds a turn."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.effects import EffectState, StoredEffect
from retainer.core.events import Event
from retainer.core.labels import Label
from retainer.core.protocols import Row, Tx, View
from retainer.runtime import bodies, effects
from retainer.runtime.inbox import to_event

COMMIT = "commit:"
"""Prefix of the rows in ``step`` that record a commitment; the digest of the exact call follows."""


@dataclass(frozen=True, slots=True)
class Step:
    """A recorded step."""

    name: str
    value: Any
    input_digest: str
    """Salted with the body's salt, so it says nothing once the body is erased."""
    salt: str
    label: Label | None
    at: datetime

    def fits(self, input_digest: str) -> bool:
        """Whether the step was recorded for this input (an erased one fits nothing)."""
        return self.input_digest == _salt(self.salt, input_digest)


@dataclass(slots=True)
class Journal:
    """The records of one event, as they stand in the database."""

    event: Event
    begun_at: datetime
    failures: int
    label: Label
    """Join of the event's label and of all that was read so far."""
    steps: dict[str, Step] = field(default_factory=dict)
    commitments: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    effects: dict[str, StoredEffect] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    """Approval ids of effects that were asked, by name."""
    rows: int = 0
    """How many step rows there are."""
    deaths: int = 0
    """How often the service ended in the middle of it."""


def load_journal(view: View, row: Row) -> Journal:
    """Fold the rows of the event in ``row`` (with ``body_json`` and ``begun_at``)."""
    event = to_event(row)
    journal = Journal(event, from_epoch(row["begun_at"]), row["failures"], event.label, deaths=row["deaths"])
    if event.attempts <= 1 and not row["aside"]:
        return journal
    for step in steps_of(view, event.seq):
        journal.rows += 1
        if step.name.startswith(COMMIT):
            journal.commitments.add(step.name.removeprefix(COMMIT))
            continue
        journal.steps[step.name] = step
        if step.label is not None:
            journal.label = journal.label.join(step.label)
    for raw in effects.select_rows(view, "e.event_seq = ?", (event.seq,)):
        stored = effects.to_effect(raw)
        journal.effects[stored.name] = stored
        if raw["was_asked"]:
            journal.asked[stored.name] = raw["approval_id"] or ""
        if raw["result_label"]:
            journal.label = journal.label.join(Label.decode(raw["result_label"]))
        if stored.state is not EffectState.REFUSED and stored.digest in journal.commitments:
            journal.spent.add(stored.digest)
    return journal


def steps_of(view: View, event_seq: int) -> list[Step]:
    """Recorded steps and commitments of an event, in order."""
    rows = view.query(
        "SELECT s.*, b.salt, b.bytes FROM step s LEFT JOIN body b ON b.id = s.body_id WHERE s.event_seq = ?"
        " ORDER BY s.position",
        (event_seq,),
    )
    return [
        Step(
            name=row["name"],
            value=bodies.decode(row["bytes"]),
            input_digest=row["input_digest"],
            salt=row["salt"] or "",
            label=None if row["label"] is None else Label.decode(row["label"]),
            at=from_epoch(row["at"]),
        )
        for row in rows
    ]


def record_step(
    tx: Tx, event_seq: int, name: str, text: str, now: datetime, position: int, input_digest: str, label: Label | None
) -> None:
    """Write one step; ``text`` is its value as :func:`retainer.runtime.bodies.encode` has it."""
    salt = bodies.new_salt()
    body_id = bodies.put_text(tx, text, salt)
    tx.execute(
        "INSERT INTO step (event_seq, name, position, input_digest, label, body_id, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            event_seq,
            name,
            position,
            _salt(salt, input_digest),
            None if label is None else label.encode(),
            body_id,
            to_epoch(now),
        ),
    )


def _salt(salt: str, input_digest: str) -> str:
    return hashlib.sha256(f"{salt}:{input_digest}".encode()).hexdigest()
