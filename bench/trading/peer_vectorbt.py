"""vectorbt at the shared work: ``peer_vectorbt.py TASK FILL COUNT COMBOS``. The next open is a shifted signal.

Frames are made before the clock starts; its averages are its own, compiled.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import vectorbt as vbt  # noqa: E402
import work  # noqa: E402


def traded(opened: Any, close: Any, held: Any, known: Any, fill: str, *, shared: bool = False) -> Any:
    entries, exits, price = held & known, ~held & known, close
    if fill == "open":
        entries, exits, price = entries.vbt.signals.fshift(1), exits.vbt.signals.fshift(1), opened
    return vbt.Portfolio.from_signals(
        close,
        entries,
        exits,
        price=price,
        size=work.QUANTITY,
        fees=work.FEE,
        init_cash=work.CASH,
        cash_sharing=shared,
        group_by=True if shared else None,
        freq="1D",
    )


def main(task: str, fill: str, count: int, combos: int) -> None:
    series = work.market(task, count or None)
    index = pd.to_datetime(work.START_NS + np.arange(series[0][0].size) * work.step_ns(task), utc=True)
    opened = pd.DataFrame({n: one[0] for n, one in enumerate(series)}, index)
    close = pd.DataFrame({n: one[3] for n, one in enumerate(series)}, index)
    if len(series) == 1:
        opened, close = opened[0], close[0]

    def one_run() -> tuple[int, float]:
        fast, slow = (vbt.MA.run(close, window).ma.to_numpy() for window in (work.FAST, work.SLOW))
        made: Any = pd.Series if len(series) == 1 else pd.DataFrame
        held, known = (made(values.reshape(close.shape), **_axes(close)) for values in (fast > slow, ~np.isnan(slow)))
        run = traded(opened, close, held, known, fill, shared=len(series) > 1)
        return int(np.sum(run.orders.count())), float(np.sum(run.final_value()))

    def sweep() -> tuple[int, float]:
        chosen = work.pairs(combos)
        fast = vbt.MA.run(close, [pair[0] for pair in chosen]).ma.to_numpy()
        slow = vbt.MA.run(close, [pair[1] for pair in chosen]).ma.to_numpy()
        run = traded(opened, close, pd.DataFrame(fast > slow, index), pd.DataFrame(~np.isnan(slow), index), fill)
        return int(np.sum(run.orders.count())), float(run.final_value().sum())

    found = work.measured(sweep if task == "sweep" else one_run, 3)
    work.report(engine="vectorbt", task=task, fill=fill, **found)


def _axes(close: Any) -> dict[str, Any]:
    return {"index": close.index} | ({"columns": close.columns} if close.ndim == 2 else {})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
