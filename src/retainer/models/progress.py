"""How far a fetch is, and how fast it goes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["waiting", "fetching", "verifying", "done"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a fetch."""

    id: str
    """Of the catalogue."""
    phase: Phase
    done: int
    """Bytes that have landed."""
    total: int
    rate: float = 0.0
    """Bytes per second over the last seconds; 0 while unknown."""

    @property
    def fraction(self) -> float:
        """0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds to go at this rate; ``None`` while unknown."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    def words(self) -> str:
        """``fetching 43 % of 1.12 GB, 12.3 MB/s, 52 s left``."""
        if self.phase != "fetching":
            return {"waiting": "waiting for another fetch", "verifying": "verifying", "done": "ready"}[self.phase]
        text = f"fetching {self.fraction:.0%} of {size_words(self.total)}".replace("%", " %")
        if self.rate <= 0 or self.eta is None:
            return text
        return f"{text}, {size_words(self.rate)}/s, {time_words(self.eta)} left"


Report = Callable[[Progress], None]


def size_words(count: float) -> str:
    """Decimal units, three figures: ``1.12 GB``, ``98.4 MB``."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            value = count / step
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{count:.0f} B"


def time_words(seconds: float) -> str:
    """``52 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Meter:
    """Turns byte counts into :class:`Progress` with a rate over a sliding window; reports at most 5 times a second."""

    def __init__(self, entry_id: str, total: int, report: Report | None, *, window: float = 5.0) -> None:
        self._id = entry_id
        self._total = total
        self._report = report
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()
        self._last = 0.0

    def show(self, phase: Phase, done: int, *, force: bool = False) -> None:
        """Report, unless the last report was under 0.2 s ago (``force``: always)."""
        now = time.monotonic()
        if self._report is None or (not force and now - self._last < 0.2):
            return
        self._last = now
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > self._window:
            self._seen.popleft()
        start, first = self._seen[0]
        rate = max(0.0, (done - first) / (now - start)) if now - start > 0.3 else 0.0
        self._report(Progress(self._id, phase, min(done, self._total), self._total, rate))
