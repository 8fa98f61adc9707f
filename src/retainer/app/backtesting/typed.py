"""What is typed behind ``retainer backtest | sweep | walkforward``, as strategies, spans, grids and accounts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.trading.arguments import COMPANIES
from retainer.trading.bars import check_symbol, close_of, market_date
from retainer.trading.data.store import BarStore
from retainer.trading.engine import EngineSettings
from retainer.trading.phrases import read_idea
from retainer.trading.rules import Parameter, Rule
from retainer.trading.samples import SYMBOLS
from retainer.trading.settings import TradingSettings
from retainer.trading.spec import SpecStrategy, load_spec
from retainer.trading.strategies import CATALOGUE, make_strategy, strategy_class
from retainer.trading.units import YEARS

MOST_SETS: Final = 1_000_000
_STEPS: Final = (0.5, 0.75, 1.0, 1.5, 2.0)
"""Multiples of a default that are tried when no grid is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How the account trades, beside the configured costs."""

    cash: float | None = None
    """Dollars; ``None``: as configured."""
    slippage: float | None = None
    """Basis points; ``None``: as configured."""
    fractional: bool = False
    short: bool = False
    volume_share: float = 0.0

    def settings(self, trading: TradingSettings) -> EngineSettings:
        """Costs as configured for the paper account; no limits but cash, so that a strategy is seen as it is."""
        fees = trading.to_fees()
        if self.slippage is not None:
            fees = replace(fees, slippage_ppm=round(self.slippage * 100))
        cash = trading.cash if self.cash is None else Decimal(str(self.cash)).quantize(Decimal("0.01"))
        return EngineSettings(
            cash=cash, fees=fees, fractional=self.fractional, short=self.short, volume_share=self.volume_share
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was typed."""

    strategy: str
    symbols: str = ""
    start: str | None = None
    end: str | None = None
    parameters: Sequence[str] = ()
    interval: str = "1d"
    account: Account = Account()


@dataclass(frozen=True, slots=True)
class Span:
    """First and last instant traded, nanoseconds UTC; ``years`` counts back from the last bar there is."""

    start: int | None = None
    end: int | None = None
    years: int | None = None

    def begun(self, last: int) -> int | None:
        """The start, given the close of the last bar."""
        if self.start is not None or self.years is None:
            return self.start
        day = market_date(min(last, self.end or last))
        return first_instant(day.replace(year=day.year - self.years, day=min(day.day, 28)))


def read_strategy(wish: Wish, folder: Path) -> tuple[Rule, Span]:
    """The strategy and the span. A sentence may say both; what is typed as an option comes first.

    Raises :class:`NotFoundError` and :class:`InvalidInputError` saying what does not fit.
    """
    text, symbols, span = wish.strategy.strip(), read_symbols(wish.symbols), span_of(wish)
    if text in CATALOGUE:
        return make_strategy(text, read_parameters(wish.parameters), symbols=_named(symbols)), span
    if wish.parameters:
        raise InvalidInputError("--set is for strategies with a name.", hint=f"There are {', '.join(CATALOGUE)}.")
    if text.lower().endswith((".toml", ".json")):
        rule: Rule = SpecStrategy.of(load_spec(Path(text)))
    elif " " not in text:
        strategy_class(text)  # says which names are near
        raise NotFoundError(f"There is no strategy {text!r}.")
    else:
        idea = read_idea(text, spoken_names(folder, wish.interval), asked=False)
        rule = idea.strategy
        start, end = (None if day is None else day for day in (idea.start, idea.end))
        span = Span(
            span.start if span.start is not None or start is None else first_instant(start),
            span.end if span.end is not None or end is None else close_of(end),
            idea.years,
        )
    return (replace(rule, symbols=symbols) if symbols else rule), span


def named_strategy(wish: Wish) -> Rule:
    """A strategy of the catalogue: only those have parameters with ranges that can be varied."""
    return make_strategy(
        wish.strategy.strip(), read_parameters(wish.parameters), symbols=_named(read_symbols(wish.symbols))
    )


def spoken_names(folder: Path, interval: str) -> dict[str, str]:
    """Names a sentence may use, in small letters, to symbols: those that there are bars of, and their companies."""
    there = {entry.symbol for entry in BarStore(folder).entries() if entry.interval == interval}
    there |= set(SYMBOLS) if interval == "1d" else set()
    companies = {name.lower(): symbol for name, symbol in COMPANIES.items() if symbol in there}
    return {**companies, **{symbol.lower(): symbol for symbol in there}}


def read_symbols(text: str) -> tuple[str, ...]:
    """``AAPL,IBM`` as a tuple; empty when nothing was typed."""
    return tuple(check_symbol(part.strip().upper()) for part in text.split(",") if part.strip())


def _named(symbols: tuple[str, ...]) -> tuple[str, ...]:
    if not symbols:
        raise InvalidInputError("Which symbols?", hint="For example: --symbols AAPL,IBM")
    return symbols


def span_of(wish: Wish) -> Span:
    """What ``--start`` and ``--end`` say."""
    start, end = (_day(text, name) for text, name in ((wish.start, "--start"), (wish.end, "--end")))
    if start is not None and end is not None and end < start:
        raise InvalidInputError(f"--end {wish.end} is before --start {wish.start}.")
    return Span(None if start is None else first_instant(start), None if end is None else close_of(end))


def first_instant(day: date) -> int:
    """Just after the close of the day before: bars of all intervals that belong to ``day`` are later."""
    return close_of(day - timedelta(days=1)) + 1


def _day(text: str | None, name: str) -> date | None:
    try:
        day = None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"{name} {text!r} is not a date.", hint="Write it like 2004-01-31.") from error
    if day is not None and day.year not in YEARS:
        raise InvalidInputError(f"{name} {text} is in no year with a market.", hint="Write it like 2004-01-31.")
    return day


def read_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """``fast=10`` as names and values."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InvalidInputError(f"--set {text!r} is not a parameter.", hint="Write it like --set fast=10.")
        found[name.strip()] = _number(value.strip(), f"--set {text!r}")
    return found


def read_grid(texts: Sequence[str], strategy: str) -> dict[str, list[float]]:
    """``fast=5,10,20`` or ``fast=5:50:5`` as names and values; without any, values around the defaults.

    Raises :class:`InvalidInputError` for what is no grid and for more than a million sets.
    """
    found: dict[str, list[float]] = {} if texts else default_grid(strategy)
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not name.strip() or not values.strip():
            raise InvalidInputError(f"--grid {text!r} is no set of values.", hint="Write it like --grid fast=5:50:5.")
        if name.strip() in found:
            raise InvalidInputError(f"--grid names {name.strip()} twice.", hint="Give all its values at once.")
        listed = (
            [_number(value.strip(), f"--grid {text!r}") for value in values.split(",")] if ":" not in values else []
        )
        found[name.strip()] = listed or _range(text, values)
    if math.prod(len(values) for values in found.values()) > MOST_SETS:
        raise InvalidInputError(f"The grid has more than {MOST_SETS:,} sets.", hint="Take larger steps.")
    return found


def default_grid(strategy: str) -> dict[str, list[float]]:
    """Values around the defaults of the first two parameters of a classic, within their ranges."""
    known = strategy_class(strategy).parameters()
    if not known:
        raise InvalidInputError(f"{strategy} has no parameters to vary.")
    return {each.name: _around(each) for each in known[:2]}


def _around(known: Parameter) -> list[float]:
    values = (known.default * step for step in _STEPS)
    inside = {min(max(v, known.range.low), known.range.high) for v in values}
    return sorted({round(v) for v in inside} if known.whole else inside)


def _range(text: str, values: str) -> list[float]:
    parts = [_number(part.strip(), f"--grid {text!r}") for part in values.split(":")]
    if len(parts) not in {2, 3}:
        raise InvalidInputError(f"--grid {text!r} is no range.", hint="Write from:to:step, like 5:50:5.")
    first, last, step = parts[0], parts[1], parts[2] if len(parts) == 3 else 1
    if step <= 0 or last < first:
        raise InvalidInputError(f"--grid {text!r} has no values.", hint="Write from:to:step, like 5:50:5.")
    count = math.floor((last - first) / step + 1e-9) + 1
    if count > MOST_SETS:
        raise InvalidInputError(f"--grid {text!r} has {count:,} values.", hint="Take larger steps.")
    return [round(first + number * step, 12) for number in range(count)]


def _number(text: str, where: str) -> float:
    try:
        value = int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError as error:
        raise InvalidInputError(f"{where}: {text!r} is not a number.") from error
    if not math.isfinite(value):
        raise InvalidInputError(f"{where}: {text} is not a finite number.")
    return value


def words_of(parameters: Mapping[str, Any]) -> str:
    """``fast 10, slow 50``."""
    return ", ".join(f"{name} {value:g}" for name, value in parameters.items())
