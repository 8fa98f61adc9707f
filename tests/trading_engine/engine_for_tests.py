"""Tiny markets for the engine's tests: daily bars from Monday 7 January 2013 on, prices in dollars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from retainer.trading.bars import Bars, close_of
from retainer.trading.engine import EngineSettings, Plan, PlannedOrder, Run, simulate
from retainer.trading.limits import NO_FEES

Prices = float | tuple[float, float, float, float] | None


def series(prices: Sequence[Prices], symbol: str = "AAPL", *, volume: int = 1_000, factor: Any = None) -> Bars:
    """Bars from closes or (open, high, low, close); ``None`` is a missing bar."""
    days = [n for n, price in enumerate(prices) if price is not None]
    rows = [p if isinstance(p, tuple) else (p,) * 4 for p in prices if p is not None]
    columns = np.array(rows, dtype=float).T
    return Bars(
        symbol=symbol,
        close_time=np.array([close_of(date(2013, 1, 7) + timedelta(days=day)) for day in days]),
        open=columns[0],
        high=columns[1],
        low=columns[2],
        close=columns[3],
        volume=np.full(len(days), volume),
        factor=np.ones(len(days)) if factor is None else np.array(factor, dtype=float),
    )


def order(row: int, side: Any, quantity: float, **more: Any) -> PlannedOrder:
    """An order in AAPL at the close of ``row``."""
    return PlannedOrder(row=row, symbol=more.pop("symbol", "AAPL"), side=side, quantity=quantity, **more)


def trade(*bars: Bars, orders: Sequence[PlannedOrder] = (), targets: Any = None, **settings: Any) -> Run:
    """Trade on plain kernels for nothing (no fee, no slippage) unless told otherwise."""
    plan = {name: settings.pop(name) for name in ("stop_loss", "take_profit", "trailing", "unit") if name in settings}
    own = EngineSettings(**{"fees": NO_FEES, "cash": Decimal(100_000), **settings})
    wanted = {symbol: np.array(values, dtype=float) for symbol, values in (targets or {}).items()}
    market = {one.symbol: one for one in bars}
    return simulate(market, Plan(targets=wanted, orders=tuple(orders), **plan), own, compiled=False)


def deals(run: Run) -> list[tuple[int, int, float, float]]:
    """(row, side, shares, price) of every fill."""
    return [(int(f["row"]), int(f["side"]), float(f["quantity"]), float(f["price"])) for f in run.fills]
