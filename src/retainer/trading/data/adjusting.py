"""Adjustment for splits and dividends: factors by date, so that raw prices times factor are comparable."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.trading.bars import Floats, Ints, market_date


@dataclass(frozen=True, slots=True)
class Factors:
    """A step function of the date: a row's factor holds up to and including its date, and after the one before it.

    The last row's factor holds for all later dates too. This is the convention of LEAN's factor files
    (https://www.quantconnect.com/docs, US equity security master): adjusted = raw * price factor * split factor.
    """

    until: tuple[date, ...]
    """Dates (New York), rising."""
    factor: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.until or len(self.until) != len(self.factor):
            raise InvalidInputError("Factors need dates and as many values.")
        for row, (day, value) in enumerate(zip(self.until, self.factor, strict=True)):
            if not 0 < value < float("inf"):
                raise InvalidInputError(f"Factor row {row} ({day}): {value} is not a positive number.")
            if row and day <= self.until[row - 1]:
                raise InvalidInputError(f"Factor row {row} ({day}) is not after the row before it.")

    def at(self, close_time: Ints) -> Floats:
        """The factor of each bar, by its New York date."""
        days = np.array([market_date(int(ns)) for ns in close_time], dtype="datetime64[D]")
        rows = np.searchsorted(np.array(self.until, dtype="datetime64[D]"), days, side="left")
        return np.array(self.factor)[np.minimum(rows, len(self.factor) - 1)]


def read_factors(path: Path, symbol: str) -> Factors:
    """Factors of ``symbol`` from a CSV file with the columns ``date`` and ``factor``, or ``price_factor`` and
    ``split_factor``; a column ``symbol`` (optional) picks the rows.

    Raises :class:`NotFoundError` without such a file or symbol, :class:`InvalidInputError` naming the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}.") from error
    until: list[date] = []
    factor: list[float] = []
    for number, row in enumerate(table, start=2):
        if row.get("symbol", symbol) != symbol:
            continue
        try:
            until.append(date.fromisoformat(row["date"]))
            if "factor" in row:
                factor.append(float(row["factor"]))
            else:
                factor.append(float(row["price_factor"]) * float(row["split_factor"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"{path}, line {number}: no date with its factor ({error}).",
                hint="Columns: date and factor, or date, price_factor and split_factor.",
            ) from error
    if not until:
        raise NotFoundError(f"{path} has no factors of {symbol}.")
    return Factors(tuple(until), tuple(factor))
