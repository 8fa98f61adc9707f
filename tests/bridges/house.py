"""A whole small service for tests: real store, runtime, guard, hub and bridges, with an agent that echoes.

As a script it is the process that crash tests kill: ``python house.py FOLDER BOT_API_URL``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from retainer.chat.bridges.schema import MIGRATIONS as BRIDGES
from retainer.chat.bridges.settings import TelegramSettings
from retainer.chat.bridges.telegram import TelegramBridge
from retainer.chat.bridges.terminal import TerminalBridge
from retainer.chat.hub import PhoneBridge
from retainer.core.capabilities import Capability
from retainer.core.clock import SystemClock
from retainer.core.effects import Effect, EffectClass, Permit, RepeatClass, StoredEffect
from retainer.core.events import Event
from retainer.core.protocols import Bridge, Button, Context, Migration, OutgoingMessage
from retainer.core.replies import reply_effect
from retainer.core.values import Json
from retainer.runtime.runtime import Runtime
from retainer.runtime.schema import MIGRATIONS as RUNTIME
from retainer.runtime.sqlite import SqliteStore
from retainer.safety.guard import SafetyGuard
from retainer.safety.limits import Limits
from retainer.safety.people import add_device, ensure_local_owner
from retainer.safety.schema import MIGRATIONS as SAFETY

MIGRATIONS: tuple[Migration, ...] = (*RUNTIME, *SAFETY, *BRIDGES)
OWNER = "42"
"""The Telegram id that :func:`house` pairs."""


class Echo:
    """Says again what it was told; a few words make it do more."""

    name = "chat"

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.release = asyncio.Event()
        """A reply to ``slow`` waits for it."""

    def capabilities(self) -> Sequence[Capability]:
        return ()

    async def handle(self, ctx: Context, event: Event) -> None:
        self.heard.append(event)
        if event.reply_to is None:
            return
        if event.kind == "command":
            await self._command(ctx, event)
            return
        text = str(event.body.get("text", ""))
        message = OutgoingMessage(text=f"re {text}")
        if text == "slow":
            await self._slow(ctx, event.reply_to)
            return
        if text == "long":
            message = OutgoingMessage(text="\n\n".join(f"Paragraph {n}. " + "word " * 150 for n in range(12)))
        elif text == "card":
            message = OutgoingMessage(text="Buy 5 AAPL?", buttons=(Button("Approve", "a:abcd2345"),))
        elif text.startswith("picture "):
            message = OutgoingMessage(text="Here.", picture=text.removeprefix("picture "))
        elif text == "buy":
            ctx.send(_order())
            return
        ctx.send(reply_effect(event.reply_to, message))

    async def _slow(self, ctx: Context, address: str) -> None:
        await ctx.open(reply_effect(address, OutgoingMessage(text="")))
        said = ""
        while not self.release.is_set() and not ctx.interrupted:
            said += "and so on "
            await ctx.update("reply", {"text": said})
            await asyncio.sleep(0.02)
        end = "(stopped)" if ctx.interrupted else "done"
        ctx.send(reply_effect(address, OutgoingMessage(text=f"slow {end}")))

    async def _command(self, ctx: Context, event: Event) -> None:
        assert event.reply_to is not None
        word = str(event.body["command"])
        if word == "approve" and event.body["approval"] == "abcd2345":
            rows = ctx.view.query("SELECT key FROM effect WHERE event_seq < ? ORDER BY id DESC LIMIT 1", (event.seq,))
            text = OutgoingMessage(text="Approved.")
            ctx.send(reply_effect(event.reply_to, text, edit=str(rows[0]["key"]), name="edit"))
            return
        ctx.send(reply_effect(event.reply_to, OutgoingMessage(text=f"did {word}")))


def _order() -> Effect:
    return Effect(
        name="order",
        tool="paper.order",
        args={"account": "paper", "symbol": "AAPL", "side": "buy", "quantity": "5", "notional": "900"},
        effect_class=EffectClass.MONEY,
        queue="account:paper",
        summary="Buy 5 AAPL on paper",
    )


class Paper:
    """A broker that only counts."""

    repeat = RepeatClass.ENFORCED

    def __init__(self) -> None:
        self.orders: list[str] = []

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        assert permit.covers(effect)
        self.orders.append(effect.key)
        return {"order": effect.key}


@dataclass
class House:
    """The parts of a running service."""

    store: SqliteStore
    runtime: Runtime
    hub: PhoneBridge
    agent: Echo
    paper: Paper
    terminal: TerminalBridge
    telegram: TelegramBridge | None


def telegram_bridge(url: str, token: str, folder: Path) -> TelegramBridge:
    """A bridge with short waits."""
    settings = TelegramSettings(base_url=url, poll_seconds=2, edit_seconds=0.05)
    return TelegramBridge(lambda: token, settings, clock=SystemClock(), lock_folder=folder, pause=0.05)


@asynccontextmanager
async def house(
    folder: Path, *, url: str | None = None, token: str = "", limits: Limits | None = None, paired: bool = True
) -> AsyncIterator[House]:
    """A service on ``folder``; with ``url`` it talks to that Bot API server too."""
    store = SqliteStore.open(folder / "retainer.db", MIGRATIONS)
    clock = SystemClock()
    runtime = Runtime(store, clock, SafetyGuard(limits))
    hub = PhoneBridge(runtime, limits=limits, first_pause=0.05)
    terminal = TerminalBridge(store, clock)
    telegram = None if url is None else telegram_bridge(url, token, folder)
    bridges: list[Bridge] = [terminal, *([telegram] if telegram else [])]
    for bridge in bridges:
        hub.add(bridge)
    agent, paper = Echo(), Paper()
    await store.write(lambda tx: ensure_local_owner(tx, clock.now()))
    if paired:
        await store.write(lambda tx: add_device(tx, "telegram", OWNER, "admin", clock.now(), person_id="owner"))
    for each in (agent, hub):
        runtime.add_agent(each)
    for tool, adapter in {**hub.adapters(), "paper.order": paper}.items():
        runtime.add_adapter(tool, adapter)
    await runtime.start()
    await hub.start()
    try:
        yield House(store, runtime, hub, agent, paper, terminal, telegram)
    finally:
        await hub.stop()
        await runtime.stop(grace=2.0)
        store.close()


async def _serve(folder: Path, url: str, token: str) -> None:
    async with house(folder, url=url, token=token, limits=Limits(messages_per_minute=1000)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
