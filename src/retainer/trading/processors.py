"""The trading side of the data pipeline: tables of prices as checked bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bars, from_frame

if TYPE_CHECKING:
    import pandas as pd


class TradingProcessor:
    """A pandas frame, our own bars, or rows of prices in; bars by symbol out, every price checked."""

    def transform(self, raw: pd.DataFrame | Bars | Mapping[str, Any] | list[Mapping[str, Any]]) -> dict[str, Bars]:
        """``raw`` as bars by symbol.

        Accepts a frame (``open high low close volume``, a date index or column, ``symbol`` if there are several),
        bars, bars by symbol, or a list of rows with those names. Raises :class:`InvalidInputError` naming the row and
        the field that does not fit.
        """
        if isinstance(raw, Bars):
            return {raw.symbol: raw}
        if isinstance(raw, Mapping) and raw and all(isinstance(value, Bars) for value in raw.values()):
            return dict(raw)
        return from_frame(_frame(raw))


def _frame(raw: object) -> pd.DataFrame:
    import pandas as pd

    if isinstance(raw, pd.DataFrame):
        return raw
    if isinstance(raw, list | tuple):
        for number, row in enumerate(raw, start=1):
            if not isinstance(row, Mapping):
                raise InvalidInputError(
                    f"Row {number} is {type(row).__name__}, not a row of prices.", hint="Use mappings."
                )
        return pd.DataFrame(list(raw))
    if isinstance(raw, Mapping):
        try:
            return pd.DataFrame(dict(raw))
        except ValueError as error:
            raise InvalidInputError(
                f"The columns do not make a table: {error}.", hint="Give them one length."
            ) from error
    raise InvalidInputError(
        f"{type(raw).__name__} is no market data.", hint="Pass a pandas frame, bars, or a list of rows."
    )
