"""Tables as checked figures: what each column is, and its exact count, sum, mean and range."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import TYPE_CHECKING, Any, Literal

from retainer.core.errors import InvalidInputError
from retainer.core.values import Json

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "date", "text", "truth", "empty"]
MOST_CELLS = 2_000_000
_DIGITS = 28
_GREATEST_EXPONENT = 90
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Figures of one column. Numbers are exact decimals; ``mean`` is rounded to 28 significant digits."""

    name: str
    kind: Kind
    count: int
    """Cells with a value."""
    missing: int
    distinct: int
    total: Decimal | None = None
    mean: Decimal | None = None
    least: Decimal | date | None = None
    greatest: Decimal | date | None = None
    commonest: str | None = None

    def to_json(self) -> dict[str, Json]:
        """With figures and dates as strings."""
        values: dict[str, Json] = {"name": self.name, "kind": self.kind}
        values |= {"count": self.count, "missing": self.missing, "distinct": self.distinct}
        for name in ("total", "mean", "least", "greatest", "commonest"):
            value = getattr(self, name)
            if value is not None:
                values[name] = value.isoformat() if isinstance(value, date) else str(value)
        return values


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a table."""

    rows: int
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column of this name. Raises :class:`InvalidInputError`, naming those there are."""
        for column in self.columns:
            if column.name == name:
                return column
        names = ", ".join(column.name for column in self.columns)
        raise InvalidInputError(f"There is no column “{name}”.", hint=f"There are: {names}.")

    def to_json(self) -> dict[str, Json]:
        """Everything as JSON."""
        return {"rows": self.rows, "columns": [column.to_json() for column in self.columns]}


class AnalysisProcessor:
    """A pandas frame, a list of rows, a mapping of columns, or CSV text in; :class:`Figures` out."""

    def transform(self, raw: pd.DataFrame | Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | str) -> Figures:
        """Exact figures of ``raw``. Raises :class:`InvalidInputError` naming the row and the column that do not fit."""
        names, rows = _table(raw)
        if not names:
            raise InvalidInputError("The table has no columns.", hint="Give it a header or named columns.")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise InvalidInputError(f"The column “{repeated[0]}” is there twice.", hint="Name each column once.")
        if len(names) * len(rows) > MOST_CELLS:
            raise InvalidInputError(f"The table has more than {MOST_CELLS:,} cells.", hint="Send a part of it.")
        return Figures(len(rows), tuple(_column(name, [row[i] for row in rows]) for i, name in enumerate(names)))


# --- reading ---------------------------------------------------------------------------------------------------------
def _table(raw: object) -> tuple[list[str], list[list[Any]]]:
    if isinstance(raw, str):
        return _from_csv(raw)
    if isinstance(raw, Mapping):
        return _from_columns(raw)
    if isinstance(raw, list | tuple):
        return _from_rows(raw)
    if hasattr(raw, "itertuples") and hasattr(raw, "columns"):
        return _from_frame(raw)
    raise InvalidInputError(
        f"{type(raw).__name__} is no table.", hint="Pass a pandas frame, rows, columns or CSV text."
    )


def _from_csv(text: str) -> tuple[list[str], list[list[Any]]]:
    lines = [row for row in csv.reader(io.StringIO(text.strip())) if row]
    if not lines:
        raise InvalidInputError("The table is empty.", hint="Send a header line and rows.")
    names = [name.strip() for name in lines[0]]
    for number, row in enumerate(lines[1:], start=1):
        if len(row) != len(names):
            raise InvalidInputError(
                f"Row {number} has {len(row)} cells, the header has {len(names)}.", hint="Mend that row."
            )
    return names, [list(row) for row in lines[1:]]


def _from_columns(columns: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    lists: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InvalidInputError(f"The column “{name}” is no list of values.", hint="Pass one list per column.")
        lists[str(name)] = list(values)
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(f"The columns differ in length: {lengths}.", hint="Give them one length.")
    return list(lists), [list(row) for row in zip(*lists.values(), strict=True)]


def _from_rows(rows: Sequence[Any]) -> tuple[list[str], list[list[Any]]]:
    names: dict[str, None] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InvalidInputError(
                f"Row {number} is {type(row).__name__}, not a mapping.", hint="Use {column: value}."
            )
        names.update(dict.fromkeys(str(name) for name in row))
    return list(names), [[row.get(name) for name in names] for row in rows]


def _from_frame(frame: Any) -> tuple[list[str], list[list[Any]]]:
    named = frame.index.name or type(frame.index).__name__ != "RangeIndex"
    table = frame.reset_index() if named else frame
    return [str(name) for name in table.columns], [list(row) for row in table.itertuples(index=False, name=None)]


# --- figures ---------------------------------------------------------------------------------------------------------
def _column(name: str, cells: list[Any]) -> Column:
    given = [(number, cell) for number, cell in enumerate(cells, start=1) if not _is_missing(cell)]
    missing = len(cells) - len(given)
    if not given:
        return Column(name=name, kind="empty", count=0, missing=missing, distinct=0)
    if all(isinstance(cell, bool) for _, cell in given):
        return _texts(name, "truth", [str(cell).lower() for _, cell in given], missing)
    numbers = [_number(cell, number, name) for number, cell in given]
    whole = [value for value in numbers if value is not None]
    if len(whole) == len(given):
        return _numbers(name, whole, missing)
    dates = [_date(cell) for _, cell in given]
    known = [value for value in dates if value is not None]
    if len(known) == len(given):
        return _dates(name, known, missing)
    return _texts(name, "text", [str(cell) for _, cell in given], missing)


def _is_missing(cell: Any) -> bool:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return True
    if type(cell).__name__ in {"NAType", "NaTType"}:
        return True
    return bool(cell != cell)  # noqa: PLR0124 - NaN and NaT are the values that differ from themselves


def _number(cell: Any, number: int, name: str) -> Decimal | None:
    """A cell as an exact number, ``None`` if it is none. A word such as “Nan” in a text column is no number."""
    if isinstance(cell, bool | date):
        return None
    text = cell.strip() if isinstance(cell, str) else str(cell)
    if isinstance(cell, str) and _NUMBER.fullmatch(text) is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    if not value.is_finite() or abs(value.adjusted()) > _GREATEST_EXPONENT:
        raise InvalidInputError(
            f"Row {number}, column “{name}”: {cell} is no usable number.", hint="Correct that cell."
        )
    return value


def _date(cell: Any) -> date | None:
    if isinstance(cell, date):
        return cell
    try:
        text = str(cell).strip()
        return datetime.fromisoformat(text) if len(text) > 10 else date.fromisoformat(text)
    except ValueError:
        return None


def _numbers(name: str, values: list[Decimal], missing: int) -> Column:
    with localcontext(Context(prec=200)):
        total = sum(values, Decimal(0))
    mean = Context(prec=_DIGITS).divide(total, Decimal(len(values)))
    return Column(
        name=name,
        kind="number",
        count=len(values),
        missing=missing,
        distinct=len(set(values)),
        total=total,
        mean=mean,
        least=min(values),
        greatest=max(values),
    )


def _dates(name: str, values: list[date], missing: int) -> Column:
    ordered = sorted(values, key=lambda value: (value.isoformat(), str(type(value))))
    return Column(
        name=name,
        kind="date",
        count=len(values),
        missing=missing,
        distinct=len(set(values)),
        least=ordered[0],
        greatest=ordered[-1],
    )


def _texts(name: str, kind: Kind, values: list[str], missing: int) -> Column:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    commonest = min(counts, key=lambda value: (-counts[value], value))
    return Column(name=name, kind=kind, count=len(values), missing=missing, distinct=len(counts), commonest=commonest)
