"""Making room: the two vectors of an account, and larger ones when they are full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from retainer.trading.kernel import layout as at
from retainer.trading.kernel.many import begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many rows of each kind fit."""

    orders: int = 32
    recent: int = 64
    peaks: int = 256
    events: int = 256

    def larger(self) -> Room:
        """Four times as much: copying stays a small part of the work."""
        return Room(orders=4 * self.orders, recent=4 * self.recent, peaks=4 * self.peaks, events=4 * self.events)


def starts(symbols: int, room: Room) -> tuple[int, int, int, int, int]:
    """Offsets at which orders, recent orders, peaks and events begin, and where all ends."""
    orders = at.HEADER + symbols * at.SYMBOL_COLUMNS
    recent = orders + room.orders * at.ORDER_COLUMNS
    peaks = recent + room.recent * at.RECENT_COLUMNS
    events = peaks + room.peaks
    return orders, recent, peaks, events, events + room.events * at.EVENT_COLUMNS


def new_vectors(symbols: int, room: Room, *, compiled: bool) -> tuple[Any, Any]:
    """Empty vectors (``f``, ``w``) with every symbol allowed: NumPy arrays, or lists for the plain twin."""
    orders, recent, peaks, events, end = starts(symbols, room)
    f: Any = np.zeros(end) if compiled else [0.0] * end
    w: Any = np.zeros(end, dtype=np.int64) if compiled else [0] * end
    w[at.SYMBOLS] = symbols
    w[at.SYMBOLS_END] = orders
    w[at.ORDERS_END] = orders
    w[at.ORDERS_STOP] = recent
    w[at.RECENT_FIRST] = w[at.RECENT_END] = recent
    w[at.RECENT_STOP] = peaks
    w[at.PEAK_FIRST] = w[at.PEAK_END] = peaks
    w[at.PEAK_STOP] = events
    w[at.EVENTS_END] = events
    w[at.EVENTS_STOP] = end
    for p in range(at.HEADER, orders, at.SYMBOL_COLUMNS):
        w[p + at.ALLOWED] = 1
    return f, w


def open_vectors(symbols: int, cash: float, room: Room, *, compiled: bool) -> tuple[Any, Any]:
    """Vectors of a new account with ``cash``."""
    f, w = new_vectors(symbols, room, compiled=compiled)
    begin(f, w, cash)
    return f, w


def grown(f: Any, w: Any, room: Room, *, compiled: bool) -> tuple[Any, Any]:
    """The same account with more room. Orders keep their offsets; recent orders and peaks lose their gaps."""
    symbols = int(w[at.SYMBOLS])
    big_f, big_w = new_vectors(symbols, room, compiled=compiled)
    fixed = {
        name: int(big_w[name])
        for name in (at.ORDERS_STOP, at.RECENT_FIRST, at.RECENT_STOP, at.PEAK_FIRST, at.PEAK_STOP, at.EVENTS_STOP)
    }
    used = int(w[at.ORDERS_END])
    big_f[:used], big_w[:used] = f[:used], w[:used]
    for name, value in fixed.items():
        big_w[name] = value
    for first, end, begin_at in (
        (int(w[at.RECENT_FIRST]), int(w[at.RECENT_END]), fixed[at.RECENT_FIRST]),
        (int(w[at.PEAK_FIRST]), int(w[at.PEAK_END]), fixed[at.PEAK_FIRST]),
        (int(w[at.PEAK_STOP]), int(w[at.EVENTS_END]), fixed[at.PEAK_STOP]),
    ):
        size = end - first
        big_f[begin_at : begin_at + size] = f[first:end]
        big_w[begin_at : begin_at + size] = w[first:end]
    big_w[at.RECENT_END] = fixed[at.RECENT_FIRST] + int(w[at.RECENT_END]) - int(w[at.RECENT_FIRST])
    big_w[at.PEAK_END] = fixed[at.PEAK_FIRST] + int(w[at.PEAK_END]) - int(w[at.PEAK_FIRST])
    big_w[at.EVENTS_END] = fixed[at.PEAK_STOP] + int(w[at.EVENTS_END]) - int(w[at.PEAK_STOP])
    return big_f, big_w


def events_of(f: Any, w: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The log as two tables: floats and whole numbers, a row per event."""
    first, end = int(w[at.PEAK_STOP]), int(w[at.EVENTS_END])
    reals = np.asarray(f[first:end], dtype=np.float64).reshape(-1, at.EVENT_COLUMNS)
    wholes = np.asarray(w[first:end], dtype=np.int64).reshape(-1, at.EVENT_COLUMNS)
    return reals, wholes
