"""Periods, words, arguments and phrases: what people say and what they are told."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from retainer.core.errors import InvalidInputError
from retainer.trading.arguments import OrderArguments, PeriodArguments, explain_arguments
from retainer.trading.periods import parse_period
from retainer.trading.words import count, day, listed, money, percent, span

TODAY = date(2007, 1, 11)
"""A Thursday."""
OPENED = date(2005, 1, 3)


@pytest.mark.parametrize(
    ("words", "start", "end"),
    [
        ("today", "2007-01-11", "2007-01-11"),
        ("yesterday", "2007-01-10", "2007-01-10"),
        ("this week", "2007-01-08", "2007-01-11"),
        ("last week", "2007-01-01", "2007-01-07"),
        ("this month", "2007-01-01", "2007-01-11"),
        ("Last Month?", "2006-12-01", "2006-12-31"),
        ("the last month", "2006-12-01", "2006-12-31"),
        ("this quarter", "2007-01-01", "2007-01-11"),
        ("last quarter", "2006-10-01", "2006-12-31"),
        ("this year so far", "2007-01-01", "2007-01-11"),
        ("last year", "2006-01-01", "2006-12-31"),
        ("in 2006", "2006-01-01", "2006-12-31"),
        ("in March", "2006-03-01", "2006-03-31"),
        ("january", "2007-01-01", "2007-01-31"),
        ("feb 2006", "2006-02-01", "2006-02-28"),
        ("2006-02", "2006-02-01", "2006-02-28"),
        ("2006-02-03", "2006-02-03", "2006-02-03"),
        ("last 30 days", "2006-12-13", "2007-01-11"),
        ("over the past 1 day", "2007-01-11", "2007-01-11"),
        ("all", "2005-01-03", "2007-01-11"),
        ("", "2005-01-03", "2007-01-11"),
        ("since the start", "2005-01-03", "2007-01-11"),
    ],
)
def test_periods_as_people_name_them(words: str, start: str, end: str) -> None:
    period = parse_period(words, TODAY, OPENED)
    assert (period.start.isoformat(), period.end.isoformat()) == (start, end)


@pytest.mark.parametrize("words", ["with your date", "soon", "13-13", "2006-02-31", "last 0 days", "march madness"])
def test_what_names_no_period_is_refused(words: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_period(words, TODAY, OPENED)
    with pytest.raises(ValidationError):
        PeriodArguments(period=words)


@given(st.text(max_size=40), st.dates(date(2001, 1, 1), date(2030, 1, 1)))
def test_any_text_is_a_period_or_a_clear_error(words: str, today: date) -> None:
    with contextlib.suppress(InvalidInputError):
        period = parse_period(words, today, date(2000, 1, 3))
        assert period.start <= period.end


def test_money_is_always_to_the_cent() -> None:
    assert money(Decimal("1234.5")) == "$1,234.50"
    assert money(Decimal("-0.01")) == "-$0.01"
    assert money(Decimal("5"), sign=True) == "+$5.00"
    assert money(Decimal("0"), sign=True) == "$0.00"
    assert percent(Decimal("0.0125")) == "+1.25 %"


def test_dates_always_have_their_year() -> None:
    assert day(date(2013, 3, 1)) == "1 March 2013"
    assert day(datetime(2013, 3, 1, 21, tzinfo=UTC)) == "1 March 2013"
    assert day(datetime(2013, 3, 2, 1, tzinfo=UTC)) == "1 March 2013"
    assert span(date(2013, 2, 1), date(2013, 2, 28)) == "from 1 to 28 February 2013"


def test_small_words() -> None:
    assert [count(n, "trade") for n in (0, 1, 2)] == ["no trades", "1 trade", "2 trades"]
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_orders_are_read_strictly() -> None:
    order = OrderArguments.model_validate({"side": "buy", "quantity": "1,000", "symbol": "$aapl"})
    assert (order.quantity, order.symbol) == (Decimal(1000), "AAPL")
    with pytest.raises(ValidationError) as caught:
        OrderArguments.model_validate({"side": "buy", "quantity": "$500", "symbol": "microsoft"})
    assert explain_arguments(caught.value).startswith("I cannot use that: quantity: ")
    with pytest.raises(ValidationError):
        OrderArguments.model_validate({"side": "sell", "part": "1/0", "symbol": "microsoft"})
