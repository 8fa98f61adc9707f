"""This engine at the shared work: ``ours.py TASK FILL [--count N] [--combos N] [--rule NAME ...]``.

A rule reproduces how another engine differs: ``skip-last`` makes no decision at the last bar, ``skip-first`` none at
the first bar on which both averages are known, ``cents`` rounds every amount and fee to the cent.
"""

from __future__ import annotations

import argparse
from decimal import Decimal
from typing import Literal, cast

import numpy as np
import work

from retainer.trading.bars import Bars
from retainer.trading.engine import EngineSettings, Plan, prepare, simulate, simulate_many
from retainer.trading.limits import Fees


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["daily", "minute", "portfolio", "sweep"])
    parser.add_argument("fill", choices=["open", "close"])
    parser.add_argument("--count", type=int)
    parser.add_argument("--combos", type=int, default=1_000)
    parser.add_argument("--rule", action="append", default=[])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    columns = work.market(args.task, args.count)
    market = {f"X{n:03}": as_bars(f"X{n:03}", one, args.task) for n, one in enumerate(columns)}
    settings = EngineSettings(
        cash=Decimal(work.CASH),
        fees=Fees(commission_ppm=round(work.FEE * 1e6), slippage_ppm=0),
        exact=True,
        to_cents="cents" in args.rule,
        fill_on=cast("Literal['next_open', 'same_close']", {"open": "next_open", "close": "same_close"}[args.fill]),
    )

    tape = prepare(market, settings)

    def one_run() -> tuple[int, float]:
        plan = Plan(targets={name: wanted(bars.close, args.rule) for name, bars in market.items()}, unit="shares")
        run = simulate(market, plan, settings, compiled=not args.plain, prepared=tape)
        return len(run.fills), run.final

    def sweep() -> tuple[int, float]:
        [bars] = market.values()
        sums = work.sums_of(bars.close)
        sets = np.stack([work.crossed(sums, fast, slow) for fast, slow in work.pairs(args.combos)])
        sets *= work.QUANTITY
        if "skip-last" in args.rule:
            sets[:, -1] = np.nan
        many = simulate_many(tape, sets, settings, unit="shares", compiled=not args.plain)
        return int(many.fills.sum()), float(many.final.sum())

    found = work.measured(sweep if args.task == "sweep" else one_run, args.repeats)
    work.report(engine="retainer", task=args.task, fill=args.fill, **found)


def as_bars(name: str, columns: work.Columns, task: str) -> Bars:
    """The columns as checked bars."""
    count = columns[0].size
    opened, high, low, close, volume = columns
    return Bars(
        symbol=name,
        close_time=work.START_NS + np.arange(count) * work.step_ns(task),
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume.astype(np.int64),
        factor=np.ones(count),
    )


def wanted(close: np.ndarray, rules: list[str]) -> np.ndarray:
    """Shares to hold at each close."""
    shares: np.ndarray = work.crossed(work.sums_of(close), work.FAST, work.SLOW) * work.QUANTITY
    if "skip-first" in rules:
        shares[work.SLOW - 1] = np.nan
    if "skip-last" in rules:
        shares[-1] = np.nan
    return shares


if __name__ == "__main__":
    main()
