"""Generic stages: each takes a value and returns it changed, or raises an error that names what was wrong."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from retainer.core.errors import InvalidInputError
from retainer.safety.redact import redact

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Stage = Callable[[T], T]
"""One step over values of one type."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and marks that reorder text on a screen (they can disguise an amount)."""
_BLANK_LINES = re.compile(r"\n{3,}")


class Processor(Protocol):
    """Makes one kind of raw input ready."""

    def transform(self, raw: Any) -> Any:
        """The ready input. Raises :class:`InvalidInputError` naming the row or field that does not fit."""
        ...


def chain(*stages: Stage[T]) -> Stage[T]:
    """All stages, one after another."""

    def run(value: T) -> T:
        for stage in stages:
            value = stage(value)
        return value

    return run


def decode_text(raw: object, *, field: str = "text") -> str:
    """``raw`` as text. Raises :class:`InvalidInputError` for bytes that are not UTF-8 and for other types."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, bytes | bytearray):
        try:
            return bytes(raw).decode()
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"{field} is binary, not UTF-8 text (byte {error.start}).", hint="Send it as text."
            ) from error
    raise InvalidInputError(f"{field} is {type(raw).__name__}, not text.", hint="Send it as text.")


def normalise_text(text: str) -> str:
    """One form for the same words: NFC, ``\\n`` line ends, no control or reordering characters, no stray surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = unicodedata.normalize("NFC", _CONTROL.sub("", text))
    return _BLANK_LINES.sub("\n\n", text).strip()


def limit_text(longest: int, *, field: str = "text") -> Stage[str]:
    """A stage that refuses texts of more than ``longest`` characters: cutting one silently could change its meaning."""

    def check(text: str) -> str:
        if len(text) > longest:
            raise InvalidInputError(
                f"{field} has {len(text):,} characters; at most {longest:,} are read.", hint="Send it in parts."
            )
        return text

    return check


def redact_text(text: str) -> str:
    """Without secrets (tokens, keys, card numbers)."""
    return redact(text)


def validate(model: type[M], data: Mapping[str, Any] | Sequence[Any], *, where: str = "input") -> M:
    """``data`` as ``model``. Raises :class:`InvalidInputError` naming every field that does not fit."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, item['loc'])) or where}: {item['msg']}" for item in error.errors())
        fields = ", ".join(model.model_fields)
        raise InvalidInputError(f"{where} does not fit: {lines}.", hint=f"It may hold: {fields}.") from error
