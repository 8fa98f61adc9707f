"""The grounding check: what a model put into a call must come from the person's own words, or it is left out.

Anything but reading is checked strictly: a word is used for one argument only, every figure that was said must have
found its place, and where two symbols or two choices were said a model does not pick one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from pydantic import BaseModel

from retainer.agent.slots import Slot, slot_of
from retainer.agent.text import Words, read, tokens
from retainer.core.values import Json

_FIGURES = frozenset({"number", "money", "price", "part"})
_CUE_DISTANCE = 3
"""A cue stands at most this many words before its figure: *limit of about* 95."""


@dataclass(frozen=True, slots=True)
class Grounding:
    """Arguments that the person's words support, and the names of what is needed and not supported."""

    args: Mapping[str, Json]
    missing: tuple[str, ...]


def ground(
    model: type[BaseModel], args: Mapping[str, Json], text: str, names: Mapping[str, str], *, strict: bool
) -> Grounding:
    """Keep the arguments that ``text`` says; an optional one that it does not say is absent, as if never given.

    ``names``: spoken name -> symbol. ``strict``: for anything but reading, as the module says.
    """
    words = read(text)
    kept: dict[str, Json] = {}
    missing: list[str] = []
    used: set[int] = set()
    fields = sorted(model.model_fields.items(), key=lambda field: not field[1].is_required())
    for name, info in fields:
        slot = slot_of(model, name)
        value = args.get(name)
        found = None if value in (None, "") else _place(slot, value, words, names, used if strict else set())
        if found is not None and strict and _ambiguous(slot, words, names):
            found = None
        if found is not None:
            used.update(found if slot.kind in _FIGURES else ())
            kept[name] = value
        elif info.is_required():
            missing.append(name)
    if strict and not missing:
        figures = [name for name, _ in fields if slot_of(model, name).kind in _FIGURES]
        if figures and _left_over(words, used):
            missing.append(figures[0])
    return Grounding(kept, tuple(missing))


def supported(slot: Slot, value: Json, said: Sequence[str], names: Mapping[str, str]) -> bool:
    """Whether the words ``said`` (folded) contain ``value`` as this slot would read it."""
    return _place(slot, value, read(" ".join(said)), names, set()) is not None


def _place(slot: Slot, value: Json, words: Words, names: Mapping[str, str], used: set[int]) -> range | None:
    """The words that say ``value``, unused ones; after a cue of the slot, when it has some."""
    if slot.kind in ("text", "word"):
        part = tokens(str(value))
        return next((span for span in _parts(words.folded, part)), None)
    for start, stop, meant in _readings(slot, words, names):
        fresh = used.isdisjoint(range(start, stop))
        if fresh and _same(slot, meant, value, names) and _cued(slot, words.folded, start):
            return range(start, stop)
    return None


def _readings(slot: Slot, words: Words, names: Mapping[str, str]) -> Iterator[tuple[int, int, Json]]:
    """Every ``(start, stop, value)`` at which the slot reads something, longer readings first at each start."""
    count = len(words.folded)
    for start in range(count):
        for stop, value in sorted(slot.spans(words, start, count, names), key=lambda found: -found[0]):
            yield start, stop, value


def _same(slot: Slot, meant: Json, value: Json, names: Mapping[str, str]) -> bool:
    if slot.kind in ("number", "money", "price"):
        one, other = _decimal(meant), _decimal(value)
        return one is not None and one == other
    if slot.kind in ("symbol", "known"):
        wanted = str(value).casefold().lstrip("$")
        return str(meant).casefold() in {wanted, names.get(wanted, wanted).casefold()}
    if slot.kind == "part":
        given = read(str(value))
        return meant == value or any(meant == found for _, found in slot.spans(given, 0, len(given.folded), names))
    return meant == value


def _decimal(value: Json) -> Decimal | None:
    try:
        return Decimal(str(value).replace(",", "").strip("$"))
    except InvalidOperation:
        return None


def _cued(slot: Slot, said: Sequence[str], start: int) -> bool:
    return not slot.cues or not set(slot.cues).isdisjoint(said[max(0, start - _CUE_DISTANCE) : start])


def _ambiguous(slot: Slot, words: Words, names: Mapping[str, str]) -> bool:
    """Whether the words name two different choices, or two different known symbols."""
    if slot.kind == "choice":
        return len({str(value) for _, _, value in _readings(slot, words, names)}) > 1
    if slot.kind in ("symbol", "known"):
        known = Slot(slot.name, "known", longest=slot.longest)
        return len({str(value) for _, _, value in _readings(known, words, names)}) > 1
    return False


def _left_over(words: Words, used: set[int]) -> bool:
    """Whether a figure was said that no argument took."""
    price, part = Slot("", "price", longest=6), Slot("", "part", longest=6)
    return any(
        used.isdisjoint(range(start, stop))
        and any(char.isdigit() for word in words.folded[start:stop] for char in word)
        for slot in (price, part)
        for start, stop, _ in _readings(slot, words, {})
    )


def _parts(said: Sequence[str], part: Sequence[str]) -> Iterator[range]:
    if part:
        for at in range(len(said) - len(part) + 1):
            if list(said[at : at + len(part)]) == list(part):
                yield range(at, at + len(part))
