"""A strategy that has run wild, in the account's own lane: real feed hub, trading agent, risk, guard, mandate, broker.

It wants another size of every symbol at every bar, and the bars come twenty milliseconds apart. What was proposed, what
was refused by which part and what the broker accepted is read from the database afterwards.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from retainer.app.logs import library_logging
from retainer.core.clock import SystemClock
from retainer.core.events import NewEvent
from retainer.core.labels import TRUSTED
from retainer.core.protocols import RuntimeHandle, Tx
from retainer.core.values import Json
from retainer.runtime.runtime import Runtime
from retainer.runtime.schema import MIGRATIONS as RUNTIME
from retainer.runtime.sqlite import SqliteStore
from retainer.safety import mandate
from retainer.safety.guard import SafetyGuard
from retainer.safety.people import ensure_local_owner
from retainer.safety.schema import MIGRATIONS as SAFETY
from retainer.trading.agent import TradingBotAgent
from retainer.trading.bars import Bars, Floats
from retainer.trading.book import equity_of
from retainer.trading.feeds.stream import MarketDataStream
from retainer.trading.schema import MIGRATIONS as TRADING
from retainer.trading.settings import RiskLimits, TradingSettings
from retainer.trading.strategy import Signal, Strategy

SYMBOLS = tuple(f"RUN{n:03d}" for n in range(200))
FIRST = datetime(2026, 11, 2, 15, 0, tzinfo=UTC)
APART = timedelta(milliseconds=20)
WIDE = RiskLimits(
    orders_per_minute=1000, orders_per_day=100_000, open_orders=1000, duplicate_seconds=0, order=Decimal(1)
)
"""Limits of the account that let everything through, so that the guard stands alone."""


class Runaway(Strategy):
    """Wants a hundredth of a percent of the account more of every symbol at every bar."""

    name = "runaway"
    symbols = SYMBOLS

    def indicators(self, bars: Bars) -> dict[str, Floats]:
        return {}

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        return np.minimum(1.0, np.arange(1, len(bars) + 1) / 10_000)

    def explain(self, bars: Bars, indicators: Mapping[str, Floats], row: int) -> Signal:
        return Signal({}, "none", "none", "it wants more")


class Storm:
    """A feed whose bars come without end."""

    name = "storm"
    account = "paper"

    def __init__(self, bars: int) -> None:
        self._bars = bars

    async def run(self, runtime: RuntimeHandle) -> None:
        price: dict[str, Json] = dict.fromkeys(("open", "high", "low", "close"), "1.00")
        bars: dict[str, Json] = {symbol: {**price, "volume": 1_000_000} for symbol in SYMBOLS}
        for n in range(self._bars):
            at = (FIRST + n * APART).isoformat()
            event = NewEvent(
                source=f"feed:{self.name}",
                external_id=f"paper@{at}",
                agent="trading",
                lane="account:paper",
                kind="bar",
                body={"account": self.account, "at": at, "bars": bars},
                label=TRUSTED,
                occurred_at=FIRST + n * APART,
            )
            await runtime.receive(event)
            await runtime.idle("account:paper")

    def health(self) -> Mapping[str, Json]:
        return {"ok": True, "detail": "storming", "at": None}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counted from the records."""

    proposed: int
    by_risk: Mapping[str, int]
    by_guard: Mapping[str, int]
    asked: int
    sent: int
    """Orders that the broker accepted."""


async def run_away(database: Path, orders: int, limits: RiskLimits | None = None) -> Outcome:
    """Until at least ``orders`` were proposed. Default limits are the shipped ones."""
    library_logging()
    store = SqliteStore.open(database, (*RUNTIME, *SAFETY, *TRADING))
    settings = TradingSettings(symbols=SYMBOLS, limits=limits or RiskLimits())
    agent = TradingBotAgent(settings)
    agent.desk = replace(agent.desk, strategy=Runaway())
    runtime = Runtime(store, SystemClock(), SafetyGuard(equity=equity_of))
    runtime.add_agent(agent)
    for tool, adapter in agent.adapters().items():
        runtime.add_adapter(tool, adapter)
    store.write_now(_sign)
    await runtime.start()
    stream = MarketDataStream(Storm(-(-orders // len(SYMBOLS))))
    await stream.start(runtime)
    await stream.wait()
    await runtime.idle()
    await stream.stop()
    await runtime.stop()
    outcome = _count(store)
    store.close()
    return outcome


def _sign(tx: Tx) -> None:
    now = SystemClock().now()
    mandate.sign(
        tx,
        account="paper",
        strategy=Runaway.name,
        symbols=SYMBOLS,
        equity=Decimal(100_000),
        expires_at=now + timedelta(days=30),
        by=ensure_local_owner(tx, now),
        now=now,
        order_cap_share=Decimal("0.30"),
        daily_cap_share=Decimal(1),
        max_loss_share=Decimal("0.50"),
    )


def _count(store: SqliteStore) -> Outcome:
    view = store.view()
    decided = view.query("SELECT state, risk, COUNT(*) AS n FROM decision GROUP BY state, risk")
    effects = view.query(
        "SELECT state, reason, COUNT(*) AS n FROM effect WHERE effect_class = 'money' GROUP BY state, reason"
    )
    risk: Counter[str] = Counter()
    for row in decided:
        if not str(row["risk"]).startswith("Passed"):
            risk[str(row["risk"])] += int(row["n"])
    return Outcome(
        proposed=sum(int(row["n"]) for row in decided),
        by_risk=risk,
        by_guard={str(row["reason"]): int(row["n"]) for row in effects if row["state"] == "refused"},
        asked=sum(int(row["n"]) for row in effects if row["state"] == "asked"),
        sent=sum(int(row["n"]) for row in effects if row["state"] in {"done", "unknown", "sending", "ready"}),
    )


def measure(folder: Path, orders: int, limits: RiskLimits | None = None) -> Outcome:
    """:func:`run_away` for synchronous code."""
    return asyncio.run(run_away(folder / f"{orders}-{limits is None}.db", orders, limits))
