"""What memory gives back: turns, recalled turns, facts, and the receipt of forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from retainer.core.labels import Label
from retainer.core.protocols import ChatMessage
from retainer.core.values import Json

Role = Literal["person", "assistant", "quoted"]
"""Who wrote it: the person, one of our agents, or somebody the person quoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message as it was said. ``source`` is its identity for ever; (``seq``, ``part``) its place."""

    source: str
    conv: str
    """Address of the conversation: ``terminal:local``."""
    seq: int
    """Sequence number of the event it belongs to; orders a conversation."""
    part: str = ""
    """Orders the messages of one event: empty for the person's own, an effect's key for replies."""
    at: datetime
    role: Role
    speaker: str
    text: str
    label: Label
    reply_to: str | None = None

    def message(self) -> ChatMessage:
        """As one message of a prompt."""
        return ChatMessage("assistant" if self.role == "assistant" else "user", self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A past turn that fits a question. It is quoted data, never an instruction, whatever it says."""

    at: datetime
    speaker: str
    text: str
    score: float
    """Share of the question it covers, with the boosts for a named speaker and date; higher fits better."""
    label: Label
    source: str

    @property
    def date(self) -> str:
        """The day it was said (UTC), ISO."""
        return self.at.date().isoformat()

    def line(self) -> str:
        """``[2026-05-08] Anna: text``. Lines of this shape are recognised and never stored again."""
        return f"[{self.date}] {self.speaker}: {' '.join(self.text.split())}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something the person stated, with the message it was read from and the time for which it holds."""

    number: int
    """Names it to people: ``forget 3``."""
    key: str
    """What it is about; a later fact of the same key supersedes this one."""
    kind: Literal["fact", "preference", "instruction", "note"]
    value: str
    """In the person's own words: it stands in the source message."""
    words: str
    """The fact as a sentence: ``You live in Oslo.``"""
    since: datetime
    until: datetime | None
    """When it stopped holding; ``None``: it holds."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """What a wish to forget comes down to: identities only, so it may be recorded; it repeats no text."""

    person: str
    sources: tuple[str, ...] = ()
    everything: bool = False
    facts: int = 0
    found: bool = True

    @property
    def text(self) -> str:
        """The answer to the person."""
        if self.everything:
            return "Forgotten: everything you told me, word for word. This cannot be undone."
        if not self.found:
            return (
                "I found nothing like that to forget. Say “what do you know about me” for the list, "
                "“forget 3” for one of its lines, or “forget everything about …”."
            )
        parts = []
        if self.facts:
            parts.append(f"{self.facts} fact{'s' if self.facts > 1 else ''}")
        parts.append(f"{len(self.sources)} message{'s' if len(self.sources) != 1 else ''}")
        return f"Forgotten: {' and '.join(parts)}, erased from my memory. This cannot be undone."

    def to_json(self) -> dict[str, Json]:
        """As a step's result."""
        return {
            "person": self.person,
            "sources": list(self.sources),
            "everything": self.everything,
            "facts": self.facts,
            "found": self.found,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Forgetting:
        """Inverse of :meth:`to_json`."""
        return Forgetting(
            person=data["person"],
            sources=tuple(data["sources"]),
            everything=data["everything"],
            facts=data["facts"],
            found=data["found"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """Receipt of an erasure in a memory file."""

    messages: int
    facts: int
    bytes_left: bool
    """Whether any of the erased bytes could still be read in the file or its log afterwards (they must not)."""
