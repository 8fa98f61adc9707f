"""Time is passed in. Instants are timezone-aware UTC everywhere inside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from retainer.core.errors import InvalidInputError


class Clock(Protocol):
    """Where 'now' comes from: real time, or the time of the bars being replayed."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """A clock that is moved by hand: replays (bar time) and tests."""

    def __init__(self, start: datetime) -> None:
        self._now = utc(start)

    def now(self) -> datetime:
        return self._now

    def set(self, instant: datetime) -> None:
        self._now = utc(instant)

    def advance(self, **delta: float) -> None:
        """Move on by ``timedelta(**delta)``."""
        self._now += timedelta(**delta)


def utc(instant: datetime) -> datetime:
    """``instant`` in UTC. Raises :class:`InvalidInputError` for a naive datetime: guessing a zone loses money."""
    if instant.tzinfo is None:
        raise InvalidInputError(f"{instant.isoformat()} has no time zone.", hint="Attach one, e.g. tzinfo=UTC.")
    return instant.astimezone(UTC)


def to_epoch(instant: datetime) -> float:
    """Seconds since 1970-01-01 UTC, as the store keeps instants."""
    return utc(instant).timestamp()


def from_epoch(seconds: float) -> datetime:
    """Inverse of :func:`to_epoch`."""
    return datetime.fromtimestamp(seconds, UTC)
