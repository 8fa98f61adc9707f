"""Pandas frames at the door: columns and dates as people have them, checked, turned into :class:`Bars`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import PRICE_FIELDS, US_CLOSE, Bars, Ints, new_york
from retainer.trading.units import MAX_VOLUME, YEARS

if TYPE_CHECKING:
    import pandas as pd

TIME_COLUMNS = ("date", "time", "datetime", "timestamp", "ts", "close_time")
SYMBOL_COLUMNS = ("symbol", "ticker")
ADJUSTED = ("adj close", "adj_close", "adjclose", "adjusted_close", "adjusted close")
DEFAULT_SYMBOL = "SYMBOL"


def read_frame(frame: pd.DataFrame, symbol: str | None = None) -> dict[str, Bars]:
    """Bars by symbol from a frame with open, high, low, close and, if known, volume and adjusted close.

    Times are a DatetimeIndex or a column ``date`` or ``time``. Plain dates (midnight, naive or aware) are US sessions
    and are stamped with their close, 16:00 New York; other instants must carry a zone and are taken as the close.
    Several symbols come as a ``symbol`` (or ``ticker``) column or as two-level columns; in the latter a row without any
    price is a missing bar and stays missing. ``symbol`` names a frame that does not. Without adjusted close or
    ``factor`` the factor is 1. Raises :class:`InvalidInputError` naming row and field.
    """
    if not hasattr(frame, "columns") or not hasattr(frame, "index"):
        raise InvalidInputError(f"{type(frame).__name__} is not a pandas frame.", hint="Pass a DataFrame or Bars.")
    if len(frame) == 0:
        raise InvalidInputError("The frame has no rows.", hint="Pass at least one bar.")
    if frame.columns.nlevels == 2:
        return _wide(frame)
    table = lowered(frame)
    key = next((name for name in SYMBOL_COLUMNS if name in table.columns), None)
    if key is None:
        name = symbol or str(frame.attrs.get("symbol") or DEFAULT_SYMBOL)
        return {name: _one(table, name)}
    if symbol is not None:
        table = table[table[key] == symbol]
        if len(table) == 0:
            raise InvalidInputError(f"The frame has no rows of {symbol}.")
    if table[key].isna().any():
        raise InvalidInputError(f"row {int(np.argmax(table[key].isna()))}: {key} is missing.")
    return {str(name): _one(part, str(name)) for name, part in table.groupby(key, sort=True)}


def lowered(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table with column names in lower case. Raises when one appears twice."""
    names = [str(column).strip().lower() for column in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(f"The frame has the column {twice[0]} more than once.")
    table = frame.copy(deep=False)
    table.columns = names
    return table


def _wide(frame: pd.DataFrame) -> dict[str, Bars]:
    """Two-level columns, as market data packages give them: (field, symbol) or (symbol, field)."""
    import pandas as pd

    levels = [{str(value).lower() for value in frame.columns.get_level_values(level)} for level in (0, 1)]
    level = next((i for i, values in enumerate(levels) if "close" in values), None)
    if level is None:
        raise InvalidInputError("Neither level of the frame's columns has 'close'.")
    result: dict[str, Bars] = {}
    for name in dict.fromkeys(frame.columns.get_level_values(1 - level)):
        part = lowered(pd.DataFrame(frame.xs(name, axis=1, level=1 - level)))
        prices = [field for field in PRICE_FIELDS if field in part.columns]
        part = part[~part[prices].isna().all(axis=1)]
        if len(part):
            result[str(name)] = _one(part, str(name))
    if not result:
        raise InvalidInputError("The frame has no row with prices.")
    return result


def _one(table: pd.DataFrame, symbol: str) -> Bars:
    if missing := [name for name in PRICE_FIELDS if name not in table.columns]:
        raise InvalidInputError(f"{symbol}: the frame lacks the column {missing[0]}.", hint="open, high, low, close.")
    prices = {name: _numbers(table, name, symbol) for name in PRICE_FIELDS}
    volume = _numbers(table, "volume", symbol) if "volume" in table.columns else np.zeros(len(table))
    if (odd := ~(np.abs(volume) <= MAX_VOLUME)).any():
        row = int(np.argmax(odd))
        what = "is more than was ever traded" if np.isfinite(volume[row]) else "is not a finite number"
        raise InvalidInputError(f"{symbol}, row {row}: volume {volume[row]} {what}.")
    adjusted = next((name for name in ADJUSTED if name in table.columns), None)
    factor = np.ones(len(table))
    if "factor" in table.columns:
        factor = _numbers(table, "factor", symbol)
    elif adjusted is not None:
        factor = normalised_factor(_numbers(table, adjusted, symbol), prices["close"])
    return Bars(
        symbol=symbol, close_time=_times(table, symbol), volume=volume.astype(np.int64), factor=factor, **prices
    )


def normalised_factor(adjusted: Any, close: Any) -> Any:
    """Adjusted over raw close, scaled so that the last row has 1: publishers keep it only up to a constant."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = adjusted / close
        return ratio / ratio[-1]


NO_SUCH_YEAR: Final = f"is not between the years {YEARS.start} and {YEARS.stop}"


def out_of_reach(index: pd.DatetimeIndex) -> Ints:
    """Rows whose year cannot be kept."""
    years = np.asarray(index.year)
    return np.flatnonzero((years < YEARS.start) | (years >= YEARS.stop))


def mixed_zones(symbol: str, values: NDArray[Any], rows: Sequence[int]) -> InvalidInputError:
    """What is wrong with times that cannot be read together: the first row that is no date or of another zone.

    ``rows`` gives the source's row numbers.
    """
    import pandas as pd

    first: Any = None
    for row, value in zip(rows, values, strict=True):
        try:
            stamp = pd.Timestamp(value)
        except (TypeError, ValueError):
            return InvalidInputError(f"{symbol}, row {row}: time {value!r} is not a date.")
        if first is None:
            first = stamp
        elif not pd.isna(stamp) and stamp.utcoffset() != first.utcoffset():
            return InvalidInputError(
                f"{symbol}, row {row}: time {value} is of another zone than {first.isoformat()}: times mix zones, or "
                "times with and without one.",
                hint="Use pd.to_datetime(..., utc=True).",
            )
    return InvalidInputError(f"{symbol}: its times cannot be read together.", hint="Use pd.to_datetime(..., utc=True).")


def _numbers(table: pd.DataFrame, name: str, symbol: str) -> Any:
    try:
        return table[name].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{symbol}: the column {name} holds something that is no number ({error}).") from error


def _times(table: pd.DataFrame, symbol: str) -> Ints:
    import pandas as pd

    column = next((name for name in TIME_COLUMNS if name in table.columns), None)
    source = table[column] if column is not None else table.index
    if column is None and not isinstance(source, pd.DatetimeIndex):
        raise InvalidInputError(
            f"{symbol}: the frame has neither a DatetimeIndex nor a column 'date' or 'time'.",
            hint="frame.index = pd.to_datetime(...)",
        )
    try:
        index = pd.DatetimeIndex(pd.to_datetime(source))
    except (TypeError, ValueError) as error:
        raise mixed_zones(symbol, np.asarray(source, dtype=object), range(len(table))) from error
    if index.isna().any():
        raise InvalidInputError(f"{symbol}, row {int(np.argmax(index.isna()))}: the date is missing.")
    if (far := out_of_reach(index)).size:
        raise InvalidInputError(f"{symbol}, row {far[0]}: time {index[int(far[0])].isoformat()} {NO_SUCH_YEAR}.")
    if bool((index == index.normalize()).all()):
        index = (index.tz_localize(None) + pd.Timedelta(hours=US_CLOSE.hour)).tz_localize(new_york())
    if index.tz is None:
        raise InvalidInputError(
            f"{symbol}: row 0 is {index[0].isoformat()}, a time without a zone.",
            hint="frame.index = frame.index.tz_localize('America/New_York')",
        )
    return np.asarray(index.tz_convert("UTC").tz_localize(None).as_unit("ns").asi8, dtype=np.int64)
