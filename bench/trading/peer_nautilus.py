"""nautilus_trader at the shared work: ``peer_nautilus.py TASK close COUNT COMBOS``.

A market order sent on a bar fills at that bar's close; there is no fill at the next open. Amounts and fees are rounded
to the cent at every fill. Bars are made, and given to the engine, before the clock starts.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import work
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig, StrategyConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TraderId, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("SIM")
CLOSES: list[Any] = []
"""Of every symbol, for the strategy."""


class CrossConfig(StrategyConfig, frozen=True):
    bar_types: tuple[str, ...]
    fast: int = work.FAST
    slow: int = work.SLOW


class Cross(Strategy):
    def on_start(self) -> None:
        self.done = 0
        self.held_of: dict[Any, list[Any]] = {}
        for name, close in zip(self.config.bar_types, CLOSES, strict=True):
            kind = BarType.from_str(name)
            held = work.crossed(work.sums_of(close), self.config.fast, self.config.slow)
            self.held_of[kind] = [held, 0, False, kind.instrument_id]
            self.subscribe_bars(kind)

    def on_bar(self, bar: Any) -> None:
        state = self.held_of[bar.bar_type]
        wish = state[0][state[1]]
        state[1] += 1
        if not np.isnan(wish) and (wish > 0.5) != state[2]:
            state[2] = wish > 0.5
            side = OrderSide.BUY if state[2] else OrderSide.SELL
            self.submit_order(self.order_factory.market(state[3], side, Quantity.from_int(work.QUANTITY)))

    def on_order_filled(self, event: Any) -> None:
        self.done += 1


def make(task: str, series: list[work.Columns]) -> tuple[Any, tuple[str, ...]]:
    engine = BacktestEngine(
        BacktestEngineConfig(
            trader_id=TraderId("T-001"),
            logging=LoggingConfig(bypass_logging=True),
            risk_engine=RiskEngineConfig(bypass=True),
            run_analysis=False,
        )
    )
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.CASH, [Money(work.CASH, USD)], base_currency=USD)
    names = []
    for n, columns in enumerate(series):
        symbol, fee = Symbol(f"X{n}"), Decimal(str(work.FEE))
        share = Equity(
            InstrumentId(symbol, VENUE),
            symbol,
            USD,
            5,
            Price.from_str("0.00001"),
            Quantity.from_int(1),
            0,
            0,
            maker_fee=fee,
            taker_fee=fee,
        )
        engine.add_instrument(share)
        kind = BarType.from_str(f"X{n}.SIM-1-{'MINUTE' if task == 'minute' else 'DAY'}-LAST-EXTERNAL")
        index = pd.to_datetime(work.START_NS + np.arange(columns[0].size) * work.step_ns(task), utc=True)
        frame = pd.DataFrame(dict(zip(("open", "high", "low", "close", "volume"), columns, strict=True)), index=index)
        engine.add_data(BarDataWrangler(kind, share).process(frame), sort=False)
        names.append(str(kind))
    engine.sort_data()
    return engine, tuple(names)


def worth(engine: Any, series: list[work.Columns]) -> float:
    cash = float(engine.portfolio.account(VENUE).balance_total(USD))
    for n, columns in enumerate(series):
        cash += float(engine.portfolio.net_position(InstrumentId(Symbol(f"X{n}"), VENUE))) * columns[3][-1]
    return cash


def main(task: str, fill: str, count: int, combos: int) -> None:
    assert fill == "close", "there is no fill at the next open"
    series = work.market(task, count or None)
    CLOSES.extend(columns[3] for columns in series)
    engine, names = make(task, series)

    def test() -> tuple[int, float]:
        chosen = work.pairs(combos) if task == "sweep" else [(work.FAST, work.SLOW)]
        fills, equity = 0, 0.0
        for fast, slow in chosen:
            cross = Cross(CrossConfig(bar_types=names, fast=fast, slow=slow))
            engine.add_strategy(cross)
            engine.run()
            fills, equity = fills + cross.done, equity + worth(engine, series)
            engine.reset()
            engine.clear_strategies()
        return fills, equity

    work.report(engine="nautilus_trader", task=task, fill=fill, **work.measured(test, 2))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
