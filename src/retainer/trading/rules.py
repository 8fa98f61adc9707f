"""What strategies are written with: typed parameters with ranges, holding rules, stops, several symbols at once."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray

from retainer.core.errors import InvalidInputError
from retainer.core.values import Json
from retainer.trading.bars import PRICE_FIELDS, Bars, Floats, Ints, Market, check_symbol, sessions
from retainer.trading.strategy import Outlook, Signal, Strategy, decision_at
from retainer.trading.units import DAY_NS, NS

if TYPE_CHECKING:
    import pandas as pd

Column = Any
"""One value per bar: a NumPy array or a pandas Series, numbers or truth values."""
Truths = NDArray[np.bool_]
_NEW_YORK_NS: Final = 5 * 3_600 * NS


@dataclass(frozen=True, slots=True)
class Range:
    """What a parameter may be: from ``low`` to ``high``, both included."""

    low: float
    high: float
    about: str
    """One line for people."""


def parameter(default: Any, *, low: float, high: float, about: str) -> Any:
    """A strategy's parameter, as a dataclass field: a number from ``low`` to ``high``; sweeps and errors know it."""
    return field(default=default, metadata={"range": Range(low, high, about)})


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a strategy as it is listed: name, whole or not, default, range."""

    name: str
    whole: bool
    default: float
    range: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """Protective distances as shares of the entry's price (0.05 is 5 %); one number, or one per bar, NaN for none.

    Read at the bar that decides the entry. ``trailing`` takes the place of ``loss``.
    """

    loss: Column = None
    profit: Column = None
    trailing: Column = None


NO_STOPS: Final = Stops()


@dataclass(frozen=True, kw_only=True)
class Rule(Strategy):
    """Base of strategies that are a rule per symbol: write :meth:`indicators` and :meth:`targets`, nothing else.

    Fields made with :func:`parameter` are checked when the strategy is made; errors name them. The docstring's first
    line is what people read, a line that begins with ``Source:`` says where the rule comes from.
    """

    name: str = "rule"
    symbols: tuple[str, ...]
    weight: float = 0.0
    """Share of the account for each symbol that is held; 0: all of it, split evenly over the symbols."""

    def __post_init__(self) -> None:
        given: Any = self.symbols
        if isinstance(given, str):
            raise InvalidInputError(f"{self.name}: symbols is {given!r}, not a list.", hint='("AAPL",)')
        object.__setattr__(self, "symbols", tuple(given))
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise InvalidInputError(f"{self.name}: symbols must name at least one symbol, each once.")
        for symbol in self.symbols:
            check_symbol(symbol)
        if not 0 <= self.weight <= 1:
            raise InvalidInputError(
                f"{self.name}: weight is {self.weight}, not a share of the account.", hint="From 0 to 1; 0 splits it."
            )
        for known in self.parameters():
            object.__setattr__(self, known.name, _checked(self.name, known, getattr(self, known.name)))
        self.check()

    def check(self) -> None:
        """Whether the parameters fit together; raises :class:`InvalidInputError` when not. Nothing by default."""

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        """The parameters of this strategy, with default and range."""
        return parameters_of(cls)

    @classmethod
    def about(cls) -> str:
        """What it does, in one line."""
        return (cls.__doc__ or "").strip().split("\n")[0]

    @classmethod
    def source(cls) -> str:
        """Where the rule comes from; empty when its docstring does not say."""
        _, _, rest = " ".join((cls.__doc__ or "").split()).partition("Source: ")
        return rest

    @property
    def title(self) -> str:
        """What this one does, in one line."""
        return self.about()

    @property
    def values(self) -> dict[str, Json]:
        """The parameters' present values by name."""
        return {known.name: getattr(self, known.name) for known in self.parameters()}

    def changed(self, values: Mapping[str, Any]) -> Self:
        """The same strategy with other parameters. Raises :class:`InvalidInputError` for a name it does not have."""
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        if unknown := sorted(set(values) - set(own)):
            known = ", ".join(item.name for item in self.parameters()) or "none"
            raise InvalidInputError(f"{self.name} has no parameter {unknown[0]}.", hint=f"It has: {known}.")
        return type(self)(**{**own, **values})

    @property
    def share(self) -> float:
        """Weight of each symbol that is held."""
        return self.weight or 1.0 / len(self.symbols)

    def hold(self, condition: Column) -> Floats:
        """The share of the account where ``condition`` is true, nothing elsewhere."""
        return np.where(np.asarray(condition, dtype=bool), self.share, 0.0)

    def hold_between(self, enter: Column, leave: Column) -> Floats:
        """Hold from a bar on which ``enter`` is true to one on which ``leave`` is; ``leave`` wins when both are."""
        return self.hold(between(enter, leave))

    def outlook(self, market: Market, at: int) -> Outlook:
        """The wishes at the close ``at`` (ns), from bars up to it alone, by the same evaluation as a backtest."""
        from retainer.trading.evaluation import evaluate

        known = {s: bars for s in self.symbols if s in market and (bars := market[s].until(at)) is not None}
        if not any(int(bars.close_time[-1]) == at for bars in known.values()):
            return Outlook(at, ())
        found = evaluate(self, known)
        return Outlook(
            at,
            tuple(
                decision_at(
                    self,
                    bars,
                    found[symbol].indicators,
                    found[symbol].targets,
                    len(bars) - 1,
                    found[symbol].exits(len(bars) - 1),
                )
                for symbol, bars in known.items()
                if int(bars.close_time[-1]) == at
            ),
        )

    def stops(self, bars: Bars, indicators: Mapping[str, Column]) -> Stops:
        """Protective stops of entries; none by default."""
        del bars, indicators
        return NO_STOPS

    def explain(self, bars: Bars, indicators: Mapping[str, Floats], row: int) -> Signal:
        """The indicators' values at ``row``, adjusted prices among them as they are."""
        values = {name: float(array[row]) for name, array in indicators.items() if np.isfinite(array[row])}
        words = ", ".join(f"{name} {value:,.2f}" for name, value in values.items()) or "no indicators"
        return Signal({**values, "close": float(bars.close[row])}, "none", "none", words)


def parameters_of(kind: type[Any]) -> tuple[Parameter, ...]:
    """Parameters that the fields of a strategy class declare with :func:`parameter`."""
    known = _PARAMETERS.get(kind)
    if known is None:
        hints = get_type_hints(kind)
        known = _PARAMETERS[kind] = tuple(
            Parameter(item.name, hints[item.name] is int, cast("float", item.default), item.metadata["range"])
            for item in fields(kind)
            if "range" in item.metadata
        )
    return known


_PARAMETERS: Final[dict[type[Any], tuple[Parameter, ...]]] = {}


def _checked(strategy: str, known: Parameter, value: Any) -> float:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or (known.whole and float(value) != int(value)):
        wanted = "a whole number" if known.whole else "a number"
        raise InvalidInputError(f"{strategy}: {known.name} is {value!r}, not {wanted}.")
    low, high = known.range.low, known.range.high
    if not low <= value <= high:
        raise InvalidInputError(
            f"{strategy}: {known.name} is {value:g}, out of its range.", hint=f"From {low:g} to {high:g}."
        )
    return int(value) if known.whole else float(value)


def between(enter: Column, leave: Column) -> Truths:
    """True from a bar where ``enter`` is true up to before one where ``leave`` is; ``leave`` wins when both are."""
    begins, ends = np.asarray(enter, dtype=bool), np.asarray(leave, dtype=bool)
    rows = np.arange(begins.size)
    last_begin = np.maximum.accumulate(np.where(begins & ~ends, rows, -1))
    last_end = np.maximum.accumulate(np.where(ends, rows, -1))
    return last_begin > last_end


def crossed_above(one: Column, other: Column) -> Truths:
    """True on the bar where ``one`` came to be above ``other`` and was not the bar before; false while unknown."""
    left = np.asarray(one, dtype=np.float64)
    right = np.broadcast_to(np.asarray(other, dtype=np.float64), left.shape)
    above, known = left > right, ~(np.isnan(left) | np.isnan(right))
    result = np.zeros(left.size, dtype=bool)
    result[1:] = above[1:] & ~above[:-1] & known[:-1]
    return result


def shifted(values: Column, bars: int) -> Floats:
    """Values of ``bars`` bars earlier; NaN at the beginning. Raises for a negative number: that is the future."""
    if bars < 0:
        raise InvalidInputError(f"A shift by {bars} bars would be a look into the future.")
    array = np.asarray(values, dtype=np.float64)
    return array.copy() if bars == 0 else np.r_[np.full(min(bars, array.size), np.nan), array[:-bars]]


def new_month(at: Ints) -> Truths:
    """True on the first bar of each calendar month and on the first bar of all; ``at``: sorted close times (ns).

    Months are those of New York's standard time: a session always lies within one.
    """
    begins = np.zeros(at.size, dtype=bool)
    if at.size:
        days = (at - _NEW_YORK_NS) // DAY_NS
        first, last = days[[0, -1]].view("datetime64[D]").astype("datetime64[M]")
        starts = np.arange(first, last + 1).astype("datetime64[D]").view(np.int64)
        begins[np.searchsorted(days, starts)] = True
    return begins


def rolling_deviation(values: Floats, window: int) -> Floats:
    """Sample standard deviation of the last ``window`` values; NaN before. Windows are summed anew: nothing drifts."""
    found = np.full(values.size, np.nan)
    if values.size >= window > 1:
        mean = _windows(values, window).sum(axis=0) / window
        squares = _windows(values * values, window).sum(axis=0)
        found[window - 1 :] = np.sqrt(np.maximum(squares - window * mean * mean, 0.0) / (window - 1))
    return found


def _windows(values: Floats, window: int) -> Floats:
    """[window, T - window + 1]: in each column the values of one window; a view, made faster than numpy's own."""
    flat = np.ascontiguousarray(values, dtype=np.float64)
    return np.ndarray((window, flat.size - window + 1), np.float64, flat, 0, (flat.itemsize, flat.itemsize))


def held_from(change: Truths, values: Floats) -> Floats:
    """``values`` [T] or [T, S] of the last row where ``change`` was true, carried on; NaN before the first."""
    rows = np.maximum.accumulate(np.where(change, np.arange(change.size), -1))
    return np.where((rows >= 0).reshape(-1, *[1] * (values.ndim - 1)), values[rows], np.nan)


def frame_of(bars: Bars, *, adjusted: bool = True) -> pd.DataFrame:
    """Bars as a pandas frame, indexed by close (UTC): open, high, low, close (adjusted unless not wanted), volume."""
    import pandas as pd

    index = pd.DatetimeIndex(bars.close_time.astype("datetime64[ns]"), tz="UTC", name="close_time")
    scale = bars.factor if adjusted else 1.0
    columns = {name: getattr(bars, name) * scale for name in PRICE_FIELDS}
    return pd.DataFrame({**columns, "volume": bars.volume}, index=index)


# --- several symbols at once ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Several symbols on one axis of time: what a strategy that compares them looks at."""

    at: Ints
    """[T] all close times, nanoseconds UTC."""
    symbols: tuple[str, ...]
    indicators: Mapping[str, Floats]
    """[T, S] per indicator; NaN where a symbol has no bar or the indicator is not valid."""


@dataclass(frozen=True, kw_only=True)
class PortfolioRule(Rule):
    """Base of strategies that compare symbols: write :meth:`indicators` per symbol and :meth:`allocate` over all."""

    def targets(self, bars: Bars, indicators: Mapping[str, Floats]) -> Floats:
        """Not asked: :meth:`allocate` decides over all symbols at once."""
        del indicators
        return np.full(len(bars), np.nan)

    @abstractmethod
    def allocate(self, panel: Panel) -> Floats:
        """Wanted weights [T, S], row by row from rows up to it; NaN while it cannot be said."""


def panel_of(market: Market, indicators: Mapping[str, Mapping[str, Floats]]) -> Panel:
    """The symbols' indicators (by symbol, then name) on the common axis of time."""
    at = sessions(market)
    symbols = tuple(sorted(market))
    names: Sequence[str] = list(next(iter(indicators.values()), {}))
    found = {name: np.full((at.size, len(symbols)), np.nan) for name in names}
    for column, symbol in enumerate(symbols):
        rows = np.searchsorted(at, market[symbol].close_time)
        for name in names:
            found[name][rows, column] = indicators[symbol][name]
    return Panel(at, symbols, MappingProxyType(found))
