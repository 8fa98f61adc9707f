"""Tables in, checked figures out: exact, typed, and every bad cell named."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer import DataPipeline
from retainer.analysis.analyst import Analyst
from retainer.analysis.processors import AnalysisProcessor, Figures
from retainer.core.errors import InvalidInputError
from retainer.core.labels import UNTRUSTED

CSV = "day,amount,shop,paid\n2026-01-03,0.10,Tea & Co,true\n2026-01-01,0.20,Tea & Co,\n2026-01-02,,Books,false\n"


def figures(raw: Any) -> Figures:
    made = DataPipeline().process("analysis", raw)
    assert isinstance(made, Figures)
    return made


def test_a_table_as_text() -> None:
    table = figures(CSV)
    amount, day, shop = table.column("amount"), table.column("day"), table.column("shop")
    assert (amount.total, amount.mean, amount.count, amount.missing) == (Decimal("0.30"), Decimal("0.15"), 2, 1)
    assert (day.kind, day.least, day.greatest) == ("date", date(2026, 1, 1), date(2026, 1, 3))
    assert (shop.kind, shop.distinct, shop.commonest) == ("text", 2, "Tea & Co")


def test_frames_rows_and_columns_say_the_same() -> None:
    columns = {"n": [1, 2, 3], "name": ["a", "b", "b"]}
    frame = pd.DataFrame(columns)
    assert figures(columns) == figures(frame) == figures(frame.to_dict("records"))
    dated = pd.DataFrame({"x": [1.5, None]}, index=pd.to_datetime(["2026-01-01", "2026-01-02"]).rename("day"))
    assert [column.kind for column in figures(dated).columns] == ["date", "number"]
    missing = pd.DataFrame({"x": pd.array([1, None], dtype="Int64"), "t": [pd.NaT, pd.Timestamp("2026-01-01")]})
    assert [column.missing for column in figures(missing).columns] == [1, 1]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", "empty"),
        ("a,b\n1,2\n3", "Row 2 has 1 cells, the header has 2"),
        ("a,a\n1,2", "“a” is there twice"),
        ({"a": [1], "b": [1, 2]}, "differ in length"),
        ({"a": "text"}, "“a” is no list"),
        ([{"a": 1}, 5], "Row 2 is int"),
        ({"a": [1.0, float("inf")]}, "Row 2, column “a”: inf is no usable number"),
        ([], "no columns"),
        (7, "int is no table"),
    ],
)
def test_what_does_not_fit_is_named(raw: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        figures(raw)


def test_words_that_look_like_numbers_to_a_parser_stay_words() -> None:
    assert figures({"name": ["Nan", "Inf", "Bob"]}).column("name").kind == "text"
    assert figures({"mixed": ["1", "two"]}).column("mixed").kind == "text"
    assert figures({"none": [None, ""]}).column("none").kind == "empty"


@given(st.lists(st.decimals(-(10**9), 10**9, places=4), min_size=1, max_size=40))
def test_sums_and_means_are_exact(values: list[Decimal]) -> None:
    column = AnalysisProcessor().transform({"x": values}).column("x")
    assert column.total is not None
    assert column.mean is not None
    assert Fraction(column.total) == sum((Fraction(value) for value in values), Fraction(0))
    assert abs(Fraction(column.mean) - Fraction(column.total) / len(values)) <= Fraction(1, 10**15)


def test_the_analyst_words_figures_and_keeps_the_label() -> None:
    answer = Analyst().describe(CSV, label=UNTRUSTED)
    assert answer.text.splitlines() == [
        "3 rows, 4 columns.",
        "day: 3 dates, from 2026-01-01 to 2026-01-03.",
        "amount: 2 numbers, 1 missing, sum 0.3, mean 0.15, from 0.1 to 0.2.",
        "shop: 3 values, 2 different, mostly Tea & Co.",
        "paid: 2 values, 1 missing, 2 different, mostly false.",
    ]
    assert answer.label == UNTRUSTED
    assert isinstance(answer.data, dict)
    assert answer.data["rows"] == 3
    with pytest.raises(InvalidInputError, match="no column “price”"):
        figures(CSV).column("price")
