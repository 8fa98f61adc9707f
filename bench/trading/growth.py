"""CPU seconds of the engine as bars, symbols and sets grow: one ``RESULT`` line for ``run.py``.

Targets are known beforehand; every set is the same, so that the sizes differ in nothing but size.
"""

from __future__ import annotations

import time
from decimal import Decimal

import numpy as np
import work
from ours import as_bars, wanted

from retainer.trading.engine import EngineSettings, Plan, prepare, simulate, simulate_many
from retainer.trading.limits import NO_FEES


def cost(count: int, symbols: int, sets: int) -> float:
    """Best of eleven CPU times of one run over prepared bars (or of many sets)."""
    market = {f"X{n:03}": as_bars(f"X{n:03}", work.bars(count, n, 1e-2), "minute") for n in range(symbols)}
    settings = EngineSettings(cash=Decimal(work.CASH), fees=NO_FEES, exact=True)
    tape = prepare(market, settings)
    held = {name: wanted(bars.close) for name, bars in market.items()}
    many = np.stack([np.stack(list(held.values()), axis=1)] * sets) if sets > 1 else None
    plan = Plan(targets=held, unit="shares")
    best = float("inf")
    for _ in range(12):
        began = time.process_time()
        if many is None:
            simulate(market, plan, settings, compiled=True, prepared=tape)
        else:
            simulate_many(tape, many, settings, unit="shares", compiled=True)
        best = min(best, time.process_time() - began)
    return best


def main() -> None:
    series = {
        "bars": [(n, cost(n, 1, 1)) for n in (3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)],
        "symbols": [(n, cost(2_500, n, 1)) for n in (3, 10, 30, 100, 300)],
        "sets": [(n, cost(2_500, 1, n)) for n in (10, 30, 100, 300, 1_000)],
    }
    rest = {"bars": "one symbol", "symbols": "2,500 bars each", "sets": "2,500 bars, one symbol"}
    work.report(series=series, rest=rest)


if __name__ == "__main__":
    main()
