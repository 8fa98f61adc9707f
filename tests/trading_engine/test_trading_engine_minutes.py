"""Plans and live accounts on minute bars around a half day; the rules themselves are in the tests of sessions.

On Friday 23 November 2012 the exchange closed at 13:00 in New York, 18:00 UTC; on Monday it opened at 14:30 UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
from tests.trading_engine.engine_for_tests import deals, order, trade

from retainer.trading.bars import Bar, Bars
from retainer.trading.kernels import apply_accept, fill, open_account
from retainer.trading.limits import NO_FEES
from retainer.trading.state import Order
from retainer.trading.units import datetime_to_ns, to_units


def ns(text: str) -> int:
    """``2012-11-23 18:00`` in UTC as nanoseconds."""
    return datetime_to_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


def minutes(times: Sequence[str], prices: Sequence[float] = (), symbol: str = "AAPL") -> Bars:
    """Flat bars that close at these instants (UTC), at 100 dollars unless told otherwise."""
    flat = np.array(prices or [100.0] * len(times))
    return Bars(
        symbol=symbol,
        close_time=np.array([ns(text) for text in times]),
        open=flat,
        high=flat,
        low=flat,
        close=flat,
        volume=np.full(len(times), 1_000),
        factor=np.ones(len(times)),
    )


HALF_DAY = ("2012-11-23 17:59", "2012-11-23 18:00", "2012-11-23 18:01", "2012-11-26 14:30", "2012-11-26 14:31")
"""The last two minutes of the half day, one after it, then Monday: the pre-market's last minute and the first one."""


def test_targets_of_minute_bars_fill_whole_shares_at_the_next_minute_of_the_session() -> None:
    """Half of 1,000 dollars at 33: 15.15 shares, 15 whole ones. Wanted at 13:00 of the half day, filled at 9:31."""
    bars = minutes(HALF_DAY, (33, 33, 33, 33, 33))
    run = trade(bars, targets={"AAPL": [np.nan, 0.5, 0.5, 0.5, 0.5]}, cash=Decimal(1_000), calendar="XNYS")
    assert deals(run) == [(4, 1, 15, 33)]


def test_a_missing_minute_fills_nothing_and_is_not_filled_forward() -> None:
    """IBM trades at 14:32 and 14:34, AAPL every minute: IBM's order of 14:32 waits for 14:34."""
    every = [f"2012-11-26 14:{minute}" for minute in (32, 33, 34)]
    some = minutes((every[0], every[2]), (50, 52), "IBM")
    run = trade(minutes(every), some, orders=[order(0, "buy", 2, symbol="IBM"), order(0, "buy", 1)])
    assert deals(run) == [(1, 1, 1, 100), (2, 1, 2, 52)]


def test_live_minutes_end_a_day_order_with_the_half_day() -> None:
    """The live account knows days, not bells: the order rests through the half day and ends as Monday begins."""
    state, _ = open_account(10_000_000)
    held = Order(
        id="x", symbol="AAPL", side="buy", quantity=5, type="limit", limit=to_units(95), at=ns(HALF_DAY[0]), expires=0
    )
    for number, text in enumerate((HALF_DAY[0], HALF_DAY[1], HALF_DAY[4])):
        price = to_units(94 if number == 2 else 100)
        bar = Bar(
            symbol="AAPL", close_time=ns(text), open=price, high=price, low=price, close=price, volume=1, factor=1.0
        )
        done = fill(state, {"AAPL": bar}, ns(text), NO_FEES)
        state = apply_accept(done.state, held) if number == 0 else done.state
    assert done.fills == ()
    assert [one.reason for one in done.cancelled] == ["its session ended"]
