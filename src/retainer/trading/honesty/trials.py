"""How often the same data was asked: every variant tried makes the best one look better than it is.

Trials are counted per family: the symbols and the size of the bars. Another period of the same symbols is the same
family, or a shift by one day would wipe out the memory. The same variant asked again counts once.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from retainer.core.errors import RetainerError
from retainer.core.values import Json, digest
from retainer.runtime.wal import write_ahead
from retainer.trading.bars import Ints, Market, sessions
from retainer.trading.units import DAY_NS

_SCHEMA = """
CREATE TABLE IF NOT EXISTS trial (
    family TEXT NOT NULL,
    variant TEXT NOT NULL,
    sharpe REAL,
    PRIMARY KEY (family, variant)
) WITHOUT ROWID
"""
_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Family:
    """What was tried on the same data."""

    count: int
    variance: float
    """Of the Sharpe ratios per bar of all variants (divisor n - 1); 0 for fewer than two."""


class Trials(Protocol):
    """Remembers what was tried."""

    def record(self, family: str, variants: Mapping[str, float]) -> None:
        """Add variants with their Sharpe ratio per bar (NaN where there is none); known ones are replaced."""

    def family(self, family: str) -> Family:
        """What was tried so far."""


class MemoryTrials:
    """Trials of this process alone."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, float]] = {}
        self._lock = threading.Lock()

    def record(self, family: str, variants: Mapping[str, float]) -> None:
        with self._lock:
            self._known.setdefault(family, {}).update(variants)

    def family(self, family: str) -> Family:
        with self._lock:
            return _family(list(self._known.get(family, {}).values()))


class TrialStore:
    """Trials in a small database file of their own, shared by every process that tests ideas.

    The connection stays open: close the store, use it in a ``with`` block, or let go of it.
    """

    def __init__(self, path: Path) -> None:
        """A file that is not there is made by the first trial.

        Raises :class:`RetainerError` when the file cannot be opened or is something else.
        """
        self.path = path
        self._lock = threading.Lock()
        self._end: Callable[[], object] = lambda: None
        self._opened: sqlite3.Connection | None = None
        if path.exists():
            with self._told():
                self._open()

    def _open(self) -> sqlite3.Connection:
        if self._opened is not None:
            return self._opened
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._opened = connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, check_same_thread=False)
        self._end = weakref.finalize(self, connection.close)
        try:
            write_ahead(connection, _WAIT_SECONDS)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_SCHEMA)
        except sqlite3.Error:
            self.close()
            raise
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._end()

    def record(self, family: str, variants: Mapping[str, float]) -> None:
        rows = [(family, key, None if math.isnan(value) else value) for key, value in variants.items()]
        with self._lock, self._told(), self._open() as connection:
            connection.executemany("INSERT OR REPLACE INTO trial (family, variant, sharpe) VALUES (?, ?, ?)", rows)

    def family(self, family: str) -> Family:
        with self._lock, self._told():
            rows = self._open().execute("SELECT sharpe FROM trial WHERE family = ?", (family,)).fetchall()
        return _family([math.nan if row[0] is None else float(row[0]) for row in rows])

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise RetainerError(
                f"The count of trials in {self.path} cannot be read or written: {error}.",
                hint="Without it results look better than they are; repair or remove the file.",
            ) from error


_SESSION = MemoryTrials()


def session_trials() -> MemoryTrials:
    """What this process tried, where no store is given: a notebook counts its own attempts, too."""
    return _SESSION


def family_of(market: Market, symbols: Sequence[str]) -> str:
    """The family that a test of ``symbols`` on ``market`` belongs to."""
    own = {symbol: market[symbol] for symbol in symbols if symbol in market}
    return f"{','.join(sorted(own))}|{_bar_size(sessions(own))}"


def _bar_size(at: Ints) -> str:
    if at.size < 2:
        return "one bar"
    gap = float(np.median(np.diff(at))) / DAY_NS
    for most, name in ((0.66, ""), (4.0, "day"), (10.0, "week"), (45.0, "month")):
        if gap <= most:
            return name or f"{round(gap * 86_400)} s"
    return f"{round(gap)} days"


def variant_of(name: str, parameters: Mapping[str, Json]) -> str:
    """The variant's key: strategy and parameters, nothing about period or costs."""
    return f"{name}:{digest(dict(parameters))[:24]}"


def _family(sharpes: Sequence[float]) -> Family:
    known = np.array([value for value in sharpes if math.isfinite(value)])
    return Family(len(sharpes), float(known.var(ddof=1)) if known.size > 1 else 0.0)
