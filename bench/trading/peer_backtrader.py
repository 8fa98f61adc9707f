"""backtrader at the shared work: ``peer_backtrader.py TASK FILL COUNT COMBOS``. An order of the last bar stays open.

Frames are made before the clock starts; its feeds read them row by row, which is how it runs.
"""

from __future__ import annotations

import sys
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import work


class Cross(bt.Strategy):
    params = (("fast", work.FAST), ("slow", work.SLOW))

    def __init__(self) -> None:
        self.held = [
            work.crossed(work.sums_of(data.p.dataname["close"].to_numpy()), self.p.fast, self.p.slow)
            for data in self.datas
        ]
        self.done = 0

    def notify_order(self, order: Any) -> None:
        self.done += order.status == order.Completed

    def next(self) -> None:
        row = len(self) - 1
        for data, held in zip(self.datas, self.held, strict=True):
            if np.isnan(held[row]):
                continue
            want = held[row] > 0.5
            if want != bool(self.getposition(data).size):
                if want:
                    self.buy(data=data, size=work.QUANTITY)
                else:
                    self.close(data=data)


def frame(columns: work.Columns, task: str) -> Any:
    index = pd.to_datetime(work.START_NS + np.arange(columns[0].size) * work.step_ns(task))
    return pd.DataFrame(dict(zip(("open", "high", "low", "close", "volume"), columns, strict=True)), index=index)


def main(task: str, fill: str, count: int, combos: int) -> None:
    series = work.market(task, count or None)
    frames = [frame(columns, task) for columns in series]

    def test(**params: int) -> tuple[int, float]:
        brain = bt.Cerebro(stdstats=False)
        brain.broker.setcash(work.CASH)
        brain.broker.setcommission(work.FEE)
        brain.broker.set_coc(fill == "close")
        span = bt.TimeFrame.Minutes if task == "minute" else bt.TimeFrame.Days
        for one in frames:
            brain.adddata(bt.feeds.PandasData(dataname=one, timeframe=span))
        brain.addstrategy(Cross, **params)
        [ran] = brain.run()
        return ran.done, brain.broker.getvalue()

    def sweep() -> tuple[int, float]:
        runs = [test(fast=fast, slow=slow) for fast, slow in work.pairs(combos)]
        return sum(fills for fills, _ in runs), sum(equity for _, equity in runs)

    found = work.measured(sweep if task == "sweep" else test, 2)
    work.report(engine="backtrader", task=task, fill=fill, **found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
