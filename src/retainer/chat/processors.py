"""The chat side of the data pipeline: what a person typed, as a clean typed message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from retainer.core.errors import InvalidInputError
from retainer.core.protocols import IncomingMessage
from retainer.pipeline.stages import chain, decode_text, limit_text, normalise_text, redact_text, validate

LONGEST = 32_000
"""Longest message that is read, in characters."""


class RawMessage(BaseModel):
    """What may be handed in as a mapping."""

    model_config = ConfigDict(extra="forbid")

    text: str | bytes = ""
    quoted: str | bytes = ""
    attachment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatInput:
    """A message as the chat agent works on it."""

    text: str
    quoted: str = ""
    """What the sender forwarded or quoted: untrusted."""
    attachment: str = ""
    redacted: bool = False
    """A secret was taken out; the person should be told."""


class ChatProcessor:
    """Unicode in one form, no control characters, no secrets, not too long; nothing is cut silently."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._clean = chain(normalise_text, limit_text(longest, field="The message"))

    def normalise(self, text: str | bytes) -> str:
        """``text`` in one form. Raises :class:`InvalidInputError` when it is binary or too long."""
        return self._clean(decode_text(text, field="The message"))

    def transform(self, raw: str | bytes | Mapping[str, Any] | IncomingMessage) -> ChatInput:
        """Text, bytes, a mapping or a bridge's message, made ready.

        Raises :class:`InvalidInputError` when there is nothing in it, or when it is binary or too long.
        """
        message = _as_raw(raw)
        text, quoted = self.normalise(message.text), self.normalise(message.quoted)
        if not (text or quoted or message.attachment):
            raise InvalidInputError("The message is empty.", hint="Write a few words.")
        clean, clean_quoted = redact_text(text), redact_text(quoted)
        return ChatInput(
            text=clean,
            quoted=clean_quoted,
            attachment=message.attachment,
            redacted=(clean, clean_quoted) != (text, quoted),
        )


def _as_raw(raw: str | bytes | Mapping[str, Any] | IncomingMessage) -> RawMessage:
    if isinstance(raw, IncomingMessage):
        return RawMessage(text=raw.text, quoted=raw.quoted, attachment=raw.attachment)
    if isinstance(raw, Mapping):
        return validate(RawMessage, raw, where="The message")
    return RawMessage(text=decode_text(raw, field="The message"))
