"""CSV files, Parquet files and pandas frames as people have them, turned into checked :class:`Bars`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.trading.bars import PRICE_FIELDS, Bars, Floats, Ints, check_symbol, close_of
from retainer.trading.data.adjusting import Factors
from retainer.trading.data.checking import (
    BadRow,
    BadRowsError,
    check_interval,
    find_bad_rows,
    infer_interval,
    interval_ns,
)
from retainer.trading.frames import (
    ADJUSTED,
    DEFAULT_SYMBOL,
    NO_SUCH_YEAR,
    SYMBOL_COLUMNS,
    TIME_COLUMNS,
    lowered,
    mixed_zones,
    normalised_factor,
    out_of_reach,
)

if TYPE_CHECKING:
    import pandas as pd

Stamp = Literal["close", "open"]
_SEPARATORS: Final = ",;\t|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a source writes its bars."""

    symbol: str | None = None
    """Names a source that has one symbol and no column for it; with such a column: take only this one."""
    zone: str | None = None
    """Zone of times that carry none, e.g. ``America/New_York``. Without it such times are refused."""
    stamped: Stamp = "close"
    """Whether a time of day is the bar's close or its open. Plain dates are sessions and need neither."""
    interval: str | None = None
    """Length of a bar, e.g. ``1min``; inferred when absent."""
    factors: Factors | None = None
    """Adjustment; else a column ``factor`` or an adjusted close; else 1."""

    def __post_init__(self) -> None:
        """Raises :class:`InvalidInputError` for an unknown zone or interval."""
        if self.zone is not None:
            _zone(self.zone)
        if self.interval is not None:
            check_interval(self.interval)


@dataclass(frozen=True, slots=True)
class Series:
    """One symbol's bars and how long each is."""

    bars: Bars
    interval: str


def read_csv(path: Path, how: Reading | None = None) -> dict[str, Series]:
    """Bars by symbol from a CSV file with a header (separated by comma, semicolon, tab or bar).

    A file without a symbol column is named by ``how.symbol`` or by its own name (``AAPL.csv``). Raises
    :class:`NotFoundError`, and :class:`BadRowsError` naming every bad row.
    """
    import pandas as pd

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read as text: {error}.", hint="A CSV file in UTF-8.") from error
    if not head.strip():
        raise InvalidInputError(f"{path} is empty.", hint="A header and at least one row are wanted.")
    separator = max(_SEPARATORS, key=head.count)
    try:
        frame = pd.read_csv(path, sep=separator, encoding="utf-8-sig", skipinitialspace=True)
    except (pd.errors.ParserError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InvalidInputError(f"{path} is not a table: {str(error).strip()}.") from error
    return _read(frame, how or Reading(), path.name.split(".")[0].upper())


def read_parquet(path: Path, how: Reading | None = None) -> dict[str, Series]:
    """Bars by symbol from a Parquet file. Needs the extra ``parquet``; otherwise as :func:`read_csv`."""
    import pandas as pd

    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise InvalidInputError(
            "Reading Parquet needs pyarrow, which is not installed.", hint="pip install 'retainer[parquet]'"
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} is not a Parquet file: {error}.") from error
    return _read(frame, how or Reading(), path.name.split(".")[0].upper())


def read_frame(frame: pd.DataFrame, how: Reading | None = None) -> dict[str, Series]:
    """Bars by symbol from a pandas frame: open, high, low, close and, if known, volume, factor or adjusted close.

    Times are a DatetimeIndex or a column ``date``, ``time``, ``ts`` and the like. Plain dates are US sessions, stamped
    with their close (16:00 New York). Raises :class:`BadRowsError` naming every bad row, and
    :class:`InvalidInputError` for a frame without rows or columns.
    """
    if not hasattr(frame, "columns") or not hasattr(frame, "index"):
        raise InvalidInputError(f"{type(frame).__name__} is not a pandas frame.", hint="Pass a DataFrame.")
    return _read(frame, how or Reading(), str(frame.attrs.get("symbol") or DEFAULT_SYMBOL))


def _read(frame: pd.DataFrame, how: Reading, fallback: str) -> dict[str, Series]:
    """``fallback`` names the only series of a table that does not name it."""
    if len(frame) == 0:
        raise InvalidInputError("The table has no rows.", hint="At least one bar is wanted.")
    if frame.columns.nlevels != 1:
        raise InvalidInputError("The table has columns of two levels.", hint="frame.stack() to a symbol column first.")
    table = lowered(frame)
    key = next((name for name in SYMBOL_COLUMNS if name in table.columns), None)
    if key is None:
        name = how.symbol or fallback
        return {name: _one(table, np.arange(len(table)), check_symbol(name), how)}
    column = table[key].astype("string").to_numpy(dtype=object, na_value="")
    if (nameless := np.flatnonzero(column == "")).size:
        raise BadRowsError("table", [BadRow(int(i), key, "''", "is missing") for i in nameless], len(table))
    names = [how.symbol] if how.symbol is not None else sorted({str(name) for name in column})
    result: dict[str, Series] = {}
    for name in names:
        rows = np.flatnonzero(column == name)
        if not rows.size:
            raise NotFoundError(f"The table has no rows of {name}.")
        result[name] = _one(table.iloc[rows], rows, check_symbol(name), how)
    return result


def _one(table: pd.DataFrame, rows: Any, symbol: str, how: Reading) -> Series:
    if missing := [name for name in PRICE_FIELDS if name not in table.columns]:
        raise InvalidInputError(
            f"{symbol}: the table lacks the column {missing[0]}.",
            hint=f"It has {', '.join(map(str, table.columns))}; wanted are open, high, low, close.",
        )
    bad: list[BadRow] = []
    numbers = {name: _numbers(table, name, rows, bad) for name in PRICE_FIELDS}
    volume = _numbers(table, "volume", rows, bad) if "volume" in table.columns else np.zeros(len(table))
    close_time, days = _times(table, symbol, rows, how, bad)
    if bad:
        raise BadRowsError(symbol, bad, len(table))
    interval = "1d" if days else check_interval(how.interval or infer_interval(close_time))
    if not days and how.stamped == "open":
        close_time = close_time + interval_ns(interval)
    factor = _factor(table, close_time, numbers["close"], rows, bad, how)
    bad += find_bad_rows(close_time, numbers, volume, factor, row=np.asarray(rows, dtype=np.int64))
    if bad:
        raise BadRowsError(symbol, bad, len(table))
    bars = Bars(symbol=symbol, close_time=close_time, volume=volume.astype(np.int64), factor=factor, **numbers)
    return Series(bars, interval)


def _numbers(table: pd.DataFrame, name: str, rows: Any, bad: list[BadRow]) -> Floats:
    import pandas as pd

    values: Floats = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64, copy=True, na_value=np.nan)
    raw = table[name].to_numpy()
    if raw.dtype == object:
        for index in np.flatnonzero(np.isnan(values)):
            if not pd.isna(raw[index]):
                bad.append(BadRow(int(rows[index]), name, repr(raw[index]), "is not a number"))
                values[index] = 1.0
    return values


def _factor(table: pd.DataFrame, close_time: Ints, close: Floats, rows: Any, bad: list[BadRow], how: Reading) -> Floats:
    if how.factors is not None:
        return how.factors.at(close_time)
    if "factor" in table.columns:
        return _numbers(table, "factor", rows, bad)
    adjusted = next((name for name in ADJUSTED if name in table.columns), None)
    if adjusted is None:
        return np.ones(len(table))
    factor: Floats = normalised_factor(_numbers(table, adjusted, rows, bad), close)
    return factor


def _times(table: pd.DataFrame, symbol: str, rows: Any, how: Reading, bad: list[BadRow]) -> tuple[Ints, bool]:
    """Nanoseconds UTC as written, and whether they are plain dates (already stamped with their close)."""
    import pandas as pd

    column = next((name for name in TIME_COLUMNS if name in table.columns), None)
    source = table[column] if column is not None else table.index
    if column is None and not isinstance(source, pd.DatetimeIndex):
        raise InvalidInputError(
            f"{symbol}: the table has neither a DatetimeIndex nor a column of times.",
            hint=f"Name it one of {', '.join(TIME_COLUMNS)}.",
        )
    index = _index(source, symbol, rows, bad)
    if bool((index == index.normalize()).all()):
        return np.array([close_of(day) for day in index.date], dtype=np.int64), True
    if index.tz is None:
        index = _localised(index, symbol, rows, how.zone, bad)
    return np.asarray(index.tz_convert("UTC").tz_localize(None).as_unit("ns").asi8, dtype=np.int64), False


def _index(source: Any, symbol: str, rows: Any, bad: list[BadRow]) -> pd.DatetimeIndex:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(source):
        raise InvalidInputError(
            f"{symbol}: its times are plain numbers.", hint="pd.to_datetime(..., unit='s', utc=True)"
        )
    try:
        return _whole(pd.DatetimeIndex(pd.to_datetime(source)), rows, bad)
    except (TypeError, ValueError) as error:
        loose = pd.to_datetime(pd.Series(np.asarray(source, dtype=object)), errors="coerce", utc=True, format="mixed")
        unread = np.flatnonzero(loose.isna().to_numpy())
        if unread.size:
            values = np.asarray(source, dtype=object)
            raise BadRowsError(
                symbol, [BadRow(int(rows[i]), "time", repr(values[i]), "is not a date") for i in unread], len(rows)
            ) from error
        raise mixed_zones(symbol, np.asarray(source, dtype=object), rows) from error


def _whole(index: pd.DatetimeIndex, rows: Any, bad: list[BadRow]) -> pd.DatetimeIndex:
    import pandas as pd

    if (missing := np.flatnonzero(np.asarray(index.isna()))).size:
        bad.extend(BadRow(int(rows[i]), "time", "''", "is missing") for i in missing)
        index = pd.DatetimeIndex(index.fillna(pd.Timestamp(0, tz=index.tz)))
    if (far := out_of_reach(index)).size:
        bad.extend(BadRow(int(rows[i]), "time", index[int(i)].isoformat(), NO_SUCH_YEAR) for i in far)
        known = np.isin(np.arange(len(index)), far, invert=True)
        index = pd.DatetimeIndex(index.where(known, pd.Timestamp(0, tz=index.tz)))
    return index


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInputError(f"{name!r} is not a time zone.", hint="Write it like America/New_York.") from error


def _localised(
    index: pd.DatetimeIndex, symbol: str, rows: Any, zone: str | None, bad: list[BadRow]
) -> pd.DatetimeIndex:
    import pandas as pd

    if zone is None:
        raise InvalidInputError(
            f"{symbol}, row {int(rows[0])}: {index[0].isoformat()} is a time without a zone.",
            hint="Name the zone (--zone America/New_York), or localise the index.",
        )
    there = _zone(zone)
    placed = index.tz_localize(there, ambiguous="NaT", nonexistent="NaT")
    for i in np.flatnonzero(np.asarray(placed.isna()) & ~np.asarray(index.isna())):
        what = f"does not exist, or exists twice, in {zone} (the clock changes then)"
        bad.append(BadRow(int(rows[i]), "time", index[int(i)].isoformat(), what))
    return pd.DatetimeIndex(placed.fillna(pd.Timestamp(0, tz=there)))
