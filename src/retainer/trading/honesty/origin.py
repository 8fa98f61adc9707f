"""Where decisions come from: the bars that were given, or something else. Complements the look into the future.

Cutting off later bars cannot find values that a strategy brings along. So it is also asked twice, asked with prices in
another unit, and asked about a market that never was: whoever gives the same answer there did not look at the bars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from retainer.core.errors import InvalidInputError, RetainerError
from retainer.trading.bars import Bars, Floats, Ints, Market
from retainer.trading.evaluation import Wanted, evaluate
from retainer.trading.honesty.findings import Finding
from retainer.trading.honesty.lookahead import first_difference
from retainer.trading.strategy import Strategy
from retainer.trading.units import DAY_NS

_LEVEL_NOISE = 1e-3
"""Weights may differ by this when prices are counted in another unit: logarithms round differently."""
_SHIFT_NS = 371 * DAY_NS
"""53 weeks: the same weekday, another date."""
_SWING = 0.03
_OWN_VALUES = 64
"""A strategy that carries at least so many values brings data of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownSeries:
    """Values from outside with the instant at which each became known, for strategies that use more than bars.

    ``at``: what a value is about; ``known``: when it could first be read (both nanoseconds UTC, one per value). Raises
    :class:`InvalidInputError` naming the row that was known before it happened.
    """

    at: Ints
    known: Ints
    values: Floats

    def __post_init__(self) -> None:
        for name, kind in (("at", np.int64), ("known", np.int64), ("values", np.float64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        if not self.at.shape == self.known.shape == self.values.shape or self.at.ndim != 1:
            raise InvalidInputError("at, known and values of a series have different lengths.")
        early = self.known < self.at
        if early.any():
            raise InvalidInputError(f"Row {int(np.argmax(early))} of the series was known before it happened.")
        order = np.lexsort((self.at, self.known))
        for name in ("at", "known", "values"):
            object.__setattr__(self, name, getattr(self, name)[order])

    def on(self, bars: Bars) -> Floats:
        """At each bar's close the value last made known by then; NaN before the first."""
        rows = np.searchsorted(self.known, bars.close_time, side="right") - 1
        return np.where(rows >= 0, self.values[np.maximum(rows, 0)] if self.values.size else np.nan, np.nan)


def origin(
    strategy: Strategy, market: Market, *, seed: int = 0, whole: Mapping[str, Wanted] | None = None
) -> tuple[Finding, ...]:
    """Findings about repeatability, price levels, and decisions that do not come from the bars."""
    own = {symbol: market[symbol] for symbol in strategy.symbols if symbol in market}
    known = whole if whole is not None else evaluate(strategy, own)
    return (
        *_own_data(strategy),
        *_repeat(strategy, own, known),
        *_level(strategy, own, known),
        *_elsewhere(strategy, own, known, seed),
    )


def _repeat(strategy: Strategy, market: Market, whole: Mapping[str, Wanted]) -> Iterator[Finding]:
    again = evaluate(strategy, market)
    for symbol, wanted in whole.items():
        row = first_difference(wanted.targets, again[symbol].targets)
        if row is not None:
            words = f"{symbol}: asked twice about the same bars, it gives two different targets in row {row}."
            yield Finding(kind="unrepeatable", words=words, symbol=symbol, what="target", row=row)


def _level(strategy: Strategy, market: Market, whole: Mapping[str, Wanted]) -> Iterator[Finding]:
    """A quarter of every adjustment factor is what a 4-for-1 split after the end would make of it."""
    split = {symbol: _changed(bars, factor=bars.factor * 0.25) for symbol, bars in market.items()}
    again = _asked(strategy, split)
    if again is None:
        yield Finding(kind="level", words="It fails when a later split rewrites the adjusted prices.", what="target")
        return
    for symbol, wanted in whole.items():
        row = _apart(wanted.targets, again[symbol].targets, _LEVEL_NOISE)
        if row is not None:
            words = (
                f"{symbol}: a later 4-for-1 split, which rewrites adjusted prices, changes the target of "
                f"{market[symbol].closed_at(row):%Y-%m-%d}: it decides on the level of adjusted prices."
            )
            yield Finding(kind="level", words=words, symbol=symbol, what="target", row=row)


def _elsewhere(strategy: Strategy, market: Market, whole: Mapping[str, Wanted], seed: int) -> Iterator[Finding]:
    if not any(_varies(wanted.targets) for wanted in whole.values()):
        return
    other = {symbol: _imagined(bars, seed) for symbol, bars in market.items()}
    again = _asked(strategy, other)
    if again is None or not _same(whole, again):
        return
    moved = {symbol: _changed(bars, close_time=bars.close_time + _SHIFT_NS) for symbol, bars in other.items()}
    elsewhen = _asked(strategy, moved)
    if elsewhen is not None and _same(whole, elsewhen):
        words = "It gives the same targets for other prices at other dates: they do not come from the bars it is given."
        yield Finding(kind="memorised", words=words, what="target")
        return
    words = (
        "It gives the same targets whatever the prices are: a calendar rule, or values looked up by date. Where those "
        "come from cannot be checked."
    )
    yield Finding(kind="calendar" if not list(_own_data(strategy)) else "memorised", words=words, what="target")


def _own_data(strategy: Strategy) -> Iterator[Finding]:
    for name, value in vars(strategy).items():
        if isinstance(value, KnownSeries | str | bytes) or name == "symbols":
            continue
        size = _size(value)
        if size >= _OWN_VALUES:
            words = (
                f"It carries {size:,} values of its own ({name}), and nobody says when each became known; use a "
                "KnownSeries."
            )
            yield Finding(kind="origin", words=words, what=name)


def _size(value: Any) -> int:
    if isinstance(value, Mapping):
        return max([len(value), *(_size(item) for item in list(value.values())[:50])], default=0)
    size = getattr(value, "size", None)
    if isinstance(size, int | np.integer):
        return int(size)
    return len(value) if isinstance(value, Sized) else 0


def _asked(strategy: Strategy, market: Market) -> dict[str, Wanted] | None:
    try:
        return evaluate(strategy, market)
    except RetainerError:
        return None


def _same(one: Mapping[str, Wanted], other: Mapping[str, Wanted]) -> bool:
    return all(_apart(wanted.targets, other[symbol].targets, _LEVEL_NOISE) is None for symbol, wanted in one.items())


def _apart(one: Floats, other: Floats, noise: float) -> int | None:
    differ = np.isnan(one) != np.isnan(other)
    with np.errstate(invalid="ignore"):
        differ |= np.abs(one - other) > noise
    return int(np.argmax(differ)) if differ.any() else None


def _varies(targets: Floats) -> bool:
    known = targets[~np.isnan(targets)]
    return bool(known.size and (known != known[0]).any())


def _changed(bars: Bars, **arrays: Any) -> Bars:
    """The same bars with other arrays, which are known to be sound."""
    found = object.__new__(Bars)
    for name in Bars.__slots__:
        object.__setattr__(found, name, arrays.get(name, getattr(bars, name)))
    return found


def _imagined(bars: Bars, seed: int) -> Bars:
    """The bars bent by a random walk: the same dates, another history."""
    rng = np.random.default_rng([seed, len(bars)])
    walk = np.exp(np.cumsum(rng.normal(0.0, _SWING, len(bars))))
    walk = np.clip(walk / walk[0], 0.05, 20.0)
    prices = {name: getattr(bars, name) * walk for name in ("open", "high", "low", "close")}
    volume = np.maximum(1, (bars.volume * rng.uniform(0.5, 1.5, len(bars))).astype(np.int64))
    return _changed(bars, **prices, volume=volume)
