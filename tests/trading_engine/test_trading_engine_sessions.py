"""Minute bars and the exchange's day: daylight saving, half days, nights. Times are UTC, figures computed by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from tests.trading_engine.engine_for_tests import Prices, deals, order, trade

from retainer.trading.bars import Bars, market_date
from retainer.trading.calendar import market_days
from retainer.trading.engine import CANCEL_REASONS
from retainer.trading.limits import Limits, Reason
from retainer.trading.units import datetime_to_ns, ns_to_datetime

SUMMER_TIME = "2013-03-10"
"""New York goes from UTC-5 to UTC-4: the session of Friday 8 March is 14:30 to 21:00, of Monday the 11th 13:30 to
20:00."""
WINTER_TIME = "2013-11-03"
"""And back: Friday 1 November is 13:30 to 20:00, Monday the 4th 14:30 to 21:00."""
HALF_DAY = "2013-11-29"
"""The day after Thanksgiving: 9:30 to 13:00 in New York, 14:30 to 18:00 UTC."""


def ns(text: str) -> int:
    return datetime_to_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


def minutes(rows: dict[str, Prices], symbol: str = "AAPL") -> Bars:
    """Bars by the instant of their close, from one price or (open, high, low, close)."""
    quotes = np.array([row if isinstance(row, tuple) else (row,) * 4 for row in rows.values()], dtype=float).T
    return Bars(
        symbol=symbol,
        close_time=np.array([ns(text) for text in rows]),
        open=quotes[0],
        high=quotes[1],
        low=quotes[2],
        close=quotes[3],
        volume=np.full(len(rows), 1_000),
        factor=np.ones(len(rows)),
    )


def reasons(run: Any) -> list[str]:
    return [CANCEL_REASONS[int(gone["reason"])] for gone in run.cancelled]


# --- daylight saving --------------------------------------------------------------------------------------------------
def test_the_first_minute_after_summer_time_began_is_an_hour_earlier_and_fills() -> None:
    bars = minutes({"2013-03-08 20:59": 100, "2013-03-08 21:00": 101, "2013-03-11 13:31": (103, 104, 102, 104)})
    run = trade(bars, orders=[order(1, "buy", 5)], calendar="XNYS")
    assert deals(run) == [(2, 1, 5, 103)]  # decided on Friday's last minute, filled at Monday's first open
    assert len(run.refused) == 0


@pytest.mark.parametrize(
    ("instant", "trades"),
    [
        # winter, New York is 5 hours behind: 14:30 to 21:00
        ("2013-03-08 13:31", False),
        ("2013-03-08 14:30", False),  # a bar that closes as the session opens was before it
        ("2013-03-08 14:31", True),
        ("2013-03-08 21:00", True),
        ("2013-03-08 21:01", False),
        # summer, 4 hours: 13:30 to 20:00
        ("2013-03-11 13:30", False),
        ("2013-03-11 13:31", True),
        ("2013-03-11 20:00", True),
        ("2013-03-11 20:01", False),
        ("2013-11-01 13:31", True),
        ("2013-11-01 20:01", False),
        # winter again
        ("2013-11-04 13:31", False),
        ("2013-11-04 14:31", True),
        ("2013-11-04 21:00", True),
        ("2013-11-04 21:01", False),
        # the half day: 14:30 to 18:00
        ("2013-11-29 14:31", True),
        ("2013-11-29 18:00", True),
        ("2013-11-29 18:01", False),
        ("2013-11-29 20:59", False),
        # no session
        ("2013-11-28 15:00", False),  # Thanksgiving
        ("2013-03-09 15:00", False),  # a Saturday
    ],
)
def test_a_minute_trades_within_the_hours_of_its_own_day_only(instant: str, trades: bool) -> None:
    """An order waits from Thursday 7 March (a full session) or is decided on the minute itself."""
    bars = minutes({"2013-03-07 15:00": 100, instant: 101})
    run = trade(bars, orders=[order(0, "buy", 5), order(1, "buy", 6)], calendar="XNYS")
    assert deals(run) == ([(1, 1, 5, 101)] if trades else [])
    assert [Reason(int(bits)) for bits in run.refused["bits"]] == ([] if trades else [Reason.MARKET_CLOSED])
    assert [waiting.quantity for waiting in run.pending] == ([6] if trades else [5])


def test_a_stop_is_not_met_by_bars_outside_the_session() -> None:
    """13:31 UTC is within the session of 1 November, and an hour before that of the 4th."""
    bars = minutes(
        {
            "2013-11-01 19:58": 100,
            "2013-11-01 19:59": 100,
            "2013-11-01 20:30": (100, 100, 90, 100),  # after hours
            "2013-11-04 13:31": (95, 95, 90, 95),  # before hours
            "2013-11-04 14:31": (99, 99, 98, 99),
            "2013-11-04 14:32": (98, 98, 96, 97),
        }
    )
    orders = [order(0, "buy", 10), order(1, "sell", 10, type="stop", stop=97)]
    run = trade(bars, orders=orders, calendar="XNYS")
    assert deals(run) == [(1, 1, 10, 100), (5, -1, 10, 97)]
    assert deals(trade(bars, orders=orders))[1:] == [(2, -1, 10, 97)]  # without a calendar every bar trades


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        ("2013-03-09 04:59", "2013-03-08"),  # 23:59 in winter
        ("2013-03-09 05:00", "2013-03-09"),
        ("2013-03-10 04:59", "2013-03-09"),
        ("2013-03-10 05:00", "2013-03-10"),  # the day of the change is 23 hours long
        ("2013-03-11 03:59", "2013-03-10"),
        ("2013-03-11 04:00", "2013-03-11"),
        ("2013-11-03 03:59", "2013-11-02"),
        ("2013-11-03 04:00", "2013-11-03"),  # and this one 25
        ("2013-11-04 04:59", "2013-11-03"),
        ("2013-11-04 05:00", "2013-11-04"),
    ],
)
def test_a_bar_belongs_to_its_date_in_new_york(instant: str, day: str) -> None:
    """One bar alone, and among others on both sides of the change: the same date."""
    assert market_date(ns(instant)).isoformat() == day
    around = np.sort(np.array([ns(f"{SUMMER_TIME} 12:00"), ns(instant), ns(f"{WINTER_TIME} 12:00")]))
    found = market_days(around)[np.searchsorted(around, ns(instant))]
    assert found == datetime.fromisoformat(day).toordinal()


def test_the_hour_that_is_told_twice_is_traded_in_the_order_of_its_instants() -> None:
    """1:30 in New York comes twice on 3 November 2013: at 5:30 and at 6:30 UTC. Crypto trades through it."""
    bars = minutes({"2013-11-03 05:30": 100, "2013-11-03 06:30": 101, "2013-11-03 06:31": 102})
    run = trade(bars, orders=[order(0, "buy", 5, type="limit", limit=101, day=True), order(1, "buy", 6)])
    assert deals(run) == [(1, 1, 5, 101), (2, 1, 6, 102)]


# --- orders for the day -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("last", "first_after"),
    [
        ("2013-03-09 04:59", "2013-03-09 05:01"),  # midnight in New York in winter
        ("2013-03-12 03:59", "2013-03-12 04:01"),  # and in summer
        ("2013-11-04 04:59", "2013-11-04 05:01"),  # the day of the change to winter time
    ],
)
def test_an_order_for_the_day_ends_with_the_date_in_new_york(last: str, first_after: str) -> None:
    before = str(ns_to_datetime(ns(last) - 120 * 10**9))[:16]
    quiet = str(ns_to_datetime(ns(last) - 60 * 10**9))[:16]
    limit = [order(0, "buy", 10, type="limit", limit=95, day=True)]
    same_day = trade(minutes({before: 100, quiet: 100, last: 94, first_after: 94}), orders=limit)
    assert deals(same_day) == [(2, 1, 10, 94)]
    next_day = trade(minutes({before: 100, quiet: 100, last: 100, first_after: 94}), orders=limit)
    assert deals(next_day) == []
    assert reasons(next_day) == ["its session ended"]


def test_an_order_for_the_day_ends_at_the_close_of_a_half_day() -> None:
    """At 18:00 UTC the half day is over: what trades after it, and at the next open, meets no order for the day."""
    bars = minutes(
        {
            "2013-11-29 17:58": 100,
            "2013-11-29 17:59": 100,
            "2013-11-29 18:00": 99,
            "2013-11-29 18:01": 90,
            "2013-12-02 14:31": 90,
        }
    )
    run = trade(bars, orders=[order(0, "buy", 10, type="limit", limit=95, day=True)], calendar="XNYS")
    assert deals(run) == []
    assert reasons(run) == ["its session ended"]
    assert run.pending == ()
    kept = trade(bars, orders=[order(0, "buy", 10, type="limit", limit=95)], calendar="XNYS")
    assert deals(kept) == [(4, 1, 10, 90)]


def test_an_order_for_the_day_decided_at_the_last_minute_is_for_the_session_that_follows() -> None:
    bars = minutes(
        {
            "2013-11-29 18:00": 100,
            "2013-11-29 18:01": 90,
            "2013-12-02 14:31": 100,
            "2013-12-02 21:00": 94,
            "2013-12-03 14:31": 94,
        }
    )
    run = trade(bars, orders=[order(0, "buy", 10, type="limit", limit=95, day=True)], calendar="XNYS")
    assert deals(run) == [(3, 1, 10, 94)]


# --- half days --------------------------------------------------------------------------------------------------------
def test_what_is_decided_on_the_last_minute_of_a_half_day_fills_at_the_next_session_s_open() -> None:
    bars = minutes(
        {
            "2013-11-29 17:59": 100,
            "2013-11-29 18:00": 101,
            "2013-11-29 18:01": 102,
            "2013-11-29 21:00": 103,
            "2013-12-02 14:31": (105, 106, 104, 106),
        }
    )
    run = trade(bars, orders=[order(1, "buy", 5)], calendar="XNYS")
    assert deals(run) == [(4, 1, 5, 105)]
    assert run.fills["decided"][0] == ns(f"{HALF_DAY} 18:00")
    closing = trade(bars, orders=[order(0, "buy", 5, type="on_close"), order(1, "buy", 6, type="on_close")])
    assert deals(closing) == [(1, 1, 5, 101), (2, 1, 6, 102)]
    held = trade(
        bars, orders=[order(0, "buy", 5, type="on_close"), order(1, "buy", 6, type="on_close")], calendar="XNYS"
    )
    assert deals(held) == [(1, 1, 5, 101), (4, 1, 6, 106)]


def test_targets_that_change_after_the_close_of_a_half_day_wait_for_the_session() -> None:
    bars = minutes({"2013-11-29 18:00": 100, "2013-11-29 18:01": 100, "2013-12-02 14:31": 100, "2013-12-02 14:32": 102})
    run = trade(bars, targets={"AAPL": [0, 5, 5, 5]}, unit="shares", calendar="XNYS")
    assert [Reason(int(bits)) for bits in run.refused["bits"]] == [Reason.MARKET_CLOSED]
    assert deals(run) == []  # an entry is wanted on the change of the target, and that was refused
    inside = trade(bars, targets={"AAPL": [5, 5, 5, 5]}, unit="shares", calendar="XNYS")
    assert deals(inside) == [(2, 1, 5, 100)]


# --- nights -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sold", "bought", "nights"),
    [
        ("2013-03-07 15:01", "2013-03-07 21:00", 0),  # within a day: nothing is borrowed over night
        ("2013-03-07 21:00", "2013-03-08 14:31", 1),  # 17.5 hours
        ("2013-03-08 14:31", "2013-03-11 20:00", 3),  # over the weekend of the 23-hour day: 76.5 hours
        ("2013-11-01 13:31", "2013-11-04 21:00", 3),  # over that of the 25-hour day: 80.5 hours
        ("2013-11-29 18:00", "2013-12-02 14:31", 3),  # from a half day on
    ],
)
def test_borrowed_shares_cost_by_the_night_and_not_by_the_hour(sold: str, bought: str, nights: int) -> None:
    """A 365th of 36.5 % is 0.1 % a night: of 100 shares at 50 dollars, 5 dollars."""
    before = str(ns_to_datetime(ns(sold) - 60 * 10**9))[:16]
    later = str(ns_to_datetime(ns(bought) - 30 * 10**9))[:19]
    bars = minutes({before: 50, sold: 50, later: 50, bought: 50})
    run = trade(bars, orders=[order(0, "sell", 100), order(2, "buy", 100)], short=True, borrow=0.365)
    assert [(row, side) for row, side, _, _ in deals(run)] == [(1, -1), (3, 1)]
    assert run.borrow_cost == 5 * nights
    assert run.final == 100_000 - 5 * nights


def test_a_short_of_a_year_s_nights_costs_a_year_s_rate() -> None:
    """365 nights at 10 % of 1,000 dollars, whatever the number of sessions: 100 dollars, less what rounding adds."""
    year = ["2013-01-07 21:00", "2013-01-08 21:00", "2013-07-08 20:00", "2014-01-08 21:00"]
    run = trade(minutes(dict.fromkeys(year, 10)), orders=[order(0, "sell", 100)], short=True, borrow=0.1)
    # 181 nights: 49.589 up to 49.59; 184 nights: 50.411 up to 50.42
    assert run.borrow_cost == 49.59 + 50.42


def test_the_day_s_loss_starts_again_at_midnight_in_new_york() -> None:
    """Down 4 % since the session's start, above the limit of 3 %: no buy; a minute of the next date allows it."""
    limits = Limits(symbols=("AAPL",), daily_loss_bps=300, order_bps=10_000, position_bps=10_000, duplicate_ns=0)
    bars = minutes(
        {
            "2013-03-11 19:00": 100,
            "2013-03-11 19:01": 100,
            "2013-03-12 13:31": 100,
            "2013-03-13 03:59": 96,  # 23:59 in New York
            "2013-03-13 04:01": 96,  # 0:01
            "2013-03-13 04:02": 96,
        }
    )
    orders = [order(0, "buy", 990), order(3, "buy", 1), order(4, "buy", 2)]
    run = trade(bars, orders=orders, limits=limits)
    assert [(int(no["row"]), Reason(int(no["bits"]))) for no in run.refused] == [(3, Reason.DAILY_LOSS)]
    assert deals(run) == [(1, 1, 990, 100), (5, 1, 2, 96)]


# --- settlement -------------------------------------------------------------------------------------------------------
def test_proceeds_settle_by_sessions_and_not_by_bars() -> None:
    """Sold in the morning: not there in the afternoon, there the next session."""
    rows: dict[str, Prices] = dict.fromkeys(
        ["2013-03-08 15:01", "2013-03-08 15:02", "2013-03-08 15:03", "2013-03-08 21:00", "2013-03-11 13:31"], 100
    )
    other: dict[str, Prices] = dict.fromkeys([*rows, "2013-03-11 13:32"], 50)
    orders = [
        order(0, "buy", 1_000),
        order(1, "sell", 1_000),
        order(2, "buy", 100, symbol="IBM"),
        order(4, "buy", 101, symbol="IBM"),
    ]
    run = trade(minutes(rows), minutes(other, "IBM"), orders=orders, settle_sessions=1, calendar="XNYS")
    assert deals(run) == [(1, 1, 1_000, 100), (2, -1, 1_000, 100), (5, 1, 101, 50)]
    assert [Reason(int(bits)) for bits in run.refused["bits"]] == [Reason.CASH]


def test_days_without_a_session_settle_nothing() -> None:
    """Sold on Friday, T+2 is Tuesday: bars of the weekend, when nothing trades, are no sessions."""
    days: dict[str, Prices] = dict.fromkeys(
        [
            "2013-03-07 21:00",
            "2013-03-08 14:31",
            "2013-03-08 14:32",
            "2013-03-09 15:00",
            "2013-03-10 15:00",
            "2013-03-11 20:00",
            "2013-03-12 13:31",
            "2013-03-12 13:32",
        ],
        100,
    )
    orders = [order(0, "buy", 1_000), order(1, "sell", 1_000), order(5, "buy", 7), order(6, "buy", 8)]
    run = trade(minutes(days), orders=orders, settle_sessions=2, calendar="XNYS")
    assert [Reason(int(bits)) for bits in run.refused["bits"]] == [Reason.CASH]
    assert deals(run)[2:] == [(7, 1, 8, 100)]


# --- the very close ---------------------------------------------------------------------------------------------------
def test_a_fill_at_the_very_close_takes_its_share_of_that_bar_s_volume_and_goes_on_within_sessions_only() -> None:
    """A tenth of 1,000 shares a bar; 18:01 is after the half day's close."""
    bars = minutes({"2013-11-29 17:59": 100, "2013-11-29 18:00": 101, "2013-11-29 18:01": 102, "2013-12-02 14:31": 103})
    how: dict[str, Any] = {"unit": "shares", "fill_on": "same_close", "volume_share": 0.1}
    run = trade(bars, targets={"AAPL": [250] * 4}, calendar="XNYS", **how)
    assert deals(run) == [(0, 1, 100, 100), (1, 1, 100, 101), (3, 1, 50, 103)]
