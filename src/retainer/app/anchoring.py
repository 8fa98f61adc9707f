"""The audit's anchors: once a day the length and head of every chain are written down where no edit of the database
reaches them: in a file that only grows, and in a message to the owner.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from retainer.core.capabilities import Capability
from retainer.core.clock import Clock
from retainer.core.effects import Effect, EffectClass, EffectState, Permit, RepeatClass, StoredEffect
from retainer.core.events import Event
from retainer.core.protocols import Context, OutgoingMessage, Tx
from retainer.core.replies import reply_effect
from retainer.core.values import Json
from retainer.runtime.timers import Timer, set_timer
from retainer.safety import audit
from retainer.safety.people import approver_address

AGENT: Final = "auditor"
LANE: Final = "audit"
TIMER: Final = "anchor"
SCHEDULE: Final = "0 8 * * *"
"""When the owner is told, in the owner's time zone."""
ANCHOR_TOOL: Final = "audit.anchor"
FILE_TOOL: Final = "audit.file"


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
        count, head = int(str(effect.args["count"])), str(effect.args["head"])
        return append_line(self._path, count, head, self._clock.now())


def append_line(path: Path, count: int, head: str, now: datetime) -> bool:
    """Add ``count:head`` to the file at ``path``; ``False`` if its line is there already. It is never rewritten."""
    if any(found == (count, head) for found in read_lines(path)):
        return False
    line = json.dumps({"at": now.isoformat(), "count": count, "head": head}) + "\n"
    if path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size:
        line = "\n" + line  # after a line that a crash cut off
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Count and head of every anchor in the file; a line cut off by a crash is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            value = json.loads(line)
            found.append((int(value["count"]), str(value["head"])))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def set_daily(tx: Tx, zone: str, now: datetime) -> None:
    """Have the timer there. One that is there keeps its time: what fell due while the service was down still fires."""
    known = tx.one("SELECT cron, zone FROM timer WHERE lane = ? AND name = ?", (LANE, TIMER))
    if known is None or (known["cron"], known["zone"]) != (SCHEDULE, zone):
        set_timer(tx, Timer(lane=LANE, name=TIMER, agent=AGENT, cron=SCHEDULE, zone=zone), now)
