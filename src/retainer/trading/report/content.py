"""What a report shows, as plain data: taken from a backtest's result, thinned to what an eye can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from retainer.trading.bars import Bars, Floats, Ints, Market
from retainer.trading.units import ns_to_datetime

if TYPE_CHECKING:
    from retainer.trading.backtest import BacktestResult
    from retainer.trading.engine import Run
    from retainer.trading.sweep import Heat
    from retainer.trading.walkforward import WalkForwardResult

POINTS: Final = 1_200
"""Points of a curve; more would not be seen."""
PANELS: Final = 6
"""Symbols whose trades are drawn: the most traded ones."""
MARKS: Final = 400
"""Fills drawn on one symbol's price: the last ones; a picture of more shows nothing."""
TRADES: Final = 200
"""Rows of the table of trades; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePanel:
    """One symbol's closes, adjusted so that the last is as traded, and the fills on them."""

    symbol: str
    title: str
    at: list[str]
    close: list[float]
    bought_at: list[str]
    bought: list[float]
    sold_at: list[str]
    sold: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything on the page. Times are ISO, UTC; money in dollars; shares as fractions of 1."""

    kind: str = "backtest"
    title: str
    sentence: str
    """The result in one honest sentence: period, costs, trades, benchmark, verdict."""
    header: list[str]
    """The same in short lines, for a phone."""
    facts: list[str]
    """What was tested, on what terms."""
    at: list[str]
    equity: list[float]
    benchmark: list[float]
    drawdown: list[float]
    exposure: list[float]
    monthly: dict[str, dict[str, float]]
    """Returns by year and month; month ``0`` is the whole year."""
    statistics: list[tuple[str, str, str]]
    """Label, the strategy's figure, buying and holding's."""
    honesty: list[str]
    panels: list[PricePanel]
    trades: list[dict[str, Any]]
    trades_total: int
    folds: list[tuple[str, str, str, str, str, str]]
    """Of a walk-forward: trained on, tested on, chosen, Sharpe then, Sharpe after, return after."""
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for the process that draws."""
        return asdict(self)


def report_of(result: BacktestResult, market: Market, *, notes: Sequence[str] = ()) -> Report:
    """The report of one backtest; ``notes`` are things to know about the data, e.g. sessions without a bar."""
    given = words_of(result.parameters)
    facts = [f"Strategy: {result.name}{f' with {given}' if given else ''}", *_terms(result)]
    return _report(result, market, result.title, result.sentence(), facts, [], notes)


def walk_report_of(found: WalkForwardResult, market: Market, *, notes: Sequence[str] = ()) -> Report:
    """The report of a walk-forward: of the days that no choice had seen, and every choice."""
    result = found.result
    facts = [f"Strategy: {result.name}, its parameters chosen anew {len(found.folds)} times", *_terms(result)]
    folds = [
        (
            f"{fold.train_start} to {fold.train_end}",
            f"{fold.test_start} to {fold.test_end}",
            words_of(fold.parameters),
            ratio(fold.train_score),
            ratio(fold.test_score),
            f"{fold.test_return:+.1%}",
        )
        for fold in found.folds
    ]
    return _report(result, market, f"Walk-forward: {result.title}", found.sentence(), facts, folds, notes)


def words_of(parameters: Mapping[str, Any]) -> str:
    """``fast 10, slow 50``; parts of a strategy spec as they are written."""
    return ", ".join(f"{k} {v:g}" if isinstance(v, int | float) else f"{k} {v}" for k, v in parameters.items())


def ratio(value: float) -> str:
    """Two decimals, ``-`` where there is nothing to say."""
    return f"{value:.2f}" if np.isfinite(value) else "-"


def _report(
    result: BacktestResult,
    market: Market,
    title: str,
    sentence: str,
    facts: list[str],
    folds: list[tuple[str, str, str, str, str, str]],
    notes: Sequence[str],
) -> Report:
    rows = thin(result.equity, POINTS)
    beside = dict(result.benchmark_statistics.rows())
    statistics = [(label, text, beside.get(label, "")) for label, text in result.statistics.rows()]
    return Report(
        title=title,
        sentence=" ".join(sentence.replace(result.title, "", 1).split()),
        header=[line for line in result.header() if line != result.title],
        facts=facts,
        at=moments(result.at[rows]),
        equity=result.equity[rows].tolist(),
        benchmark=result.benchmark_equity[rows].tolist(),
        drawdown=result.drawdown[rows].tolist(),
        exposure=result.exposure[rows].tolist(),
        monthly={str(y): {str(m): v for m, v in months.items()} for y, months in result.monthly().items()},
        statistics=[*statistics, ("Costs", _costs(result.run), _costs(result.benchmark))],
        honesty=list(result.honesty.lines()),
        panels=[_panel(result, market[symbol]) for symbol in _most_traded(result) if symbol in market],
        trades=[_trade(trade) for trade in result.trades[-TRADES:]],
        trades_total=len(result.trades),
        folds=folds,
        notes=list(notes),
    )


def _terms(result: BacktestResult) -> list[str]:
    """Cash, costs and rules of the account, and what stayed undone."""
    run = result.run
    own, fees = run.settings, run.settings.fees
    per_fill = [
        f"slippage {fees.slippage_ppm / 10_000:g} %" if fees.slippage_ppm else "",
        f"commission {fees.commission_ppm / 10_000:g} %" if fees.commission_ppm else "",
        f"${fees.per_share / 10_000:g} a share" if fees.per_share else "",
        f"${fees.minimum / 100:,.2f} at least" if fees.minimum else "",
        f"{fees.sell_ppm / 10_000:g} % of sales" if fees.sell_ppm else "",
    ]
    costs = ", ".join(part for part in per_fill if part) or "none"
    found = [f"Source: {result.source}"] if result.source else []
    found.append(
        f"Starts with ${float(own.cash):,.2f}; orders fill at the {own.fill_on.replace('_', ' ')}; costs: {costs}"
    )
    if run.dividends:
        found.append(f"Dividends received: ${run.dividends:,.2f}")
    if run.pending:
        found.append(f"Orders of the last close that no bar has filled: {len(run.pending)}")
    if len(run.refused):
        found.append(f"Orders refused by the limits: {len(run.refused):,}")
    return found


def _costs(run: Run) -> str:
    return f"${run.fees + run.slippage_cost + run.borrow_cost:,.2f}"


def heat_of(heat: Heat, title: str, note: str = "") -> dict[str, Any]:
    """A sweep's heat map as plain JSON; what is not a number is ``None``. ``note`` stands below the title."""
    return {
        "kind": "heat",
        "title": title,
        "note": note,
        "metric": heat.metric,
        "x_name": heat.x,
        "y_name": heat.y,
        "x": [f"{value:g}" for value in heat.x_values],
        "y": [f"{value:g}" for value in heat.y_values],
        "values": [[float(v) if np.isfinite(v) else None for v in row] for row in heat.values],
    }


def thin(values: Floats, points: int) -> Ints:
    """Rows that keep the shape of a curve: first and last, and the least and greatest of each of equal parts."""
    count = values.size
    if count <= points:
        return np.arange(count, dtype=np.int64)
    edges = np.linspace(0, count, points // 2 + 1).astype(np.int64)
    kept = {0, count - 1}
    for low, high in pairwise(edges):
        part = values[low:high]
        kept.update((int(low + np.argmin(part)), int(low + np.argmax(part))))
    return np.array(sorted(kept), dtype=np.int64)


def moments(at: Ints) -> list[str]:
    """Nanoseconds UTC as ISO texts."""
    return [ns_to_datetime(int(ns)).isoformat() for ns in at]


def _most_traded(result: BacktestResult) -> list[str]:
    counts = np.bincount(result.run.fills["symbol"], minlength=len(result.run.symbols))
    order = sorted(range(len(result.run.symbols)), key=lambda i: (-counts[i], result.run.symbols[i]))
    return [result.run.symbols[i] for i in order[:PANELS]]


def _panel(result: BacktestResult, bars: Bars) -> PricePanel:
    fills = result.run.fills[result.run.fills["symbol"] == result.run.symbols.index(bars.symbol)]
    shown = fills[-MARKS:]
    begin = result.at[0] if shown.size == fills.size else shown["at"][0]
    first = int(np.searchsorted(bars.close_time, begin, side="left"))
    last = int(np.searchsorted(bars.close_time, result.at[-1], side="right"))
    scale = bars.factor / bars.factor[last - 1]
    closes = (bars.close * scale)[first:last]
    times = bars.close_time[first:last]
    rows = thin(closes, POINTS)
    at = np.searchsorted(bars.close_time, shown["at"], side="left").clip(0, len(bars) - 1)
    prices = shown["price"] * scale[at]
    buys = shown["side"] > 0
    part = "" if shown.size == fills.size else f", the last {shown.size:,} of {fills.size:,} fills"
    return PricePanel(
        symbol=bars.symbol,
        title=f"{bars.symbol}, adjusted close{part}",
        at=moments(times[rows]),
        close=closes[rows].tolist(),
        bought_at=moments(shown["at"][buys]),
        bought=prices[buys].tolist(),
        sold_at=moments(shown["at"][~buys]),
        sold=prices[~buys].tolist(),
    )


def _trade(trade: Any) -> dict[str, Any]:
    out: Mapping[str, Any] = {
        "symbol": trade.symbol,
        "side": trade.side,
        "quantity": float(trade.quantity),
        "entered": ns_to_datetime(trade.entered).isoformat(),
        "entry": float(trade.entry),
        "exited": "" if trade.exited is None else ns_to_datetime(trade.exited).isoformat(),
        "exit": float(trade.exit),
        "profit": float(trade.profit),
        "share": float(trade.share),
        "bars": int(trade.bars),
        "reason": str(trade.reason),
    }
    return dict(out)
