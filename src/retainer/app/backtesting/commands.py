"""What can be typed. Each command imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of words.")]
Strategy = Annotated[
    str, typer.Argument(help="A strategy's name, a strategy spec (.toml or .json), or a sentence in quotes.")
]
Symbols = Annotated[str, typer.Option("--symbols", "-s", help="One or more, with commas: AAPL,IBM.")]
Start = Annotated[str | None, typer.Option(help="First day traded, e.g. 2004-01-02; earlier bars feed indicators.")]
End = Annotated[str | None, typer.Option(help="Last day.")]
Interval = Annotated[str, typer.Option(help="Length of a bar: 1min, 5min, 15min, 30min, 1h, 4h or 1d.")]
Cash = Annotated[float | None, typer.Option(min=1, max=1e9, help="Dollars at the start; else as configured.")]
Slippage = Annotated[
    float | None, typer.Option(min=0, max=1000, help="Basis points that fills are worse by; else as configured.")
]
Fractional = Annotated[bool, typer.Option("--fractional", help="Allow parts of a share.")]
Short = Annotated[bool, typer.Option("--short", help="Allow selling what is not owned.")]
VolumeShare = Annotated[
    float, typer.Option(min=0, max=1, help="Fill at most this share of a bar's volume, e.g. 0.1; 0: no cap.")
]
Parameters = Annotated[list[str] | None, typer.Option("--set", help="A parameter: --set fast=10. Repeat for more.")]
Grid = Annotated[
    list[str] | None,
    typer.Option("--grid", help="Values to try: --grid fast=5,10,20 or --grid fast=5:50:5 (from:to:step)."),
]
Html = Annotated[Path | None, typer.Option(help="Write the report page here.")]
Png = Annotated[Path | None, typer.Option(help="Write the picture here.")]

data = typer.Typer(no_args_is_help=True, help="Market data on this machine: import, look, check, remove.")


def _settings() -> Any:
    from retainer.app.config import load_settings
    from retainer.app.logs import quiet_logging

    quiet_logging()
    return load_settings()


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(backtest)
    app.command()(sweep)
    app.command()(walkforward)
    app.command()(strategies)
    app.add_typer(data, name="data")


def backtest(
    strategy: Strategy,
    symbols: Symbols = "",
    start: Start = None,
    end: End = None,
    parameters: Parameters = None,
    interval: Interval = "1d",
    cash: Cash = None,
    slippage: Slippage = None,
    volume_share: VolumeShare = 0.0,
    fractional: Fractional = False,
    short: Short = False,
    html: Html = None,
    png: Png = None,
    as_json: JsonFlag = False,
) -> None:
    """Test a strategy on past bars: costs on, benchmark beside it, every honesty check on."""
    from retainer.app.backtesting.running import run_backtest
    from retainer.app.backtesting.typed import Account, Wish

    account = Account(cash=cash, slippage=slippage, fractional=fractional, short=short, volume_share=volume_share)
    wish = Wish(
        strategy=strategy,
        symbols=symbols,
        start=start,
        end=end,
        parameters=parameters or [],
        interval=interval,
        account=account,
    )
    raise typer.Exit(run_backtest(_settings(), wish, html=html, png=png, as_json=as_json))


def sweep(
    strategy: Strategy,
    symbols: Symbols = "",
    grid: Grid = None,
    start: Start = None,
    end: End = None,
    parameters: Parameters = None,
    interval: Interval = "1d",
    cash: Cash = None,
    slippage: Slippage = None,
    volume_share: VolumeShare = 0.0,
    fractional: Fractional = False,
    short: Short = False,
    objective: Annotated[
        str, typer.Option(help="What is best: sharpe, return or final (dollars at the end).")
    ] = "sharpe",
    executor: Annotated[
        str, typer.Option(help="threads, processes, or a Dask scheduler's address (tcp://host:8786).")
    ] = "threads",
    workers: Annotated[int | None, typer.Option(min=1, help="How many; else one per core.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the heat map of the first two parameters here.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Try many parameters; the best one is shown with how likely it is luck."""
    from retainer.app.backtesting.running import run_sweep
    from retainer.app.backtesting.typed import Account, Wish

    account = Account(cash=cash, slippage=slippage, fractional=fractional, short=short, volume_share=volume_share)
    wish = Wish(
        strategy=strategy,
        symbols=symbols,
        start=start,
        end=end,
        parameters=parameters or [],
        interval=interval,
        account=account,
    )
    raise typer.Exit(
        run_sweep(
            _settings(), wish, grid or [], objective=objective, executor=executor, workers=workers, png=png,
            as_json=as_json,
        )
    )  # fmt: skip


def walkforward(
    strategy: Strategy,
    symbols: Symbols = "",
    grid: Grid = None,
    start: Start = None,
    end: End = None,
    parameters: Parameters = None,
    interval: Interval = "1d",
    cash: Cash = None,
    slippage: Slippage = None,
    volume_share: VolumeShare = 0.0,
    fractional: Fractional = False,
    short: Short = False,
    train: Annotated[int, typer.Option(min=2, help="Bars on which parameters are chosen.")] = 750,
    test: Annotated[int, typer.Option(min=1, help="Bars after them on which the choice is tested.")] = 250,
    anchored: Annotated[bool, typer.Option("--anchored", help="Train from the first day on, not on a window.")] = False,
    html: Html = None,
    png: Png = None,
    as_json: JsonFlag = False,
) -> None:
    """Choose parameters on the past, test them on what came after, move on: only the unseen part counts."""
    from retainer.app.backtesting.running import run_walkforward
    from retainer.app.backtesting.typed import Account, Wish

    account = Account(cash=cash, slippage=slippage, fractional=fractional, short=short, volume_share=volume_share)
    wish = Wish(
        strategy=strategy,
        symbols=symbols,
        start=start,
        end=end,
        parameters=parameters or [],
        interval=interval,
        account=account,
    )
    raise typer.Exit(
        run_walkforward(
            _settings(), wish, grid or [], train=train, test=test, anchored=anchored, html=html, png=png,
            as_json=as_json,
        )
    )  # fmt: skip


def strategies(
    name: Annotated[str | None, typer.Argument(help="One of them, in detail.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """The strategies that are there, their parameters and where they come from."""
    from retainer.app.backtesting.listing import show_strategies

    raise typer.Exit(show_strategies(name, as_json=as_json))


@data.command("import")
def data_import(
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files with open, high, low, close.")],
    symbol: Annotated[str | None, typer.Option(help="The symbol, when no column and no file name says it.")] = None,
    zone: Annotated[str | None, typer.Option(help="Zone of times without one, e.g. America/New_York.")] = None,
    stamped: Annotated[str, typer.Option(help="Whether a time of day is the bar's close or its open.")] = "close",
    interval: Annotated[str | None, typer.Option(help="Length of a bar; inferred when absent.")] = None,
    factors: Annotated[Path | None, typer.Option(help="CSV of adjustment factors (date, factor).")] = None,
    calendar: Annotated[
        str, typer.Option(help="Exchange calendar to compare with; `none` for no comparison.")
    ] = "XNYS",
    append: Annotated[bool, typer.Option("--append", help="Add later bars to what is there.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Swap what is there.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Take bars in. Every bad row is named, nothing is repaired, and a file goes in whole or not at all."""
    from retainer.app.backtesting.keeping import Import, run_import

    wish = Import(files, symbol, zone, stamped, interval, factors, calendar, append, replace)
    raise typer.Exit(run_import(_settings(), wish, as_json=as_json))


@data.command("list")
def data_list(as_json: JsonFlag = False) -> None:
    """What is there."""
    from retainer.app.backtesting.keeping import show_data

    raise typer.Exit(show_data(_settings(), as_json=as_json))


@data.command("check")
def data_check(
    calendar: Annotated[
        str, typer.Option(help="Exchange calendar to compare with; `none` for no comparison.")
    ] = "XNYS",
    as_json: JsonFlag = False,
) -> None:
    """Read every file again, compare digests and calendar; exit code 1 when a file is damaged."""
    from retainer.app.backtesting.keeping import check_data

    raise typer.Exit(check_data(_settings(), calendar, as_json=as_json))


@data.command("remove")
def data_remove(
    symbol: Annotated[str, typer.Argument(help="The symbol.")],
    interval: Interval = "1d",
) -> None:
    """Delete one series."""
    from retainer.app.backtesting.keeping import remove_data

    raise typer.Exit(remove_data(_settings(), symbol, interval))
