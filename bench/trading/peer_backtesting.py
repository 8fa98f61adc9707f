"""backtesting.py at the shared work: ``peer_backtesting.py TASK FILL COUNT COMBOS``.

It has no shared cash: fifty runs with an account each. Its first decision falls one bar after the first known average,
and an order of the last bar stays open. Frames are made and checked (``Backtest``) before the clock starts.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

warnings.filterwarnings("ignore")

import backtesting.backtesting as inner  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import work  # noqa: E402
from backtesting import Backtest, Strategy  # noqa: E402

inner._tqdm = lambda items, *_, **__: items


class Cross(Strategy):
    fast, slow = work.FAST, work.SLOW

    def init(self) -> None:
        sums = work.sums_of(np.asarray(self.data.Close))
        self.held = self.I(lambda: work.crossed(sums, self.fast, self.slow), plot=False)

    def next(self) -> None:
        want = self.held[-1] > 0.5
        if want != bool(self.position):
            if want:
                self.buy(size=work.QUANTITY)
            else:
                self.position.close()


def frame(columns: work.Columns, task: str) -> Any:
    index = pd.to_datetime(work.START_NS + np.arange(columns[0].size) * work.step_ns(task), utc=True)
    return pd.DataFrame(dict(zip(("Open", "High", "Low", "Close", "Volume"), columns, strict=True)), index=index)


def main(task: str, fill: str, count: int, combos: int) -> None:
    series = work.market(task, count or None)

    tests = [
        Backtest(
            frame(columns, task),
            Cross,
            cash=work.CASH,
            commission=work.FEE,
            trade_on_close=fill == "close",
            finalize_trades=False,
        )
        for columns in series
    ]

    def one_run() -> tuple[int, float]:
        fills, equity = 0, float(work.CASH)
        for test in tests:
            found = test.run()
            fills += 2 * len(found["_trades"]) + len(found["_strategy"].trades)
            equity += found["Equity Final [$]"] - work.CASH
        return fills, equity

    def sweep() -> tuple[int, float]:
        fills, equity = 0, 0.0
        for fast, slow in work.pairs(combos):
            found = tests[0].run(fast=fast, slow=slow)
            fills += 2 * len(found["_trades"]) + len(found["_strategy"].trades)
            equity += found["Equity Final [$]"]
        return fills, equity

    found = work.measured(sweep if task == "sweep" else one_run, 3)
    work.report(engine="backtesting", task=task, fill=fill, **found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
