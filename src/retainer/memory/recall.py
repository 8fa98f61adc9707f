"""Finding past turns that fit a question: full-text search with neighbours, no model, about a millisecond."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from retainer.core.clock import from_epoch
from retainer.core.labels import Label
from retainer.memory.values import Recalled
from retainer.memory.words import content_tokens, date_window, tokens

SPEAKER_BOOST = 1.2
DATE_BOOST = 1.3
LENDING = 0.1
"""Share of each neighbour's score that a turn is lent."""
POSTINGS = 20_000
"""Words found in more turns than this are left out in very long memories, unless nothing else is left."""
RARITY = 0.5
"""What is covered must be at least this rare, as a share of a word found once: “great” alone recalls nothing."""
BACKGROUND = 50
_WEIGHTS = (1.0, 0.5, 0.2)
"""Own text, turn before, turn after."""


@dataclass(frozen=True, slots=True)
class _Term:
    word: str
    rows: frozenset[int]
    weight: float
    """Rarity: inverse document frequency."""


def search(
    db: sqlite3.Connection,
    query: str,
    k: int,
    now: datetime,
    *,
    floor: float,
    exclude: Collection[str] = (),
    before: int | None = None,
) -> list[Recalled]:
    """The ``k`` best turns, best first; none that covers less than ``floor`` of the question.

    ``exclude``: sources already in the prompt; ``before``: only turns of events earlier than this one.
    Cites: tuned on the development half of LoCoMo; BM25 with neighbour columns, boosts for speaker and date.
    """
    if k < 1:
        return []
    names = _names(db)
    spoken = tokens(query)
    words = content_tokens(query, frozenset(names)) or content_tokens(query)
    terms = _terms(db, words[:32])
    found = [term for term in terms if term.rows]
    if not found:
        return []
    ranked = _candidates(db, found, max(10 * k, 40))
    if not ranked:
        return []
    rows = _rows(db, list(ranked))
    window = date_window(query, now)
    named = frozenset(spoken) & names.keys()
    least = max(floor * sum(term.weight for term in terms), RARITY * _rarest(db) if floor else 0.0)
    hits: list[tuple[float, sqlite3.Row]] = []
    for row in rows:
        if row["source"] in exclude or (before is not None and row["seq"] >= before):
            continue
        if _coverage(row, found) < least:
            continue
        hits.append((_score(row, ranked, names, named, window), row))
    hits.sort(key=lambda hit: (-hit[0], -hit[1]["at"], hit[1]["source"]))
    return [_recalled(score, row) for score, row in hits[:k]]


def _names(db: sqlite3.Connection) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for row in db.execute("SELECT name FROM speaker"):
        for token in tokens(row["name"]):
            names.setdefault(token, set()).add(row["name"])
    return names


def _terms(db: sqlite3.Connection, words: list[str]) -> list[_Term]:
    count = _count(db)
    terms = []
    for word in words:
        rows = frozenset(
            row[0]
            for row in db.execute(
                "SELECT rowid FROM recall WHERE recall MATCH ? LIMIT ?", (f'text : "{word}"', POSTINGS + 1)
            )
        )
        terms.append(_Term(word, rows, _weight(count, len(rows))))
    return terms


def _count(db: sqlite3.Connection) -> int:
    """Number of turns for rarity; a young memory is taken to have a background of :data:`BACKGROUND` others."""
    return max(BACKGROUND, int(db.execute("SELECT COUNT(*) FROM message").fetchone()[0]))


def _weight(count: int, found: int) -> float:
    """Inverse document frequency as in BM25, never negative."""
    return math.log(1 + max(0, count - found) / (found + 0.5))


def _rarest(db: sqlite3.Connection) -> float:
    return _weight(_count(db), 1)


def _candidates(db: sqlite3.Connection, terms: list[_Term], limit: int) -> dict[int, float]:
    """BM25 over the three columns, scaled so that the best is 1, in order."""
    kept = [term for term in terms if len(term.rows) <= POSTINGS] or [min(terms, key=lambda term: len(term.rows))]
    match = " OR ".join(f'"{term.word}"' for term in kept)
    found = db.execute(
        "SELECT rowid, rank FROM recall WHERE recall MATCH ? ORDER BY rank LIMIT ?", (match, limit)
    ).fetchall()
    best = -found[0]["rank"] if found else 0.0
    return {row["rowid"]: (-row["rank"] / best if best > 0 else 1.0) for row in found}


def _rows(db: sqlite3.Connection, ids: list[int]) -> list[sqlite3.Row]:
    marks = ",".join("?" * len(ids))
    return db.execute(f"SELECT * FROM message WHERE id IN ({marks})", ids).fetchall()  # noqa: S608 - only marks


def _coverage(row: sqlite3.Row, terms: list[_Term]) -> float:
    covered = 0.0
    for term in terms:
        for column, weight in zip(("id", "prev_id", "next_id"), _WEIGHTS, strict=True):
            if row[column] in term.rows:
                covered += weight * term.weight
                break
    return covered


def _score(
    row: sqlite3.Row,
    ranked: dict[int, float],
    names: dict[str, set[str]],
    named: Collection[str],
    window: tuple[datetime, datetime] | None,
) -> float:
    score = ranked[row["id"]] + LENDING * (ranked.get(row["prev_id"], 0.0) + ranked.get(row["next_id"], 0.0))
    if any(row["speaker"] in names[token] for token in named):
        score *= SPEAKER_BOOST
    if window is not None and window[0].timestamp() <= row["at"] < window[1].timestamp():
        score *= DATE_BOOST
    return score


def _recalled(score: float, row: sqlite3.Row) -> Recalled:
    return Recalled(
        at=from_epoch(row["at"]),
        speaker=row["speaker"],
        text=row["text"],
        score=round(score, 4),
        label=Label.decode(row["label"]),
        source=row["source"],
    )
