"""Indicators by name, from TA-Lib, with the one precaution that running sums need: whole ticks.

TA-Lib's SMA keeps a running sum of floats; on cents it decided 1,155 of a million comparisons the wrong way, on whole
ticks none. So unadjusted prices go in as whole numbers (of 1/10,000 dollar) and results are scaled back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bars, Floats, Ints, from_frame
from retainer.trading.units import PRICE_SCALE

if TYPE_CHECKING:
    import pandas as pd

_SPEC: Final = re.compile(r"([A-Za-z]+)(?:\((\d+(?:,\s*\d+)*)\))?")
_IN_DOLLARS: Final = frozenset({"SMA", "EMA", "WMA", "DEMA", "TEMA", "KAMA", "MACD", "ATR", "BBANDS", "MAX", "MIN"})
"""Indicators whose values are prices: they are scaled back."""
_PERIODS: Final[Mapping[str, tuple[str, ...]]] = {
    "MACD": ("fastperiod", "slowperiod", "signalperiod"),
    "STOCH": ("fastk_period", "slowk_period", "slowd_period"),
}
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


def sma(bars: Bars, period: int, *, adjusted: bool = True) -> Floats:
    """Simple moving average of closes, dollars; NaN for the first ``period - 1`` rows."""
    return next(iter(indicator(f"SMA({period})", bars, adjusted=adjusted).values()))


def indicator(spec: str, bars: Bars, *, adjusted: bool = True) -> dict[str, Floats]:
    """One TA-Lib function by name and periods: its outputs by name (several for MACD, BBANDS ...).

    NaN where it is not valid yet, and everywhere when there are too few bars. Raises :class:`InvalidInputError` for a
    name or a period that TA-Lib does not know.
    """
    name, periods = _parse(spec)
    function = _function(name, periods, spec)
    scale = 1.0 if adjusted else float(PRICE_SCALE)
    try:
        outputs = function(_inputs(bars, adjusted=adjusted, scale=scale))
    except Exception as error:
        raise InvalidInputError(f"TA-Lib cannot compute {spec}: {error}.", hint="Check its periods.") from error
    back = 1.0 / scale if name in _IN_DOLLARS else 1.0
    arrays = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    names = function.output_names if len(arrays) > 1 else [""]
    return {f"{spec}.{part}" if part else spec: _scaled(array, back) for part, array in zip(names, arrays, strict=True)}


def _scaled(values: Any, back: float) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return array if back == 1.0 else array / (1.0 / back)


def _parse(spec: str) -> tuple[str, tuple[int, ...]]:
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise InvalidInputError(f"{spec[:40]!r} is not an indicator.", hint="Write it like SMA(20) or MACD(12,26,9).")
    periods = tuple(int(part) for part in match[2].split(",")) if match[2] else ()
    return match[1].upper(), periods


def _function(name: str, periods: tuple[int, ...], spec: str) -> Any:
    import importlib

    abstract: Any = importlib.import_module("talib.abstract")
    try:
        function = abstract.Function(name)
        if periods:
            keys = _PERIODS.get(name, ("timeperiod",))[: len(periods)]
            if len(keys) != len(periods) or any(key not in function.parameters for key in keys):
                raise InvalidInputError(f"{name} does not take the periods of {spec!r}.")
            function.parameters = dict(zip(keys, periods, strict=True))
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"TA-Lib knows no {name}.", hint="For example SMA(20), RSI(14), MACD, ATR(14)."
        ) from error
    return function


def _inputs(bars: Bars, *, adjusted: bool, scale: float) -> dict[str, Floats]:
    names = ("open", "high", "low", "close")
    if adjusted:
        prices = {name: getattr(bars, name) * bars.factor for name in names}
    else:
        prices = {name: np.rint(getattr(bars, name) * scale) for name in names}
    return {**prices, "volume": bars.volume.astype(np.float64)}
