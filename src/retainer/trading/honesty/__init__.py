"""Honesty by default: what would make a result look better than it would have been, looked for on every backtest."""

from __future__ import annotations

from retainer.trading.honesty.bootstrap import Interval, intervals
from retainer.trading.honesty.deflated import Deflated, deflated_sharpe
from retainer.trading.honesty.findings import Checks, Finding
from retainer.trading.honesty.lookahead import lookahead
from retainer.trading.honesty.origin import KnownSeries, origin
from retainer.trading.honesty.trials import MemoryTrials, Trials, TrialStore
from retainer.trading.honesty.verdict import Honesty
from retainer.trading.honesty.warmup import WarmUp, warmup

__all__ = [
    "Checks",
    "Deflated",
    "Finding",
    "Honesty",
    "Interval",
    "KnownSeries",
    "MemoryTrials",
    "TrialStore",
    "Trials",
    "WarmUp",
    "deflated_sharpe",
    "intervals",
    "lookahead",
    "origin",
    "warmup",
]
