"""TA-Lib by name: what each indicator takes and needs, whole ticks, and one bar at a time like the whole history."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bar, Bars
from retainer.trading.catalogue import catalogued, known_names, parse_indicator
from retainer.trading.samples import load_samples
from retainer.trading.technical import IndicatorStream, TechnicalAnalysis, indicator, remembered
from retainer.trading.units import PRICE_SCALE, to_units

FIRST = 150
"""Bars that a stream is opened on."""


@pytest.fixture(scope="module")
def bars() -> Bars:
    return load_samples(("IBM",))["IBM"].upto(360)


# --- names and parameters -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("spec", "parameters", "warmup"),
    [
        ("RSI(2)", {"timeperiod": 2}, 2),
        ("sma(20)", {"timeperiod": 20}, 19),
        ("SMA(volume, 20)", {"timeperiod": 20}, 19),
        ("BBANDS(20, 2.5)", {"timeperiod": 20, "nbdevup": 2.5, "nbdevdn": 2.5}, 19),
        ("MACD(12,26,9)", {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9}, 33),
        ("MACD(fast=5, slow=8, signal=3)", {"fastperiod": 5, "slowperiod": 8, "signalperiod": 3}, 9),
        ("MA(20, matype=ema)", {"timeperiod": 20, "matype": 1}, 19),
        ("ATR", {}, 14),
    ],
)
def test_a_spec_names_an_indicator_with_its_parameters(spec: str, parameters: dict[str, float], warmup: int) -> None:
    found = parse_indicator(spec)
    assert dict(found.parameters) == parameters
    assert found.warmup == warmup


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("FOO(3)", "knows no FOO"),
        ("RSII(3)", "Did you mean RSI"),
        ("RSI(two)", "RSI(two): timeperiod is 'two', not a whole number"),
        ("RSI(length=2)", "RSI does not take 'length=2' there; it takes timeperiod"),
        ("RSI(2.5)", "timeperiod is '2.5', not a whole number"),
        ("MA(20, matype=fast)", "matype is 'fast', not an average"),
        ("SMA(2, 3)", "SMA does not take '3' there"),
        ("ATR(volume, 14)", "ATR is computed on high, low, close, nothing else"),
        ("SMA(0)", "do not fit"),
        ("SMA(-1)", "do not fit"),
        ("SMA(period=99999999999999)", "far out of range"),
        ("two words", "is not an indicator"),
        ("", "is not an indicator"),
    ],
)
def test_a_wrong_spec_is_refused_by_name(spec: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        parse_indicator(spec)
    assert said in str(error.value)


def test_every_indicator_is_described_and_begins_where_it_says(bars: Bars) -> None:
    """201 functions: names, outputs, and the first row that has a value (arc cosines of prices never have one)."""
    assert len(known_names()) > 190
    for name in known_names():
        spec = parse_indicator(name)
        values = indicator(name, bars)
        assert tuple(values) == spec.names
        assert catalogued(name).title
        for output in values.values():
            assert len(output) == len(bars)
            assert np.isnan(output[: spec.warmup]).all()
            if name not in {"ACOS", "ASIN"}:
                assert np.isfinite(output[spec.warmup]), name


def test_an_average_of_the_volume(bars: Bars) -> None:
    values = indicator("SMA(volume, 3)", bars, adjusted=False)["SMA(volume, 3)"]
    assert values[2] == pytest.approx(float(bars.volume[:3].mean()))


# --- whole ticks ----------------------------------------------------------------------------------------------------
def test_dollars_come_back_whatever_the_prices_are_counted_in(bars: Bars) -> None:
    """Raw prices go in as 1/10,000 dollar; every output is scaled back by the right power of that."""
    plain = Bars(
        symbol="IBM",
        close_time=bars.close_time,
        open=bars.open,
        high=bars.high,
        low=bars.low,
        close=bars.close,
        volume=bars.volume,
        factor=np.ones(len(bars)),
    )
    for name in known_names():
        if name in {"CEIL", "FLOOR", "MAXINDEX", "MININDEX", "MINMAXINDEX"}:
            continue
        in_dollars, in_ticks = indicator(name, plain), indicator(name, plain, adjusted=False)
        for output, values in in_dollars.items():
            scale = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 1.0
            np.testing.assert_allclose(in_ticks[output], values, rtol=1e-6, atol=1e-7 * scale + 1e-9, err_msg=name)


def test_an_average_on_ticks_is_exact(bars: Bars) -> None:
    values = indicator("SMA(30)", bars, adjusted=False)["SMA(30)"]
    ticks = [to_units(float(price)) for price in bars.close]
    for row in range(29, len(bars)):
        assert values[row] == float(Fraction(sum(ticks[row - 29 : row + 1]), 30)) / PRICE_SCALE


# --- one bar at a time ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("adjusted", [False, True])
def test_every_stream_equals_the_batch_bit_for_bit(bars: Bars, adjusted: bool) -> None:
    rows = [bars.bar(row) for row in range(FIRST, len(bars))]
    for name in known_names():
        batch = indicator(name, bars, adjusted=adjusted)
        stream = IndicatorStream(name, bars.upto(FIRST), adjusted=adjusted)
        for row, bar in enumerate(rows, start=FIRST):
            got = stream.update(bar)
            for output, values in batch.items():
                both_missing = np.isnan(got[output]) and np.isnan(values[row])
                assert both_missing or got[output] == values[row], (name, output, row)


def test_a_stream_waits_for_its_first_value_and_opens_again_after_a_restart(bars: Bars) -> None:
    batch = indicator("RSI(14)", bars, adjusted=False)["RSI(14)"]
    stream = IndicatorStream("RSI(14)", bars.upto(3), adjusted=False)
    assert np.isnan(stream.values["RSI(14)"])
    for row in range(3, 40):
        value = stream.update(bars.bar(row))["RSI(14)"]
        assert value == batch[row] or (np.isnan(value) and np.isnan(batch[row]))
    again = IndicatorStream("RSI(14)", bars.upto(40), adjusted=False)
    assert again.values == stream.values
    assert again.update(bars.bar(40)) == stream.update(bars.bar(40))


def test_a_stream_refuses_a_bar_out_of_order(bars: Bars) -> None:
    stream = IndicatorStream("SMA(5)", bars.upto(10))
    for wrong in (bars.bar(9), other_symbol(bars.bar(10))):
        with pytest.raises(InvalidInputError, match="does not follow"):
            stream.update(wrong)


def other_symbol(bar: Bar) -> Bar:
    return Bar(symbol="AAPL", close_time=bar.close_time, open=bar.open, high=bar.high, low=bar.low, close=bar.close)


def test_technical_analysis_streams_what_it_computes(bars: Bars) -> None:
    analysis = TechnicalAnalysis(adjusted=False)
    streams = analysis.stream(bars.upto(200))
    whole = analysis.signals(bars.upto(201)).values
    for stream in streams.values():
        for name, value in stream.update(bars.bar(200)).items():
            assert value == whole[name][200]
    assert analysis.warmup == 99


def test_remembered_indicators_are_the_same_arrays(bars: Bars) -> None:
    with remembered():
        first, second = indicator("EMA(9)", bars)["EMA(9)"], indicator("EMA(9)", bars)["EMA(9)"]
        assert first is second
    assert indicator("EMA(9)", bars)["EMA(9)"] is not first
