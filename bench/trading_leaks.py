"""Strategies that cheat, one per way of cheating: what the honesty checks of a backtest must find.

Each is a strategy as somebody might write it in good faith, with one mistake that makes it look better than it would
have been. Used by ``bench/trading_honesty.py`` and by the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retainer.trading.bars import Bars, Floats
from retainer.trading.engine import EngineSettings
from retainer.trading.limits import NO_FEES
from retainer.trading.rules import Rule, Stops, frame_of
from retainer.trading.technical import indicator, sma

Score = Callable[[Bars], Any]
"""One number per bar; the strategy holds while it is above 0."""


@dataclass(frozen=True, kw_only=True)
class Cheat(Rule):
    """Holds while its score is above 0."""

    name: str = "cheat"
    score: Score
    in_targets: bool = False
    """Whether the score is computed where no indicator shows it."""

    def indicators(self, bars: Bars) -> dict[str, Any]:
        return {"close": bars.adjusted()} if self.in_targets else {"score": self.score(bars)}

    def targets(self, bars: Bars, indicators: Mapping[str, Any]) -> Floats:
        values = self.score(bars) if self.in_targets else indicators["score"]
        return self.hold(np.asarray(values, dtype=np.float64) > 0)


@dataclass(frozen=True, kw_only=True)
class CheatingStop(Rule):
    """An honest rule whose stop distance is the range of the days to come."""

    name: str = "cheating-stop"

    def indicators(self, bars: Bars) -> dict[str, Any]:
        return {"average": sma(bars, 20), "close": bars.adjusted()}

    def targets(self, bars: Bars, indicators: Mapping[str, Any]) -> Floats:
        return self.hold(indicators["close"] > indicators["average"])

    def stops(self, bars: Bars, indicators: Mapping[str, Any]) -> Stops:
        falls = np.log(indicators["close"])
        coming = np.r_[[falls[row : row + 10].min() - falls[row] for row in range(len(bars))]]
        return Stops(loss=np.clip(-coming + 0.001, 0.001, 0.5))


@dataclass(frozen=True, kw_only=True)
class Carried(Rule):
    """Follows values that were computed beforehand, wherever they came from."""

    name: str = "carried"
    predictions: Floats = field(repr=False)

    def indicators(self, bars: Bars) -> dict[str, Any]:
        return {"prediction": self.predictions[: len(bars)]}

    def targets(self, bars: Bars, indicators: Mapping[str, Any]) -> Floats:
        return self.hold(indicators["prediction"] > 0)


@dataclass(frozen=True, kw_only=True)
class Restated(Rule):
    """Reads closes from a table as it was restated years later, by date."""

    name: str = "restated"
    table: Mapping[int, float] = field(repr=False)

    def indicators(self, bars: Bars) -> dict[str, Any]:
        return {"score": np.array([self.table.get(int(at), np.nan) for at in bars.close_time])}

    def targets(self, bars: Bars, indicators: Mapping[str, Any]) -> Floats:
        return self.hold(np.nan_to_num(indicators["score"]) > 0)


# --- scores ---------------------------------------------------------------------------------------------------------
def _close(bars: Bars) -> Any:
    return bars.adjusted()


def _ahead(bars: Bars, by: int) -> Any:
    close = _close(bars)
    return np.r_[close[by:], np.full(min(by, close.size), close[-1])] - close


def _next_gap(bars: Bars) -> Any:
    opened = bars.open * bars.factor
    return np.r_[opened[1:], opened[-1]] - _close(bars)


def _scaled(bars: Bars) -> Any:
    close = _close(bars)
    return 0.3 - (close - close.min()) / (np.ptp(close) + 1e-9)


def _standardised(bars: Bars) -> Any:
    close = _close(bars)
    return -(close - close.mean()) / (close.std() + 1e-9)


def _quantile(bars: Bars) -> Any:
    volume = bars.volume.astype(np.float64)
    return volume - np.quantile(volume, 0.8)


def _trend_fit(bars: Bars) -> Any:
    close = np.log(_close(bars))
    rows = np.arange(close.size, dtype=np.float64)
    if close.size < 3:
        return np.zeros(close.size)
    slope, level = np.polyfit(rows, close, 1)
    return slope * rows + level - close


def _centred(bars: Bars) -> Any:
    close = frame_of(bars)["close"]
    return close.rolling(21, center=True, min_periods=1).mean() - close


def _smoothed(bars: Bars) -> Any:
    close = _close(bars)
    kernel = np.exp(-0.5 * (np.arange(-10, 11) / 4.0) ** 2)
    smooth = np.convolve(np.pad(close, 10, mode="edge"), kernel / kernel.sum(), "valid")
    return np.r_[0.0, np.diff(smooth)]


def _backfilled(bars: Bars) -> Any:
    close = frame_of(bars)["close"]
    return close - close.rolling(100).mean().bfill().fillna(0.0)


def _interpolated(bars: Bars) -> Any:
    close = frame_of(bars)["close"]
    points = close.where(np.arange(len(close)) % 10 == 0)
    return points.interpolate().diff().fillna(0.0)


def _week_label(bars: Bars) -> Any:
    close = frame_of(bars)["close"]
    weekly = close.resample("W", label="left").last()
    return weekly.reindex(close.index, method="ffill").fillna(0.0) - close


def _month_return(bars: Bars) -> Any:
    close = frame_of(bars)["close"]
    month = close.groupby(bars.close_time.astype("datetime64[ns]").astype("datetime64[M]"))
    return month.transform("last") - month.transform("first")


def _future_top(bars: Bars) -> Any:
    close = _close(bars)
    coming = np.maximum.accumulate(close[::-1])[::-1]
    return coming / close - 1.05


def _pivots(bars: Bars) -> Any:
    low = bars.low * bars.factor
    score = np.zeros(low.size)
    for row in range(5, low.size - 5):
        if low[row] == low[row - 5 : row + 6].min():
            score[row : row + 10] = 1.0
    return score


def _ranked(bars: Bars) -> Any:
    return 0.4 - frame_of(bars)["close"].rank(pct=True)


def _the_top(bars: Bars) -> Any:
    close = _close(bars)
    return (np.arange(close.size) < int(np.argmax(close))).astype(np.float64)


def _low_pass(bars: Bars) -> Any:
    waves = np.fft.rfft(np.log(_close(bars)))
    waves[max(2, waves.size // 20) :] = 0
    return np.r_[0.0, np.diff(np.fft.irfft(waves, len(bars)))]


def _forward_backward(bars: Bars) -> Any:
    close = frame_of(bars)["close"]
    both = close.ewm(span=20).mean()[::-1].ewm(span=20).mean()[::-1]
    return both.diff().fillna(0.0)


def _features(bars: Bars) -> Any:
    close = np.log(_close(bars))
    moves = np.r_[0.0, np.diff(close)]
    return np.stack([np.ones_like(close), moves, np.r_[0.0, moves[:-1]], close - close[0]], axis=1)


def _shuffled_split(bars: Bars) -> Any:
    """A regression fitted on a random half of all days, asked about every day."""
    table = _features(bars)
    outcome = np.r_[table[1:, 1], 0.0]
    chosen = np.random.default_rng(1).permutation(len(bars))[: max(5, len(bars) // 2)]
    weights, *_ = np.linalg.lstsq(table[chosen], outcome[chosen], rcond=None)
    return table @ weights


def _best_of_all(bars: Bars) -> Any:
    """The pair of averages that did best on the whole history, used from its first day on."""
    close = _close(bars)
    moves = np.r_[np.diff(close) / close[:-1], 0.0]
    best, score = -np.inf, np.zeros(close.size)
    for fast, slow in ((3, 8), (3, 15), (4, 12), (5, 20), (6, 30), (8, 25), (10, 50), (15, 60), (20, 100), (50, 200)):
        if slow >= close.size:
            continue
        ahead = np.nan_to_num(sma(bars, fast) - sma(bars, slow))
        made = float((moves * (ahead > 0)).sum())
        if made > best:
            best, score = made, ahead
    return score


def _last_price(bars: Bars) -> Any:
    close = _close(bars)
    return close[-1] - close


def _volume_left(bars: Bars) -> Any:
    volume = bars.volume.astype(np.float64)
    left = np.cumsum(volume[::-1])[::-1]
    return left / volume.sum() - 0.5


def _expanding_from_end(bars: Bars) -> Any:
    close = frame_of(bars)["close"]
    return close[::-1].expanding().mean()[::-1] - close


def _fitted_threshold(bars: Bars) -> Any:
    """The RSI level that would have paid best, found on the whole history."""
    rsi = indicator("RSI(5)", bars)["RSI(5)"]
    close = _close(bars)
    moves = np.r_[np.diff(close) / close[:-1], 0.0]
    levels = np.linspace(10, 60, 26)
    made = [float(np.nansum(np.where(rsi < level, moves, 0.0))) for level in levels]
    return np.where(np.isnan(rsi), 0.0, levels[int(np.argmax(made))] - rsi)


def _price_level(bars: Bars) -> Any:
    """A round number of adjusted dollars: splits after the fact decide on which side of it a price was."""
    return 20.0 - _close(bars)


def _unseeded(bars: Bars) -> Any:
    return np.random.default_rng().normal(size=len(bars))


def _imputed(bars: Bars) -> Any:
    """Missing values filled with the mean of the whole series."""
    moves = np.r_[np.nan, np.diff(np.log(_close(bars)))]
    moves[::7] = np.nan
    return np.where(np.isnan(moves), np.nanmean(moves) if len(bars) > 2 else 0.0, moves)


def _memorised(bars: Bars) -> Any:
    """Predictions that live in the module, by row: nothing about the strategy shows them."""
    return np.sin(np.arange(len(bars)) * 0.7)


@dataclass(frozen=True, slots=True)
class Leak:
    """One way of cheating."""

    name: str
    strategy: Callable[[str, Bars], Rule]
    settings: EngineSettings = field(default_factory=EngineSettings)


def _cheat(score: Score, *, in_targets: bool = False) -> Callable[[str, Bars], Rule]:
    def make(symbol: str, _: Bars) -> Rule:
        return Cheat(symbols=(symbol,), score=score, in_targets=in_targets)

    return make


def _honest(symbol: str, _: Bars) -> Rule:
    return Cheat(symbols=(symbol,), score=lambda bars: np.nan_to_num(sma(bars, 10) - sma(bars, 30)))


def _carried(symbol: str, bars: Bars) -> Rule:
    return Carried(symbols=(symbol,), predictions=_ahead(bars, 1))


def _restated(symbol: str, bars: Bars) -> Rule:
    return Restated(symbols=(symbol,), table=dict(zip(bars.close_time.tolist(), _ahead(bars, 3).tolist(), strict=True)))


def _stop(symbol: str, _: Bars) -> Rule:
    return CheatingStop(symbols=(symbol,))


LEAKS: tuple[Leak, ...] = (
    Leak("shift by one bar", _cheat(lambda bars: _ahead(bars, 1))),
    Leak("shift by five bars, hidden from the indicators", _cheat(lambda bars: _ahead(bars, 5), in_targets=True)),
    Leak("gap of the next open", _cheat(_next_gap)),
    Leak("minimum and maximum of the whole series", _cheat(_scaled)),
    Leak("mean and deviation of the whole series", _cheat(_standardised)),
    Leak("quantile of the whole sample", _cheat(_quantile)),
    Leak("trend fitted to the whole sample", _cheat(_trend_fit)),
    Leak("centred window", _cheat(_centred)),
    Leak("symmetric smoothing", _cheat(_smoothed)),
    Leak("back-filled warm-up", _cheat(_backfilled)),
    Leak("interpolation between known points", _cheat(_interpolated)),
    Leak("weekly resample labelled at its beginning", _cheat(_week_label)),
    Leak("return of the month that is not over", _cheat(_month_return)),
    Leak("highest price still to come", _cheat(_future_top)),
    Leak("pivots confirmed in hindsight", _cheat(_pivots)),
    Leak("rank within the whole history", _cheat(_ranked)),
    Leak("day of the all-time high", _cheat(_the_top)),
    Leak("Fourier low-pass over the whole series", _cheat(_low_pass)),
    Leak("filter run forward and backward", _cheat(_forward_backward)),
    Leak("model trained on a shuffled split", _cheat(_shuffled_split)),
    Leak("parameters chosen on the whole history", _cheat(_best_of_all)),
    Leak("threshold fitted to the whole sample", _cheat(_fitted_threshold)),
    Leak("last price of the history", _cheat(_last_price)),
    Leak("share of the volume still to come", _cheat(_volume_left)),
    Leak("expanding mean from the end", _cheat(_expanding_from_end)),
    Leak("missing values filled with the overall mean", _cheat(_imputed)),
    Leak("stop distance from the days to come", _stop),
    Leak("level of adjusted prices", _cheat(_price_level)),
    Leak("predictions carried along", _carried),
    Leak("revised data, looked up by date", _restated),
    Leak("memorised by row", _cheat(_memorised)),
    Leak("a random number without a seed", _cheat(_unseeded)),
    Leak("filled at the close that decided", _honest, EngineSettings(fill_on="same_close")),
    Leak("trading for free", _honest, EngineSettings(fees=NO_FEES)),
)
"""Every way of cheating that must be found."""
