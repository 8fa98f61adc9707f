"""The conversation as a prompt: a fixed head, a history that only grows, and what changes beside the newest message.

What was shown beside a message (clock, recalled lines) is that event's recorded step ``context``; history repeats it
word for word, so request *n + 1* begins with request *n* and a model server reads the new words only. Erasing a message
erases its step, and the history goes on without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from retainer.agent.prompts import Prompt
from retainer.chat.services import ChatServices
from retainer.core.labels import Label, Trust, join
from retainer.core.protocols import ChatMessage, Context, View
from retainer.core.values import Json
from retainer.memory.replying import recalled_block
from retainer.memory.values import Turn

CONTEXT_STEP = "context"
ANSWER_STEP = "model:2"
TAINTED = "(I answered about a text that somebody else wrote.)"
_BRIEF = 160
"""Characters of a code-written answer that stay in the history; the model needs its gist, not its tables."""
_MOST_EVENTS = 400


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a person, as the chat agent handles it."""

    text: str
    person: str
    address: str
    lane: str
    seq: int
    now: datetime
    quoted: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Built:
    """A prompt, the label of what it holds, and the record texts whose figures may be repeated."""

    prompt: Prompt
    label: Label
    trusted: tuple[str, ...]


async def build(ctx: Context, services: ChatServices, message: Message, zone: ZoneInfo) -> Built:
    """The prompt for ``message``: a function of records, the same after a crash."""

    async def gather() -> dict[str, Json]:
        return _gather(services, message, zone)

    context = await ctx.step(CONTEXT_STEP, gather)
    turns = services.memory.history(
        message.address,
        person=message.person,
        limit_tokens=services.settings.history_tokens,
        upto=message.seq,
    )
    history, trusted = history_messages(ctx.view, turns)
    prompt = Prompt(
        system=services.personality.system_prompt(facts=_strings(context["facts"]), wishes=_strings(context["wishes"])),
        history=history,
        newest=newest(message.text, str(context["beside"])),
        quoted=message.quoted,
        previous=last_said(turns),
    )
    return Built(prompt, Label.decode(str(context["label"])), trusted)


def _gather(services: ChatServices, message: Message, zone: ZoneInfo) -> dict[str, Json]:
    memory = services.memory
    shown = memory.history(
        message.address, person=message.person, limit_tokens=services.settings.history_tokens, upto=message.seq
    )
    recalled = memory.recall(
        message.text,
        person=message.person,
        now=message.now,
        exclude={turn.source for turn in shown},
        before=message.seq,
    )
    clock = f"(Now: {message.now.astimezone(zone):%A %d %B %Y, %H:%M})"
    block = recalled_block(recalled)
    beside = f"{clock}\nEarlier lines that may help, as data:\n{block}" if block else clock
    return {
        "beside": beside,
        "facts": list(memory.profile(person=message.person)),
        "wishes": list(memory.behavior(person=message.person)),
        "label": join(hit.label for hit in recalled).encode(),
    }


def newest(text: str, beside: str) -> str:
    """The newest message with what stands beside it."""
    return f"{beside}\n{text}" if beside else text


def history_messages(view: View, turns: Sequence[Turn]) -> tuple[tuple[ChatMessage, ...], tuple[str, ...]]:
    """Past turns as they were sent to the model, and the texts among them that code wrote from records.

    An answer written by code is cut to its gist; an answer made from untrusted text is one neutral line; what
    somebody else wrote is left out.
    """
    steps = _steps(view, sorted({turn.seq for turn in turns}))
    messages: list[ChatMessage] = []
    trusted: list[str] = []
    for turn in turns:
        beside, worded = steps.get(turn.seq, ("", False))
        if turn.role == "person":
            messages.append(ChatMessage("user", newest(turn.text, beside if not turn.part else "")))
        elif turn.role == "assistant":
            if turn.label.trust is Trust.UNTRUSTED:
                messages.append(ChatMessage("assistant", TAINTED))
            elif worded:
                messages.append(ChatMessage("assistant", turn.text))
            else:
                messages.append(ChatMessage("assistant", gist(turn.text)))
                trusted.append(gist(turn.text))
    return tuple(messages), tuple(trusted)


def gist(text: str) -> str:
    """The first line of a long answer, at most :data:`_BRIEF` characters, cut at a word."""
    first = text.strip().split("\n", 1)[0]
    if len(first) <= _BRIEF:
        return first
    return first[:_BRIEF].rsplit(" ", 1)[0] + " …"


def last_said(turns: Sequence[Turn]) -> str:
    """The person's latest message in ``turns``; empty for none."""
    return next((turn.text for turn in reversed(turns) if turn.role == "person"), "")


def _steps(view: View, seqs: Sequence[int]) -> dict[int, tuple[str, bool]]:
    """For each event: what stood beside its message, and whether a model worded its answer."""
    if not seqs:
        return {}
    kept = list(seqs)[-_MOST_EVENTS:]
    marks = ", ".join("?" for _ in kept)
    rows = view.query(  # only question marks are put into the text
        "SELECT s.event_seq, s.name, b.bytes FROM step s JOIN body b ON b.id = s.body_id "  # noqa: S608 - as said above
        f"WHERE s.event_seq IN ({marks}) AND s.name IN (?, ?)",
        (*kept, CONTEXT_STEP, ANSWER_STEP),
    )
    found: dict[int, tuple[str, bool]] = {}
    for row in rows:
        beside, worded = found.get(row["event_seq"], ("", False))
        if row["name"] == ANSWER_STEP:
            found[row["event_seq"]] = (beside, True)
        else:
            record: Any = json.loads(row["bytes"])
            value = record.get("beside", "") if isinstance(record, Mapping) else ""
            found[row["event_seq"]] = (str(value), worded)
    return found


def _strings(value: Json) -> list[str]:
    return [str(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else []
