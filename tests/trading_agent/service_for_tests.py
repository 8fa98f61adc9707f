"""The service of these tests; also run as a program that is killed: ``python service_for_tests.py DB UNTIL``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from retainer.core.capabilities import Answer, Capability
from retainer.core.clock import SystemClock
from retainer.core.effects import Permit, RepeatClass, StoredEffect
from retainer.core.events import Event, NewEvent
from retainer.core.protocols import Context, Tx
from retainer.core.values import Json
from retainer.runtime.control import State, set_control
from retainer.runtime.effects import refuse_orders
from retainer.runtime.runtime import Runtime
from retainer.runtime.schema import MIGRATIONS as RUNTIME
from retainer.runtime.sqlite import SqliteStore
from retainer.safety import mandate
from retainer.safety.approvals import Answered, pending
from retainer.safety.guard import SafetyGuard
from retainer.safety.people import Principal, ensure_local_owner
from retainer.safety.schema import MIGRATIONS as SAFETY
from retainer.trading.agent import TradingBotAgent
from retainer.trading.bars import Bars, close_of
from retainer.trading.book import equity_of
from retainer.trading.feeds.replay import ReplayFeed
from retainer.trading.kernels import fill, open_account, propose
from retainer.trading.records import load
from retainer.trading.resting import apply_accept, order_id
from retainer.trading.samples import load_samples
from retainer.trading.schema import MIGRATIONS
from retainer.trading.settings import ReplaySettings, TradingSettings
from retainer.trading.state import AccountState, Fill, Order

HOME = "terminal:local"
LANE = "account:paper"
START = date(2005, 1, 3)


class SentReplies:
    """The terminal: what was said, once per key."""

    repeat = RepeatClass.ENFORCED

    def __init__(self) -> None:
        self.said: dict[str, Mapping[str, Any]] = {}

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        assert permit.covers(effect)
        self.said[effect.key] = dict(effect.args)
        return {}

    @property
    def texts(self) -> list[str]:
        return [str(args["text"]) for args in self.said.values()]


class QuietChat:
    """Handles nothing but the expiry of approvals, as the chat agent does."""

    name = "chat"

    def __init__(self, guard: SafetyGuard) -> None:
        self._guard = guard

    async def handle(self, ctx: Context, event: Event) -> None:
        if event.body.get("command") == "expire":
            approval = str(event.body["approval"])
            ctx.apply(lambda tx: self._expire(tx, approval, ctx.now))

    def _expire(self, tx: Tx, approval: str, now: datetime) -> None:
        self._guard.approvals.expire(tx, approval, now)

    def capabilities(self) -> Sequence[Capability]:
        return ()


def cut(market: Mapping[str, Bars], start: date, count: int) -> dict[str, Bars]:
    """The first ``count`` sessions from ``start``."""
    result = {}
    for symbol, bars in market.items():
        found = bars.since(close_of(start))
        if found is not None:
            result[symbol] = found.upto(count)
    return result


def settings_for(**changes: Any) -> TradingSettings:
    replay = ReplaySettings(start=START, live_from=date(2013, 3, 2), seconds_per_bar=0.05)
    return TradingSettings(replay=replay, **changes)


@dataclass
class Service:
    """A running service and shortcuts to use it like a person does."""

    store: SqliteStore
    runtime: Runtime
    guard: SafetyGuard
    agent: TradingBotAgent
    owner: Principal
    market: Mapping[str, Bars]
    replies: SentReplies = field(default_factory=SentReplies)
    count: int = 0

    async def replay(self, sessions: int, *, start: date = START) -> None:
        """Feed the first ``sessions`` sessions from ``start`` (those the account has not had yet)."""
        bars = cut(self.market, start, sessions)
        feed = ReplayFeed(lambda: bars, settings=self.agent.settings.replay)
        await feed.run(self.runtime)
        await self.runtime.idle()

    async def next_bar(self) -> None:
        """One more session."""
        await self.replay(self.bars_seen() + 1)

    def bars_seen(self) -> int:
        row = self.store.view().one("SELECT COUNT(*) AS n FROM equity")
        return int(row["n"]) if row else 0

    @property
    def state(self) -> AccountState:
        found = load(self.store.view(), "paper")
        assert found is not None
        return found

    async def request(self, capability: str, urgent: bool = False, **args: Json) -> None:
        """Ask as the owner in the terminal, through the lane."""
        self.count += 1
        body: dict[str, Json] = {"capability": capability, "args": args}
        await self.runtime.receive(
            NewEvent(
                source="agent:chat",
                external_id=f"r{self.count}",
                agent="trading",
                lane=LANE,
                kind="request",
                body=body,
                sender=self.owner.person_id,
                reply_to=HOME,
                occurred_at=self.runtime.clock.now(),
                urgent=urgent,
            )
        )
        await self.runtime.idle()

    async def ask(self, name: str, **args: Any) -> Answer:
        """A read capability's answer."""
        capability = next(c for c in self.agent.capabilities() if c.name == f"trading.{name}")
        assert capability.run is not None
        return await capability.run(self.store.view(), capability.parameters(**args))

    def card(self) -> str:
        """Id of the one approval that waits."""
        (found,) = pending(self.store.view())
        return found.id

    async def answer(self, approval: str, yes: bool = True, *, later: timedelta = timedelta(0)) -> Answered:
        now = self.runtime.clock.now() + later
        answered = await self.store.write(
            lambda tx: self.guard.approvals.answer(tx, approval, yes, self.owner, None, now)
        )
        self.runtime.wake()
        await self.runtime.idle()
        return answered

    async def control(self, state: State) -> None:
        now = self.runtime.clock.now()

        def unit(tx: Tx) -> None:
            set_control(tx, state, by=self.owner.person_id, reason="test", now=now)
            if state == "stopped":
                refuse_orders(tx, "Stopped by Owner.", now)

        await self.store.write(unit)
        self.runtime.wake()
        await self.runtime.idle()

    async def close(self) -> None:
        await self.runtime.stop()
        self.store.close()


async def open_service(path: Path, market: Mapping[str, Bars], **settings: Any) -> Service:
    """Open the database, sign the shipped strategy's mandate, start the runtime."""
    store = SqliteStore.open(path, (*RUNTIME, *SAFETY, *MIGRATIONS))
    guard = SafetyGuard(equity=equity_of)
    runtime = Runtime(store, SystemClock(), guard)
    agent = TradingBotAgent(settings_for(**settings), pictures=path.parent / "pictures")
    now = runtime.clock.now()
    owner = await store.write(lambda tx: ensure_local_owner(tx, now))
    if not mandate.in_force(store.view(), now, account="paper"):
        await store.write(lambda tx: _sign(tx, agent, owner, now))
    service = Service(store, runtime, guard, agent, owner, market)
    runtime.add_agent(agent)
    runtime.add_agent(QuietChat(guard))
    for tool, adapter in agent.adapters().items():
        runtime.add_adapter(tool, adapter)
    runtime.add_adapter("terminal.reply", service.replies)
    await runtime.start()
    return service


def _sign(tx: Tx, agent: TradingBotAgent, owner: Principal, now: datetime) -> None:
    mandate.sign(
        tx,
        account="paper",
        strategy=agent.desk.strategy.name,
        symbols=agent.desk.limits.symbols,
        equity=agent.settings.cash,
        expires_at=now + timedelta(days=365),
        by=owner,
        now=now,
        order_cap_share=Decimal("0.30"),
        daily_cap_share=Decimal(1),
        max_loss_share=Decimal("0.5"),
    )


@dataclass
class PureRun:
    """The kernels looped by hand, without runtime, guard or database."""

    state: AccountState
    fills: list[Fill]
    accepted: list[Order]


def pure_loop(market: Mapping[str, Bars], sessions: Sequence[int], agent: TradingBotAgent) -> PureRun:
    """What the account must be after ``sessions`` (close times): accept, fill, look, propose, bar after bar."""
    desk = agent.desk
    state, _ = open_account(desk.cash, desk.account, sessions[0])
    fills: list[Fill] = []
    waiting: list[Order] = []
    for at in sessions:
        for order in waiting:
            state = apply_accept(state, order)
        bars = {s: b.bar(row) for s, b in sorted(market.items()) if (row := b.index_of(at)) is not None}
        filled = fill(state, bars, at, desk.fees)
        fills += filled.fills
        proposal = propose(filled.state, desk.limits, desk.strategy.outlook(market, at).targets, at, desk.strategy.name)
        state = proposal.state
        waiting = [
            order.accepted(order_id(desk.account, order.strategy, order.symbol, order.side, at), at)
            for order in proposal.orders
            if order.bits == 0
        ]
    for order in waiting:
        state = apply_accept(state, order)
    return PureRun(state, fills, waiting)


async def _main(path: str, sessions: int) -> None:
    service = await open_service(Path(path), load_samples())
    print("ready", flush=True)
    await service.replay(sessions)
    await service.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
