"""Bars at the door: what is accepted, how it is stamped, and which row and field is named when it is not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError
from retainer.trading.actions import Action, corporate_action
from retainer.trading.bars import Bar, Bars, bars_at, close_of, from_frame, market_date, sessions
from retainer.trading.units import datetime_to_ns, ns_to_datetime


def frame(**changes: Any) -> pd.DataFrame:
    table = {
        "Open": [100.0, 101.0, 102.0],
        "High": [103.0, 104.0, 105.0],
        "Low": [99.0, 100.0, 101.0],
        "Close": [101.0, 102.0, 103.0],
        "Volume": [10, 20, 30],
        **changes,
    }
    return pd.DataFrame(table, index=pd.DatetimeIndex(["2013-03-07", "2013-03-08", "2013-03-11"]))


def test_daily_bars_are_stamped_by_the_close_in_new_york_daylight_saving_included() -> None:
    bars = from_frame(frame(), "AAPL")["AAPL"]
    assert [ns_to_datetime(int(t)) for t in bars.close_time] == [
        datetime(2013, 3, 7, 21, tzinfo=UTC),
        datetime(2013, 3, 8, 21, tzinfo=UTC),
        datetime(2013, 3, 11, 20, tzinfo=UTC),  # summer time began on the 10th
    ]
    assert market_date(int(bars.close_time[2])) == date(2013, 3, 11)


def test_sessions_close_at_four_in_new_york_in_summer_and_winter_and_back_to_1962() -> None:
    for zone in (None, "UTC", "America/New_York"):
        index = pd.date_range("1962-01-02", periods=9_000, freq="3D", tz=zone)
        columns = dict.fromkeys(("open", "high", "low", "close"), np.ones(index.size))
        bars = from_frame(pd.DataFrame(columns, index=index), "AAPL")["AAPL"]
        assert bars.close_time.tolist() == [close_of(day) for day in index.date]


def test_aware_instants_are_taken_as_the_close() -> None:
    table = frame()
    table.index = pd.DatetimeIndex(["2013-03-07 10:00", "2013-03-07 11:00", "2013-03-07 12:00"], tz="America/New_York")
    bars = from_frame(table, "AAPL")["AAPL"]
    assert bars.closed_at(0) == datetime(2013, 3, 7, 15, tzinfo=UTC)


def test_aware_midnights_are_days() -> None:
    table = frame()
    table.index = pd.DatetimeIndex(table.index, tz="America/New_York")
    assert from_frame(table, "AAPL")["AAPL"].closed_at(0) == datetime(2013, 3, 7, 21, tzinfo=UTC)


def test_a_naive_time_of_day_is_refused() -> None:
    table = frame()
    table.index = pd.DatetimeIndex(["2013-03-07 10:00", "2013-03-07 11:00", "2013-03-07 12:00"])
    with pytest.raises(InvalidInputError, match="without a zone"):
        from_frame(table)


def test_mixed_zones_are_refused() -> None:
    naive = [pd.Timestamp("2013-03-07"), pd.Timestamp("2013-03-08", tz="UTC"), pd.Timestamp("2013-03-11")]
    two = ["2013-03-07 10:00+01:00", "2013-03-08 10:00+01:00", "2013-03-11 10:00+02:00"]
    for mixed, row in ((naive, 1), (two, 2)):
        table = frame().reset_index(drop=True).assign(date=pd.Series(mixed, dtype=object))
        with pytest.raises(InvalidInputError, match=f"row {row}: .*mix zones"):
            from_frame(table)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Close": [101.0, float("nan"), 103.0]}, r"row 1 .*close nan"),
        ({"Open": [100.0, 101.0, float("inf")]}, r"row 2 .*open inf"),
        ({"Low": [0.0, 100.0, 101.0]}, r"row 0 .*low 0.0 is not above zero"),
        ({"Low": [-1.0, 100.0, 101.0]}, r"row 0 .*low -1.0 is not above zero"),
        ({"High": [103.0, 101.5, 105.0]}, r"row 1 .*high 101.5 is below"),
        ({"Low": [99.0, 101.5, 101.0]}, r"row 1 .*low 101.5 is above"),
        ({"Volume": [10, -1, 30]}, r"row 1 .*volume -1 is negative"),
        ({"Volume": [10, float("nan"), 30]}, r"row 1: volume nan is not a finite number"),
        ({"Volume": [10, 1e300, 30]}, r"row 1: volume 1e\+300 is more than was ever traded"),
        ({"High": [103.0, 104.0, 1e300]}, r"row 2 .*high 1e\+300 is more than any share costs"),
        ({"Close": ["101", "x", "103"]}, r"close holds something that is no number"),
        ({"Adj Close": [50.0, 0.0, 103.0]}, r"row 1 .*factor 0.0"),
    ],
)
def test_a_bad_value_is_named_by_row_and_field(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        from_frame(frame(**changes), "AAPL")


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (["2013-03-08", "2013-03-07", "2013-03-11"], "row 1 .*earlier"),
        (["2013-03-07", "2013-03-07", "2013-03-11"], "row 1 .*twice"),
        (["2013-03-07", None, "2013-03-11"], "row 1: the date is missing"),
        (["2013-03-07", "2013-03-08", "9999-12-31"], "row 2: time 9999-12-31T00:00:00 is not between"),
    ],
)
def test_days_are_sorted_and_each_once(days: list[str | None], words: str) -> None:
    table = frame()
    table.index = pd.DatetimeIndex(days)
    with pytest.raises(InvalidInputError, match=words):
        from_frame(table, "AAPL")


def test_empty_and_shapeless_input_is_refused() -> None:
    cases: list[tuple[Any, str]] = [
        (frame().iloc[:0], "no rows"),
        (frame().drop(columns="High"), "lacks the column high"),
        (frame().reset_index(drop=True), "neither a DatetimeIndex"),
        (frame().assign(open=1.0), "open more than once"),
        ({"close": [1]}, "not a pandas frame"),
    ]
    for wrong, words in cases:
        with pytest.raises(InvalidInputError, match=words):
            from_frame(wrong)
    one: Any = np.ones(1)
    fields: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close", "volume", "factor"), one)
    with pytest.raises(InvalidInputError, match="dimensions"):
        Bars(symbol="A", close_time=np.array([[1]]), **fields)
    with pytest.raises(InvalidInputError, match="has 1 rows"):
        Bars(symbol="A", close_time=np.array([1, 2]), **fields)
    with pytest.raises(InvalidInputError, match="ticker"):
        from_frame(frame(), "drop table;")


def test_several_symbols_by_column_or_by_level() -> None:
    long = pd.concat([frame().assign(Symbol="IBM"), frame().assign(Symbol="AAPL")]).reset_index(names="date")
    assert list(from_frame(long)) == ["AAPL", "IBM"]
    assert list(from_frame(long, "IBM")) == ["IBM"]
    wide = pd.concat({"IBM": frame(), "AAPL": frame()}, axis=1)
    wide.loc[pd.Timestamp("2013-03-08"), "IBM"] = np.nan
    for table in (wide, wide.swaplevel(axis=1)):
        market = from_frame(table)
        assert {symbol: len(bars) for symbol, bars in market.items()} == {"IBM": 2, "AAPL": 3}
    market = from_frame(wide)
    assert sessions(market).size == 3
    assert list(bars_at(market, close_of(date(2013, 3, 8)))) == ["AAPL"]


def test_the_factor_comes_from_the_adjusted_close_and_ends_at_one() -> None:
    bars = from_frame(frame(**{"Adj Close": [25.25, 51.0, 51.5]}), "AAPL")["AAPL"]
    assert bars.factor.tolist() == [0.5, 1.0, 1.0]
    assert bars.adjusted().tolist() == [50.5, 102.0, 103.0]


def test_the_caller_s_frame_and_arrays_stay_as_they_were() -> None:
    table, before = frame(), frame()
    bars = from_frame(table, "AAPL")["AAPL"]
    pd.testing.assert_frame_equal(table, before)
    with pytest.raises(ValueError, match="read-only"):
        bars.close[0] = 1.0
    close = np.array([1.0])
    fields: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close", "volume", "factor"), close)
    own = Bars(symbol="A", close_time=np.array([1]), **fields)
    close[0] = 2.0
    assert own.close[0] == 1.0


def test_cutting_a_history() -> None:
    bars = from_frame(frame(), "AAPL")["AAPL"]
    middle = int(bars.close_time[1])
    cut, rest = bars.until(middle), bars.since(middle)
    assert cut is not None
    assert rest is not None
    assert (len(cut), len(rest)) == (2, 2)
    assert bars.until(int(bars.close_time[0]) - 1) is None
    assert bars.since(int(bars.close_time[2]) + 1) is None
    assert (bars.index_of(middle), bars.index_of(middle + 1)) == (1, None)


@given(
    st.integers(1, 10**9),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.floats(1e-6, 1e6),
    st.integers(0, 2**40),
)
def test_a_bar_survives_its_event_exactly(low: int, up: int, more: int, factor: float, volume: int) -> None:
    bar = Bar(
        symbol="BRK.B",
        close_time=close_of(date(2013, 3, 1)),
        open=low + up,
        high=low + up + more,
        low=low,
        close=low,
        volume=volume,
        factor=factor,
    )
    assert Bar.from_body("BRK.B", bar.close_time, bar.to_body()) == bar
    assert Bars.from_bars([bar]).bar(0) == bar


def test_a_damaged_bar_event_is_refused_by_field() -> None:
    good: dict[str, Any] = {"open": "10", "high": "11", "low": "9", "close": "10"}
    for change, words in (
        ({"open": "x"}, "open of AAPL"),
        ({"open": "NaN"}, "not a finite"),
        ({"low": "10.5"}, "do not fit together"),
        ({"close": "0"}, "do not fit together"),
        ({"factor": "x"}, "factor"),
        ({"factor": "inf"}, "out of range"),
        ({"volume": -1}, "out of range"),
        ({"volume": 10**19}, "out of range"),
        ({"high": "1e300"}, "more than any share costs"),
        ({"extra": 1}, "unknown fields: extra"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            Bar.from_body("AAPL", 1, {**good, **change})
    with pytest.raises(InvalidInputError, match="lacks high, low"):
        Bar.from_body("AAPL", 1, {"open": "10", "close": "10"})


def test_times_are_exact_to_the_microsecond() -> None:
    instant = datetime(2013, 3, 1, 21, 0, 0, 123456, tzinfo=UTC)
    assert datetime_to_ns(instant) == 1362171600123456000
    with pytest.raises(InvalidInputError, match="no time zone"):
        datetime_to_ns(datetime(2013, 3, 1))  # noqa: DTZ001 the point of the test


@pytest.mark.parametrize(
    ("factor", "action"),
    [
        (1.0, None),
        (1.0 + 1e-13, None),
        (2.0, Action(new=2, old=1)),
        (1.9999999999999816, Action(new=2, old=1)),
        (1.5, Action(new=3, old=2)),
        (0.1, Action(new=1, old=10)),
        (200 / 199.15, Action(dividend=85)),
        (1.1124497991967714, Action(dividend=2022)),  # of 200 dollars: special dividend, no split
        (0.97, None),  # a restatement
    ],
)
def test_jumps_of_the_factor_are_splits_or_dividends(factor: float, action: Action | None) -> None:
    assert corporate_action(2_000_000, 1.0, factor) == action
