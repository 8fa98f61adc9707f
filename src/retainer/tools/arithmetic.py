"""Exact arithmetic on what a person typed: a parsed tree of numbers and operators, nothing is ever executed."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException, localcontext

from retainer.core.errors import InvalidInputError

DIGITS = 34
"""Significant digits kept (IEEE 754 decimal128); results are exact up to here."""
_LONGEST = 200
_GREATEST_POWER = 1000
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"(\d),(?=\d{3}(?!\d))", r"\1"),
        (r"[$€£]\s*(?=\d)", ""),
        (r"(\d+(?:\.\d+)?)\s*(?:%|percent|per cent)\s*of\b", r"\1/100*"),
        (r"(\d+(?:\.\d+)?)\s*(?:%|percent\b|per cent\b)(?!\s*[\d(])", r"(\1/100)"),
        (r"\bdivided by\b|\bover\b|÷", "/"),
        (r"\btimes\b|\bmultiplied by\b|×|(?<!\b0)(?<=\d)\s*x\s*(?=\d)", "*"),
        (r"\bplus\b", "+"),
        (r"\bminus\b|−", "-"),
        (r"\bto the power of\b|\^", "**"),
        (r"\bhalf of\b", "0.5*"),
    )
)
_BINARY: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv,
}


def calculate(expression: str) -> Decimal:
    """Value of ``expression``: numbers, ``+ - * / // % **``, brackets, and words (``12% of 300``, ``3 times 4``).

    Raises :class:`InvalidInputError` for anything else, and for results that are not finite.
    """
    text = _plain(expression)
    if len(text) > _LONGEST:
        raise InvalidInputError("That calculation is too long.", hint=f"Use at most {_LONGEST} characters.")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise _unreadable(expression) from error
    try:
        with localcontext(Context(prec=DIGITS)):
            value = +_value(tree.body, text)
    except DecimalException as error:
        raise _endless(expression) from error
    except RecursionError as error:
        raise _unreadable(expression) from error
    if not value.is_finite():
        raise _endless(expression)
    return value


def is_calculation(text: str) -> bool:
    """Whether ``text`` can be calculated and is more than a single number."""
    try:
        calculate(text)
    except InvalidInputError:
        return False
    return re.search(r"\d\s*\S*.*\d", _plain(text)) is not None and re.fullmatch(r"[\d.,\s]*", text) is None


def show(value: Decimal) -> str:
    """``value`` for people: thousands separated, at most ten decimals, no trailing zeros."""
    rounded = round(value, 10) if value == value.to_integral_value() or abs(value.adjusted()) < DIGITS - 12 else value
    text = f"{rounded:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _plain(expression: str) -> str:
    text = expression.strip().rstrip("=?!. ").strip()
    for pattern, replacement in _WORDS:
        text = pattern.sub(replacement, text)
    return text.strip()


def _value(node: ast.expr, text: str) -> Decimal:
    if isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        literal = ast.get_source_segment(text, node) or ""
        if re.fullmatch(r"\d+(?:\.\d*)?|\.\d+", literal) is None:
            raise _unreadable(literal)
        return Decimal(literal)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        operand = _value(node.operand, text)
        return -operand if isinstance(node.op, ast.USub) else operand
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, text), _value(node.right, text)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in _BINARY:
            return _BINARY[type(node.op)](left, right)
    raise _unreadable(text)


def _power(base: Decimal, exponent: Decimal) -> Decimal:
    if abs(exponent) > _GREATEST_POWER or abs(base) > Decimal(10) ** 30:
        raise InvalidInputError("That power is too great.", hint=f"Use exponents up to {_GREATEST_POWER}.")
    return base**exponent


def _unreadable(expression: str) -> InvalidInputError:
    return InvalidInputError(
        f"“{expression.strip()[:60]}” is not a calculation I can read.", hint="Use numbers with + - * / and brackets."
    )


def _endless(expression: str) -> InvalidInputError:
    return InvalidInputError(f"“{expression.strip()[:60]}” has no finite answer.", hint="Check for a division by zero.")
