"""Keeping a memory file up with the runtime database. Idempotent, resumable, and in any order the same."""

from __future__ import annotations

from retainer.core.protocols import View
from retainer.memory import truth
from retainer.memory.person import PersonMemory
from retainer.memory.replying import without_recalled
from retainer.memory.values import Turn

_MESSAGES = "messages"
_FORGOTTEN = "forgotten"
_CLEARED = "cleared"
_END = 2**62


def project(memory: PersonMemory, view: View, person: str, upto: int | None = None) -> int:
    """Bring ``memory`` up to all events before ``upto`` (the one now being handled); returns the turns added.

    Messages are read once, by sequence number. Replies are read again until they are settled, because a reply may
    still be refused. What was forgotten is applied first and never read again.
    """
    with memory.lock:
        _apply_forgotten(memory, view, person)
        with memory.batch():
            added = _project_messages(memory, view, person, upto if upto is not None else _END)
            for conv, cursor in memory.conversations().items():
                added += _project_replies(memory, view, person, conv, cursor)
        return added


def _apply_forgotten(memory: PersonMemory, view: View, person: str) -> None:
    rows = truth.forgotten(view, person, memory.mark(_FORGOTTEN))
    for row in rows:
        if row["source"] == truth.EVERYTHING:
            memory.erase((), all_upto=row["event_seq"])
            memory.set_mark(_CLEARED, row["event_seq"])
    sources = [row["source"] for row in rows if row["source"] != truth.EVERYTHING]
    if sources:
        memory.erase(sources)
    if rows:
        memory.set_mark(_FORGOTTEN, rows[-1]["id"])


def _project_messages(memory: PersonMemory, view: View, person: str, upto: int) -> int:
    added, cleared = 0, memory.mark(_CLEARED)
    for seq, conv, turns in truth.messages(view, person, memory.mark(_MESSAGES), upto):
        memory.set_conversation(conv)
        if seq > cleared:
            added += sum(memory.add(turn) for turn in turns)
        memory.set_mark(_MESSAGES, seq)
    return added


def _project_replies(memory: PersonMemory, view: View, person: str, conv: str, cursor: int) -> int:
    added, settled, cleared = 0, True, memory.mark(_CLEARED)
    for reply in truth.replies(view, person, conv, cursor):
        turn = _clean(reply.turn) if reply.turn is not None and reply.turn.seq > cleared else None
        if turn is not None:
            added += memory.add(turn)
        elif reply.settled:
            memory.withdraw(reply.key)
        settled = settled and reply.settled
        if settled:
            cursor = reply.id
    memory.set_conversation(conv, cursor)
    return added


def _clean(turn: Turn) -> Turn | None:
    text = without_recalled(turn.text)
    if not text.strip():
        return None
    if text == turn.text:
        return turn
    return Turn(
        source=turn.source,
        conv=turn.conv,
        seq=turn.seq,
        part=turn.part,
        at=turn.at,
        role=turn.role,
        speaker=turn.speaker,
        text=text,
        label=turn.label,
        reply_to=turn.reply_to,
    )
