"""The analyst in words: sentences written by code from checked figures; no model rewords a number."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from retainer.analysis.processors import AnalysisProcessor, Column, Figures
from retainer.core.capabilities import Answer
from retainer.core.labels import TRUSTED, Label


class Analyst:
    """Describes tables. ``label`` is that of the table: a table from outside makes an untrusted answer."""

    def __init__(self) -> None:
        self._processor = AnalysisProcessor()

    def describe(self, table: Any, *, label: Label = TRUSTED) -> Answer:
        """A table (frame, rows, columns, CSV text) or its :class:`Figures`, one line for each column."""
        figures = table if isinstance(table, Figures) else self._processor.transform(table)
        rows = f"{figures.rows} row{'' if figures.rows == 1 else 's'}"
        columns = f"{len(figures.columns)} column{'' if len(figures.columns) == 1 else 's'}"
        lines = [f"{rows}, {columns}.", *(_line(column) for column in figures.columns)]
        return Answer("\n".join(lines), figures.to_json(), label=label)


def _line(column: Column) -> str:
    gaps = f", {column.missing} missing" if column.missing else ""
    match column.kind:
        case "number":
            return (
                f"{column.name}: {column.count} numbers{gaps}, sum {_plain(column.total)}, mean {_plain(column.mean)}, "
                f"from {_plain(column.least)} to {_plain(column.greatest)}."
            )
        case "date":
            return f"{column.name}: {column.count} dates{gaps}, from {column.least} to {column.greatest}."
        case "empty":
            return f"{column.name}: no values."
        case _:
            return (
                f"{column.name}: {column.count} values{gaps}, {column.distinct} different, mostly {column.commonest}."
            )


def _plain(value: object) -> str:
    """A decimal without exponent; means are shown to six decimals at most."""
    if not isinstance(value, Decimal):
        return str(value)
    exponent = value.as_tuple().exponent
    shown = round(value, 6) if isinstance(exponent, int) and exponent < -6 else value
    text = f"{shown:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
