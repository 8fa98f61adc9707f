"""The calculator is exact, reads words, and executes nothing."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError
from retainer.tools.arithmetic import calculate, is_calculation, show


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1+1", "2"),
        ("0.1 + 0.2", "0.3"),
        ("12% of 300", "36"),
        ("15 percent of 80", "12"),
        ("100 + 5%", "100.05"),
        ("3 times 4 plus 2", "14"),
        ("7 divided by 2", "3.5"),
        ("1,234.50 * 2", "2469"),
        ("$1,000,000 / 4", "250000"),
        ("2^10", "1024"),
        ("-(3 - 5) * 2", "4"),
        ("17 % 5", "2"),
        ("7 // 2", "3"),
        ("6 x 7 =", "42"),
        ("half of 9", "4.5"),
    ],
)
def test_values(text: str, value: str) -> None:
    assert calculate(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('ls')",
        "open('x')",
        "(lambda: 1)()",
        "[1][0]",
        "'a'*9",
        "1 if 1 else 2",
        "x + 1",
        "0x10",
        "1j",
        "1e999",
        "True + 1",
        "9**9**9**9",
        "2**100000",
        "1/0",
        "0**-1",
        "(-8)**0.5",
        "love",
        "",
        "1 +",
        "(" * 150,
        "1+" * 500 + "1",
        "\x00",
    ],
)
def test_anything_else_is_refused_quickly(text: str) -> None:
    with pytest.raises(InvalidInputError):
        calculate(text)


@given(st.text(max_size=60))
def test_no_text_does_anything_but_answer_or_refuse(text: str) -> None:
    with suppress(InvalidInputError):
        assert calculate(text).is_finite()


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9), st.sampled_from(["+", "-", "*"]))
def test_whole_numbers_are_exact(left: int, right: int, sign: str) -> None:
    expected = {"+": left + right, "-": left - right, "*": left * right}[sign]
    assert calculate(f"({left}) {sign} ({right})") == expected


@pytest.mark.parametrize(
    ("text", "yes"), [("12% of 300", True), ("3*4", True), ("42", False), ("love", False), ("-5", False)]
)
def test_what_counts_as_a_calculation(text: str, yes: bool) -> None:
    assert is_calculation(text) is yes


@pytest.mark.parametrize(
    ("value", "text"), [("1234567.50", "1,234,567.5"), ("36", "36"), ("0.1", "0.1"), ("1e3", "1,000"), ("-0.00", "-0")]
)
def test_shown(value: str, text: str) -> None:
    assert show(Decimal(value)) == text
