"""This engine at the shared work: ``ours.py TASK FILL [--count N] [--combos N] [--setting NAME ...]``.

A setting reproduces how another engine differs: ``to_cents`` (:class:`EngineSettings`) books amounts and fees in whole
cents, ``start`` (:class:`Plan`) begins to trade one bar after the first on which both averages are known.
Bars are checked and prepared before the clock starts, as the frames of the others are made; with ``--frame`` it starts
at a pandas frame instead: reading, checking and preparing are timed too.
"""

from __future__ import annotations

import argparse
from decimal import Decimal
from typing import Literal, cast

import numpy as np
import pandas as pd
import work

from retainer.trading.bars import Bars, from_frame
from retainer.trading.engine import EngineSettings, Plan, Prepared, prepare, simulate, simulate_many
from retainer.trading.limits import Fees


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["daily", "minute", "portfolio", "sweep"])
    parser.add_argument("fill", choices=["open", "close"])
    parser.add_argument("--count", type=int)
    parser.add_argument("--combos", type=int, default=1_000)
    parser.add_argument("--setting", action="append", default=[], choices=["to_cents", "start"])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--frame", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    columns = {f"X{n:03}": one for n, one in enumerate(work.market(args.task, args.count))}
    settings = EngineSettings(
        cash=Decimal(work.CASH),
        fees=Fees(commission_ppm=round(work.FEE * 1e6), slippage_ppm=0),
        exact=True,
        to_cents="to_cents" in args.setting,
        fill_on=cast("Literal['next_open', 'same_close']", {"open": "next_open", "close": "same_close"}[args.fill]),
    )
    frames = {name: as_frame(one, args.task) for name, one in columns.items()} if args.frame else {}
    checked = {name: as_bars(name, one, args.task) for name, one in columns.items()}
    start = int(checked["X000"].close_time[work.SLOW]) if "start" in args.setting else None
    ready = prepare(checked, settings, start=start)

    def market() -> tuple[dict[str, Bars], Prepared]:
        if not args.frame:
            return checked, ready
        read = {name: from_frame(frame, name)[name] for name, frame in frames.items()}
        return read, prepare(read, settings, start=start)

    def one_run() -> tuple[int, float]:
        bars, tape = market()
        plan = Plan(targets={name: wanted(one.close) for name, one in bars.items()}, unit="shares", start=start)
        run = simulate(bars, plan, settings, compiled=not args.plain, prepared=tape)
        return len(run.fills), run.final

    def sweep() -> tuple[int, float]:
        bars, tape = market()
        sums = work.sums_of(bars["X000"].close)
        sets = np.stack([work.crossed(sums, fast, slow) for fast, slow in work.pairs(args.combos)])
        sets *= work.QUANTITY
        many = simulate_many(tape, sets, settings, unit="shares", compiled=not args.plain)
        return int(many.fills.sum()), float(many.final.sum())

    found = work.measured(sweep if args.task == "sweep" else one_run, args.repeats)
    work.report(engine="retainer", task=args.task, fill=args.fill, **found)


def as_frame(columns: work.Columns, task: str) -> pd.DataFrame:
    """The columns as people have them."""
    index = pd.to_datetime(work.START_NS + np.arange(columns[0].size) * work.step_ns(task), utc=True)
    return pd.DataFrame(dict(zip(("open", "high", "low", "close", "volume"), columns, strict=True)), index=index)


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


def wanted(close: np.ndarray) -> np.ndarray:
    """Shares to hold at each close."""
    shares: np.ndarray = work.crossed(work.sums_of(close), work.FAST, work.SLOW)
    shares *= work.QUANTITY
    return shares


if __name__ == "__main__":
    main()
