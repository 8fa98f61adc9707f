"""Labels: how far a piece of context may be trusted, and whether it is private. Joined, never raised by a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Trust(IntEnum):
    """Where text came from. The lower value wins when two pieces meet."""

    UNTRUSTED = 0
    """Anybody: web pages, files, forwarded or quoted messages, strangers."""
    TRUSTED = 1
    """Our own structured records: ledger, journal, market data of a configured feed."""
    OWNER = 2
    """Typed by a paired person in the current message, or by code from it."""


@dataclass(frozen=True, slots=True)
class Label:
    """Trust and privacy of a value. ``private`` means it must not leave to a sink outside the owner's channels."""

    trust: Trust = Trust.OWNER
    private: bool = False

    def join(self, other: Label) -> Label:
        """The label of something made from both: least trust, any privacy."""
        return Label(min(self.trust, other.trust), self.private or other.private)

    def encode(self) -> str:
        """``owner``, ``trusted+private`` ...: the form kept in rows."""
        return self.trust.name.lower() + ("+private" if self.private else "")

    @staticmethod
    def decode(text: str) -> Label:
        """Inverse of :meth:`encode`. Raises ``KeyError`` for an unknown word."""
        name, plus, private = text.partition("+")
        if plus and private != "private":
            raise KeyError(text)
        return Label(Trust[name.upper()], bool(plus))


OWNER = Label(Trust.OWNER)
TRUSTED = Label(Trust.TRUSTED)
UNTRUSTED = Label(Trust.UNTRUSTED)


def join(labels: Iterable[Label]) -> Label:
    """Join of all; of nothing: :data:`OWNER`, the neutral element."""
    result = OWNER
    for label in labels:
        result = result.join(label)
    return result
