"""Corrections: “wrong, I meant ...” changes how that person's phrase is taken from the next time on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Row, Tx, View

_WORD = re.compile(r"[$€£]?\d[\d.,:]*\w*|\w+(?:[.\-/]\w+)*")
_HOPS = 5
_LONGEST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionRow:
    """One correction in force."""

    phrase: str
    """In normal form."""
    meant: str
    source_seq: int
    """Event in which the person made it."""
    at: datetime


def normal(phrase: str) -> str:
    """The form in which phrases are compared: folded words, numbers kept, punctuation and apostrophes dropped."""
    folded = unicodedata.normalize("NFKC", phrase).casefold()
    return " ".join(word.rstrip(".,:") for word in _WORD.findall(re.sub("['’‘ʼ`´]", "", folded)))


def record(tx: Tx, person: str, phrase: str, meant: str, seq: int, now: datetime) -> None:
    """From now on ``person`` means ``meant`` by ``phrase``; an earlier correction of the same phrase ends.

    Recording the same correction of event ``seq`` twice changes nothing. Raises :class:`InvalidInputError` when either
    text is empty, too long, or both say the same.
    """
    norm = normal(phrase)
    if not norm or not normal(meant):
        raise InvalidInputError("A correction needs what was said and what was meant.", hint="Say: wrong, I meant ...")
    if norm == normal(meant):
        raise InvalidInputError("What was meant is what was said.", hint="Say what you meant in other words.")
    if max(len(phrase), len(meant)) > _LONGEST:
        raise InvalidInputError("A correction is too long.", hint=f"Use at most {_LONGEST} characters.")
    undo(tx, person, phrase)
    tx.execute(
        "INSERT INTO correction (person, phrase, meant, source_seq, at, active) VALUES (?, ?, ?, ?, ?, 1)"
        " ON CONFLICT (person, phrase, source_seq) DO UPDATE SET meant = excluded.meant, active = 1",
        (person, norm, meant.strip(), seq, to_epoch(now)),
    )


def lookup(view: View, person: str, phrase: str) -> str | None:
    """What ``person`` means by ``phrase``, or ``None``: exact in normal form, so it may stand for any command.

    Corrections of corrections are followed; a circle ends where it began and yields ``None``.
    """
    meant: str | None = None
    seen = {normal(phrase)}
    for _ in range(_HOPS):
        row = view.one(
            "SELECT meant FROM correction WHERE person = ? AND phrase = ? AND active = 1 ORDER BY id DESC",
            (person, normal(meant if meant is not None else phrase)),
        )
        if row is None:
            return meant
        meant = str(row["meant"])
        if normal(meant) in seen:
            return None
        seen.add(normal(meant))
    return meant


def near(view: View, person: str, phrase: str, *, least: float = 0.75) -> str | None:
    """The meaning of the corrected phrase that shares most words with ``phrase`` (Jaccard, at least ``least``).

    Only for what merely reads: something that acts must match exactly (:func:`lookup`).
    """
    words = set(normal(phrase).split())
    best, found = least, None
    for row in active(view, person):
        other = set(row.phrase.split())
        share = len(words & other) / len(words | other) if words | other else 0.0
        if share >= best and (found is None or share > best):
            best, found = share, row.meant
    return found


def active(view: View, person: str) -> list[CorrectionRow]:
    """Corrections of ``person`` in force, oldest first."""
    rows = view.query("SELECT * FROM correction WHERE person = ? AND active = 1 ORDER BY id", (person,))
    return [_row(row) for row in rows]


def undo(tx: Tx, person: str, phrase: str) -> bool:
    """Take ``phrase`` as it stands again; ``False`` if it was not corrected."""
    return (
        tx.execute(
            "UPDATE correction SET active = 0 WHERE person = ? AND phrase = ? AND active = 1", (person, normal(phrase))
        )
        > 0
    )


def erase(tx: Tx, person: str, seqs: Collection[int] | None = None) -> int:
    """Delete the corrections that ``person`` made in events ``seqs``; ``None``: all of them. For erasing texts."""
    if seqs is None:
        return tx.execute("DELETE FROM correction WHERE person = ?", (person,))
    return sum(tx.execute("DELETE FROM correction WHERE person = ? AND source_seq = ?", (person, seq)) for seq in seqs)


def _row(row: Row) -> CorrectionRow:
    return CorrectionRow(
        phrase=row["phrase"], meant=row["meant"], source_seq=row["source_seq"], at=from_epoch(row["at"])
    )
