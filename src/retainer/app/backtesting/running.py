"""``retainer backtest | sweep | walkforward``: what was typed to a run, and the run to words, JSON and pictures."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from retainer.app.backtesting.keeping import market_folder
from retainer.app.backtesting.showing import print_json, print_table, progress
from retainer.app.backtesting.typed import Wish, named_strategy, read_grid, read_strategy, span_of, words_of
from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.core.errors import InvalidInputError
from retainer.trading.backtest import BacktestResult, backtest
from retainer.trading.data.market import Loaded, load_market
from retainer.trading.honesty.trials import TrialStore

if TYPE_CHECKING:
    from retainer.trading.sweep import SweepResult
    from retainer.trading.walkforward import WalkForwardResult

_SHOWN: Final = 10
"""Sets of a sweep that are printed: the best."""


def run_backtest(settings: Settings, wish: Wish, *, html: Path | None, png: Path | None, as_json: bool) -> int:
    """One backtest, shown."""
    strategy, span = read_strategy(wish, market_folder(settings))
    loaded = load_market(strategy.symbols, wish.interval, market_folder(settings))
    last = max(int(bars.close_time[-1]) for bars in loaded.bars.values())
    result = backtest(
        strategy,
        loaded.bars,
        wish.account.settings(settings.trading),
        start=span.begun(last),
        end=span.end,
        trials=trial_store(settings),
    )
    _write(result, loaded, html, png)
    if as_json:
        print_json({**result.to_json(), "data": list(loaded.notes)})
    else:
        _show(result, loaded, html, png)
    return 0


def run_sweep(
    settings: Settings,
    wish: Wish,
    grid: Sequence[str],
    *,
    objective: str,
    executor: str,
    workers: int | None,
    png: Path | None,
    as_json: bool,
) -> int:
    """Every combination of the grid. Ctrl-C ends it at once; then nothing is shown, written or counted as tried."""
    from retainer.trading.sweep import sweep

    strategy, span = named_strategy(wish), span_of(wish)
    values = read_grid(grid, wish.strategy.strip())
    if png is not None and len(values) < 2:
        raise InvalidInputError("A heat map needs two parameters.", hint="Give --grid twice.")
    loaded = load_market(strategy.symbols, wish.interval, market_folder(settings))
    with progress("parameter sets") as tell:
        found = sweep(
            strategy,
            loaded.bars,
            values,
            wish.account.settings(settings.trading),
            start=span.start,
            end=span.end,
            objective=objective,
            executor=executor,
            workers=workers,
            trials=trial_store(settings),
            progress=tell,
        )
    if png is not None:
        from retainer.trading.report.saving import save_heat

        save_heat(found, png)
    if as_json:
        print_json(found.to_json())
    else:
        _show_sweep(found, png)
    return 0


def run_walkforward(
    settings: Settings,
    wish: Wish,
    grid: Sequence[str],
    *,
    train: int,
    test: int,
    anchored: bool,
    html: Path | None,
    png: Path | None,
    as_json: bool,
) -> int:
    """Parameters chosen on the past, judged on what followed."""
    from retainer.trading.walkforward import walk_forward

    strategy, span = named_strategy(wish), span_of(wish)
    values = read_grid(grid, wish.strategy.strip())
    loaded = load_market(strategy.symbols, wish.interval, market_folder(settings))
    with progress("folds") as tell:
        found = walk_forward(
            strategy,
            loaded.bars,
            values,
            wish.account.settings(settings.trading),
            train=train,
            test=test,
            anchored=anchored,
            start=span.start,
            end=span.end,
            trials=trial_store(settings),
            progress=tell,
        )
    _write(found, loaded, html, png)
    if as_json:
        print_json({**found.to_json(), "data": list(loaded.notes)})
        return 0
    _show_folds(found)
    _show(found.result, loaded, html, png)
    return 0


def trial_store(settings: Settings) -> TrialStore:
    """The count of trials, kept in the data folder."""
    return TrialStore(DataFolder(settings.data).make().trials)


def _show(result: BacktestResult, loaded: Loaded, html: Path | None, png: Path | None) -> None:
    sys.stdout.write("\n".join([*result.header(), ""]) + "\n")
    beside = dict(result.benchmark_statistics.rows())
    rows = [(label, text, beside.get(label, "")) for label, text in result.statistics.rows()]
    print_table(["", "strategy", "buy and hold"], rows)
    sys.stdout.write("\n" + "\n".join(result.honesty.lines()) + "\n")
    for note in loaded.notes:
        sys.stdout.write(f"Data: {note}\n")
    _name_files((("Report", html), ("Picture", png)))


def _show_folds(found: WalkForwardResult) -> None:
    head = ["trained on", "tested on", "chosen", "Sharpe then", "after", "return after"]
    rows = [
        (
            f"{fold.train_start} to {fold.train_end}",
            f"{fold.test_start} to {fold.test_end}",
            words_of(fold.parameters),
            _ratio(fold.train_score),
            _ratio(fold.test_score),
            f"{fold.test_return:+.1%}",
        )
        for fold in found.folds
    ]
    print_table(head, rows, left=("tested on", "chosen"))
    sys.stdout.write(f"\n{found.sentence()}\n\n")


def _show_sweep(found: SweepResult, png: Path | None) -> None:
    rows = found.table()
    head = [*found.names, "return", "sharpe", "deepest fall", "fills", "fees", "final"]
    print_table(
        head,
        [
            [
                *(f"{row[name]:g}" for name in found.names),
                f"{row['return']:+.2%}",
                _ratio(row["sharpe"]),
                f"{row['drawdown']:.1%}",
                f"{row['fills']:,.0f}",
                f"${row['fees']:,.2f}",
                f"${row['final']:,.2f}",
            ]
            for row in rows[:_SHOWN]
        ],
    )
    if len(rows) > _SHOWN:
        sys.stdout.write(f"... and {len(rows) - _SHOWN:,} more; --json has all\n")
    if found.unfit:
        sys.stdout.write(f"{found.unfit:,} sets were left out: their parameters do not fit together.\n")
    sys.stdout.write(f"\n{found.sentence()}\n")
    _name_files((("Heat map", png),))


def _name_files(files: Sequence[tuple[str, Path | None]]) -> None:
    for name, path in files:
        if path is not None:
            sys.stdout.write(f"{name}: {path}\n")


def _write(result: BacktestResult | WalkForwardResult, loaded: Loaded, html: Path | None, png: Path | None) -> None:
    if html is None and png is None:
        return
    from retainer.trading.report.saving import save_page, save_picture

    if html is not None:
        save_page(result, loaded.bars, html, notes=loaded.notes)
    if png is not None:
        save_picture(result, loaded.bars, png, notes=loaded.notes)


def _ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
