"""What the worker processes of the tests run: an agent that works and orders, and a broker that keeps its own books.

Far side and steps are files that are only ever appended to, one line per happening with the process that did it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.runtime.conftest import Scripted, TrivialGuard, order

from retainer.core.clock import SystemClock
from retainer.core.effects import Decision, Permit, RepeatClass, StoredEffect, Verdict
from retainer.core.events import Event
from retainer.core.protocols import Context
from retainer.core.values import Json
from retainer.runtime.postgres.store import PostgresStore
from retainer.runtime.runtime import Runtime
from retainer.runtime.schema import MIGRATIONS
from retainer.runtime.settings import RuntimeSettings

URL, FOLDER, HOLD, IDLE = "WORKER_URL", "WORKER_FOLDER", "WORKER_HOLD", "WORKER_IDLE"
"""Environment: the database, where the far side writes, how long each happening takes, and after how long a silence a
process counts as frozen, in seconds."""


def note(folder: Path, name: str, *words: object) -> None:
    """One line, appended in one write."""
    line = " ".join(str(word) for word in (os.getpid(), *words)) + "\n"
    descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def notes(folder: Path, name: str) -> list[list[str]]:
    """The lines of a file, as words; the first one is the process."""
    path = folder / name
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


class Broker:
    """Accepts an order once it has slept over it, and sleeps again before it says so."""

    repeat = RepeatClass.LOOKUP

    def __init__(self, folder: Path, hold: float) -> None:
        self.folder = folder
        self.hold = hold

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        assert permit.covers(effect)
        note(self.folder, "broker", "asked", effect.key)
        await asyncio.sleep(self.hold)
        note(self.folder, "broker", "accepted", effect.key)
        await asyncio.sleep(self.hold)
        return {"ref": f"b-{effect.key}"}

    async def lookup(self, effect: StoredEffect) -> Json:
        known = any(words[1:] == ["accepted", effect.key] for words in notes(self.folder, "broker"))
        return {"ref": f"b-{effect.key}"} if known else None


class AskingGuard(TrivialGuard):
    """Orders need a yes; their cards go nowhere here."""

    def __init__(self) -> None:
        super().__init__()
        self.verdicts["paper.order"] = Verdict(Decision.ASK, "orders ask", "tap")


async def handle(ctx: Context, event: Event, folder: Path, hold: float) -> None:
    """``steps N``: N slow steps; ``order``: an order that asks."""
    if event.kind != "message":
        return
    what, _, count = str(event.body["text"]).partition(" ")
    if what == "order":
        ctx.send(order())
    for number in range(int(count or 0)):

        async def work(number: int = number) -> int:
            note(folder, "steps", event.seq, number)
            await asyncio.sleep(hold)
            return number

        await ctx.step(f"work:{number}", work)


def _open() -> PostgresStore:
    return PostgresStore.open(os.environ[URL], MIGRATIONS, idle_seconds=float(os.environ[IDLE]))


@asynccontextmanager
async def lanes() -> AsyncIterator[Runtime]:
    """A runtime on the database that the environment names."""
    folder, hold = Path(os.environ[FOLDER]), float(os.environ[HOLD])
    store = await asyncio.to_thread(_open)
    resume = store.placement.resume

    def resumed() -> None:
        note(folder, "steps", "resumed")
        resume()

    store.placement.resume = resumed  # type: ignore[method-assign]  # the tests want to know when
    settings = RuntimeSettings(retry_seconds=0.05, deliver_retry_seconds=0.05)
    runtime = Runtime(store, SystemClock(), AskingGuard(), settings=settings)
    runtime.add_adapter("paper.order", Broker(folder, hold))
    runtime.add_agent(Scripted("chat", lambda ctx, event: handle(ctx, event, folder, hold)))
    await runtime.start()
    note(folder, "workers", "up")
    try:
        yield runtime
    finally:
        await runtime.stop(1.0)
        await asyncio.to_thread(store.close)


def slow_square(number: int) -> tuple[int, int]:
    """A piece of a sweep: the process that did it, and the square."""
    import time

    time.sleep(0.2)
    return os.getpid(), number * number


async def main() -> None:
    """Handle lanes until killed."""
    async with lanes():
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
