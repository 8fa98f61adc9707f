"""Erasing what people said from the runtime's database: which rows hold it, and making them hold it no more.

Everything here is a unit of work over one database, so it serves the service's own and every backup alike. What stays:
that something was said, when, and which decisions followed; ids and salted digests, never the words.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from retainer.core.clock import to_epoch
from retainer.core.effects import EffectState
from retainer.core.protocols import Tx, View
from retainer.memory.truth import EVERYTHING
from retainer.runtime import bodies, effects
from retainer.runtime.inbox import end_event

MASK: Final = "(erased)"
SHORTEST: Final = 12
"""Shorter texts are erased where they were said, but not looked for elsewhere: they say too little, match too much.
Those that somebody names are looked for everywhere."""
_TEXTS: Final = frozenset(
    {"text", "quoted", "summary", "task", "words", "caption", "question", "phrase", "meant", "decision"}
)
"""Fields of stored values that hold what people and models said. Names are none: timers and tools have them too."""
_COLUMNS: Final = (
    ("effect", "reason"),
    ("control", "reason"),
    ("outcome", "decision"),
    ("outcome", "outcome"),
    ("decision", "reason"),
    ("paper_order", "reason"),
    ("person", "name"),
)
"""Columns beside the bodies that may quote what somebody said."""
_SAID: Final = (
    "SELECT id, bytes FROM body WHERE id NOT IN (SELECT body_id FROM event WHERE kind = 'bar' AND body_id IS NOT NULL)"
)
"""Prices are nobody's words."""
_CHUNK: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to erase; at least one of these, and everything that fits any of them goes."""

    persons: tuple[str, ...] = ()
    """Ids of people: all that they said and all that was answered."""
    texts: tuple[str, ...] = ()
    """Every record that holds one of these, whoever wrote it."""
    conversations: tuple[str, ...] = ()
    """Addresses such as ``telegram:42``."""
    before: datetime | None = None
    """Everything said to or by people before this."""


@dataclass(slots=True)
class Doomed:
    """What has to go."""

    bodies: set[int] = field(default_factory=set)
    events: set[int] = field(default_factory=set)
    effects: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    """The texts themselves, for finding copies. Never stored."""
    sources: set[tuple[str, str]] = field(default_factory=set)
    """Person and source of every turn that memory files must forget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A receipt: counts, and the words for whoever cleans files; it is not stored."""

    bodies: int
    events: int
    effects: int
    words: frozenset[str]
    sources: frozenset[str]
    """What memory files know these texts by."""
    shared: int = 0
    """How many of the texts stand in records that stay, because somebody else said them too."""


# --- finding ---------------------------------------------------------------------------------------------------------
def select(view: View, wish: Wish) -> Doomed:
    """Find it all; nothing is changed."""
    doomed = Doomed()
    for person in wish.persons:
        _take_events(view, doomed, "sender = ?", (person,))
        names = {row["name"] for row in view.query("SELECT name FROM person WHERE id = ?", (person,))}
        doomed.words |= {name for name in names if len(name) >= SHORTEST}
    for address in wish.conversations:
        _take_events(view, doomed, "reply_to = ? OR lane = ?", (address, f"chat:{address}"))
        doomed.effects |= {row["key"] for row in view.query("SELECT key FROM effect WHERE queue = ?", (address,))}
    if wish.before is not None:
        _take_events(
            view, doomed, "occurred_at < ? AND (sender IS NOT NULL OR reply_to IS NOT NULL)", (to_epoch(wish.before),)
        )
    _follow(view, doomed)
    for text in wish.texts:
        doomed.words.add(text)
        pattern = spellings(text)
        for row in view.query(_SAID):
            if _says_inside(row["bytes"], pattern):
                doomed.bodies.add(row["id"])
    _take_bodies(view, doomed)
    _take_copies(view, doomed, doomed.words - set(wish.texts))
    doomed.sources = _sources(view, wish, doomed)
    return doomed


def _take_events(view: View, doomed: Doomed, where: str, params: tuple[object, ...]) -> None:
    rows = view.query(f"SELECT seq FROM event WHERE {where}", params)  # noqa: S608 - constant of this module
    doomed.events |= {row["seq"] for row in rows}


def _follow(view: View, doomed: Doomed) -> None:
    """Add what those events led to: their effects, the events those caused, and so on."""
    fresh = set(doomed.events)
    causes = set(doomed.effects)
    while fresh or causes:
        made = {
            row["key"] for part in _parts(fresh) for row in _in(view, "SELECT key FROM effect WHERE event_seq IN", part)
        }
        causes |= made | {f"event:{seq}" for seq in fresh}
        doomed.effects |= made
        led = {row["seq"] for part in _parts(causes) for row in _in(view, "SELECT seq FROM event WHERE cause IN", part)}
        fresh, causes = led - doomed.events, set()
        doomed.events |= fresh


def _take_bodies(view: View, doomed: Doomed) -> None:
    """The bodies of all rows that were found."""
    for part in _parts(doomed.events):
        for row in _in(view, "SELECT body_id, error_id FROM event WHERE seq IN", part):
            doomed.bodies |= {row["body_id"], row["error_id"]} - {None}
        doomed.bodies |= {row["body_id"] for row in _in(view, "SELECT body_id FROM step WHERE event_seq IN", part)}
        doomed.bodies |= {row["body_id"] for row in _in(view, "SELECT body_id FROM timer WHERE event_seq IN", part)}
    for part in _parts(doomed.effects):
        for row in _in(view, "SELECT args_id, summary_id, result_id FROM effect WHERE key IN", part):
            doomed.bodies |= {row["args_id"], row["summary_id"], row["result_id"]} - {None}
    for part in _parts(doomed.bodies):
        for row in _in(view, "SELECT bytes FROM body WHERE id IN", part):
            for text in texts_of(json.loads(row["bytes"])):  # by lines: a copy may be wrapped in others
                doomed.words |= {line for line in (text, *text.splitlines()) if len(line.strip()) >= SHORTEST}


def _take_copies(view: View, doomed: Doomed, words: Iterable[str]) -> None:
    """Steps of other events that quote ``words``, such as a prompt that recalled them."""
    looked_for = [form for text in words for form in forms(text)]
    if not looked_for:
        return
    for row in view.query("SELECT s.body_id, b.bytes FROM step s JOIN body b ON b.id = s.body_id"):
        if row["body_id"] not in doomed.bodies and any(form in row["bytes"] for form in looked_for):
            doomed.bodies.add(row["body_id"])


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a stored value that somebody may have said."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _TEXTS or not isinstance(inner, str):
                yield from texts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            if not isinstance(inner, str):
                yield from texts_of(inner)
            elif len(inner) >= SHORTEST:
                yield inner


def forms(text: str) -> tuple[str, ...]:
    """``text`` as it may stand inside JSON."""
    return tuple(dict.fromkeys((json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1])))


_SPACE: Final = rb"(?:\s|\xc2\xa0|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\\+[nrt]|\\+u00a0|%(?:20|0a|0d|09|c2%a0)|\+|&nbsp;)++"
_WIDE_SPACE: Final = {"utf-16-le": rb"(?:[\t\n\r \xa0]\x00)++", "utf-16-be": rb"(?:\x00[\t\n\r \xa0])++"}
_LETTERS: Final = re.compile(r"ss|.", re.IGNORECASE | re.DOTALL)
_KEY: Final = rb"(?!\\*\"\s*:)"


@lru_cache(64)
def spellings(text: str, coding: str = "utf-8") -> re.Pattern[bytes]:
    """``text`` in bytes, whatever its case, composition of letters and white space, also escaped; as no key of JSON."""
    words = unicodedata.normalize("NFC", text).split()
    parts = [b"".join(_letter(each, coding) for each in _LETTERS.findall(word)) for word in words]
    end = _KEY if coding == "utf-8" else b""
    return re.compile((_WIDE_SPACE.get(coding, _SPACE).join(parts) or b"(?!)") + end, re.IGNORECASE)


def verbatim(text: str, coding: str = "utf-8") -> re.Pattern[bytes]:
    """``text`` in bytes, as it is; as no key of JSON."""
    return re.compile(re.escape(text.strip().encode(coding)) + (_KEY if coding == "utf-8" else b""))


def says(text: str, pattern: re.Pattern[bytes]) -> bool:
    """Whether one of the :func:`spellings` stands in ``text``."""
    return pattern.search(text.encode(errors="replace")) is not None


def _letter(letter: str, coding: str) -> bytes:
    """One letter, or a double s, in all its forms."""
    if len(letter) == 1 and letter.isascii() and letter.isalnum():
        return re.escape(letter.encode(coding))
    cases = {letter, letter.lower(), letter.upper(), letter.casefold()}
    cases |= {"\u00df", "\u1e9e"} if letter.casefold() == "ss" else set()
    shapes = {unicodedata.normalize(form, case) for case in cases for form in ("NFC", "NFD")}
    found: set[bytes] = {re.escape(shape.encode(coding)) for shape in shapes}
    if coding == "utf-8":
        for shape in shapes:
            numbers = ("".join(f"&#{ord(ch)};" for ch in shape), "".join(f"&#x{ord(ch):x};" for ch in shape))
            for form in (html.escape(shape), quote(shape, safe=""), *numbers):
                found.add(re.escape(form.encode()))
            # A backslash of JSON becomes more with each text that is put into another.
            found.add(re.escape(json.dumps(shape)[1:-1].encode()).replace(rb"\\", rb"\\+"))
    longest_first: list[bytes] = sorted(sorted(found), key=len, reverse=True)
    return b"(?:" + b"|".join(longest_first) + b")"


def _says_inside(stored: str, pattern: re.Pattern[bytes]) -> bool:
    """Whether a text in a stored value, not a name of its fields, is spelled like that."""
    return says(stored, pattern) and any(says(text, pattern) for text in _all_texts(json.loads(stored)))


def _all_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _all_texts(inner)


# --- erasing ---------------------------------------------------------------------------------------------------------
def erase(tx: Tx, wish: Wish, now: datetime) -> Found:
    """Find and erase in one unit. What has not happened yet of it never will."""
    doomed = select(tx, wish)
    _end_what_waits(tx, doomed, now)
    erased = sum(bodies.erase(tx, body_id) for body_id in doomed.bodies)
    kept = still_said(tx, doomed.words - set(wish.texts))
    words = frozenset(doomed.words - kept)
    _mask_columns(tx, {text for text in words if len(text) >= SHORTEST or text in wish.texts}, wish.texts)
    _drop_corrections(tx, wish, doomed.events, words)
    for person, source in doomed.sources:
        tx.execute(
            "INSERT INTO memory_forgotten (person, source, event_seq, at) VALUES (?, ?, ?, ?)",
            (person, source, 0 if source != EVERYTHING else _last(tx), to_epoch(now)),
        )
    return Found(
        bodies=erased,
        events=len(doomed.events),
        effects=len(doomed.effects),
        words=words,
        sources=frozenset(source for _, source in doomed.sources),
        shared=len(kept),
    )


def still_said(view: View, words: Iterable[str], but: Collection[int] = ()) -> frozenset[str]:
    """Those of ``words`` that stand in records which stay (all ``but`` these): somebody else said the same."""
    left = {text: forms(text) for text in words}
    found: set[str] = set()
    if left:
        for row in view.query("SELECT id, bytes FROM body"):
            if row["id"] not in but:
                found |= {text for text, shapes in left.items() if any(form in row["bytes"] for form in shapes)}
    return frozenset(found)


def _sources(view: View, wish: Wish, doomed: Doomed) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = {(person, EVERYTHING) for person in wish.persons}
    events, keys = set(doomed.events), set(doomed.effects)
    for part in _parts(doomed.bodies):
        events |= {row["seq"] for row in _in(view, "SELECT seq FROM event WHERE body_id IN", part)}
        keys |= {row["key"] for row in _in(view, "SELECT key FROM effect WHERE args_id IN", part)}
    people = {row["id"] for row in view.query("SELECT id FROM person")}
    for part in _parts(events):
        for row in _in(view, "SELECT seq, sender FROM event WHERE seq IN", part):
            if row["sender"] in people:
                found |= {(row["sender"], f"event:{row['seq']}"), (row["sender"], f"event:{row['seq']}:quoted")}
    found |= {(person, key) for person in people for key in keys}
    return found


def _end_what_waits(tx: Tx, doomed: Doomed, now: datetime) -> None:
    for part in _parts(doomed.bodies):
        waiting = _in(tx, "SELECT seq FROM event WHERE state = 'waiting' AND body_id IN", part)
        doomed.events |= {row["seq"] for row in waiting}
        open_ = _in(tx, "SELECT key FROM effect WHERE state IN ('asked', 'ready', 'sending') AND args_id IN", part)
        doomed.effects |= {row["key"] for row in open_}
        for row in _in(tx, "SELECT lane, name FROM timer WHERE body_id IN", part):
            tx.execute("DELETE FROM timer WHERE lane = ? AND name = ?", (row["lane"], row["name"]))
    for part in _parts(doomed.effects):
        for row in _in(
            tx, "SELECT key, state FROM effect WHERE state IN ('asked', 'ready', 'sending') AND key IN", part
        ):
            state = EffectState.UNKNOWN if row["state"] == "sending" else EffectState.REFUSED
            ended = effects.end(tx, effects.by_key(tx, row["key"]), state, now, reason="Erased.")
            told = tx.query("SELECT seq, body_id FROM event WHERE cause = ? AND source = 'effect'", (ended.key,))
            doomed.events |= {each["seq"] for each in told}
            doomed.bodies |= {each["body_id"] for each in told}
    for seq in doomed.events:
        end_event(tx, seq, "done", to_epoch(now))


def _mask_columns(tx: Tx, words: Iterable[str], named: Iterable[str]) -> None:
    """Replace copies in the columns that hold words, of those that were ``named`` in any spelling."""
    patterns = [spellings(text) for text in named]
    shapes = sorted({form for text in words for form in (text, *forms(text))}, key=len)
    for table, column in _COLUMNS:
        for row in tx.query(f"SELECT DISTINCT {column} AS words FROM {table}"):  # noqa: S608 - constant of this module
            masked = row["words"]
            for shape in reversed(shapes):
                masked = masked.replace(shape, MASK)
            for pattern in patterns:
                masked = pattern.sub(MASK.encode(), masked.encode()).decode()
            if masked != row["words"]:
                tx.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (masked, row["words"]))  # noqa: S608 - constant of this module


def _drop_corrections(tx: Tx, wish: Wish, events: set[int], words: Iterable[str]) -> None:
    """What was learned from those messages; phrases are kept folded, so they are compared folded."""
    said = [_folded(text) for text in words]
    for row in tx.query("SELECT id, person, phrase, meant, source_seq FROM correction"):
        phrases = [_folded(row["phrase"]), _folded(row["meant"])]
        copied = any(phrase in text or text in phrase for phrase in phrases for text in said if len(phrase) >= SHORTEST)
        if row["person"] in wish.persons or row["source_seq"] in events or copied:
            tx.execute("DELETE FROM correction WHERE id = ?", (row["id"],))


def _folded(text: str) -> str:
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def _last(view: View) -> int:
    row = view.one("SELECT MAX(seq) AS seq FROM event")
    return int(row["seq"] or 0) if row else 0


def _parts(values: Iterable[Any]) -> Iterator[Sequence[Any]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]


def _in(view: View, sql: str, values: Sequence[Any]) -> list[Mapping[str, Any]]:
    return view.query(f"{sql} ({', '.join('?' * len(values))})", tuple(values))
