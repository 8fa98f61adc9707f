"""The audit's anchors: once a day the length and head of every chain are written down where no edit of the database
reaches them: in a file that only grows, and in a message to the owner.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from retainer.core.capabilities import Capability
from retainer.core.clock import Clock
from retainer.core.effects import Effect, EffectClass, EffectState, Permit, RepeatClass, StoredEffect
from retainer.core.events import Event
from retainer.core.protocols import Context, OutgoingMessage, Tx, View
from retainer.core.replies import reply_effect
from retainer.core.values import Json
from retainer.runtime.timers import Timer, set_timer
from retainer.safety import audit
from retainer.safety.audit import Anchor, Problem
from retainer.safety.people import approver_address

AGENT: Final = "auditor"
LANE: Final = "audit"
TIMER: Final = "anchor"
SCHEDULE: Final = "0 8 * * *"
"""When the owner is told, in the owner's time zone."""
ANCHOR_TOOL: Final = "audit.anchor"
FILE_TOOL: Final = "audit.file"
SHAPE: Final = re.compile(r"\s*([1-9][0-9]{0,11}):([0-9a-f]{64})\s*")
"""An anchor in words."""


class Auditor:
    """The agent of the daily anchor: makes it, has it written down, tells the owner."""

    name = AGENT

    def capabilities(self) -> Sequence[Capability]:
        return ()

    async def handle(self, ctx: Context, event: Event) -> None:
        """Three effects, each done once whatever happens in between."""
        made = await ctx.call(_effect("anchor", ANCHOR_TOOL, {}))
        if made.state is not EffectState.DONE or not isinstance(made.result, Mapping):
            return
        await ctx.call(_effect("file", FILE_TOOL, dict(made.result)))
        address = approver_address(ctx.view, "trade")
        if address is not None:
            ctx.send(reply_effect(address, OutgoingMessage(text=told(made.result)), name="told"))


def _effect(name: str, tool: str, args: Mapping[str, Json]) -> Effect:
    return Effect(name=name, tool=tool, args=args, effect_class=EffectClass.WRITE_OWN, queue=LANE, summary=tool)


def told(anchor: Mapping[str, Any]) -> str:
    """The message to the owner."""
    return (
        f"Audit of the day: {anchor['entries']:,} entries in {anchor['chains']} chains.\n"
        f"Anchor {anchor['count']}:{anchor['head']}\n"
        "Keep this message: `retainer audit verify --anchor COUNT:HEAD` shows whether anything before it was changed."
    )


class AnchorMaker:
    """Appends the anchor to its own chain, in the transaction that ends the effect."""

    repeat = RepeatClass.ENFORCED

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def apply(self, tx: Tx, effect: StoredEffect, permit: Permit) -> Json:
        """The new anchor as JSON."""
        made = audit.anchor(tx, self._clock.now())
        return {"count": made.count, "head": made.head, "entries": made.entries, "chains": made.chains}


class AnchorFile:
    """Adapter that adds a line to the file of anchors, unless it is there."""

    repeat = RepeatClass.ENFORCED

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        """Durable when it returns."""
        anchor = Anchor(int(str(effect.args["count"])), str(effect.args["head"]))
        return append_line(self._path, anchor, self._clock.now())


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file of anchors holds: those that were made, those about to be, and the lines that are neither."""

    made: list[Anchor] = field(default_factory=list)
    begun: list[Anchor] = field(default_factory=list)
    spoilt: list[int] = field(default_factory=list)


_TORN: Final = '{"at": "'
"""A line that a crash cut off begins like this, or like the beginning of this."""


def append_line(path: Path, anchor: Anchor, now: datetime, *, begun: bool = False) -> bool:
    """Add ``anchor`` to the file at ``path``; ``False`` if its line is there already. It is never rewritten.

    Whoever is not called again after a crash adds it as ``begun`` before it is committed, so that it is never missed.
    """
    kept = read_anchors(path)
    if anchor in (kept.begun if begun else kept.made):
        return False
    fields = {"at": now.isoformat(), "begun" if begun else "count": anchor.count, "head": anchor.head}
    line = json.dumps(fields) + "\n"
    if path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size:
        line = "\n" + line  # after a line that a crash cut off
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def read_anchors(path: Path) -> Kept:
    """What is in the file; a line that a crash cut off counts for nothing. Raises ``OSError``."""
    kept = Kept()
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return kept
    for number, line in enumerate(lines, 1):
        text = line.decode(errors="replace").strip(" \r\0")
        found = _anchor(text)
        if found is not None:
            (kept.begun if found[0] else kept.made).append(found[1])
        elif not _TORN.startswith(text[: len(_TORN)]) or text.endswith("}"):
            kept.spoilt.append(number)
    return kept


def _anchor(line: str) -> tuple[bool, Anchor] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match value:
        case {"count": int(count), "head": str(head)} if SHAPE.fullmatch(f"{count}:{head}"):
            return False, Anchor(count, head)
        case {"begun": int(count), "head": str(head)} if SHAPE.fullmatch(f"{count}:{head}"):
            return True, Anchor(count, head)
    return None


def unkept(view: View, path: Path) -> Iterator[Problem]:
    """Lines of the file at ``path`` that are no anchors, and anchors of the database that it had and has no more.

    The newest is still on its way there as long as the agent that made it handles its event, after a crash as well; one
    that a full disk did not take never was there.
    """
    made = audit.made(view)
    waiting = view.one("SELECT 1 AS there FROM event WHERE lane = ? AND state = 'waiting' LIMIT 1", (LANE,))
    failed = audit.rows(
        view,
        ("id", "bytes"),
        "FROM body WHERE id IN (SELECT args_id FROM effect WHERE tool = ? AND state <> 'done')",
        (FILE_TOOL,),
    )
    kept = read_anchors(path)
    for number in kept.spoilt:
        yield Problem(audit.ANCHORS, 0, f"changed: line {number} of {path.name} is no anchor any more")
    counts = {str(each.count) for each in kept.made} | {str(audit.parsed(row["bytes"]).get("count")) for row in failed}
    lost = [each.count for each in made if str(each.count) not in counts and each not in kept.begun]
    if lost and waiting and lost[-1] == made[-1].count:
        lost.pop()
    if lost:
        words = f"deleted: {len(lost)} of the {len(made)} anchors are missing in their file"
        yield Problem(audit.ANCHORS, lost[0], words)


def set_daily(tx: Tx, zone: str, now: datetime) -> None:
    """Have the timer there. One that is there keeps its time: what fell due while the service was down still fires."""
    known = tx.one("SELECT cron, zone FROM timer WHERE lane = ? AND name = ?", (LANE, TIMER))
    if known is None or (known["cron"], known["zone"]) != (SCHEDULE, zone):
        set_timer(tx, Timer(lane=LANE, name=TIMER, agent=AGENT, cron=SCHEDULE, zone=zone), now)
