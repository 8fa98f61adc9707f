"""Rates and sizes: plain numbers, pure comparisons, the clock passed in."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from retainer.core.clock import from_epoch, to_epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the guard counts against. Owned by the configuration; no tool can change it."""

    messages_per_minute: int = 20
    """Messages of one person that are handled; the rest get one polite notice."""
    message_characters: int = 32_000
    effects_per_hour: int = 60
    """Effects that are neither replies, reads nor orders, per agent."""
    approvals_per_hour: int = 6
    """Approval requests that no clean message of a person led to: beyond it they are refused, not asked."""
    own_approvals_per_hour: int = 200
    """Approval requests for what a person asked for in so many words."""
    orders_per_minute: int = 5
    orders_per_day: int = 50
    """A strategy's own orders per account; on paper they are counted on the account's clock."""
    approved_orders_per_minute: int = 20
    approved_orders_per_day: int = 200
    """Orders that a person said yes to, per account, on real time: each took a hand, so there may be more."""
    tool_calls_per_event: int = 30
    """Tool calls, reading ones included, that one message may lead to."""
    replies_per_event: int = 50
    """Messages to the sender that one event may lead to."""
    effects_per_event: int = 50
    """Effects other than replies and reads that one event may lead to."""
    model_calls_per_hour: int = 600
    model_calls_per_person: int = 300
    """Calls of the language model an hour: everybody together, and each person."""
    model_tokens_per_hour: int = 2_000_000
    model_tokens_per_day: int = 10_000_000
    """Tokens that the language model reads and writes, for everybody together."""
    wrong_codes: int = 3
    """Wrong codes after which an approval is spent."""
    wrong_authenticator_codes: int = 10
    """Wrong codes of the authenticator app within an hour, over all requests, after which none is looked at."""
    tap_seconds: int = 300
    """How long a paper order, or anything but a live order, waits for its yes."""
    live_seconds: int = 120
    live_send_seconds: int = 300
    """How long after its yes a live order may still be sent (a crash in between must not send a stale one)."""
    send_seconds: int = 3600


def over(count: int, limit: int) -> bool:
    """Whether one more would exceed ``limit``."""
    return count >= limit


def wait(at: datetime, now: datetime) -> str:
    """How long from ``now`` until ``at``, for a phone: ``40 seconds``, ``12 minutes``, ``7 hours``."""
    seconds = max(1, math.ceil((at - now).total_seconds()))
    if seconds < 90:
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"


def frees(at: datetime | None, now: datetime | None) -> str:
    """When a limit lets the next one through, in words."""
    if at is None or now is None:
        return "it frees within the hour"
    return f"it frees in {wait(at, now)} (at {at:%H:%M} UTC)"


@dataclass(frozen=True, slots=True)
class Hit:
    """Answer of :meth:`Rate.hit`: ``ok``, and whether this is the first refusal of the current burst."""

    ok: bool
    notice: bool = False


class Rate:
    """A sliding window per key, in memory: ``limit`` hits in ``window``. Old keys are forgotten."""

    def __init__(self, limit: int, window: timedelta, *, keys: int = 1000) -> None:
        self._limit = limit
        self._window = window.total_seconds()
        self._keys = keys
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()
        self._told: dict[str, float] = {}

    def free_at(self, key: str, now: datetime) -> datetime:
        """When the next one of ``key`` fits."""
        hits = self._hits.get(key)
        if hits is None or len(hits) < self._limit:
            return now
        return from_epoch(hits[0] + self._window)

    def count(self, key: str, now: datetime) -> int:
        """How many of ``key`` lie within the window."""
        hits = self._hits.get(key, deque())
        while hits and hits[0] <= to_epoch(now) - self._window:
            hits.popleft()
        return len(hits)

    def hit(self, key: str, now: datetime) -> Hit:
        """Count one for ``key`` if it fits. ``notice`` is true once per window, so a refusal is said only once."""
        at = to_epoch(now)
        hits = self._hits.setdefault(key, deque())
        self._hits.move_to_end(key)
        self.count(key, now)
        while len(self._hits) > self._keys:
            old, _ = self._hits.popitem(last=False)
            self._told.pop(old, None)
        if len(hits) < self._limit:
            hits.append(at)
            return Hit(True)
        first = self._told.get(key, float("-inf")) <= at - self._window
        if first:
            self._told[key] = at
        return Hit(False, first)
