"""A service that is killed at random moments, and the far sides that keep their own records of what reached them.

``python crash_child.py <folder> <kills> <seed>``: forks the service again and again, kills it after a random pause,
and lets the last one finish. Prints the number of kills.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retainer.core.capabilities import Capability
from retainer.core.clock import SystemClock
from retainer.core.effects import Decision, Effect, EffectClass, Permit, RepeatClass, StoredEffect, Turn, Verdict
from retainer.core.errors import NotSentError
from retainer.core.events import Event, NewEvent
from retainer.core.protocols import Card, Context, OutgoingMessage, Tx, View
from retainer.core.replies import reply_effect
from retainer.core.values import Json
from retainer.runtime.runtime import Runtime
from retainer.runtime.schema import MIGRATIONS
from retainer.runtime.settings import RuntimeSettings
from retainer.runtime.sqlite import SqliteStore

LANES = 3
FAR = """
CREATE TABLE IF NOT EXISTS upstream (offset INTEGER);
CREATE TABLE IF NOT EXISTS orders (key TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS shown (n INTEGER PRIMARY KEY, key TEXT UNIQUE, lane TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS bubbles (id INTEGER PRIMARY KEY, text TEXT);
CREATE TABLE IF NOT EXISTS sms (text TEXT);
"""


class Guard:
    """Allows everything."""

    def check(self, view: View, effect: Effect, turn: Turn, now: datetime) -> Verdict:
        return Verdict(Decision.ALLOW)

    def recheck(self, view: View, effect: StoredEffect, now: datetime) -> Verdict:
        return Verdict(Decision.ALLOW)

    def ask(self, tx: Tx, effect: StoredEffect, turn: Turn, verdict: Verdict, now: datetime) -> Card:
        raise AssertionError("nothing asks here")

    def permit(self, effect: StoredEffect) -> Permit:
        return Permit(effect.key, effect.digest)

    def record(self, tx: Tx, lane: str, kind: str, ref: str, data: Mapping[str, Json], now: datetime) -> None:
        return None


class Far:
    """The world outside; every call commits on its own. ``slow`` widens the windows before and after."""

    def __init__(self, path: Path, repeat: RepeatClass) -> None:
        self.repeat = repeat
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._db.execute("PRAGMA synchronous=OFF")

    async def slow(self) -> None:
        await asyncio.sleep(random.random() * 0.004)

    def run(self, sql: str, *params: Any) -> list[Any]:
        return self._db.execute(sql, params).fetchall()


class Broker(Far):
    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        if effect.attempts == 0 and random.random() < 0.2:
            raise NotSentError("no route", retry_after=0.01)
        await self.slow()
        self.run("INSERT INTO orders VALUES (?, ?)", effect.key, effect.args["text"])
        await self.slow()
        if random.random() < 0.1:
            raise TimeoutError
        return {"accepted": effect.key}

    async def lookup(self, effect: StoredEffect) -> Json:
        return {"accepted": effect.key} if self.run("SELECT 1 FROM orders WHERE key = ?", effect.key) else None


class Terminal(Far):
    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        await self.slow()
        self.run(
            "INSERT OR IGNORE INTO shown (key, lane, text) VALUES (?, ?, ?)",
            effect.key,
            effect.lane,
            effect.args["text"],
        )
        await self.slow()
        return None


class Phone(Far):
    async def open(self, effect: StoredEffect, permit: Permit) -> str:
        await self.slow()
        [row] = self.run("INSERT INTO bubbles (text) VALUES ('...') RETURNING id")
        await self.slow()
        return str(row[0])

    async def update(self, effect: StoredEffect, args: Mapping[str, Json]) -> None:
        self.run("UPDATE bubbles SET text = '... ' WHERE id = ?", effect.ref)

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        await self.slow()
        self.run("UPDATE bubbles SET text = ? WHERE id = ?", effect.args["text"], effect.ref)
        await self.slow()
        return {"ref": effect.ref}


class Sms(Far):
    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        await self.slow()
        self.run("INSERT INTO sms VALUES (?)", effect.args["text"])
        await self.slow()
        return None


class Clerk:
    """Orders, shows, says and texts once for each message."""

    name = "chat"

    def capabilities(self) -> tuple[Capability, ...]:
        return ()

    async def handle(self, ctx: Context, event: Event) -> None:
        if event.kind != "message":
            return
        text = str(event.body["text"])

        async def think() -> str:
            await asyncio.sleep(random.random() * 0.004)
            return f"{text} at {random.random()}"

        reply = reply_effect(f"phone:{event.lane}", OutgoingMessage(text=text))
        await ctx.open(reply)
        await ctx.step("think", think)
        buy = Effect(
            name="order", tool="order", args={"text": text}, effect_class=EffectClass.MONEY, queue=f"q:{event.lane}"
        )
        outcome = await ctx.call(buy)
        if outcome.state.value != "done":
            raise AssertionError(outcome)
        await ctx.update("reply", {"text": "..."})
        ctx.send(reply)
        ctx.send(reply_effect(f"terminal:{event.lane}", OutgoingMessage(text=text), name="show"))
        ctx.send(reply_effect(f"sms:{event.lane}", OutgoingMessage(text=text), name="text"))
        ctx.send(
            Effect(
                name="later", tool="order", args={"text": text}, effect_class=EffectClass.MONEY, queue="account:paper"
            )
        )


async def serve(folder: Path) -> None:
    far = folder / "far.db"
    store = SqliteStore.open(folder / "retainer.db", MIGRATIONS)
    # It is the test that ends this program again and again, not an event: none may be parked for it.
    settings = RuntimeSettings(deliver_retry_seconds=0.01, retry_seconds=0.01, crashes=100)
    runtime = Runtime(store, SystemClock(), Guard(), settings=settings)
    runtime.add_agent(Clerk())
    runtime.add_adapter("order", Broker(far, RepeatClass.LOOKUP))
    runtime.add_adapter("terminal.reply", Terminal(far, RepeatClass.ENFORCED))
    runtime.add_adapter("phone.reply", Phone(far, RepeatClass.EDITABLE))
    runtime.add_adapter("sms.reply", Sms(far, RepeatClass.NONE))
    upstream = Far(far, RepeatClass.NONE)
    await runtime.start()
    finishing = False
    while not finishing:  # once more after the last kill: upstream offers again what it has no confirmation for
        finishing = (folder / "finish").exists()
        [(offset,)] = upstream.run("SELECT COUNT(*) FROM upstream")
        event = NewEvent(
            source="upstream",
            external_id=str(offset),
            agent="chat",
            lane=f"lane{offset % LANES}",
            kind="message",
            body={"text": f"message {offset}"},
            occurred_at=datetime.now(UTC),
        )
        await runtime.receive(event)
        upstream.run("INSERT INTO upstream VALUES (?)", offset)
        await asyncio.sleep(0.015)
    await runtime.idle()
    await runtime.stop()
    store.close()


def main(folder: Path, kills: int, seed: int) -> None:
    with sqlite3.connect(folder / "far.db") as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(FAR)
    db.close()
    chance = random.Random(seed)
    for turn in range(kills + 1):
        if turn == kills:
            (folder / "finish").touch()
        child = os.fork()
        if child == 0:
            random.seed(seed + turn)
            asyncio.run(serve(folder))
            os._exit(0)
        if turn < kills:
            time.sleep(0.03 + chance.random() * 0.17)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    print(kills, status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
