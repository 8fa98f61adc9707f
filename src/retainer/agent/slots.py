"""Slots of a phrase grammar: which words a capability's typed field takes, and the value they make."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from retainer.agent.text import Words, tokens, vocabulary
from retainer.core.values import Json

Kind = Literal["number", "choice", "symbol", "word", "text"]

_SPOKEN = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBER_WORDS: Mapping[str, str] = {word: str(value) for value, word in enumerate(tokens(_SPOKEN), start=1)} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "hundred": "100",
    "thousand": "1000",
}
"""Whole numbers people write as words."""

_NUMBER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?")
_TICKER = re.compile(r"[a-z]{1,5}(?:[.\-][a-z]{1,2})?")
_NOT_TICKERS = vocabulary(
    "a an the it its that this them they those these my me i you your we us our all any some more most few lot lots"
    " share shares stock stocks unit units of in on at to for from by with and or is are was do did does be"
    " everything anything something nothing bot today now here there time food money what why how when who"
    " one two three four five six seven eight nine ten"
)


@dataclass(frozen=True, slots=True)
class Slot:
    """One typed gap in a phrase."""

    name: str
    kind: Kind
    choices: Mapping[tuple[str, ...], Json] = field(default_factory=dict, compare=False)
    longest: int = 1
    """Most words it takes."""

    def spans(self, words: Words, start: int, end: int, names: Mapping[str, str]) -> Iterator[tuple[int, Json]]:
        """Every ``(next position, value)`` this slot can take from ``start``, shortest first."""
        limit = min(end, start + self.longest)
        if start >= limit:
            return
        if self.kind == "number":
            value = number(words.folded[start])
            if value is not None:
                yield start + 1, value
        elif self.kind == "symbol":
            yield from _symbols(words, start, limit, names)
        elif self.kind == "choice":
            for stop in range(start + 1, limit + 1):
                if (said := words.folded[start:stop]) in self.choices:
                    yield stop, self.choices[said]
        else:
            for stop in range(start + 1, limit + 1):
                yield stop, words.bracketed(start, stop)


def _symbols(words: Words, start: int, limit: int, names: Mapping[str, str]) -> Iterator[tuple[int, Json]]:
    for stop in range(start + 1, limit + 1):
        if (known := names.get(" ".join(words.folded[start:stop]))) is not None:
            yield stop, known
            return
    word = words.folded[start]
    if _TICKER.fullmatch(word) and word not in _NOT_TICKERS:
        yield start + 1, word.upper()


def number(word: str) -> str | None:
    """The number a folded word is, as a plain string (``1,000.5`` -> ``1000.5``, ``five`` -> ``5``), or ``None``.

    A currency sign, a percent sign or a unit makes it something else than a bare number: ``None``.
    """
    if word in NUMBER_WORDS:
        return NUMBER_WORDS[word]
    return word.replace(",", "") if _NUMBER.fullmatch(word) else None


def slot_of(model: type[BaseModel], name: str) -> Slot:
    """The slot for field ``name``. Raises ``KeyError`` when the model has no such field."""
    info = model.model_fields[name]
    kind_named = _named_kind(info)
    choices = choices_of(info)
    if choices:
        return Slot(name, "choice", choices, max(len(said) for said in choices))
    if kind_named == "symbol" or (kind_named is None and name in {"symbol", "ticker"}):
        return Slot(name, "symbol", longest=3)
    if kind_named == "word":
        return Slot(name, "word")
    if any(kind in (int, float, Decimal) for kind in _plain_types(info.annotation)):
        return Slot(name, "number")
    return Slot(name, "text", longest=200)


def choices_of(info: FieldInfo) -> dict[tuple[str, ...], Json]:
    """Spoken forms of a ``Literal``, ``Enum`` or ``bool`` field and their values; empty for other fields."""
    found: dict[tuple[str, ...], Json] = {}
    for kind in _plain_types(info.annotation):
        if get_origin(kind) is Literal:
            values = [value for value in get_args(kind) if isinstance(value, str)]
        elif isinstance(kind, type) and issubclass(kind, Enum):
            values = [str(member.value) for member in kind]
        else:
            continue
        for value in values:
            found[tuple(tokens(value.replace("_", " ").replace("-", " ")))] = value
    return found


def _named_kind(info: FieldInfo) -> str | None:
    extra = info.json_schema_extra
    kind = extra.get("slot") if isinstance(extra, dict) else None
    return kind if isinstance(kind, str) else None


def _plain_types(annotation: object) -> list[object]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _plain_types(part)]
    return [annotation]
