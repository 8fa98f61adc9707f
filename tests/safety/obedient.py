"""An agent that wants whatever it is told to want, in a real runtime with recording adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from retainer.core.capabilities import Capability
from retainer.core.clock import SystemClock
from retainer.core.effects import Effect, EffectClass, Permit, RepeatClass, StoredEffect
from retainer.core.events import Event, NewEvent
from retainer.core.labels import TRUSTED, Label
from retainer.core.protocols import Context, Tx
from retainer.core.values import Json
from retainer.runtime.runtime import Runtime
from retainer.runtime.sqlite import SqliteStore
from retainer.safety.approvals import pending
from retainer.safety.guard import SafetyGuard
from retainer.safety.people import Principal

Wishes = Callable[[Event], Sequence[Effect]]


class Recorder:
    """An adapter that notes what it was made to do, and by which permit."""

    repeat = RepeatClass.ENFORCED

    def __init__(self) -> None:
        self.done: list[StoredEffect] = []

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        assert permit.covers(effect)
        self.done.append(effect)
        return None


class Obedient:
    """Reads something of the label it is told, then wants whatever it is told to want."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reads: Label | None = None
        self.commits: Sequence[Effect] = ()
        self.wishes: Wishes = lambda _event: ()

    async def handle(self, ctx: Context, event: Event) -> None:
        if event.kind not in {"message", "bar", "request"}:
            return
        for effect in self.commits:
            ctx.commit(effect)
        if self.reads is not None:

            async def read() -> str:
                return "text"

            await ctx.step("read", read, label=self.reads)
        for effect in self.wishes(event):
            ctx.send(effect)

    def capabilities(self) -> Sequence[Capability]:
        return ()


class House:
    """A running service with one obedient agent and recording adapters."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.guard = SafetyGuard()
        self.runtime = Runtime(store, SystemClock(), self.guard)
        self.agent = Obedient("trading")
        self.recorder = Recorder()
        self.count = 0
        self.other = Obedient("chat")
        for agent in (self.agent, self.other):
            self.runtime.add_agent(agent)
        for tool in (
            "telegram.reply",
            "terminal.reply",
            "paper.order",
            "web.get",
            "notes.add",
            "notes.wipe",
            "admin.set",
        ):
            self.runtime.add_adapter(tool, self.recorder)

    async def happen(self, kind: str, sender: str | None, label: Label = TRUSTED) -> None:
        await self.tell("trading", kind, sender, label)

    async def tell(self, agent: str, kind: str, sender: str | None, label: Label = TRUSTED) -> None:
        """Let an event of ``kind`` happen to ``agent`` and wait until all that follows is done."""
        self.count += 1
        event = NewEvent(
            source="feed:test" if kind == "bar" else "test",
            external_id=str(self.count),
            agent=agent,
            lane="account:paper",
            kind=kind,
            sender=sender,
            label=label,
            reply_to="telegram:42" if sender else None,
            occurred_at=SystemClock().now(),
        )
        await self.runtime.receive(event)
        await asyncio.wait_for(self.runtime.idle("account:paper"), 10)

    def tools_done(self) -> list[str]:
        return [effect.tool for effect in self.recorder.done if not effect.name.endswith(":card")]

    def cards(self) -> list[StoredEffect]:
        return [effect for effect in self.recorder.done if effect.name.endswith(":card")]

    async def answer(self, who: Principal, *, yes: bool = True) -> str:
        (waiting,) = pending(self.store.view())
        now = SystemClock().now()

        def unit(tx: Tx, _now: datetime) -> str:
            return self.guard.approvals.answer(tx, waiting.id, yes, who, None, now).result

        result = await self.runtime._carrier.write(unit)
        await asyncio.wait_for(self.runtime.idle("account:paper"), 10)
        return result


def wish(name: str, tool: str, kind: EffectClass, **args: Json) -> Effect:
    return Effect(name=name, tool=tool, args=args, effect_class=kind, queue=tool)
