"""This project: an event received, handled by an agent with a model and a tool, guarded, journalled, delivered.

Every commit is an fsync (write-ahead log, synchronous=FULL). A plain turn: the event, the model's words as a recorded
step, the reply checked, audited, carried out and its end recorded. With a tool: the model's choice as a step, the call
as a guarded effect with its two states, the words as another step. The model answers within this process: what a turn
costs here is what the foundation costs. ``retainer_http`` is the same over the model server that the others use.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.turn_cost_contestants.task import ARGS, PLAIN, REPLY, SYSTEM, TOOL, wants_tool

from retainer import __version__
from retainer.app.config import LogSettings
from retainer.app.logs import setup_logging
from retainer.app.store import migrations
from retainer.core.capabilities import Capability
from retainer.core.clock import SystemClock
from retainer.core.effects import Effect, EffectClass, Permit, RepeatClass, StoredEffect
from retainer.core.events import Event, NewEvent
from retainer.core.protocols import ChatMessage, ChatModel, Context, OutgoingMessage
from retainer.core.replies import reply_effect
from retainer.core.values import Json, digest
from retainer.models.scripted import ScriptedModel
from retainer.runtime.runtime import Runtime
from retainer.runtime.sqlite import SqliteStore
from retainer.safety.guard import SafetyGuard
from retainer.safety.people import OWNER_ID, ensure_local_owner

VERSIONS = {"retainer": __version__}
ADDRESS = "terminal:local"


class ModelAgent:
    """Asks the model, calls the tool it chose, asks again, replies."""

    name = "chat"

    def __init__(self, model: ChatModel) -> None:
        self.model = model

    def capabilities(self) -> tuple[Capability, ...]:
        return ()

    async def handle(self, ctx: Context, event: Event) -> None:
        """One turn."""
        messages = [ChatMessage("system", SYSTEM), ChatMessage("user", str(event.body["text"]))]
        said = await self._ask(ctx, "model:0", messages)
        if said.startswith("{"):
            call = json.loads(said)
            effect = Effect(
                name="call:0:0",
                tool=call.pop("tool"),
                args=call,
                effect_class=EffectClass.WRITE_OWN,
                queue=event.lane,
                summary="add",
            )
            ctx.commit(effect)
            outcome = await ctx.call(effect)
            messages += [ChatMessage("assistant", said), ChatMessage("tool", json.dumps(outcome.result))]
            said = await self._ask(ctx, "model:1", messages)
        ctx.send(reply_effect(ADDRESS, OutgoingMessage(text=said)))

    async def _ask(self, ctx: Context, step: str, messages: Sequence[ChatMessage]) -> str:
        async def generate() -> str:
            return (await self.model.complete(messages)).text

        found = digest([[message.role, message.content] for message in messages])
        return await ctx.step(step, generate, input_digest=found)


class Adder:
    """The tool."""

    repeat = RepeatClass.ENFORCED

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        assert permit.covers(effect)
        return int(str(effect.args["a"])) + int(str(effect.args["b"]))


class Terminal:
    """Where replies are read by id."""

    repeat = RepeatClass.ENFORCED

    def __init__(self) -> None:
        self.said: list[str] = []
        self.spoke = asyncio.Event()

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        assert permit.covers(effect)
        self.said.append(str(effect.args["text"]))
        self.spoke.set()
        return None


def instant(messages: Sequence[ChatMessage]) -> str | Mapping[str, Json]:
    """The model in this process."""
    plain = [{"role": message.role, "content": message.content} for message in messages]
    return {"tool": "add", **ARGS} if wants_tool(plain) else REPLY


async def turns(url: str, folder: Path) -> dict[str, Callable[[], Awaitable[Any]]]:
    """With the model in this process."""
    return await turns_with(ScriptedModel(instant), folder)


async def turns_with(model: ChatModel, folder: Path) -> dict[str, Callable[[], Awaitable[Any]]]:
    """One message after another in one conversation; logging is the service's own."""
    setup_logging(folder / "logs", LogSettings())
    store = SqliteStore.open(folder / "retainer.db", migrations())
    clock, terminal = SystemClock(), Terminal()
    await store.write(lambda tx: ensure_local_owner(tx, clock.now()))
    runtime = Runtime(store, clock, SafetyGuard())
    runtime.add_agent(ModelAgent(model))
    runtime.add_adapter("terminal.reply", terminal)
    runtime.add_adapter("add", Adder())
    await runtime.start()
    number = 0

    async def turn(text: str) -> None:
        nonlocal number
        number += 1
        event = NewEvent(
            source="terminal",
            external_id=str(number),
            agent="chat",
            lane=f"chat:{ADDRESS}",
            kind="message",
            body={"text": text},
            sender=OWNER_ID,
            reply_to=ADDRESS,
            occurred_at=datetime.now(UTC),
        )
        terminal.spoke.clear()
        await runtime.receive(event)
        await terminal.spoke.wait()
        await runtime.idle()  # until that it was said is durable
        assert terminal.said == [REPLY] * number, terminal.said[-1:]

    async def close() -> None:
        await runtime.stop()
        await asyncio.to_thread(store.close)

    return {"plain": lambda: turn(PLAIN), "tool": lambda: turn(TOOL), "close": close}
