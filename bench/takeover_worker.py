"""A worker process of takeover.py: handles lanes of one database until it is killed.

    python bench/takeover_worker.py URL FOLDER NAME

What it does is appended to files in FOLDER, one line per happening: time, NAME, what. ``sent`` is the far side's book.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.runtime.conftest import Scripted, TrivialGuard, order

from retainer.core.clock import SystemClock
from retainer.core.effects import Permit, RepeatClass, StoredEffect
from retainer.core.events import Event
from retainer.core.protocols import Context
from retainer.core.values import Json
from retainer.runtime.postgres.store import PostgresStore
from retainer.runtime.runtime import Runtime
from retainer.runtime.schema import MIGRATIONS
from retainer.runtime.settings import RuntimeSettings

STEP = 0.02
"""Seconds that a step takes."""


class Notes:
    """The files that the judge reads."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name

    def write(self, file: str, *words: object) -> None:
        """One line, in one write."""
        line = " ".join(map(str, (f"{time.time():.6f}", self.name, *words))) + "\n"
        descriptor = os.open(self.folder / file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


class Far:
    """Takes orders, and can be asked about them."""

    repeat = RepeatClass.LOOKUP

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        """The line is the request's arrival."""
        self._notes.write("sent", effect.key)
        await asyncio.sleep(0.002)
        return {"ref": effect.key}

    async def lookup(self, effect: StoredEffect) -> Json:
        """Whether it has arrived."""
        book = self._notes.folder / "sent"
        known = book.exists() and f" {effect.key}\n" in book.read_text()
        return {"ref": effect.key} if known else None


async def main(url: str, folder: Path, name: str) -> None:
    """Serve until killed."""
    notes = Notes(folder, name)

    async def handle(ctx: Context, event: Event) -> None:
        what, _, count = str(event.body.get("text", "")).partition(" ")
        if what == "order":
            ctx.send(order())
        for number in range(int(count or 0)):

            async def work(number: int = number) -> str:
                notes.write("steps", event.seq, number)
                await asyncio.sleep(STEP)
                return name

            await ctx.step(f"s{number}", work)

    store = await asyncio.to_thread(PostgresStore.open, f"{url}&application_name={name}", MIGRATIONS)
    resume = store.placement.resume

    def noted() -> None:
        notes.write("resumed")
        resume()

    store.placement.resume = noted  # type: ignore[method-assign]  # the judge wants to know when
    runtime = Runtime(store, SystemClock(), TrivialGuard(), settings=RuntimeSettings(deliver_retry_seconds=0.05))
    runtime.add_adapter("paper.order", Far(notes))
    runtime.add_agent(Scripted("chat", handle))
    await runtime.start()
    notes.write("up")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
