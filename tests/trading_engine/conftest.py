"""A tiny market, one bar a day from Monday 7 January 2013, prices in dollars."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from retainer.trading.bars import Bar, close_of
from retainer.trading.kernels import apply_accept, fill, open_account
from retainer.trading.limits import Fees, Limits
from retainer.trading.state import AccountState, Order
from retainer.trading.units import to_units

FREE = Fees(slippage_ppm=0)


class Desk:
    """Builds bars, accounts and orders in a few characters."""

    free = FREE
    limits = Limits(symbols=("AAPL", "GOOG", "IBM", "MSFT"))

    def at(self, day: int) -> int:
        """Close of day ``day`` (1 is the first), nanoseconds."""
        return close_of(date(2013, 1, 6) + timedelta(days=day))

    def bar(self, symbol: str, day: int, prices: tuple[float, ...], factor: float = 1.0) -> Bar:
        """A bar from (open, high, low, close), or from one price."""
        o, h, low, c = prices if len(prices) == 4 else prices * 4
        return Bar(
            symbol=symbol,
            close_time=self.at(day),
            open=to_units(o),
            high=to_units(h),
            low=to_units(low),
            close=to_units(c),
            volume=1_000,
            factor=factor,
        )

    def account(self, cash: float = 100_000, **closes: float) -> AccountState:
        """An account with ``cash`` dollars that has seen day 1, with these closes."""
        state, _ = open_account(round(cash * 100))
        bars = {s: self.bar(s, 1, (c,)) for s, c in closes.items()}
        return fill(state, bars, self.at(1), FREE).state

    def order(self, symbol: str, side: Any, quantity: int, day: int = 1, **more: Any) -> Order:
        """An accepted order; ``limit`` and ``stop`` in dollars set its type."""
        kind = next((name for name in ("limit", "stop") if name in more), "market")
        prices: dict[str, Any] = {name: to_units(more.pop(name)) for name in ("limit", "stop") if name in more}
        name = more.pop("id", f"{side}-{symbol}-{quantity}-{kind}-{day}")
        values = {**prices, **more, "type": kind}
        return Order(id=name, symbol=symbol, side=side, quantity=quantity, at=self.at(day), **values)

    def holding(self, symbol: str, quantity: int, price: float, *, strategy: str = "", **closes: float) -> AccountState:
        """An account at the end of day 2 that bought ``quantity`` at ``price`` then."""
        state = self.account(**{symbol: price, **closes})
        state = apply_accept(state, self.order(symbol, "buy", quantity, strategy=strategy))
        bars = {s: self.bar(s, 2, (c,)) for s, c in {symbol: price, **closes}.items()}
        return fill(state, bars, self.at(2), FREE).state


@pytest.fixture
def desk() -> Desk:
    return Desk()
