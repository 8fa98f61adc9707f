"""Slots of a phrase grammar: which words a capability's typed field takes, and the value they make."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from retainer.agent.text import Words, tokens, vocabulary
from retainer.core.values import Json

Kind = Literal["number", "money", "price", "part", "choice", "symbol", "known", "word", "text"]
"""*number*: 5, five, twenty-five. *money*: $500, 500 dollars. *price*: either. *part*: half, a third, 25 %.
*symbol*: a known name or what looks like a ticker. *known*: a known name or symbol only. A field asks for the kind its
type does not give away with ``json_schema_extra={"slot": ...}``.
"""

_SPOKEN = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBER_WORDS: Mapping[str, str] = {word: str(value) for value, word in enumerate(tokens(_SPOKEN), start=1)} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "hundred": "100",
    "thousand": "1000",
}
"""Whole numbers people write as words."""

_NUMBER = re.compile(r"-?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)")
_PERCENT = re.compile(r"([0-9]{1,3})%")
_DOLLAR_WORDS = frozenset({"$", "dollar", "dollars", "usd", "bucks", "buck"})
_PARTS: Mapping[tuple[str, ...], str] = {
    tuple(f"{article}{word}".split()): value
    for word, value in (("half", "1/2"), ("third", "1/3"), ("quarter", "1/4"))
    for article in ("", "a ", "one ")
} | {("two", "thirds"): "2/3", ("three", "quarters"): "3/4"}
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
    cues: tuple[str, ...] = field(default=(), compare=False)
    """Words of which one must stand shortly before the value for it to mean this field, where a model chose it."""

    def spans(self, words: Words, start: int, end: int, names: Mapping[str, str]) -> Iterator[tuple[int, Json]]:
        """Every ``(next position, value)`` this slot can take from ``start``, shortest first."""
        limit = min(end, start + self.longest)
        if start >= limit:
            return
        if self.kind in _FIGURES:
            yield from _FIGURES[self.kind](words.folded, start, limit)
        elif self.kind in ("symbol", "known"):
            yield from _symbols(words, start, limit, names, guess=self.kind == "symbol")
        elif self.kind == "choice":
            for stop in range(start + 1, limit + 1):
                if (said := words.folded[start:stop]) in self.choices:
                    yield stop, self.choices[said]
        else:
            for stop in range(start + 1, limit + 1):
                yield stop, words.bracketed(start, stop)


def _symbols(
    words: Words, start: int, limit: int, names: Mapping[str, str], *, guess: bool
) -> Iterator[tuple[int, Json]]:
    for stop in range(start + 1, limit + 1):
        if (known := names.get(" ".join(words.folded[start:stop]))) is not None:
            yield stop, known
            return
    word = words.folded[start]
    if guess and _TICKER.fullmatch(word) and word not in _NOT_TICKERS:
        yield start + 1, word.upper()


def number(word: str) -> str | None:
    """The number a folded word is, as a plain string (``1,000.5`` -> ``1000.5``, ``five`` -> ``5``), or ``None``.

    A currency sign, a percent sign or a unit makes it something else than a bare number: ``None``.
    """
    if word in NUMBER_WORDS:
        return NUMBER_WORDS[word]
    if "-" in word and word[0].isalpha():
        return spoken_number(word.split("-"))
    return word.replace(",", "") if _NUMBER.fullmatch(word) else None


def spoken_number(words: Sequence[str]) -> str | None:
    """A whole number in several words: ``twenty five``, ``a hundred``, ``two hundred and ten``, ``a dozen``."""
    total = group = 0
    last = 10_000
    """What the word before was worth: within a group values must fall."""
    for index, word in enumerate(words):
        if word == "and" and 0 < index < len(words) - 1:
            continue
        if word in ("a", "an") and index == 0 and len(words) > 1:
            group, last = 1, 1
            if words[1] not in {"hundred", "thousand", "dozen"}:
                return None
            continue
        value = 12 if word == "dozen" else int(NUMBER_WORDS.get(word, "0"))
        if not value:
            return None
        if word in {"hundred", "dozen"}:
            if group > 99:
                return None
            group, last = max(group, 1) * value, 100
        elif word == "thousand":
            if total:
                return None
            total, group, last = max(group, 1) * value, 0, 10_000
        else:
            if value >= last or (last < 20 and group) or (last in range(20, 100) and value > 9):
                return None
            group, last = group + value, value
    return str(total + group) if words and total + group else None


def _numbers(said: Sequence[str], start: int, limit: int) -> Iterator[tuple[int, Json]]:
    value = number(said[start])
    if value is not None:
        yield start + 1, value
    for stop in range(start + 2, limit + 1):
        if said[stop - 1] != "and" and (spoken := spoken_number(said[start:stop])) is not None:
            yield stop, spoken


def _money(said: Sequence[str], start: int, limit: int) -> Iterator[tuple[int, Json]]:
    word = said[start]
    if (marked := dollars(word)) is not None:
        yield start + 1, marked
    for stop, value in _numbers(said, start, min(limit, start + 5)):
        if stop < limit and said[stop] in _DOLLAR_WORDS:
            yield stop + 1, value


def _prices(said: Sequence[str], start: int, limit: int) -> Iterator[tuple[int, Json]]:
    yield from _money(said, start, limit)
    yield from _numbers(said, start, limit)


def _parts(said: Sequence[str], start: int, limit: int) -> Iterator[tuple[int, Json]]:
    if (percent := _PERCENT.fullmatch(said[start])) is not None:
        yield start + 1, f"{percent[1]}/100"
    if limit - start > 1 and said[start].isascii() and said[start].isdigit() and said[start + 1] in {"percent", "%"}:
        yield start + 2, f"{said[start]}/100"
    for stop in range(start + 1, min(limit, start + 2) + 1):
        if (part := _PARTS.get(tuple(said[start:stop]))) is not None:
            yield stop, part


_FIGURES = {"number": _numbers, "money": _money, "price": _prices, "part": _parts}


def dollars(word: str) -> str | None:
    """The dollars that one folded word with a dollar sign is (``$1,000.50``, ``1000$``, ``$2k``), or ``None``."""
    if not (word.startswith("$") or word.endswith("$")) or word.count("$") != 1:
        return None
    bare = word.strip("$")
    if bare.endswith("k") and (thousands := number(bare[:-1])) is not None and bare[0] in "0123456789.":
        return format(Decimal(thousands) * 1000, "f")
    return number(bare) if bare[:1] in tuple("0123456789.") else None


def slot_of(model: type[BaseModel], name: str) -> Slot:
    """The slot for field ``name``. Raises ``KeyError`` when the model has no such field."""
    info = model.model_fields[name]
    kind_named = _named_kind(info)
    choices = choices_of(info)
    cues = tuple(_listed(info, "cues"))
    if choices:
        return Slot(name, "choice", choices, max(len(said) for said in choices))
    if kind_named in ("symbol", "known") or (kind_named is None and name in {"symbol", "ticker"}):
        return Slot(name, "known" if kind_named == "known" else "symbol", longest=3)
    if kind_named in ("money", "price", "part"):
        kind: Kind = "money" if kind_named == "money" else "price" if kind_named == "price" else "part"
        return Slot(name, kind, longest=6, cues=cues)
    if kind_named == "word":
        return Slot(name, "word")
    if any(kind in (int, float, Decimal) for kind in _plain_types(info.annotation)):
        return Slot(name, "number", longest=5, cues=cues)
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
    extra = info.json_schema_extra
    others = extra.get("spoken") if isinstance(extra, dict) else None
    if isinstance(others, Mapping):
        found.update({tuple(tokens(said)): value for said, value in others.items()})
    return found


def _listed(info: FieldInfo, name: str) -> list[str]:
    extra = info.json_schema_extra
    value = extra.get(name) if isinstance(extra, dict) else None
    return [str(item) for item in value] if isinstance(value, list) else []


def _named_kind(info: FieldInfo) -> str | None:
    extra = info.json_schema_extra
    kind = extra.get("slot") if isinstance(extra, dict) else None
    return kind if isinstance(kind, str) else None


def _plain_types(annotation: object) -> list[object]:
    if get_origin(annotation) is Annotated:
        return _plain_types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _plain_types(part)]
    return [annotation]
