"""The audit chain: one per lane, append-only, each entry hashing the one before it.

``hash = SHA-256(previous hash + canonical entry)``. The chain alone shows a changed, removed or inserted entry, and
words beside it that are not those whose digest it holds. A cut tail or a wholly rewritten chain shows against an
*anchor* (count and head) kept elsewhere: texted to the owner, in a backup. Entries hold ids, digests and decisions,
never people's texts, so erasing a text leaves every chain valid.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retainer.core.clock import to_epoch
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Row, Tx, View
from retainer.core.values import Json, canonical
from retainer.runtime import bodies

GENESIS = "0" * 64
"""What the first entry of a chain hashes in place of a predecessor."""
ANCHORS = "anchors"
"""The chain whose entries hold length and head of all others."""
_PAGE = 500
_BODY = re.compile(r'"body":\d')
_DIGEST = re.compile(r"[0-9a-f]{64}|")
_COLUMNS = ("lane", "n", "at", "kind", "ref", "data", "hash")
_NUMBERED = "n BETWEEN 1 AND 999999999999 AND n = CAST(n AS BIGINT)"
"""What every entry of ours is: SQLite takes any value for any column from whoever writes past us."""


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


_NONE = Anchor(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Anchored(Anchor):
    """The newest entry of the chain of anchors, and what it speaks for."""

    entries: int = 0
    chains: int = 0


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


def _computed(key: str, value: Json) -> bool:
    """A digest of ours: it holds no secret, and looking for one in it costs more than all the rest."""
    return key == "digest" and isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def append(tx: Tx, lane: str, kind: str, ref: str, data: Mapping[str, Json], now: datetime) -> str:
    """Add an entry to the chain of ``lane``; returns its hash. Known secrets in ``data`` are removed first.

    Raises :class:`InvalidInputError` for what JSON or UTF-8 cannot hold.
    """
    from retainer.safety.redact import default_redactor

    if not all(isinstance(each, str) for each in (lane, kind, ref)):
        raise InvalidInputError("An entry's lane, kind and reference are texts.")
    last = _last(tx, lane)
    n, previous = last.count + 1, last.head
    clean = default_redactor().clean_value
    at = to_epoch(now)
    try:
        kept = {key: value if _computed(key, value) else clean(value) for key, value in data.items()}
        text = canonical(kept).decode()
        value = _hash(previous, lane, n, at, kind, ref, text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"The audit cannot hold this entry: {error}.") from error
    tx.execute(
        "INSERT INTO audit (lane, n, at, kind, ref, data, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (lane, n, at, kind, ref, text, value),
    )
    return value


def entries(view: View, lane: str | None = None, *, limit: int = 100) -> list[Entry]:
    """The newest entries (of one lane), newest first."""
    if lane is None:
        found = rows(view, _COLUMNS, f"FROM audit WHERE {_NUMBERED} ORDER BY at DESC, lane, n DESC LIMIT ?", (limit,))
    else:
        found = rows(
            view, _COLUMNS, f"FROM audit WHERE lane = ? AND {_NUMBERED} ORDER BY n DESC LIMIT ?", (lane, limit)
        )
    return [_entry(row) for row in found if _whole(row)]


def about(view: View, ref: str) -> list[Entry]:
    """All entries that name ``ref``, oldest first."""
    found = rows(view, _COLUMNS, f"FROM audit WHERE ref = ? AND {_NUMBERED} ORDER BY at, lane, n", (ref,))
    return [_entry(row) for row in found if _whole(row)]


def _entry(row: Row) -> Entry:
    return Entry(row["lane"], row["n"], row["at"], row["kind"], row["ref"], parsed(row["data"]), row["hash"])


def anchors(view: View) -> dict[str, Anchor]:
    """Count and head of every lane's chain, for keeping outside the database."""
    return {lane: _last(view, lane) for lane in _lanes(view) if isinstance(lane, str)}


def anchor(tx: Tx, now: datetime) -> Anchored:
    """Write length and head of every chain into a chain of their own, whose one anchor then speaks for them all.

    Keep the result outside the database; :func:`verify_anchored` checks against it.
    """
    chains = anchors(tx)
    head = append(tx, ANCHORS, "anchor", f"anchor:{chains.get(ANCHORS, _NONE).count + 1}", _plain(chains), now)
    count = chains.get(ANCHORS, _NONE).count + 1
    entries_so_far = sum(each.count for each in chains.values()) + 1
    return Anchored(count, head, entries=entries_so_far, chains=len(chains.keys() | {ANCHORS}))


def made(view: View) -> list[Anchor]:
    """Every anchor that :func:`anchor` made, as it was told, oldest first."""
    found = rows(view, ("n", "hash"), f"FROM audit WHERE lane = ? AND {_NUMBERED} ORDER BY n", (ANCHORS,))
    return [Anchor(row["n"], _link(row)) for row in found]


def _plain(chains: Mapping[str, Anchor]) -> dict[str, Json]:
    return {"chains": {lane: [each.count, each.head] for lane, each in chains.items()}}


def verify_anchored(view: View, told: Sequence[Anchor]) -> Report:
    """:func:`verify` against anchors made by :func:`anchor` and kept elsewhere: every chain each of them speaks for."""
    wanted: dict[str, list[Anchor]] = {ANCHORS: list(told)}
    for each in told:
        for row in rows(view, ("data", "hash"), "FROM audit WHERE lane = ? AND n = ?", (ANCHORS, each.count)):
            if row["hash"] == each.head:  # else cut or rewritten: the chain of anchors itself says so
                for lane, anchor in _spoken_for(row["data"]):
                    wanted.setdefault(lane, []).append(anchor)
    return _verify(view, wanted)


def verify(view: View, against: Mapping[str, Anchor] | None = None) -> Report:
    """Recompute every chain; compare with anchors kept elsewhere where given.

    Without anchors a cut tail and a rewritten chain cannot be seen; with them both are named.
    """
    return _verify(view, {lane: [anchor] for lane, anchor in (against or {}).items()})


def _spoken_for(data: object) -> Iterator[tuple[str, Anchor]]:
    chains = parsed(data).get("chains")
    for lane, value in chains.items() if isinstance(chains, dict) else ():
        match value:
            case [int(count), str(head)]:
                yield lane.encode(errors="replace").decode(), Anchor(count, head)


def _verify(view: View, wanted: Mapping[str, Sequence[Anchor]]) -> Report:
    problems: list[Problem] = []
    for row in rows(view, ("lane", "n"), f"FROM audit WHERE NOT ({_NUMBERED}) ORDER BY lane, n LIMIT {_PAGE}"):
        n = row["n"] if isinstance(row["n"], int) else 0
        problems.append(Problem(str(row["lane"]), n, f"inserted: no chain has an entry {row['n']!r}"))
    found: dict[str, Anchor] = {}
    total = 0
    for lane in _lanes(view):
        if not isinstance(lane, str):
            problems.append(Problem("?", 0, "inserted: entries of a chain whose name is no text"))
            continue
        head, count = _verify_lane(view, lane, wanted.get(lane, ()), problems)
        found[lane] = Anchor(count, head)
        total += count
    for lane, anchored in wanted.items():
        have, most = found.get(lane, _NONE), max((each.count for each in anchored), default=0)
        if have.count < most:
            problems.append(Problem(lane, have.count + 1, f"cut: {have.count} entries where the anchor counts {most}"))
    return Report(total, found, tuple(problems))


def _verify_lane(view: View, lane: str, anchored: Sequence[Anchor], problems: list[Problem]) -> tuple[str, int]:
    previous, expected, last = GENESIS, 1, 0
    heads: dict[int, set[str]] = {}
    for each in anchored:
        heads.setdefault(each.count, set()).add(each.head)
    for row in _pages(view, lane, problems):
        n, head = row["n"], _link(row)
        if n != expected:
            problems.append(Problem(lane, expected, f"removed: entry {expected} is missing before entry {n}"))
        if not _whole(row) or (n == expected and _rehashed(previous, row) != head):
            problems.append(Problem(lane, n, f"changed: entry {n} does not match its hash"))
        if heads.get(n, {head}) != {head}:
            problems.append(Problem(lane, n, f"rewritten: entry {n} is not the one the anchor names"))
        previous, expected, last = head, n + 1, n
    return previous, last


def _rehashed(previous: str, row: Row) -> str:
    return _hash(previous, row["lane"], row["n"], row["at"], row["kind"], row["ref"], row["data"])


def _pages(view: View, lane: str, problems: list[Problem]) -> Iterator[Row]:
    after = 0
    while True:
        page = rows(
            view,
            _COLUMNS,
            f"FROM audit WHERE lane = ? AND n > ? AND {_NUMBERED} ORDER BY n LIMIT {_PAGE}",
            (lane, after),
        )
        problems += _other_words(view, lane, page)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]["n"]


def _other_words(view: View, lane: str, page: Sequence[Row]) -> Iterator[Problem]:
    """Entries whose words, kept beside the chain, are not those that were recorded. Erased ones are nobody's any more;
    nothing else ever changes them.
    """
    recorded: dict[int, list[tuple[int, str]]] = {}
    for row in page:
        data = parsed(row["data"]) if _whole(row) and _BODY.search(row["data"]) else {}
        body = data.get("body")
        if isinstance(body, int) and 0 < body < 2**63 and data.get("digest"):
            recorded.setdefault(body, []).append((row["n"], str(data["digest"])))
    if not recorded:
        return
    marks = ", ".join("?" * len(recorded))
    for body in rows(view, ("id", "salt", "bytes"), f"FROM body WHERE id IN ({marks})", tuple(recorded)):
        digest = bodies.salted(body["salt"], body["bytes"])
        for n, expected in recorded[body["id"]]:
            if digest != expected:
                yield Problem(lane, n, f"other words: what entry {n} decided on is not what is stored now")


# --- rows as they are, whoever wrote them ----------------------------------------------------------------------------
def _lanes(view: View) -> list[object]:
    return [row["lane"] for row in rows(view, ("lane",), "FROM audit GROUP BY lane ORDER BY lane")]


def _last(view: View, lane: str) -> Anchor:
    for row in rows(view, ("n", "hash"), f"FROM audit WHERE lane = ? AND {_NUMBERED} ORDER BY n DESC LIMIT 1", (lane,)):
        return Anchor(row["n"], _link(row))
    return _NONE


def _link(row: Row) -> str:
    """What the next entry hashes: nothing where there is no hash that could be."""
    return row["hash"] if isinstance(row["hash"], str) else ""


def _whole(row: Row) -> bool:
    """Whether every column but the number holds what we would write."""
    texts = all(isinstance(row[column], str) for column in ("lane", "kind", "ref", "data", "hash"))
    return texts and isinstance(row["at"], float) and math.isfinite(row["at"])


def parsed(text: Any) -> dict[str, Any]:
    """The JSON object in ``text``; empty where there is none."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def rows(view: View, columns: Sequence[str], rest: str, params: Sequence[Any] = ()) -> list[Row]:
    """Rows. SQLite keeps text that is not UTF-8, and its driver then gives none of them: that text is ``None`` here."""
    try:
        return view.query(f"SELECT {', '.join(columns)} {rest}", params)
    except sqlite3.OperationalError as error:
        if "UTF-8" not in str(error):
            raise
    raw = ", ".join(
        f"CASE typeof({each}) WHEN 'blob' THEN NULL WHEN 'text' THEN CAST({each} AS BLOB) ELSE {each} END AS {each}"
        for each in columns
    )
    return [
        {column: _decoded(value) for column, value in row.items()} for row in view.query(f"SELECT {raw} {rest}", params)
    ]


def _decoded(value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return None
