"""The work that every contestant of ``run.py`` does, and how it is measured. Needs NumPy only.

A moving-average cross, long only, 100 shares, 0.1 % fee, synthetic bars with gaps on five decimals. The signal is
known at the close of bar t; it fills at the open of t+1 (``open``) or at that very close (``close``, the only mode that
nautilus_trader has). A contestant prints one line ``RESULT {json}``.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

FEE, QUANTITY, CASH = 0.001, 100, 100_000_000
FAST, SLOW = 10, 30
BLOCK = 16_384
"""Rows that are worked on at a time: they stay in the processor's cache."""
START_NS = 1_420_070_400 * 10**9
Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def bars(count: int, seed: int, sigma: float) -> Columns:
    """Open, high, low, close, volume: a random walk that never falls below a tenth of its start."""
    rng = np.random.default_rng(seed)
    walk = 100 * np.exp(np.cumsum(rng.normal(0, sigma, count)))
    close = np.maximum(10.0, 100 + (walk - 100) / max(1.0, walk.max() / 5_000))
    opened = np.r_[100.0, close[:-1]] * (1 + rng.normal(0, sigma / 4, count))
    high = np.maximum(opened, close) * (1 + np.abs(rng.normal(0, sigma / 3, count)))
    low = np.minimum(opened, close) * (1 - np.abs(rng.normal(0, sigma / 3, count)))
    opened, high, low, close = (np.round(column, 5) for column in (opened, high, low, close))
    return opened, high, low, close, np.full(count, 1_000_000.0)


def market(task: str, count: int | None = None) -> list[Columns]:
    """The bars of a task: one series, or fifty."""
    if task == "minute":
        return [bars(count or 1_000_000, 7, 3e-4)]
    if task == "portfolio":
        return [bars(count or 2_500, seed, 1e-2) for seed in range(50)]
    return [bars(count or 2_500, 0, 1e-2)]


def pairs(count: int) -> list[tuple[int, int]]:
    """The (fast, slow) pairs of the sweep."""
    return [(fast, slow) for slow in range(20, 400, 4) for fast in range(2, 40, 2) if fast < slow][:count]


def step_ns(task: str) -> int:
    """Time between two bars."""
    return (60 if task == "minute" else 86_400) * 10**9


def crossed(sums: np.ndarray, fast: int, slow: int) -> np.ndarray:
    """1 where the fast average is above the slow one, 0 where not, NaN before both are known. ``sums``: cumulative."""
    count = sums.size - 1
    held = np.empty(count)
    held[: slow - 1] = np.nan
    for first in range(slow - 1, count, BLOCK):
        last = min(first + BLOCK, count)
        now = sums[first + 1 : last + 1]
        quick = (now - sums[first + 1 - fast : last + 1 - fast]) * slow
        long = (now - sums[first + 1 - slow : last + 1 - slow]) * fast
        np.greater(quick, long, out=held[first:last])
    return held


def sums_of(close: np.ndarray) -> np.ndarray:
    """Cumulative prices in whole 1/100,000, from 0 on: below 2**53 and so exact, no tie is decided by rounding."""
    sums = np.zeros(close.size + 1)
    ticks = sums[1:]
    np.rint(np.multiply(close, 1e5, out=ticks), out=ticks)
    np.cumsum(ticks, out=ticks)
    return sums


def measured(work: Callable[[], tuple[int, float]], repeats: int) -> dict[str, Any]:
    """Fills and equity, CPU seconds of the first call (compiling included) and the best of the warm ones.

    With two repeats or fewer a long first call is not repeated.
    """
    began = time.process_time()
    fills, equity = work()
    first = time.process_time() - began
    warm = [first] if repeats <= 2 and first > 3 else []
    while not warm or (len(warm) < repeats and first + sum(warm) < 300 and warm != [first]):
        began = time.process_time()
        fills, equity = work()
        warm.append(time.process_time() - began)
    return {"fills": int(fills), "equity": float(equity), "first_s": first, "cpu_s": min(warm)}


def report(**found: Any) -> None:
    """The line that the runner reads."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("RESULT " + json.dumps({**found, "rss_mb": round(peak)}), flush=True)
