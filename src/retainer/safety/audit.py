"""The audit chain: one per lane, append-only, each entry hashing the one before it.

``hash = SHA-256(previous hash + canonical entry)``. The chain alone shows a changed, removed or inserted entry; a cut
tail or a wholly rewritten chain shows against an *anchor* (count and head) kept elsewhere: texted to the owner, in a
backup. Entries hold ids, digests and decisions, never people's texts, so erasing a text leaves every chain valid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from retainer.core.clock import to_epoch
from retainer.core.protocols import Row, Tx, View
from retainer.core.values import Json, canonical

GENESIS = "0" * 64
"""What the first entry of a chain hashes in place of a predecessor."""
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the chain. ``at`` is epoch seconds; ``ref`` names the effect, approval or device."""

    lane: str
    n: int
    at: float
    kind: str
    ref: str
    data: Mapping[str, Json]
    hash: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """Length and head of a lane's chain at some moment."""

    count: int
    head: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Where a chain does not hold, in words."""

    lane: str
    n: int
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """What :func:`verify` found. ``anchors`` are today's, to be kept elsewhere."""

    entries: int
    anchors: Mapping[str, Anchor]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """No problem found."""
        return not self.problems

    @property
    def words(self) -> str:
        """One line for people."""
        if self.ok:
            return f"{self.entries} entries in {len(self.anchors)} chains, each as it was written"
        first = self.problems[0]
        count = len(self.problems)
        return f"{count} problem{'s' if count != 1 else ''}, the first in {first.lane}: {first.what}"


def _hash(previous: str, lane: str, n: int, at: float, kind: str, ref: str, data: str) -> str:
    return hashlib.sha256(previous.encode() + canonical([lane, n, at, kind, ref, data])).hexdigest()


def append(tx: Tx, lane: str, kind: str, ref: str, data: Mapping[str, Json], now: datetime) -> str:
    """Add an entry to the chain of ``lane``; returns its hash. Known secrets in ``data`` are removed first."""
    from retainer.safety.redact import default_redactor

    last = tx.one("SELECT n, hash FROM audit WHERE lane = ? ORDER BY n DESC LIMIT 1", (lane,))
    n, previous = (last["n"] + 1, last["hash"]) if last is not None else (1, GENESIS)
    text = canonical(default_redactor().clean_value(dict(data))).decode()
    at = to_epoch(now)
    value = _hash(previous, lane, n, at, kind, ref, text)
    tx.execute(
        "INSERT INTO audit (lane, n, at, kind, ref, data, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (lane, n, at, kind, ref, text, value),
    )
    return value


def entries(view: View, lane: str | None = None, *, limit: int = 100) -> list[Entry]:
    """The newest entries (of one lane), newest first."""
    if lane is None:
        rows = view.query("SELECT * FROM audit ORDER BY at DESC, lane, n DESC LIMIT ?", (limit,))
    else:
        rows = view.query("SELECT * FROM audit WHERE lane = ? ORDER BY n DESC LIMIT ?", (lane, limit))
    return [_entry(row) for row in rows]


def about(view: View, ref: str) -> list[Entry]:
    """All entries that name ``ref``, oldest first."""
    return [_entry(row) for row in view.query("SELECT * FROM audit WHERE ref = ? ORDER BY at, lane, n", (ref,))]


def _entry(row: Row) -> Entry:
    return Entry(row["lane"], row["n"], row["at"], row["kind"], row["ref"], json.loads(row["data"]), row["hash"])


def anchors(view: View) -> dict[str, Anchor]:
    """Count and head of every lane's chain, for keeping outside the database."""
    rows = view.query(
        "SELECT a.lane, a.n, a.hash FROM audit a "
        "JOIN (SELECT lane, MAX(n) AS n FROM audit GROUP BY lane) t ON t.lane = a.lane AND t.n = a.n ORDER BY a.lane"
    )
    return {row["lane"]: Anchor(row["n"], row["hash"]) for row in rows}


def verify(view: View, against: Mapping[str, Anchor] | None = None) -> Report:
    """Recompute every chain; compare with anchors kept elsewhere where given.

    Without anchors a cut tail and a rewritten chain cannot be seen; with them both are named.
    """
    problems: list[Problem] = []
    found: dict[str, Anchor] = {}
    total = 0
    wanted = dict(against or {})
    for row in view.query("SELECT DISTINCT lane FROM audit ORDER BY lane"):
        lane = row["lane"]
        head, count = _verify_lane(view, lane, wanted.get(lane), problems)
        found[lane] = Anchor(count, head)
        total += count
    for lane, anchor in wanted.items():
        have = found.get(lane, Anchor(0, GENESIS))
        if have.count < anchor.count:
            problems.append(
                Problem(lane, have.count + 1, f"cut: {have.count} entries where the anchor counts {anchor.count}")
            )
    return Report(total, found, tuple(problems))


def _verify_lane(view: View, lane: str, anchor: Anchor | None, problems: list[Problem]) -> tuple[str, int]:
    previous, expected, last = GENESIS, 1, 0
    for row in _rows(view, lane):
        n = row["n"]
        if n != expected:
            problems.append(Problem(lane, expected, f"removed: entry {expected} is missing before entry {n}"))
        computed = _hash(previous, lane, n, row["at"], row["kind"], row["ref"], row["data"])
        if computed != row["hash"] and n == expected:
            problems.append(Problem(lane, n, f"changed: entry {n} does not match its hash"))
        if anchor is not None and n == anchor.count and row["hash"] != anchor.head:
            problems.append(Problem(lane, n, f"rewritten: entry {n} is not the one the anchor names"))
        previous, expected, last = row["hash"], n + 1, n
    return previous, last


def _rows(view: View, lane: str) -> Iterator[Row]:
    after = 0
    while True:
        page = view.query("SELECT * FROM audit WHERE lane = ? AND n > ? ORDER BY n LIMIT ?", (lane, after, _PAGE))
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]["n"]
