"""The runtime database as the truth of what was said: reading it into a memory file, and erasing from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.labels import UNTRUSTED, Label
from retainer.core.protocols import Row, Tx, View
from retainer.memory.values import Forgetting, Turn
from retainer.runtime import bodies

ASSISTANT = "assistant"
"""Speaker of our own replies."""
EVERYTHING = "*"
_PAGE = 500
_SHORTEST = 12
"""Erased texts shorter than this are not looked for inside other records: they say too little and match too much."""
_MESSAGES = """
SELECT e.seq, e.lane, e.reply_to, e.label, e.occurred_at, b.bytes AS body
FROM event e LEFT JOIN body b ON b.id = e.body_id
WHERE e.sender = ? AND e.kind = 'message' AND e.seq > ? AND e.seq < ? ORDER BY e.seq LIMIT ?
"""
_REPLIES = """
SELECT f.id, f.key, f.event_seq, f.tool, f.state, f.held, f.label, f.created_at, e.sender, a.bytes AS args
FROM effect f JOIN event e ON e.seq = f.event_seq LEFT JOIN body a ON a.id = f.args_id
WHERE f.queue = ? AND f.id > ? ORDER BY f.id LIMIT ?
"""
_STRANGER = "SELECT seq FROM event WHERE lane = ? AND kind = 'message' AND sender <> ? AND seq < ? LIMIT 1"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply effect: ``turn`` if it was or is being said, ``None`` if not (refused, erased, of somebody else)."""

    id: int
    key: str
    turn: Turn | None
    settled: bool
    """Whether it can still change."""


def messages(view: View, person: str, after: int, upto: int) -> Iterator[tuple[int, str, list[Turn]]]:
    """(seq, conversation, turns) of each message of ``person`` with ``after < seq < upto``, in order."""
    while True:
        rows = view.query(_MESSAGES, (person, after, upto, _PAGE))
        for row in rows:
            body = bodies.decode(row["body"])
            conv = _conversation(row, body or {})
            yield row["seq"], conv, [] if body is None else list(_said(row, conv, body))
        if len(rows) < _PAGE:
            return
        after = rows[-1]["seq"]


def replies(view: View, person: str, conv: str, after: int) -> Iterator[Reply]:
    """Replies in ``conv`` with an id above ``after``, in order."""
    while True:
        rows = view.query(_REPLIES, (conv, after, _PAGE))
        for row in rows:
            if row["tool"].endswith(".reply"):
                yield _reply(view, person, conv, row)
            else:
                yield Reply(row["id"], row["key"], None, settled=True)
        if len(rows) < _PAGE:
            return
        after = rows[-1]["id"]


def forgotten(view: View, person: str, after: int) -> list[Row]:
    """Rows ``id, source, event_seq`` of what ``person`` asked to forget since."""
    return view.query(
        "SELECT id, source, event_seq FROM memory_forgotten WHERE person = ? AND id > ? ORDER BY id", (person, after)
    )


def _conversation(row: Row, body: Mapping[str, Any]) -> str:
    if row["reply_to"]:
        return str(row["reply_to"])
    if body.get("channel") and body.get("chat_id"):
        return f"{body['channel']}:{body['chat_id']}"
    return str(row["lane"]).removeprefix("chat:")


def _said(row: Row, conv: str, body: Mapping[str, Any]) -> Iterator[Turn]:
    common: dict[str, Any] = {"conv": conv, "seq": row["seq"], "at": from_epoch(row["occurred_at"])}
    label = Label.decode(row["label"])
    name = f"event:{row['seq']}"
    text, quoted = str(body.get("text") or ""), str(body.get("quoted") or "")
    if text.strip():
        speaker = str(body.get("name") or "") or "you"
        yield Turn(source=name, role="person", speaker=speaker, text=text, label=label, **common)
    if quoted.strip():
        yield Turn(
            source=f"{name}:quoted",
            part="!quoted",
            role="quoted",
            speaker="quoted",
            text=quoted,
            label=label.join(UNTRUSTED),
            reply_to=name,
            **common,
        )


def _reply(view: View, person: str, conv: str, row: Row) -> Reply:
    final = row["state"] in {"done", "unknown", "refused"}
    shown = row["state"] in {"ready", "sending", "done", "unknown"} and not row["held"]
    args = bodies.decode(row["args"])
    text = str((args or {}).get("text") or "")
    turn = None
    if shown and text.strip() and _is_for(view, person, conv, row):
        turn = Turn(
            source=row["key"],
            conv=conv,
            seq=row["event_seq"],
            part=f"{row['id']:012d}",
            at=from_epoch(row["created_at"]),
            role="assistant",
            speaker=ASSISTANT,
            text=text,
            label=Label.decode(row["label"]),
            reply_to=f"event:{row['event_seq']}",
        )
    return Reply(row["id"], row["key"], turn, settled=final and not row["held"])


def _is_for(view: View, person: str, conv: str, row: Row) -> bool:
    """Whether a reply answers ``person``: in a group, what others caused is not theirs to be reminded of."""
    if row["sender"] is not None:
        return bool(row["sender"] == person)
    return view.one(_STRANGER, (f"chat:{conv}", person, row["event_seq"])) is None


# --- forgetting ------------------------------------------------------------------------------------------------------
def record_forgetting(tx: Tx, plan: Forgetting, event_seq: int, now: datetime) -> int:
    """Erase from the runtime database what ``plan`` names, and note that it was forgotten, so it cannot come back.

    ``event_seq`` is the event that asked for it; its own text (which repeats the matter) goes too. Call it in that
    event's close. Returns how many bodies were erased.
    """
    if plan.everything:
        sources = [f"event:{row['seq']}" for row in _own_events(tx, plan.person, event_seq)]
        sources += [key for row in _own_conversations(tx, plan.person) for key in _reply_keys(tx, plan.person, row)]
        noted = [EVERYTHING]
    else:
        noted = sources = [*plan.sources, f"event:{event_seq}"] if plan.found else []
    for source in noted:
        tx.execute(
            "INSERT INTO memory_forgotten (person, source, event_seq, at) VALUES (?, ?, ?, ?)",
            (plan.person, source, event_seq, to_epoch(now)),
        )
    texts: list[str] = []
    erased = sum(_erase_source(tx, source, texts) for source in dict.fromkeys(sources))
    return erased + _erase_copies(tx, plan.person, texts)


def _own_events(view: View, person: str, upto: int) -> list[Row]:
    return view.query(
        "SELECT seq FROM event WHERE sender = ? AND kind IN ('message', 'command') AND seq <= ?", (person, upto)
    )


def _own_conversations(view: View, person: str) -> list[Row]:
    return view.query(
        "SELECT DISTINCT reply_to FROM event WHERE sender = ? AND kind = 'message' AND reply_to IS NOT NULL", (person,)
    )


def _reply_keys(view: View, person: str, row: Row) -> list[str]:
    rows = view.query(
        "SELECT f.key FROM effect f JOIN event e ON e.seq = f.event_seq WHERE f.queue = ? AND f.tool LIKE '%.reply'"
        " AND f.state IN ('done', 'unknown', 'refused') AND (e.sender = ? OR e.sender IS NULL)",
        (row["reply_to"], person),
    )
    return [found["key"] for found in rows]


def _erase_source(tx: Tx, source: str, texts: list[str]) -> int:
    if source.startswith("event:"):
        seq = int(source.split(":")[1])
        rows = tx.query("SELECT body_id, error_id FROM event WHERE seq = ?", (seq,))
        steps = tx.query("SELECT body_id FROM step WHERE event_seq = ?", (seq,))
        ids = [row[name] for row in rows for name in ("body_id", "error_id")]
        texts.extend(_texts(tx, ids))
        ids += [row["body_id"] for row in steps]
    else:
        rows = tx.query("SELECT args_id, summary_id, result_id FROM effect WHERE key = ?", (source,))
        ids = [row[name] for row in rows for name in ("args_id", "summary_id", "result_id")]
        texts.extend(_texts(tx, ids))
        ids += [row["body_id"] for row in tx.query("SELECT body_id FROM event WHERE cause = ?", (source,))]
    return sum(bodies.erase(tx, body_id) for body_id in ids if body_id is not None)


def _texts(view: View, ids: list[int | None]) -> list[str]:
    found = []
    for body_id in ids:
        value = bodies.get(view, body_id)
        if isinstance(value, Mapping):
            found += [value[name] for name in ("text", "quoted") if isinstance(value.get(name), str)]
    return [text for text in found if len(text) >= _SHORTEST]


def _erase_copies(tx: Tx, person: str, texts: list[str]) -> int:
    """Erase finished steps of this person's events that hold one of ``texts`` (what was recalled into a prompt)."""
    if not texts:
        return 0
    needles = [bodies.encode(text)[1:-1] for text in texts]
    rows = tx.query(
        "SELECT s.body_id, b.bytes FROM event e JOIN step s ON s.event_seq = e.seq JOIN body b ON b.id = s.body_id"
        " WHERE e.sender = ? AND e.state <> 'waiting'",
        (person,),
    )
    doomed = [row["body_id"] for row in rows if any(needle in row["bytes"] for needle in needles)]
    return sum(bodies.erase(tx, body_id) for body_id in doomed)
