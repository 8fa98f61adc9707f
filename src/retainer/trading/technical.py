"""Indicators by name, from TA-Lib, with the one precaution that running sums need: whole ticks.

TA-Lib's SMA keeps a running sum of floats; on cents it decided 1,155 of a million comparisons the wrong way, on whole
ticks none. So unadjusted prices go in as whole numbers (of 1/10,000 dollar) and results are scaled back.
:mod:`retainer.trading.catalogue` says what each indicator takes and needs; :class:`IndicatorStream` gives the same
values one bar at a time.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bar, Bars, Floats, Ints, from_frame
from retainer.trading.catalogue import Indicator, parse_indicator
from retainer.trading.units import PRICE_SCALE

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_INDICATORS: Final = ("SMA(20)", "SMA(100)", "RSI(14)", "MACD", "ATR(14)", "BBANDS(20)")


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """Indicator values and the signal of one symbol, row by row."""

    symbol: str
    close_time: Ints
    values: Mapping[str, Floats]
    """By name; NaN until an indicator is valid."""
    signal: Ints
    """1: fast average above the slow one, -1: below, 0: equal or not valid yet."""

    def to_frame(self) -> pd.DataFrame:
        """As a pandas frame, indexed by close (UTC)."""
        import pandas as pd

        index = pd.DatetimeIndex(self.close_time.astype("datetime64[ns]"), tz="UTC", name="close_time")
        return pd.DataFrame({**self.values, "signal": self.signal}, index=index)


@dataclass(frozen=True, slots=True)
class TechnicalAnalysis:
    """Computes indicators by TA-Lib name: ``SMA(20)``, ``RSI(14)``, ``MACD``, ``BBANDS(20)`` ...

    ``adjusted`` prices (the default) make splits and dividends invisible; raw ones are computed on whole ticks.
    """

    indicators: Sequence[str] = DEFAULT_INDICATORS
    fast: int = 20
    slow: int = 100
    adjusted: bool = True

    def generate_signals(self, data: Any) -> Any:
        """Indicator values and a trend signal.

        A pandas frame of one symbol gives a frame, of several a dict of frames by symbol; :class:`Bars` give
        :class:`Signals`, a mapping of them a dict. Every value uses its row and earlier ones only. Raises
        :class:`InvalidInputError` for bad bars and unknown indicators.
        """
        if isinstance(data, Bars):
            return self.signals(data)
        if isinstance(data, Mapping):
            return {symbol: self.signals(bars) for symbol, bars in data.items()}
        frames = {symbol: self.signals(bars).to_frame() for symbol, bars in from_frame(data).items()}
        return next(iter(frames.values())) if len(frames) == 1 else frames

    def signals(self, bars: Bars) -> Signals:
        """Values and signal of one symbol."""
        values: dict[str, Floats] = {}
        for spec in self.indicators:
            values.update(indicator(spec, bars, adjusted=self.adjusted))
        fast, slow = (sma(bars, period, adjusted=self.adjusted) for period in (self.fast, self.slow))
        signal = np.where(np.isnan(slow), 0, np.sign(np.nan_to_num(fast) - np.nan_to_num(slow))).astype(np.int64)
        return Signals(bars.symbol, bars.close_time, values, signal)

    @property
    def warmup(self) -> int:
        """Bars before every indicator and the signal have a value."""
        return max([parse_indicator(spec).warmup for spec in self.indicators] + [max(self.fast, self.slow) - 1])

    def stream(self, bars: Bars) -> dict[str, IndicatorStream]:
        """One :class:`IndicatorStream` per indicator, opened on ``bars`` from their first one."""
        return {spec: IndicatorStream(spec, bars, adjusted=self.adjusted) for spec in self.indicators}


def sma(bars: Bars, period: int, *, adjusted: bool = True) -> Floats:
    """Simple moving average of closes, dollars; NaN for the first ``period - 1`` rows."""
    return next(iter(indicator(f"SMA({period})", bars, adjusted=adjusted).values()))


def indicator(spec: str, bars: Bars, *, adjusted: bool = True) -> dict[str, Floats]:
    """One TA-Lib function by name and parameters: its outputs by name (several for MACD, BBANDS ...).

    ``SMA(20)``, ``BBANDS(20, 2.5)``, ``MA(20, matype=ema)``, ``SMA(volume, 20)``. Prices are dollars. NaN where it is
    not valid yet, and everywhere when there are too few bars; row :attr:`~Indicator.warmup` is the first valid one.
    Raises :class:`InvalidInputError` for a name or a parameter that TA-Lib does not know.
    """
    memo = _MEMO.get()
    if memo is None:
        return _compute(parse_indicator(spec), bars, adjusted)
    key = (id(bars), spec, adjusted)
    found = memo.get(key)
    if found is None:
        found = memo[key] = (bars, _compute(parse_indicator(spec), bars, adjusted))
    return dict(found[1])


_MEMO: ContextVar[dict[tuple[int, str, bool], tuple[Bars, dict[str, Floats]]] | None] = ContextVar("memo", default=None)


@contextmanager
def remembered() -> Iterator[None]:
    """Within the block the same indicator of the same bars is computed once: what makes sweeps cheap."""
    token = _MEMO.set({})
    try:
        yield
    finally:
        _MEMO.reset(token)


def _compute(wanted: Indicator, bars: Bars, adjusted: bool) -> dict[str, Floats]:
    scale = _scale(wanted, adjusted)
    outputs = _call(wanted, _inputs(wanted, bars, adjusted, scale))
    arrays = [_floats(array, wanted.warmup) for array in outputs]
    return {
        name: _scaled(array, power)
        for name, array, power in zip(wanted.names, arrays, _powers(wanted, scale), strict=True)
    }


@lru_cache(maxsize=512)
def _function(name: str) -> Any:
    """TA-Lib's function without its wrapper for pandas and polars, which costs more than an indicator."""
    return inspect.unwrap(getattr(importlib.import_module("talib"), name))


def _call(wanted: Indicator, inputs: Sequence[Floats]) -> tuple[Any, ...]:
    function = _function(wanted.about.name)
    try:
        found = function(*inputs, **dict(wanted.parameters))
    except Exception as error:
        raise InvalidInputError(f"TA-Lib cannot compute {wanted.spec}: {error}.", hint="Check its periods.") from error
    return found if isinstance(found, tuple) else (found,)


def _scale(wanted: Indicator, adjusted: bool) -> float:
    return 1.0 if adjusted or wanted.about.on_dollars else float(PRICE_SCALE)


def _powers(wanted: Indicator, scale: float) -> tuple[float, ...]:
    """What each output is divided by to be in dollars."""
    if scale == 1.0 or wanted.inputs == ("volume",):
        return (1.0,) * len(wanted.about.outputs)
    return tuple(scale**power for power in wanted.about.powers)


def _floats(array: Any, warmup: int) -> Floats:
    """As floats; whole-number outputs (candle patterns) have no NaN of their own before they are valid."""
    values: Floats = np.asarray(array, dtype=np.float64)
    if array.dtype.kind == "i":
        values[: min(warmup, len(values))] = np.nan
    return values


def _scaled(values: Floats, divisor: float) -> Floats:
    return values if divisor == 1.0 else values / divisor


def _inputs(wanted: Indicator, bars: Bars, adjusted: bool, scale: float) -> list[Floats]:
    found: list[Floats] = []
    for name in wanted.inputs:
        values: Floats = np.asarray(getattr(bars, name), dtype=np.float64)
        if name != "volume":
            values = values * bars.factor if adjusted else values if scale == 1.0 else np.rint(values * scale)
        found.append(values)
    return found


class IndicatorStream:
    """An indicator one bar at a time, bit for bit what :func:`indicator` gives for the whole history.

    Opened on the history from its recorded first bar, because recursive indicators remember where they began; after a
    restart it is opened on that history again.
    """

    def __init__(self, spec: str, bars: Bars, *, adjusted: bool = True) -> None:
        """Raises :class:`InvalidInputError` for a spec that TA-Lib does not know."""
        self.indicator = parse_indicator(spec)
        self._adjusted = adjusted
        self._scale = _scale(self.indicator, adjusted)
        self._powers = _powers(self.indicator, self._scale)
        self._history: list[Floats] | None = _inputs(self.indicator, bars, adjusted, self._scale)
        self._handle: Any = None
        self._symbol = bars.symbol
        self._at = int(bars.close_time[-1])
        self._last: tuple[float, ...] = (float("nan"),) * len(self.indicator.names)
        self._open()

    @property
    def values(self) -> dict[str, float]:
        """Values at the last bar by name; NaN while there are too few bars."""
        return dict(zip(self.indicator.names, self._last, strict=True))

    def update(self, bar: Bar) -> dict[str, float]:
        """Take the next closed bar and give the values. Raises :class:`InvalidInputError` for one out of order."""
        if bar.symbol != self._symbol or bar.close_time <= self._at:
            raise InvalidInputError(
                f"The bar of {bar.symbol} does not follow the last one of {self._symbol}.",
                hint="Each bar goes in once, in order.",
            )
        self._at = bar.close_time
        row = [self._input(bar, name) for name in self.indicator.inputs]
        if self._handle is not None:
            found = self._handle.update(*row)
            self._last = self._in_dollars(found)
        else:
            self._history = [np.append(old, new) for old, new in zip(self._history or [], row, strict=True)]
            self._open()
        return self.values

    def _input(self, bar: Bar, name: str) -> float:
        if name == "volume":
            return float(bar.volume)
        units = int(getattr(bar, name))
        if self._adjusted:
            return units / PRICE_SCALE * bar.factor
        return float(units) if self._scale != 1.0 else units / PRICE_SCALE

    def _open(self) -> None:
        history = self._history
        if history is None or len(history[0]) <= self.indicator.warmup:
            return
        module: Any = importlib.import_module("talib.stream")
        self._handle = getattr(module, self.indicator.about.name)(*history, **dict(self.indicator.parameters))
        self._history = None
        self._last = self._in_dollars(self._handle.value)

    def _in_dollars(self, found: Any) -> tuple[float, ...]:
        values = found if isinstance(found, tuple) else (found,)
        return tuple(float(v) if p == 1.0 else float(v) / p for v, p in zip(values, self._powers, strict=True))
