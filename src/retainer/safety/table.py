"""The tool table of the public face: what each tool may do, what its results are worth, through what text leaves."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from retainer.core.effects import EffectClass
from retainer.core.errors import InvalidInputError
from retainer.core.labels import UNTRUSTED, Label, Trust
from retainer.core.values import Json, writable

_DEEPEST: Final = 64
"""Lists and mappings within each other."""
_BITS: Final = 4096
"""Of a whole number: some 1,200 digits."""
_TO_OTHERS: Final = {EffectClass.WRITE_OWN: EffectClass.COMMUNICATE, EffectClass.READ: EffectClass.FETCH}
_TEXTS: Final = (date, time, timedelta, Decimal, UUID, PurePath)
"""What is written down as the text it is shown as."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One line of the table. What is not said is the careful answer: results are untrusted."""

    effect_class: EffectClass
    label: Label = UNTRUSTED
    """Of its results. *trusted* is for own structured records in which no stranger can write."""
    sinks: tuple[str, ...] = ()
    """Arguments that say who receives something: addresses, members, URLs."""
    private: bool = False
    """Its results are the owner's business."""
    handles: tuple[str, ...] = ()
    """Fields of its results that name a record of the owner's own store (an id, an address book's address). A planned
    call may use one where a planned lookup found exactly one record. ``*``: the result is a list of such names."""

    @property
    def result_label(self) -> Label:
        """What reading a result does to the turn."""
        return Label(self.label.trust, self.private or self.label.private)

    def class_of(self, args: Mapping[str, Json]) -> EffectClass:
        """A write that names a receiver is a communication, a read that names one a question to the outside."""
        if self.effect_class in _TO_OTHERS and any(args.get(sink) for sink in self.sinks):
            return _TO_OTHERS[self.effect_class]
        return self.effect_class


Line: TypeAlias = Tool | Mapping[str, Any] | Sequence[Any] | str
"""A :class:`Tool`, its fields by name or in order, or its effect class alone."""


def read_table(table: Mapping[str, Line]) -> dict[str, Tool]:
    """The table with every line read. Raises :class:`InvalidInputError` naming the tool and the word that is wrong."""
    return {name: _line(name, line) for name, line in table.items()}


def _line(name: str, line: Line) -> Tool:
    if isinstance(line, Tool):  # made by hand, it may hold words as well
        line = {each.name: getattr(line, each.name) for each in dataclasses.fields(line)}
    if isinstance(line, str):
        line = {"effect_class": line}
    if not isinstance(line, Mapping):
        line = dict(zip(("effect_class", "label", "sinks", "private", "handles"), line, strict=False))
    unknown = set(line) - {"effect_class", "class", "label", "output_label", "sinks", "private", "handles"}
    if unknown:
        raise InvalidInputError(
            f"{name}: the tool table knows no {sorted(unknown)[0]!r}.",
            hint="Use effect_class, label, sinks, private, handles.",
        )
    try:
        effect_class = EffectClass(line.get("effect_class", line.get("class")))
    except ValueError as error:
        given = line.get("effect_class", line.get("class"))
        raise InvalidInputError(
            f"{name}: {given!r} is no effect class.", hint=f"Use one of {', '.join(EffectClass)}."
        ) from error
    return Tool(
        effect_class,
        read_label(name, line.get("label", line.get("output_label", UNTRUSTED))),
        _names(line.get("sinks", ())),
        bool(line.get("private", False)),
        _names(line.get("handles", ())),
    )


def read_label(name: str, given: Any) -> Label:
    """A label or its text. Raises :class:`InvalidInputError`, which says that ``name`` has none."""
    try:
        if isinstance(given, Label):
            return Label(Trust(given.trust), bool(given.private))
        return Label(given) if isinstance(given, Trust) else Label.decode(str(given).casefold())
    except (KeyError, ValueError) as error:
        raise InvalidInputError(
            f"{name}: {given!r} is no label.", hint="Use untrusted, trusted or owner, with +private where it is."
        ) from error


def _names(given: Iterable[str] | str | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def plain_args(args: Mapping[str, Any]) -> dict[str, Json]:
    """Arguments as JSON, so that one call has one digest. What JSON cannot hold is refused, not guessed.

    Raises :class:`InvalidInputError`.
    """
    if not isinstance(args, Mapping):
        raise InvalidInputError(f"The arguments of a call are named; this is a {type(args).__name__}.")
    return {_name(key): plain_value(value) for key, value in args.items()}


def _name(key: object, *, loose: bool = False) -> str:
    if not (loose or isinstance(key, str)):
        raise InvalidInputError(f"A name in a call is a text, not a {type(key).__name__}.")
    return plain_text(str(key))


def plain_text(text: str) -> str:
    """``text``, if it can be written down. Raises :class:`InvalidInputError` for half a character."""
    if not writable(text):
        raise InvalidInputError(f"{text[:40]!r} holds half a character.", hint="Send whole UTF-8.")
    return text


def plain_value(value: Any, depth: int = 0, *, loose: bool = False) -> Json:
    """``value`` as JSON: models, dataclasses and enums become what they hold, dates, paths and the like their text.

    Anything else is refused, so that two different calls never look alike; where ``loose`` it becomes its text, which
    will do for results. Raises :class:`InvalidInputError`.
    """
    if value is None or isinstance(value, str | int | float):
        return _scalar(value)
    if depth == _DEEPEST:
        raise InvalidInputError(f"A call can hold lists in lists {_DEEPEST} deep.")
    held = _held(value)
    if held is not value:
        return plain_value(held, depth + 1, loose=loose)
    if isinstance(value, Mapping):
        return {_name(key, loose=loose): plain_value(each, depth + 1, loose=loose) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain_value(each, depth + 1, loose=loose) for each in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain_value(each, depth + 1, loose=loose) for each in value]
    if loose or isinstance(value, _TEXTS):
        return plain_text(str(value))
    raise InvalidInputError(
        f"A call cannot hold a {type(value).__name__}.", hint="Send texts, numbers, yes or no, lists and mappings."
    )


def _scalar(value: Any) -> Json:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInputError(f"{value} is not a number a call can hold.")
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise InvalidInputError("A call cannot hold a number of so many digits.")
    return cast("Json", value)


def _held(value: Any) -> Any:
    """What a model, an enum or a dataclass holds; anything else as it is."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return value


def records(result: Any) -> list[Json]:
    """The records in a tool's result: the items of a list, a lone mapping, or those of its JSON text."""
    if isinstance(result, str):
        try:
            result = json.loads(result)
        except (ValueError, RecursionError):
            return []
    value = plain_value(result, loose=True)
    if isinstance(value, Mapping):
        return [value]
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
