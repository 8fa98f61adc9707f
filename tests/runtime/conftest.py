"""A trivial guard, adapters that judge themselves, and a runtime on a fresh database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.postgres_server import PostgresServer, binaries

from retainer.core.capabilities import Capability
from retainer.core.clock import ManualClock
from retainer.core.effects import (
    Decision,
    Effect,
    EffectClass,
    Permit,
    RepeatClass,
    StoredEffect,
    Turn,
    Verdict,
)
from retainer.core.events import Event, NewEvent
from retainer.core.protocols import Button, Card, Context, OutgoingMessage, Tx, View
from retainer.core.replies import reply_effect
from retainer.core.values import Json
from retainer.runtime.base import BaseStore
from retainer.runtime.runtime import Runtime
from retainer.runtime.schema import MIGRATIONS
from retainer.runtime.settings import RuntimeSettings
from retainer.runtime.sqlite import SqliteStore

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
QUICK = RuntimeSettings(retry_seconds=0.001, deliver_retry_seconds=0.001, deliver_tries=4)


class TrivialGuard:
    """Allows everything but what a test says otherwise; keeps the audit in a list."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        """By tool."""
        self.withdrawn: set[str] = set()
        """Tools that recheck denies."""
        self.turns: list[tuple[str, Turn]] = []
        self.audit: list[tuple[str, str, str]] = []
        self.asked = 0

    def check(self, view: View, effect: Effect, turn: Turn, now: datetime) -> Verdict:
        self.turns.append((effect.name, turn))
        return self.verdicts.get(effect.tool, Verdict(Decision.ALLOW))

    def recheck(self, view: View, effect: StoredEffect, now: datetime) -> Verdict:
        if effect.tool in self.withdrawn:
            return Verdict(Decision.DENY, "withdrawn")
        return Verdict(Decision.ALLOW)

    def ask(self, tx: Tx, effect: StoredEffect, turn: Turn, verdict: Verdict, now: datetime) -> Card:
        self.asked += 1
        approval = f"appr{self.asked:04d}"
        buttons = (Button("Approve", f"a:{approval}"), Button("Reject", f"r:{approval}"))
        return Card(approval, "terminal:local", f"Shall I? {effect.summary}", buttons, now + timedelta(minutes=5))

    def permit(self, effect: StoredEffect) -> Permit:
        return Permit(effect.key, effect.digest)

    def record(self, tx: Tx, lane: str, kind: str, ref: str, data: Mapping[str, Json], now: datetime) -> None:
        self.audit.append((lane, kind, ref))


class Wire:
    """An adapter whose far side is a list. ``fails`` holds errors for the next attempts."""

    def __init__(self, repeat: RepeatClass = RepeatClass.ENFORCED) -> None:
        self.repeat = repeat
        self.done: list[tuple[str, Any]] = []
        self.refs: list[str | None] = []
        self.fails: list[BaseException] = []
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.happened_before_failing = False

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        assert permit.covers(effect)
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            error = self.fails.pop(0)
            if self.happened_before_failing:
                self.done.append((effect.key, effect.args.get("text")))
            raise error
        self.done.append((effect.key, effect.args.get("text")))
        self.refs.append(effect.ref)
        return {"ref": effect.ref or f"m{len(self.done)}"}

    @property
    def texts(self) -> list[Any]:
        return [text for _, text in self.done]


class LookupWire(Wire):
    """Can be asked by key."""

    def __init__(self) -> None:
        super().__init__(RepeatClass.LOOKUP)
        self.lookups = 0

    async def lookup(self, effect: StoredEffect) -> Json:
        self.lookups += 1
        return {"found": True} if any(key == effect.key for key, _ in self.done) else None


class EditableWire(Wire):
    """Messages that can be edited: ``shown`` maps references to what is read there."""

    def __init__(self) -> None:
        super().__init__(RepeatClass.EDITABLE)
        self.shown: dict[str, Any] = {}
        self.updates: list[Any] = []

    async def open(self, effect: StoredEffect, permit: Permit) -> str:
        ref = f"bubble{len(self.shown) + 1}"
        self.shown[ref] = "..."
        return ref

    async def update(self, effect: StoredEffect, args: Mapping[str, Json]) -> None:
        self.updates.append(args["text"])

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        assert effect.ref is not None
        result = await super().execute(effect, permit)
        self.shown[effect.ref] = effect.args.get("text")
        return result


Handler = Callable[[Context, Event], Awaitable[None]]


class Scripted:
    """An agent made of one function."""

    def __init__(self, name: str, handler: Handler) -> None:
        self.name = name
        self.handler = handler

    async def handle(self, ctx: Context, event: Event) -> None:
        await self.handler(ctx, event)

    def capabilities(self) -> Sequence[Capability]:
        return ()


@dataclass
class House:
    """A runtime with its parts."""

    store: BaseStore
    clock: ManualClock
    guard: TrivialGuard
    runtime: Runtime
    terminal: Wire
    seen: list[Event] = field(default_factory=list)

    async def on(self, handler: Handler, *, agent: str = "chat") -> None:
        """Have ``handler`` be the agent, and start."""

        async def noting(ctx: Context, event: Event) -> None:
            self.seen.append(event)
            await handler(ctx, event)

        self.runtime.add_agent(Scripted(agent, noting))
        if agent == "chat":
            await self.runtime.start()

    async def again(self, handler: Handler, **adapters: Any) -> None:
        """A new runtime on the same database, as after a restart."""
        await self.runtime.stop(0.0)
        self.runtime = Runtime(self.store, self.clock, self.guard, settings=QUICK)
        for tool, adapter in adapters.items():
            self.runtime.add_adapter(tool.replace("__", "."), adapter)
        if "terminal__reply" not in adapters:
            self.runtime.add_adapter("terminal.reply", self.terminal)
        await self.on(handler)

    def one(self, sql: str, *params: Any) -> Any:
        row = self.store.view().one(sql, params)
        return None if row is None else next(iter(row.values()))

    def states(self) -> dict[str, str]:
        return {r["key"]: r["state"] for r in self.store.view().query("SELECT key, state FROM effect ORDER BY id")}

    async def settle(self) -> None:
        """Idle, with the clock moving on so that back-offs end."""

        async def advance() -> None:
            while True:
                self.clock.advance(seconds=1)
                self.runtime.wake()
                await asyncio.sleep(0.01)

        task = asyncio.create_task(advance())
        try:
            await asyncio.wait_for(self.runtime.idle(), 60)
        finally:
            task.cancel()

    async def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of our own, made when the first test asks for it."""
    if binaries() is None and not os.environ.get("CI"):
        pytest.skip("there is no PostgreSQL here")
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The address of an empty database (a schema of its own)."""
    return postgres.schema()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[BaseStore]:
    """The store that the house stands on; overridden where it is another database."""
    store = SqliteStore.open(tmp_path / "retainer.db", MIGRATIONS, tick=0.05)
    yield store
    store.close()


@pytest.fixture
def open_beside(tmp_path: Path) -> Callable[[], BaseStore]:
    """Opens the house's database once more, as another process would."""
    return lambda: SqliteStore.open(tmp_path / "retainer.db", MIGRATIONS, owner=False)


@pytest.fixture
async def house(opened: BaseStore) -> AsyncIterator[House]:
    store = opened
    clock, guard, terminal = ManualClock(START), TrivialGuard(), Wire()
    runtime = Runtime(store, clock, guard, settings=QUICK)
    runtime.add_adapter("terminal.reply", terminal)
    made = House(store, clock, guard, runtime, terminal)
    yield made
    await made.runtime.stop(0.2)


def message(text: str, number: int = 1, *, chat: str = "local", **more: Any) -> NewEvent:
    """A person wrote."""
    values: dict[str, Any] = {
        "source": "terminal",
        "external_id": f"{chat}:{number}",
        "agent": "chat",
        "lane": f"chat:terminal:{chat}",
        "kind": "message",
        "body": {"text": text},
        "sender": "p1",
        "reply_to": f"terminal:{chat}",
        "occurred_at": START,
    }
    return NewEvent(**(values | more))


def say(text: str, name: str = "reply", address: str = "terminal:local") -> Effect:
    return reply_effect(address, OutgoingMessage(text=text), name=name)


def order(name: str = "order", *, tool: str = "paper.order", text: str = "buy 5 AAPL", **more: Any) -> Effect:
    values: dict[str, Any] = {
        "name": name,
        "tool": tool,
        "args": {"symbol": "AAPL", "quantity": 5, "text": text},
        "effect_class": EffectClass.MONEY,
        "queue": "account:paper",
        "summary": text,
    }
    return Effect(**(values | more))
