"""The grounding check: what a model put into a call must come from the person's own words, or it is asked back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from retainer.agent.slots import Slot, number, slot_of
from retainer.agent.text import tokens
from retainer.core.values import Json


@dataclass(frozen=True, slots=True)
class Grounding:
    """Arguments that the person's words support, and the names of those they do not."""

    args: Mapping[str, Json]
    missing: tuple[str, ...]


def ground(
    model: type[BaseModel], args: Mapping[str, Json], text: str, names: Mapping[str, str], *, strict: bool
) -> Grounding:
    """Keep the arguments that ``text`` says.

    ``names``: spoken name -> symbol. With ``strict`` (anything but reading) every argument must be said; otherwise an
    unsupported argument that has a default silently takes it.
    """
    said = tokens(text)
    kept: dict[str, Json] = {}
    missing: list[str] = []
    for name, info in model.model_fields.items():
        required = info.is_required()
        if name not in args or args[name] is None:
            if required:
                missing.append(name)
            continue
        if supported(slot_of(model, name), args[name], said, names):
            kept[name] = args[name]
        elif required or strict:
            missing.append(name)
    return Grounding(kept, tuple(missing))


def supported(slot: Slot, value: Json, said: Sequence[str], names: Mapping[str, str]) -> bool:
    """Whether the words ``said`` (folded) contain ``value`` as this slot would read it."""
    if slot.kind == "number":
        wanted = number(str(value).casefold())
        return wanted is not None and any(_same_number(wanted, number(word)) for word in said)
    if slot.kind == "choice":
        return any(given == value and _contains(said, spoken) for spoken, given in slot.choices.items())
    if slot.kind == "symbol":
        return _says_symbol(str(value).casefold(), said, names)
    return _contains(said, tokens(str(value))) and bool(tokens(str(value)))


def _same_number(one: str, other: str | None) -> bool:
    return other is not None and float(one) == float(other)


def _says_symbol(symbol: str, said: Sequence[str], names: Mapping[str, str]) -> bool:
    if symbol in said:
        return True
    return any(known.casefold() == symbol and _contains(said, spoken.split()) for spoken, known in names.items())


def _contains(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(list(words[at : at + len(part)]) == list(part) for at in range(len(words) - len(part) + 1))
