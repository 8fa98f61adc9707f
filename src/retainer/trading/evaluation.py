"""What a strategy wants, bar by bar, as checked arrays: the one way from strategies to backtests, checks and sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from retainer.core.errors import InvalidInputError, RetainerError
from retainer.trading.bars import Bars, Floats, Market
from retainer.trading.rules import NO_STOPS, PortfolioRule, Rule, Stops, panel_of
from retainer.trading.strategy import Exits, Strategy
from retainer.trading.units import PPM

_KEEP: Final = 1e-12
"""A weight may exceed the whole account by this much: shares like 1/3 add up with a rounding error."""


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """One symbol's indicators and wanted weights. NaN: no decision at that close."""

    indicators: Mapping[str, Floats]
    targets: Floats
    loss: Floats | None = None
    profit: Floats | None = None
    trailing: Floats | None = None

    @property
    def first(self) -> int:
        """First row with a decision; the number of rows when there is none."""
        known = np.flatnonzero(~np.isnan(self.targets))
        return int(known[0]) if known.size else int(self.targets.size)

    def exits(self, row: int) -> Exits:
        """Protective exits of an entry decided at ``row``, as the kernels take them."""
        return Exits(*(_millionths(array, row) for array in (self.loss, self.profit, self.trailing)))


def _millionths(array: Floats | None, row: int) -> int:
    return 0 if array is None or np.isnan(array[row]) else int(np.rint(array[row] * PPM))


def evaluate(strategy: Strategy, market: Market) -> dict[str, Wanted]:
    """What ``strategy`` wants of each of its symbols that ``market`` has.

    No decision is taken before every indicator of the symbol has its first value. Raises :class:`InvalidInputError`
    when no symbol is there, or naming strategy, symbol, indicator and row of a value that cannot be.
    """
    own = {symbol: market[symbol] for symbol in strategy.symbols if symbol in market}
    if not own:
        raise InvalidInputError(
            f"{strategy.name}: there are no bars of {', '.join(strategy.symbols)}.",
            hint=f"The market has {', '.join(sorted(market)) or 'nothing'}.",
        )
    raw = {symbol: _asked(strategy, "indicators", bars) for symbol, bars in own.items()}
    arrays = {symbol: _arrays(strategy, own[symbol], found) for symbol, found in raw.items()}
    if isinstance(strategy, PortfolioRule):
        return _allocated(strategy, own, arrays)
    return {
        symbol: _wanted(strategy, bars, arrays[symbol], _asked(strategy, "targets", bars, raw[symbol]), raw[symbol])
        for symbol, bars in own.items()
    }


def _asked(strategy: Strategy, what: str, *arguments: Any) -> Any:
    """A strategy's own code: what it raises is told with the strategy's name and the symbol."""
    try:
        return getattr(strategy, what)(*arguments)
    except RetainerError:
        raise
    except Exception as error:
        symbol = f" of {arguments[0].symbol}" if isinstance(arguments[0], Bars) else ""
        raise InvalidInputError(
            f"{strategy.name}: {what}{symbol} failed with {type(error).__name__}: {error}.",
            hint="The strategy's own code raised this.",
        ) from error


def _arrays(strategy: Strategy, bars: Bars, found: Any) -> dict[str, Floats]:
    if not isinstance(found, Mapping):
        raise InvalidInputError(f"{strategy.name}: indicators gives {type(found).__name__}, not arrays by name.")
    return {str(name): _column(strategy, bars, f"indicator {name}", values) for name, values in found.items()}


def _column(strategy: Strategy, bars: Bars, what: str, values: Any) -> Floats:
    try:
        array: Floats = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{strategy.name}, {bars.symbol}: {what} holds no numbers ({error}).") from error
    if array.shape != (len(bars),):
        raise InvalidInputError(
            f"{strategy.name}, {bars.symbol}: {what} has the shape {array.shape}, one value for each of the "
            f"{len(bars)} bars is wanted."
        )
    return array


def _wanted(strategy: Strategy, bars: Bars, arrays: dict[str, Floats], targets: Any, raw: Any) -> Wanted:
    wanted = _weights(strategy, bars, _column(strategy, bars, "targets", targets))
    first = _first_valid(arrays, len(bars))
    if first and not np.isnan(wanted[:first]).all():
        wanted = wanted.copy()
        wanted[:first] = np.nan
    stops = _asked(strategy, "stops", bars, raw) if isinstance(strategy, Rule) else NO_STOPS
    return Wanted(arrays, wanted, **_distances(strategy, bars, stops))


def _first_valid(arrays: Mapping[str, Floats], count: int) -> int:
    """First row on which every indicator has had its first value."""
    first = 0
    for values in arrays.values():
        if count and np.isnan(values[0]):
            known = ~np.isnan(values)
            first = max(first, int(np.argmax(known)) if known.any() else count)
    return first


def _weights(strategy: Strategy, bars: Bars, targets: Floats) -> Floats:
    bad = ~np.isnan(targets) & ~(np.abs(targets) <= 1.0 + _KEEP)
    if bad.any():
        row = int(np.argmax(bad))
        raise InvalidInputError(
            f"{strategy.name}, {bars.symbol}, row {row} ({bars.closed_at(row):%Y-%m-%d}): the target {targets[row]} is "
            "not a share of the account.",
            hint="From -1 to 1, or NaN for no decision.",
        )
    return targets


def _distances(strategy: Strategy, bars: Bars, stops: Stops) -> dict[str, Floats | None]:
    found: dict[str, Floats | None] = {}
    for name in ("loss", "profit", "trailing"):
        value = getattr(stops, name)
        if value is None:
            found[name] = None
            continue
        array = (
            np.full(len(bars), float(value)) if isinstance(value, int | float) else _column(strategy, bars, name, value)
        )
        most = np.inf if name == "profit" else 1.0
        bad = ~np.isnan(array) & ~((array > 0) & (array < most))
        if bad.any():
            row = int(np.argmax(bad))
            raise InvalidInputError(
                f"{strategy.name}, {bars.symbol}, row {row}: the {name} stop's distance {array[row]} is not a share of "
                "the price.",
                hint="0.05 is 5 %.",
            )
        found[name] = array
    return found


def _allocated(strategy: PortfolioRule, own: Market, arrays: dict[str, dict[str, Floats]]) -> dict[str, Wanted]:
    panel = panel_of(own, arrays)
    weights = np.asarray(_asked(strategy, "allocate", panel), dtype=np.float64)
    if weights.shape != (panel.at.size, len(panel.symbols)):
        raise InvalidInputError(
            f"{strategy.name}: allocate gives the shape {weights.shape}, {(panel.at.size, len(panel.symbols))} is "
            "wanted: one row per bar, one column per symbol."
        )
    found = {}
    for column, symbol in enumerate(panel.symbols):
        bars = own[symbol]
        targets = weights[np.searchsorted(panel.at, bars.close_time), column]
        found[symbol] = _wanted(strategy, bars, arrays[symbol], targets, arrays[symbol])
    return found
