"""A small service on the real runtime, guard and memory: a chat agent, a trader and a channel that is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, ConfigDict, Field

from retainer.chat.agent import LocalChatAgent
from retainer.chat.services import ChatServices
from retainer.chat.settings import ChatSettings
from retainer.core.capabilities import Answer, Capability, NoArguments
from retainer.core.clock import ManualClock
from retainer.core.effects import Effect, EffectClass, Permit, RepeatClass, StoredEffect
from retainer.core.events import Event, NewEvent
from retainer.core.labels import Label, Trust
from retainer.core.protocols import ChatModel, Context, OutgoingMessage, View
from retainer.core.values import Json
from retainer.learning.schema import MIGRATIONS as LEARNING
from retainer.memory.manager import MemoryManager
from retainer.memory.schema import MIGRATIONS as MEMORY
from retainer.models.scripted import ScriptedModel
from retainer.runtime.runtime import Runtime
from retainer.runtime.schema import MIGRATIONS as RUNTIME
from retainer.runtime.sqlite import SqliteStore
from retainer.safety.budget import ModelBudget
from retainer.safety.guard import SafetyGuard
from retainer.safety.limits import Limits
from retainer.safety.people import ensure_local_owner
from retainer.safety.schema import MIGRATIONS as SAFETY

START = datetime(2026, 11, 2, 15, 0, tzinfo=UTC)
ADDRESS = "terminal:local"
LANE = f"chat:{ADDRESS}"
PRIVATE = Label(Trust.OWNER, private=True)


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: Literal["buy", "sell"]
    quantity: int = Field(gt=0)
    symbol: str


class Period(BaseModel):
    model_config = ConfigDict(extra="forbid")
    period: Literal["today", "this month", "last month"] = "today"


class All(BaseModel):
    model_config = ConfigDict(extra="forbid")
    all: bool = False


async def performance(_view: View, args: Period) -> Answer:
    return Answer(f"The bot made 1,204.50 dollars {args.period} (2026-11-01 to 2026-11-02).\nTrades: 3.")


class Trader:
    """Offers a reading and an order; an order is a money effect with a card."""

    name = "trading"

    def __init__(self) -> None:
        self.requests: list[Mapping[str, Any]] = []
        self.labels: list[Label] = []
        self.outcomes: list[str] = []
        self.weighed = asyncio.Event()
        """The slow reading answers once it is set."""

    async def weigh(self, _view: View, _args: NoArguments) -> Answer:
        await self.weighed.wait()
        return Answer("The idea weighs 7 grams.")

    def capabilities(self) -> Sequence[Capability]:
        return (
            Capability(
                name="trading.performance",
                agent="trading",
                description="How much the bot made",
                parameters=Period,
                phrases=("how did the bot do [{period}]", "profit [{period}]"),
                examples=("how did the bot do this month", "what profit did the bot make"),
                run=performance,
            ),
            Capability(
                name="trading.weigh",
                agent="trading",
                description="Weigh an idea, which takes a while",
                phrases=("weigh [the] idea",),
                run=self.weigh,
                slow=True,
            ),
            Capability(
                name="trading.order",
                agent="trading",
                description="Buy or sell shares",
                parameters=Order,
                effect_class=EffectClass.MONEY,
                phrases=("(buy|sell) {quantity} [share[s] of] {symbol}",),
                examples=("buy 5 AAPL",),
                lane="account:paper",
                scope="propose",
                extra={"symbols": {"apple": "AAPL"}},
            ),
            Capability(
                name="trading.stop",
                agent="trading",
                description="Cancel resting orders",
                parameters=All,
                effect_class=EffectClass.MONEY,
                lane="account:paper",
                urgent=True,
            ),
        )

    async def handle(self, ctx: Context, event: Event) -> None:
        if event.kind == "outcome":
            self.outcomes.append(str(event.body["state"]))
            return
        self.requests.append(event.body)
        self.labels.append(event.label)
        if event.body["capability"] != "trading.order":
            return
        args: Mapping[str, Json] = event.body["args"]  # type: ignore[assignment]  # requests carry an object
        ctx.send(
            Effect(
                name="order",
                tool="paper.order",
                args={"account": "paper", **args, "notional": "1000.00", "increases_exposure": True},
                effect_class=EffectClass.MONEY,
                queue="account:paper",
                label=event.label,
                summary=f"{args['side']} {args['quantity']} {args['symbol']}",
                reply_to=event.reply_to,
            )
        )


@dataclass
class Channel:
    """An editable channel: messages as they look now, and every text that was ever visible."""

    repeat: RepeatClass = RepeatClass.EDITABLE
    messages: dict[str, OutgoingMessage] = field(default_factory=dict)
    visible: list[str] = field(default_factory=list)

    async def open(self, effect: StoredEffect, permit: Permit) -> str:
        assert permit.covers(effect)
        return self._show(effect.key, OutgoingMessage(text="…"))

    async def update(self, effect: StoredEffect, args: Mapping[str, Json]) -> None:
        assert effect.ref is not None
        self._show(effect.ref, OutgoingMessage(text=str(args["text"])))

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        assert permit.covers(effect)
        return {"ref": self._show(effect.ref or effect.key, OutgoingMessage.from_args(effect.args))}

    def _show(self, ref: str, message: OutgoingMessage) -> str:
        self.messages[ref] = message
        self.visible.append(message.text)
        return ref

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages.values()]


@dataclass
class Orders:
    """The broker of the tests."""

    repeat: RepeatClass = RepeatClass.ENFORCED
    placed: list[Mapping[str, Json]] = field(default_factory=list)

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        assert permit.covers(effect)
        self.placed.append(effect.args)
        return {"accepted": True}


class Service:
    """Everything together. ``say`` sends a message as the owner and waits until all is quiet."""

    def __init__(
        self,
        folder: Path,
        model: ChatModel | None,
        settings: ChatSettings | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.folder = folder
        self.clock = ManualClock(START)
        self.model = model
        self.loading = False
        """Whether the model is on its way."""
        self.settings = settings or ChatSettings()
        self.limits = limits
        self.channel = Channel()
        self.orders = Orders()
        self.trader = Trader()
        self.guard = SafetyGuard()
        self.sent = 0
        self.build()

    def build(self) -> None:
        self.store = SqliteStore.open(self.folder / "retainer.db", (*RUNTIME, *SAFETY, *MEMORY, *LEARNING))
        self.store.write_now(lambda tx: ensure_local_owner(tx, START))
        self.memory = MemoryManager(self.folder / "memory", clock=self.clock)
        self.runtime = Runtime(self.store, self.clock, self.guard)
        self.services = ChatServices(
            capabilities=lambda: [*self.trader.capabilities(), *self.chat.capabilities()],
            memory=self.memory,
            approvals=self.guard.approvals,
            write=self.store.write,
            model=lambda: self.model,
            model_state=lambda: "still being fetched, 43 %" if self.model is None else "ready",
            budget=ModelBudget(self.store, self.clock, self.limits),
            loading=lambda: self.loading,
            settings=self.settings,
            interrupt=self.runtime.interrupt,
            status=[lambda _view: ["Equity: 100,000.00 dollars."]],
            zone=ZoneInfo("Europe/Berlin"),
            exports=self.folder / "exports",
        )
        self.chat = LocalChatAgent(services=self.services)
        self.runtime.add_agent(self.chat)
        self.runtime.add_agent(self.trader)
        self.runtime.add_adapter("terminal.reply", self.channel)
        self.runtime.add_adapter("paper.order", self.orders)

    async def close(self) -> None:
        await self.runtime.stop(grace=0.2)
        self.memory.close()
        self.store.close()

    async def put(
        self, text: str, *, quoted: str = "", kind: str = "message", lane: str = LANE, ago: float = 0.0, **body: Json
    ) -> None:
        """``ago``: seconds that it was on its way."""
        self.sent += 1
        await self.runtime.receive(
            NewEvent(
                source="terminal",
                external_id=f"local:{self.sent}",
                agent="chat",
                lane=lane,
                kind=kind,
                body={
                    "text": text,
                    "quoted": quoted,
                    "channel": "terminal",
                    "chat_id": "local",
                    "name": "Owner",
                    **body,
                },
                sender="owner",
                label=PRIVATE,
                reply_to=ADDRESS,
                occurred_at=self.clock.now() - timedelta(seconds=ago),
            )
        )

    async def say(
        self, text: str, *, quoted: str = "", kind: str = "message", lane: str = LANE, ago: float = 0.0, **body: Json
    ) -> list[str]:
        """The texts of the messages that appeared or changed."""
        before = dict(self.channel.messages)
        await self.put(text, quoted=quoted, kind=kind, lane=lane, ago=ago, **body)
        await asyncio.wait_for(self.runtime.idle(), 20)
        return [message.text for ref, message in self.channel.messages.items() if before.get(ref) != message]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts a service with the given model script (``None``: no model)."""
    running: list[Service] = []

    async def begin(
        script: Any = None, *, delay: float = 0.0, limits: Limits | None = None, **settings: Any
    ) -> Service:
        model = None if script is None else ScriptedModel(script, delay=delay)
        service = Service(tmp_path, model, ChatSettings(**settings), limits)
        running.append(service)
        await service.runtime.start()
        return service

    yield begin
    for service in running:
        await service.close()
