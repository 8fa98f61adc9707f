"""Market data at rest: what is taken in, which rows are named when it is not, and that nothing is half-written."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError, NotFoundError, RetainerError
from retainer.trading.bars import Bars, close_of
from retainer.trading.calendar import sessions_of
from retainer.trading.data.adjusting import Factors, read_factors
from retainer.trading.data.checking import BadRowsError, infer_interval
from retainer.trading.data.gaps import find_gaps
from retainer.trading.data.reading import Reading, read_csv, read_frame, read_parquet
from retainer.trading.data.store import BarStore

DAYS = ("2013-11-27", "2013-11-29", "2013-12-02")
CSV = """Date,Open,High,Low,Close,Volume
2013-11-27,100,103,99,101,10
2013-11-29,101,104,100,102,20
2013-12-02,102,105,101,103,30
"""


def table(**changes: Any) -> pd.DataFrame:
    columns = {
        "date": list(DAYS),
        "open": [100.0, 101.0, 102.0],
        "high": [103.0, 104.0, 105.0],
        "low": [99.0, 100.0, 101.0],
        "close": [101.0, 102.0, 103.0],
        "volume": [10, 20, 30],
    }
    return pd.DataFrame({**columns, **changes})


def bars(symbol: str = "AAPL", first: int = 0, count: int = 3) -> Bars:
    days = [date(2013, 12, 2 + first + row) for row in range(count)]
    price = np.array([100.0 + first + row for row in range(count)])
    return Bars(
        symbol=symbol,
        close_time=np.array([close_of(day) for day in days]),
        open=price,
        high=price + 1,
        low=price - 1,
        close=price + 0.5,
        volume=np.arange(count) + 10 + first,
        factor=np.ones(count),
    )


# --- reading ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_csv_file_is_named_by_its_file_name_and_read_with_its_own_separator(tmp_path: Path, separator: str) -> None:
    (tmp_path / "aapl.csv").write_text("\ufeff" + CSV.replace(",", separator), encoding="utf-8")
    series = read_csv(tmp_path / "aapl.csv")["AAPL"]
    assert series.interval == "1d"
    assert series.bars.close.tolist() == [101.0, 102.0, 103.0]
    assert series.bars.close_time.tolist() == [close_of(date.fromisoformat(day)) for day in DAYS]


def test_a_parquet_file_of_several_symbols_gives_each_its_own_series(tmp_path: Path) -> None:
    both = pd.concat([table(symbol="AAPL"), table(symbol="IBM").assign(close=102.5)])
    both.to_parquet(tmp_path / "prices.parquet")
    found = read_parquet(tmp_path / "prices.parquet")
    assert sorted(found) == ["AAPL", "IBM"]
    assert found["IBM"].bars.close.tolist() == [102.5, 102.5, 102.5]
    assert list(read_parquet(tmp_path / "prices.parquet", Reading(symbol="IBM"))) == ["IBM"]


def test_bars_stamped_by_their_open_in_a_named_zone_move_to_their_close_across_daylight_saving() -> None:
    minutes = table(date=["2013-03-08 15:59", "2013-03-11 09:30", "2013-03-11 09:31"])
    series = read_frame(minutes, Reading(symbol="IBM", zone="America/New_York", stamped="open", interval="1min"))["IBM"]
    assert [series.bars.closed_at(row).isoformat() for row in range(3)] == [
        "2013-03-08T21:00:00+00:00",
        "2013-03-11T13:31:00+00:00",
        "2013-03-11T13:32:00+00:00",
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"close": [101.0, np.nan, 103.0]}, "row 1: close nan is not a finite number"),
        ({"open": [100.0, np.inf, 102.0]}, "row 1: open inf is not a finite number"),
        ({"low": [99.0, 0.0, 101.0]}, "row 1: low 0.0 is not above zero"),
        ({"low": [99.0, 100.0, -1.0]}, "row 2: low -1.0 is not above zero"),
        ({"high": [103.0, 90.0, 105.0]}, "row 1: high 90.0 is below another price"),
        ({"low": [99.0, 101.5, 101.0]}, "row 1: low 101.5 is above another price"),
        ({"high": [103.0, 1e300, 105.0]}, r"row 1: high 1e\+300 is more than any share costs"),
        ({"volume": [10, -5, 30]}, "row 1: volume -5.0 is negative"),
        ({"volume": [10, 1e300, 30]}, r"row 1: volume 1e\+300 is more than was ever traded"),
        ({"volume": [10, np.nan, 30]}, "row 1: volume nan is not a finite number"),
        ({"factor": [1.0, np.inf, 1.0]}, "row 1: factor inf is not a finite number"),
        ({"date": ["2013-11-27", "2013-11-29", "9999-12-31"]}, "row 2: time .*9999.* is not"),
        ({"date": ["1066-10-14", "2013-11-29", "2013-12-02"]}, "row 0: time .*1066.* is not"),
        ({"date": ["2013-12-02", "2013-11-29", "2013-12-03"]}, "row 1: time 2013-11-29T21:00:00 is earlier"),
        ({"date": ["2013-11-29", "2013-11-29", "2013-12-03"]}, "row 1: time 2013-11-29T21:00:00 appears twice"),
        ({"date": ["2013-11-27", "tomorrow", "2013-12-02"]}, "row 1: time 'tomorrow' is not a date"),
        ({"date": ["2013-11-27", None, "2013-12-02"]}, "row 1: time '' is missing"),
        ({"close": [101.0, "n/a?", 103.0]}, "row 1: close 'n/a\\?' is not a number"),
        ({"symbol": ["A", "", "A"]}, "row 1: symbol '' is missing"),
    ],
)
def test_a_bad_row_is_named_with_its_field_and_value(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRowsError, match=named):
        read_frame(table(**changes))


def test_every_bad_row_is_known_and_the_first_few_are_said() -> None:
    many = pd.concat([table(close=-1.0).assign(date=f"20{year}-01-02") for year in range(10, 20)], ignore_index=True)
    with pytest.raises(BadRowsError, match=r"and \d+ more") as caught:
        read_frame(many, Reading(symbol="IBM"))
    assert len(caught.value.rows) >= 30


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame(), "no rows"),
        (table().drop(columns="close"), "lacks the column close"),
        (table().drop(columns="date"), "neither a DatetimeIndex nor a column of times"),
        (table(date=[1, 2, 3]), "plain numbers"),
        (table(date=["2013-11-27 10:00", "2013-11-29 10:00", "2013-12-02 10:00"]), "without a zone"),
        (table(date=["2013-11-27 10:00Z", "2013-11-29 10:00", "2013-12-02 10:00+02:00"]), "row 1: .*mix zones"),
        (table(date=["2013-11-27 10:00+01:00", "2013-11-29 10:00+01:00", "2013-12-02 10:00Z"]), "row 2: .*mix zones"),
        ([1, 2], "not a pandas frame"),
    ],
)
def test_a_table_of_the_wrong_shape_is_refused_in_words(frame: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_frame(frame)


@pytest.mark.parametrize(
    ("how", "message"),
    [({"zone": "Mars/Phobos"}, "time zone"), ({"zone": "."}, "time zone"), ({"interval": "7min"}, "not an interval")],
)
def test_a_way_of_reading_that_cannot_be_is_refused_whatever_the_table_says(how: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_frame(table(), Reading(**how))


def test_an_hour_that_the_clock_skips_or_repeats_is_named() -> None:
    with pytest.raises(BadRowsError, match=r"row 1: time 2013-11-03T01:30:00 .*the clock changes"):
        read_frame(
            table(date=["2013-11-03 00:30", "2013-11-03 01:30", "2013-11-03 02:30"]), Reading(zone="America/New_York")
        )


def test_missing_empty_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InvalidInputError, match="is empty"):
        read_csv(tmp_path / "empty.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InvalidInputError, match="cannot be read as text"):
        read_csv(tmp_path / "binary.csv")
    (tmp_path / "no.parquet").write_text("hello")
    with pytest.raises(InvalidInputError, match="not a Parquet file"):
        read_parquet(tmp_path / "no.parquet")


def test_the_interval_is_the_usual_distance_and_an_odd_one_is_refused() -> None:
    minute = 60_000_000_000
    assert infer_interval(np.array([0, 1, 2, 5, 6]) * minute) == "1min"
    assert infer_interval(np.array([0, 60, 120, 1_200]) * minute) == "1h"
    with pytest.raises(InvalidInputError, match="420 seconds apart"):
        infer_interval(np.array([0, 7, 14]) * minute)


# --- adjustment -------------------------------------------------------------------------------------------------------
def test_a_factor_holds_up_to_its_date_and_the_last_one_for_ever() -> None:
    factors = Factors((date(2013, 11, 27), date(2013, 11, 29)), (0.25, 0.5))
    days = [date(2013, 11, 26), date(2013, 11, 27), date(2013, 11, 29), date(2013, 12, 2)]
    assert factors.at(np.array([close_of(day) for day in days])).tolist() == [0.25, 0.25, 0.5, 0.5]


def test_factor_files_give_the_product_of_price_and_split_factor_and_name_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "factors.csv"
    path.write_text("symbol,date,price_factor,split_factor\nIBM,2013-11-27,0.5,0.5\nX,2013-11-29,1,1\n")
    assert read_factors(path, "IBM").factor == (0.25,)
    assert read_frame(table(), Reading(factors=read_factors(path, "IBM")))["SYMBOL"].bars.factor.tolist() == [0.25] * 3
    with pytest.raises(NotFoundError, match="no factors of MSFT"):
        read_factors(path, "MSFT")
    path.write_text("date,factor\n2013-11-27,0.5\n2013-11-28,half\n")
    with pytest.raises(InvalidInputError, match="line 3"):
        read_factors(path, "IBM")
    with pytest.raises(InvalidInputError, match="not after"):
        Factors((date(2013, 1, 2), date(2013, 1, 2)), (1.0, 1.0))


# --- calendar ---------------------------------------------------------------------------------------------------------
def test_half_days_and_daylight_saving_are_in_the_calendar() -> None:
    found = sessions_of("XNYS", date(2013, 11, 27), date(2013, 12, 2))
    assert [date.fromordinal(int(day)).isoformat() for day in found.day] == list(DAYS)
    assert found.half.tolist() == [False, True, False]
    assert found.close_ns[1] == close_of(date(2013, 11, 29)) - 3 * 3_600_000_000_000


def test_a_session_without_a_bar_is_named_and_stays_missing() -> None:
    two = read_frame(table().drop(index=1), Reading(symbol="IBM"))["IBM"]
    gaps = find_gaps(two.bars, two.interval, "XNYS")
    assert gaps.missing == ("2013-11-29",)
    assert gaps.words == ("1 session of XNYS without a bar: 2013-11-29",)
    assert len(two.bars) == 2


def test_bars_outside_the_sessions_are_counted() -> None:
    early = table(date=["2013-11-27 09:29", "2013-11-29 13:00", "2013-11-29 13:01"])
    series = read_frame(early, Reading(symbol="IBM", zone="America/New_York", interval="1min"))["IBM"]
    assert find_gaps(series.bars, series.interval, "XNYS").outside == 2
    saturday = read_frame(table(date=["2013-11-27", "2013-11-29", "2013-11-30"]), Reading(symbol="IBM"))["IBM"]
    assert find_gaps(saturday.bars, "1d", "XNYS").outside == 1


def test_bars_older_than_the_calendar_are_kept_and_said_not_to_be_compared() -> None:
    old = table(date=["1989-12-28", "1989-12-29", "1990-01-02"])
    gaps = find_gaps(read_frame(old, Reading(symbol="IBM"))["IBM"].bars, "1d", "XNYS")
    assert gaps.words == ("2 bars before 1990-01-02, where XNYS begins here",)
    older = table(date=["1979-12-27", "1979-12-28", "1979-12-31"])
    assert find_gaps(read_frame(older, Reading(symbol="IBM"))["IBM"].bars, "1d", "XNYS").unknown == 3


def test_an_unknown_calendar_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no exchange calendar"):
        sessions_of("NOWHERE", date(2013, 1, 1), date(2013, 2, 1))


# --- the store --------------------------------------------------------------------------------------------------------
def test_what_is_saved_is_loaded_again_bit_for_bit_under_any_symbol(tmp_path: Path) -> None:
    store = BarStore(tmp_path / "bars")
    for symbol in ("AAPL", "BRK.B", "BTC/USD"):
        entry = store.save(bars(symbol), source="a test", notes=["1 session without a bar"])
        again = store.load(symbol)
        assert again.close.tobytes() == bars(symbol).close.tobytes()
        assert again.close_time.tobytes() == bars(symbol).close_time.tobytes()
        assert entry in store.entries()
    assert store.verify() == []


def test_a_series_is_never_replaced_silently(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.save(bars())
    with pytest.raises(InvalidInputError, match="in the store already"):
        store.save(bars(count=5))
    assert store.save(bars(count=5), mode="replace").rows == 5


def test_later_bars_are_appended_and_a_revised_past_is_refused(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.save(bars())
    assert store.save(bars(first=2, count=4), mode="append").rows == 6
    changed = bars(first=3, count=4)
    revised = Bars(
        symbol="AAPL",
        close_time=changed.close_time,
        open=changed.open,
        high=changed.high + 5,
        low=changed.low,
        close=changed.close,
        volume=changed.volume,
        factor=changed.factor,
    )
    with pytest.raises(InvalidInputError, match=r"row 0: .* differs from the stored bar: history was revised"):
        store.save(revised, mode="append")
    assert store.entries()[0].rows == 6


def test_a_damaged_file_is_named_and_never_read(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    store.save(bars())
    path = next(tmp_path.glob("*.npz"))
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InvalidInputError, match="damaged"):
            store.load("AAPL")
        assert len(store.verify()) == 1
    at = whole.index(bars().close.tobytes())
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(InvalidInputError, match="damaged"):
        store.load("AAPL")


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BarStore(tmp_path)
    store.save(bars())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("retainer.trading.data.store.np.savez", full)
    with pytest.raises(RetainerError, match="No space left"):
        store.save(bars(count=5), mode="replace")
    monkeypatch.undo()
    assert len(store.load("AAPL")) == 3
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    with pytest.raises(NotFoundError, match="It is empty"):
        store.load("AAPL")
    store.save(bars())
    with pytest.raises(NotFoundError, match="It has AAPL 1d"):
        store.load("IBM")
    store.remove("AAPL")
    with pytest.raises(NotFoundError):
        store.remove("AAPL")


@given(count=st.integers(1, 40), cut=st.integers(0, 40))
def test_a_series_in_two_parts_equals_the_series_in_one(
    tmp_path_factory: pytest.TempPathFactory, count: int, cut: int
) -> None:
    whole = bars(count=min(count, 28))
    store = BarStore(tmp_path_factory.mktemp("bars"))
    store.save(whole.upto(max(1, min(cut, len(whole)))))
    store.save(whole, mode="append")
    assert store.load("AAPL").close.tobytes() == whole.close.tobytes()
