"""Conditions as people write them: ``RSI(2) < 10 and close > SMA(200)``, parsed once, computed over whole arrays.

::

    condition   = either { "or" either }            either = fact { "and" fact }
    fact        = "not" fact | comparison
    comparison  = sum [ ( < | <= | > | >= | "crosses above" | "crosses below" ) sum ]
    sum         = product { ( + | - ) product }     product = sign { ( * | / ) sign }
    sign        = "-" sign | value [ "[" bars ago "]" ]
    value       = number | number "%" | name | INDICATOR( ... ) [ "." output ] | "(" condition ")"

Nothing in this language can reach a later bar: ``x[1]`` is one bar earlier, and there is no negative number there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Floats
from retainer.trading.catalogue import parse_indicator
from retainer.trading.rules import Truths, crossed_above, shifted

SERIES: Final = ("open", "high", "low", "close", "volume", "price")
"""Names of the bars themselves: adjusted prices, volume, and ``price``, the close as it was traded."""
Kind = Literal["number", "truth"]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?%?)|(?P<call>[A-Za-z][A-Za-z0-9_]*\s*\([^()]*\)(?:\.[A-Za-z_]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_]+)?)|(?P<sign><=|>=|[-<>+*/()\[\]]))"
)
_WORDS: Final = frozenset({"and", "or", "not", "crosses", "above", "below"})
_MOST: Final = 2_000
"""Characters in a condition."""
_DEEPEST: Final = 40


@dataclass(frozen=True, slots=True)
class Node:
    """A parsed part: what it does, on what; ``kind`` is what it gives."""

    what: str
    parts: tuple[Node, ...] = ()
    value: float = 0.0
    name: str = ""
    kind: Kind = "number"

    def names(self) -> set[str]:
        """Every series and indicator in it."""
        own = {self.name} if self.what == "name" else set()
        return own.union(*(part.names() for part in self.parts))


def parse_condition(text: str, field: str, indicators: Mapping[str, str]) -> Node:
    """The condition in ``text``; ``indicators`` are the names it may use beside series and written-out indicators.

    Raises :class:`InvalidInputError` naming ``field``, the column and what was expected there.
    """
    parser = _Parser(text, field, indicators)
    node = parser.condition(0)
    parser.finish()
    if node.kind != "truth":
        raise InvalidInputError(f"{field}: {text!r} is a number, not a condition.", hint="For example: RSI(2) < 10.")
    return node


def compute(node: Node, arrays: Mapping[str, Floats], count: int) -> Floats | Truths:
    """The node's value on every bar; ``arrays`` hold every name it uses. Comparisons with NaN are false."""
    if node.what == "number":
        return np.full(count, node.value)
    if node.what == "name":
        return arrays[node.name]
    parts = [compute(part, arrays, count) for part in node.parts]
    if node.what == "ago":
        return shifted(parts[0], int(node.value))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _OPERATIONS[node.what](*parts)


_OPERATIONS: Final[Mapping[str, Callable[..., Floats | Truths]]] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": lambda one, other: np.divide(one, np.where(other == 0, np.nan, other)),
    "minus": np.negative,
    "crosses above": crossed_above,
    "crosses below": lambda one, other: crossed_above(other, one),
}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int


class _Parser:
    def __init__(self, text: str, field: str, indicators: Mapping[str, str]) -> None:
        self._text, self._field, self._known = text, field, indicators
        if len(text) > _MOST:
            raise InvalidInputError(f"{field}: {len(text)} characters are too many.", hint=f"At most {_MOST}.")
        self._tokens = self._cut(text)
        self._at = 0

    def _cut(self, text: str) -> list[_Token]:
        found: list[_Token] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                column = at + len(text[at:]) - len(text[at:].lstrip())
                raise self._wrong(f"{text[column]!r} means nothing", column)
            kind = match.lastgroup or ""
            word = match[kind]
            column, at = match.start(kind), match.end()
            head = word.split("(")[0].strip().lower()
            if kind == "call" and head in _WORDS:
                kind, word, at = "name", word[: len(head)], column + len(head)
            found.append(_Token("word" if kind == "name" and word.lower() in _WORDS else kind, word, column))
        return found

    def _wrong(self, what: str, column: int) -> InvalidInputError:
        shown = self._text if len(self._text) <= 80 else f"{self._text[:77]}..."
        return InvalidInputError(
            f"{self._field}: {what} at column {column + 1} of {shown!r}.", hint="For example: RSI(2) < 10."
        )

    def _peek(self, *texts: str) -> bool:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        return token is not None and token.kind in ("word", "sign") and token.text.lower() in texts

    def _take(self, *texts: str) -> str | None:
        if not self._peek(*texts):
            return None
        self._at += 1
        return self._tokens[self._at - 1].text.lower()

    def _column(self) -> int:
        return self._tokens[self._at].column if self._at < len(self._tokens) else len(self._text)

    def finish(self) -> None:
        """Nothing may be left."""
        if self._at < len(self._tokens):
            raise self._wrong(f"{self._tokens[self._at].text!r} does not belong", self._column())

    def condition(self, depth: int) -> Node:
        """Facts joined by *and* and *or*."""
        if depth > _DEEPEST:
            raise self._wrong("too many brackets", self._column())
        node = self._joined(depth)
        while self._take("or"):
            node = self._both("or", node, self._joined(depth))
        return node

    def _joined(self, depth: int) -> Node:
        node = self._fact(depth)
        while self._take("and"):
            node = self._both("and", node, self._fact(depth))
        return node

    def _both(self, what: str, one: Node, other: Node) -> Node:
        for part in (one, other):
            if part.kind != "truth":
                raise self._wrong(f"'{what}' joins conditions, not numbers", self._column())
        return Node(what, (one, other), kind="truth")

    def _fact(self, depth: int) -> Node:
        if self._take("not"):
            node = self._fact(depth + 1)
            if node.kind != "truth":
                raise self._wrong("'not' takes a condition", self._column())
            return Node("not", (node,), kind="truth")
        node = self._sum(depth)
        sign = self._take("<", "<=", ">", ">=")
        if sign is None and self._take("crosses"):
            side = self._take("above", "below")
            if side is None:
                raise self._wrong("'above' or 'below' is wanted after 'crosses'", self._column())
            sign = f"crosses {side}"
        if sign is None:
            return node
        return self._numbers(sign, node, self._sum(depth), kind="truth")

    def _numbers(self, what: str, one: Node, other: Node, *, kind: Kind = "number") -> Node:
        for part in (one, other):
            if part.kind != "number":
                raise self._wrong(f"'{what}' takes numbers, not conditions", self._column())
        return Node(what, (one, other), kind=kind)

    def _sum(self, depth: int) -> Node:
        node = self._product(depth)
        while sign := self._take("+", "-"):
            node = self._numbers(sign, node, self._product(depth))
        return node

    def _product(self, depth: int) -> Node:
        node = self._signed(depth)
        while sign := self._take("*", "/"):
            node = self._numbers(sign, node, self._signed(depth))
        return node

    def _signed(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise self._wrong("too many signs", self._column())
        if self._take("-"):
            part = self._signed(depth + 1)
            if part.kind != "number":
                raise self._wrong("'-' takes a number", self._column())
            return Node("minus", (part,))
        node = self._value(depth)
        if self._take("["):
            column = self._column()
            token = self._tokens[self._at] if self._at < len(self._tokens) else None
            if token is None or token.kind != "number" or not token.text.isdigit() or node.kind != "number":
                raise self._wrong("how many bars ago is wanted, a whole number from 0", column)
            self._at += 1
            if not self._take("]"):
                raise self._wrong("']' is missing", self._column())
            node = Node("ago", (node,), value=float(token.text))
        return node

    def _value(self, depth: int) -> Node:
        if self._take("("):
            node = self.condition(depth + 1)
            if not self._take(")"):
                raise self._wrong("')' is missing", self._column())
            return node
        if self._at >= len(self._tokens):
            raise self._wrong("something is missing", self._column())
        token = self._tokens[self._at]
        if token.kind not in ("number", "name", "call"):
            raise self._wrong(f"a value is wanted, not {token.text!r},", token.column)
        self._at += 1
        if token.kind == "number":
            percent = token.text.endswith("%")
            return Node("number", value=float(token.text.rstrip("%")) / (100.0 if percent else 1.0))
        return Node("name", name=self._named(token))

    def _named(self, token: _Token) -> str:
        if token.kind == "name" and token.text.lower() in SERIES:
            return token.text.lower()
        base, _, output = token.text.partition(".") if token.kind == "name" else _call_parts(token.text)
        spec = self._known.get(base, base)
        if token.kind == "name" and base not in self._known and not base.isupper():
            known = ", ".join([*self._known, *SERIES])
            raise self._wrong(f"{token.text!r} is not known ({known})", token.column)
        try:
            indicator = parse_indicator(spec)
        except InvalidInputError as error:
            raise self._wrong(f"{str(error).rstrip('.')}", token.column) from error
        outputs = indicator.about.outputs
        if len(outputs) == 1 and not output:
            return indicator.spec
        if output not in outputs:
            raise self._wrong(f"{base} has the outputs {', '.join(outputs)}; write {base}.{outputs[0]}", token.column)
        return f"{indicator.spec}.{output}" if len(outputs) > 1 else indicator.spec


def _call_parts(text: str) -> tuple[str, str, str]:
    head, dot, output = text.rpartition(").")
    return (f"{head})", ".", output) if dot else (text, "", "")
