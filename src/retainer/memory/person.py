"""The memory of one person: what was said, in order, and what was stated as fact. One file, one lock."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.labels import Label, Trust
from retainer.memory.cards import Statement, statements
from retainer.memory.database import contents, open_file, scrub, transaction
from retainer.memory.recall import search
from retainer.memory.values import Erased, Fact, Recalled, Turn

_SHORTEST = 12
"""Erased texts shorter than this are not looked for afterwards: other messages may well hold them."""


def estimate_tokens(text: str) -> int:
    """Rough number of model tokens of one message: four characters each, and the frame around it."""
    return len(text) // 4 + 6


class PersonMemory:
    """Thread-safe; every public method is one transaction."""

    def __init__(
        self, path: Path | None, redact: Callable[[str], str], count: Callable[[str], int] = estimate_tokens
    ) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._redact = redact
        self._count = count
        self._db = open_file(path)
        self._closer = weakref.finalize(self, self._db.close)

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._closer()

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Several calls as one transaction."""
        with self.lock, transaction(self._db):
            yield

    # --- writing -----------------------------------------------------------------------------------------------------
    def add(self, turn: Turn, facts: Iterable[Statement] | None = None) -> bool:
        """Keep one turn; ``False`` if it is known already or was forgotten. Facts are read from the person's own words.

        Neighbours depend on the places of turns, not on the order of calls, so any order gives the same file.
        """
        with self.lock, transaction(self._db):
            if self._one("SELECT source FROM tombstone WHERE source = ?", turn.source):
                return False
            text = self._redact(turn.text)
            before, after = self._around(turn)
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO message (source, conv, seq, part, at, role, speaker, text, label, reply_to,"
                " tokens, prev_id, next_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    turn.source,
                    turn.conv,
                    turn.seq,
                    turn.part,
                    to_epoch(turn.at),
                    turn.role,
                    turn.speaker,
                    text,
                    turn.label.encode(),
                    turn.reply_to,
                    self._count(text),
                    before and before["id"],
                    after and after["id"],
                ),
            )
            if cursor.rowcount == 0:
                return False
            message_id = int(cursor.lastrowid or 0)
            self._index(message_id, text, before, after)
            self._db.execute("INSERT OR IGNORE INTO speaker (name) VALUES (?)", (turn.speaker,))
            self._db.execute("INSERT OR IGNORE INTO conversation (conv) VALUES (?)", (turn.conv,))
            if turn.role == "person" and turn.label.trust is Trust.OWNER:
                self._state(message_id, turn, statements(text) if facts is None else facts)
            return True

    def _around(self, turn: Turn) -> tuple[sqlite3.Row | None, sqlite3.Row | None]:
        place = (turn.conv, turn.seq, turn.part)
        before = self._one(
            "SELECT id, text FROM message WHERE conv = ? AND (seq, part) < (?, ?) ORDER BY seq DESC, part DESC LIMIT 1",
            *place,
        )
        after = self._one(
            "SELECT id, text FROM message WHERE conv = ? AND (seq, part) > (?, ?) ORDER BY seq, part LIMIT 1", *place
        )
        return before, after

    def _index(self, message_id: int, text: str, before: sqlite3.Row | None, after: sqlite3.Row | None) -> None:
        self._db.execute(
            "INSERT INTO recall (rowid, text, prev, next) VALUES (?, ?, ?, ?)",
            (message_id, text, before["text"] if before else "", after["text"] if after else ""),
        )
        if before is not None:
            self._db.execute("UPDATE message SET next_id = ? WHERE id = ?", (message_id, before["id"]))
            self._db.execute("UPDATE recall SET next = ? WHERE rowid = ?", (text, before["id"]))
        if after is not None:
            self._db.execute("UPDATE message SET prev_id = ? WHERE id = ?", (message_id, after["id"]))
            self._db.execute("UPDATE recall SET prev = ? WHERE rowid = ?", (text, after["id"]))

    def _state(self, message_id: int, turn: Turn, found: Iterable[Statement]) -> None:
        for card in found:
            self._db.execute(
                "INSERT INTO card (message_id, key, kind, value, words, since) VALUES (?, ?, ?, ?, ?, ?)",
                (message_id, card.key, card.kind, card.value, card.words, to_epoch(turn.at)),
            )
            self._chain(card.key)

    def _chain(self, key: str) -> None:
        """Each fact of a key holds until the next one was stated."""
        rows = self._db.execute(
            "SELECT c.id, c.since FROM card c JOIN message m ON m.id = c.message_id WHERE c.key = ?"
            " ORDER BY c.since, m.seq, m.part, c.id",
            (key,),
        ).fetchall()
        ends = [*(row["since"] for row in rows[1:]), None][: len(rows)]
        self._db.executemany(
            "UPDATE card SET until = ? WHERE id = ?", [(end, row["id"]) for row, end in zip(rows, ends, strict=True)]
        )

    def holding(self, sources: Collection[str], texts: Collection[str]) -> list[str]:
        """Those of ``sources`` that are here, and the sources of turns that hold one of ``texts``."""
        wanted = set(sources)
        with self.lock:
            rows = self._db.execute("SELECT source, text FROM message ORDER BY id").fetchall()
        return [row["source"] for row in rows if row["source"] in wanted or any(text in row["text"] for text in texts)]

    def erase(self, sources: Collection[str], *, all_upto: int | None = None, shrink: bool = False) -> Erased:
        """Delete these turns, the facts read from them and every copy in neighbours and index; they never come back.

        ``all_upto``: also everything of events up to this one. ``shrink``: write the whole file anew, also when there
        is nothing to delete. The file and its log are then read through for the erased bytes.
        """
        with self.lock:
            with transaction(self._db):
                rows = self._select_sources(sources, all_upto)
                self._db.executemany("INSERT OR IGNORE INTO tombstone (source) VALUES (?)", [(s,) for s in sources])
                self._db.executemany(
                    "INSERT OR IGNORE INTO tombstone (source) VALUES (?)", [(row["source"],) for row in rows]
                )
                facts = sum(self._erase_row(row) for row in rows)
                self._db.execute("DELETE FROM speaker WHERE name NOT IN (SELECT speaker FROM message)")
            if rows or shrink:
                scrub(self._db, shrink=shrink or all_upto is not None)
            return Erased(messages=len(rows), facts=facts, bytes_left=self._left([row["text"] for row in rows]))

    def _select_sources(self, sources: Collection[str], all_upto: int | None) -> list[sqlite3.Row]:
        if all_upto is not None:
            return self._db.execute("SELECT * FROM message WHERE seq <= ?", (all_upto,)).fetchall()
        found = [self._one("SELECT * FROM message WHERE source = ?", source) for source in dict.fromkeys(sources)]
        return [row for row in found if row is not None]

    def _erase_row(self, row: sqlite3.Row) -> int:
        current = self._one("SELECT prev_id, next_id FROM message WHERE id = ?", row["id"])
        before, after = (current["prev_id"], current["next_id"]) if current else (None, None)
        keys = [found["key"] for found in self._db.execute("SELECT key FROM card WHERE message_id = ?", (row["id"],))]
        self._db.execute("DELETE FROM card WHERE message_id = ?", (row["id"],))
        self._db.execute("DELETE FROM recall WHERE rowid = ?", (row["id"],))
        self._db.execute("DELETE FROM message WHERE id = ?", (row["id"],))
        if before is not None:
            self._db.execute("UPDATE message SET next_id = ? WHERE id = ?", (after, before))
            self._db.execute("UPDATE recall SET next = ? WHERE rowid = ?", (self._text(after), before))
        if after is not None:
            self._db.execute("UPDATE message SET prev_id = ? WHERE id = ?", (before, after))
            self._db.execute("UPDATE recall SET prev = ? WHERE rowid = ?", (self._text(before), after))
        for key in set(keys):
            self._chain(key)
        return len(keys)

    def _text(self, message_id: int | None) -> str:
        row = self._one("SELECT text FROM message WHERE id = ?", message_id) if message_id is not None else None
        return str(row["text"]) if row else ""

    def _left(self, texts: list[str]) -> bool:
        """Whether an erased text can still be read in a file, though no message that is kept holds it."""
        if self.path is None:
            return False
        self.path.with_name(self.path.name + ".damaged").unlink(missing_ok=True)
        data = contents(self.path)
        for text in texts:
            if len(text) >= _SHORTEST and text.encode() in data:
                kept = self._one("SELECT id FROM message WHERE instr(text, ?) > 0 LIMIT 1", text)
                if kept is None:
                    return True
        return False

    # --- reading -----------------------------------------------------------------------------------------------------
    def recall(
        self,
        query: str,
        k: int,
        now: datetime,
        *,
        floor: float,
        exclude: Collection[str] = (),
        before: int | None = None,
    ) -> list[Recalled]:
        """See :func:`retainer.memory.recall.search`."""
        with self.lock:
            return search(self._db, query, k, now, floor=floor, exclude=exclude, before=before)

    def facts(self, at: datetime | None = None, *, kinds: Collection[str] = (), past: bool = False) -> list[Fact]:
        """Facts that hold now (or held ``at``), oldest first; with ``past`` also the superseded ones."""
        instant = to_epoch(at) if at is not None else None
        with self.lock:
            rows = self._db.execute(
                "SELECT c.*, m.source FROM card c JOIN message m ON m.id = c.message_id ORDER BY c.since, m.seq, c.id"
            ).fetchall()
        found = [_fact(row) for row in rows if _held(row, instant, past)]
        return [fact for fact in found if not kinds or fact.kind in kinds]

    def turns(self, conv: str | None = None, *, upto: int | None = None) -> Iterator[Turn]:
        """Everything that was said (in ``conv``), in order of place."""
        with self.lock:
            rows = self._db.execute(
                "SELECT * FROM message WHERE seq < ? AND (? IS NULL OR conv = ?) ORDER BY conv, seq, part",
                (upto if upto is not None else 2**62, conv, conv),
            ).fetchall()
        return (_turn(row) for row in rows)

    def history(self, conv: str, budget: int, *, upto: int | None = None) -> list[Turn]:
        """The newest turns of ``conv`` that fit ``budget`` tokens; grows at its end only.

        When the next turn would not fit, the older half goes at once, up to the next message of the person, so that a
        model's prefix cache is lost once in many turns. The start is remembered, so this stays quick.
        """
        last = upto if upto is not None else 2**62
        with self.lock, transaction(self._db):
            mark = self._one("SELECT seq, part FROM compaction WHERE conv = ? AND budget = ?", conv, budget)
            begin = (mark["seq"], mark["part"]) if mark is not None and mark["seq"] < last else (-1, "")
            rows = self._db.execute(
                "SELECT * FROM message WHERE conv = ? AND (seq, part) >= (?, ?) AND seq < ? ORDER BY seq, part",
                (conv, *begin, last),
            ).fetchall()
            start = compact([(row["tokens"], row["role"]) for row in rows], budget)
            if start and start < len(rows):
                self._db.execute(
                    "INSERT OR REPLACE INTO compaction (conv, budget, seq, part) VALUES (?, ?, ?, ?)",
                    (conv, budget, rows[start]["seq"], rows[start]["part"]),
                )
        return [_turn(row) for row in rows[start:]]

    def matching(self, words: list[str]) -> list[str]:
        """Sources of turns that hold every one of ``words`` (stemmed), and of the facts that do."""
        if not words:
            return []
        match = "text : (" + " AND ".join(f'"{word}"' for word in words) + ")"
        with self.lock:
            rows = self._db.execute(
                "SELECT m.source FROM recall r JOIN message m ON m.id = r.rowid WHERE r.recall MATCH ? ORDER BY m.id",
                (match,),
            ).fetchall()
        return [row["source"] for row in rows]

    def latest(self, before: int | None = None) -> list[str]:
        """Sources of the person's last message and of what was said around the same event."""
        with self.lock:
            row = self._one(
                "SELECT seq, conv FROM message WHERE role = 'person' AND seq < ? ORDER BY seq DESC LIMIT 1",
                before if before is not None else 2**62,
            )
            if row is None:
                return []
            rows = self._db.execute("SELECT source FROM message WHERE conv = ? AND seq = ?", (row["conv"], row["seq"]))
            return [found["source"] for found in rows]

    def export(self) -> Iterator[str]:
        """JSON lines: every message, then every fact with its source."""
        for turn in list(self.turns()):
            yield _json_line(
                type="message",
                source=turn.source,
                conversation=turn.conv,
                at=turn.at.isoformat(),
                role=turn.role,
                speaker=turn.speaker,
                text=turn.text,
                label=turn.label.encode(),
            )
        for fact in self.facts(past=True):
            yield _json_line(
                type="fact",
                key=fact.key,
                kind=fact.kind,
                value=fact.value,
                words=fact.words,
                since=fact.since.isoformat(),
                until=fact.until.isoformat() if fact.until else None,
                source=fact.source,
            )

    # --- cursors -----------------------------------------------------------------------------------------------------
    def mark(self, name: str) -> int:
        """A cursor; 0 at first."""
        with self.lock:
            row = self._one("SELECT value FROM meta WHERE name = ?", name)
            return int(row["value"]) if row else 0

    def set_mark(self, name: str, value: int) -> None:
        """Move a cursor."""
        with self.lock, transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))

    def conversations(self) -> dict[str, int]:
        """Conversation -> cursor over its replies."""
        with self.lock:
            return {row["conv"]: row["cursor"] for row in self._db.execute("SELECT conv, cursor FROM conversation")}

    def set_conversation(self, conv: str, cursor: int = 0) -> None:
        """Note a conversation and how far its replies were read."""
        with self.lock, transaction(self._db):
            self._db.execute(
                "INSERT INTO conversation (conv, cursor) VALUES (?, ?)"
                " ON CONFLICT (conv) DO UPDATE SET cursor = max(cursor, excluded.cursor)",
                (conv, cursor),
            )

    def withdraw(self, source: str) -> None:
        """Take back a turn that in the end was not said (a refused reply)."""
        with self.lock, transaction(self._db):
            row = self._one("SELECT * FROM message WHERE source = ?", source)
            if row is not None:
                self._erase_row(row)

    def _one(self, sql: str, *params: Any) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute(sql, params).fetchone()
        return row


def compact(turns: list[tuple[int, str]], budget: int) -> int:
    """Index of the first turn (tokens, role) that is kept; see :meth:`PersonMemory.history`."""
    start, total = 0, 0
    for end, (tokens, _) in enumerate(turns):
        total += tokens
        if total <= budget:
            continue
        while start < end and (total > budget // 2 or turns[start][1] != "person"):
            total -= turns[start][0]
            start += 1
    return start


def _held(row: sqlite3.Row, instant: float | None, past: bool) -> bool:
    if past:
        return True
    if instant is None:
        return row["until"] is None
    return bool(row["since"] <= instant and (row["until"] is None or instant < row["until"]))


def _fact(row: sqlite3.Row) -> Fact:
    return Fact(
        number=row["id"],
        key=row["key"],
        kind=row["kind"],
        value=row["value"],
        words=row["words"],
        since=from_epoch(row["since"]),
        until=from_epoch(row["until"]) if row["until"] is not None else None,
        source=row["source"],
    )


def _turn(row: sqlite3.Row) -> Turn:
    return Turn(
        source=row["source"],
        conv=row["conv"],
        seq=row["seq"],
        part=row["part"],
        at=from_epoch(row["at"]),
        role=row["role"],
        speaker=row["speaker"],
        text=row["text"],
        label=Label.decode(row["label"]),
        reply_to=row["reply_to"],
    )


def _json_line(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)
