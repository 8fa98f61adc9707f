"""A backtest: what a strategy would have done and what it would have cost, beside buying and holding, checked.

The engine's kernels are those that trade live. Honesty is not an option: looks into the future, sensitivity to the
first day, the count of what was tried before and the intervals are part of every result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Final

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.core.values import Json
from retainer.trading import stats
from retainer.trading.bars import Floats, Ints, Market, market_date, sessions
from retainer.trading.engine import ORDER_KINDS, EngineSettings, Plan, Prepared, Run, prepare, simulate
from retainer.trading.evaluation import Wanted, evaluate
from retainer.trading.honesty.bootstrap import intervals
from retainer.trading.honesty.deflated import deflated_sharpe
from retainer.trading.honesty.findings import Checks, Finding
from retainer.trading.honesty.lookahead import lookahead
from retainer.trading.honesty.origin import origin
from retainer.trading.honesty.trials import Trials, family_of, session_trials, variant_of
from retainer.trading.honesty.verdict import Honesty
from retainer.trading.honesty.warmup import warmup
from retainer.trading.rules import Rule
from retainer.trading.run_statistics import Statistics, statistics_of
from retainer.trading.strategy import Strategy, identity
from retainer.trading.trades import Trade, trades_of
from retainer.trading.words import count, day, listed

BENCHMARK: Final = "buy-and-hold"
_ENDED_BY: Final[Mapping[int, str]] = MappingProxyType(
    {
        kind: {"limit": "profit", "stop": "stop", "stop_limit": "stop", "trailing": "trailing"}.get(name, "target")
        for kind, name in enumerate(ORDER_KINDS)
    }
)
"""What the kind of the last fill says about why a trade ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What trading cost, dollars. ``share`` is the total as a share of the starting cash."""

    fees: float
    slippage: float
    borrow: float
    total: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BacktestResult:
    """What happened, what it cost, how it compares, and how far to trust it. Never one without the others."""

    name: str
    title: str
    """What the strategy does, in one line."""
    source: str
    """Where the rule comes from; empty when nobody says."""
    parameters: Mapping[str, Json]
    symbols: tuple[str, ...]
    run: Run
    benchmark: Run
    """Buying and holding the same symbols: same engine, costs, cash and days."""
    statistics: Statistics
    benchmark_statistics: Statistics
    trades: tuple[Trade, ...]
    costs: Costs
    honesty: Honesty
    targets: Mapping[str, Floats]
    """What the strategy wanted, per symbol and bar of the whole history; NaN for no decision."""

    @property
    def at(self) -> Ints:
        """Close times, nanoseconds UTC."""
        return self.run.at

    @property
    def equity(self) -> Floats:
        """Dollars at each close."""
        return self.run.equity

    @property
    def benchmark_equity(self) -> Floats:
        """Dollars at each close, had the money been bought and held."""
        return self.benchmark.equity

    @property
    def drawdown(self) -> Floats:
        """How far below its highest equity so far, at each close: 0.2 is a fifth."""
        return stats.drawdowns(self.run.equity)

    @property
    def exposure(self) -> Floats:
        """Value of positions / equity at each close."""
        return self.run.exposure

    @property
    def start(self) -> date:
        """Market date of the first close."""
        return market_date(int(self.run.at[0]))

    @property
    def end(self) -> date:
        """Market date of the last close."""
        return market_date(int(self.run.at[-1]))

    def monthly(self) -> dict[int, dict[int, float]]:
        """Return of each month by year and month (1 to 12), and of each whole year under 0."""
        found: dict[int, dict[int, float]] = {}
        before = year_before = self.run.start_cash
        for year, month, value in _month_ends(self.run.at, self.run.equity):
            if year not in found:
                year_before = before
            found.setdefault(year, {})[month] = value / before - 1.0
            found[year][0] = value / year_before - 1.0
            before = value
        return found

    def header(self) -> list[str]:
        """Short lines that stand above every report: period, costs, trades, comparison, verdict."""
        own, held = self.statistics, self.benchmark_statistics
        lines = [
            f"{self.title}",
            f"{listed(self.symbols)}, {day(self.start)} to {day(self.end)}, {count(self.run.at.size, 'bar')}",
            f"{_percent(own.total_return)} in {count(len(self.trades), 'trade')} after {_dollars(self.costs.total)} of "
            f"costs; buying and holding {_percent(held.total_return)}",
            f"Sharpe ratio {_ratio(own.sharpe)} (holding {_ratio(held.sharpe)}), deepest fall "
            f"{own.max_drawdown:.1%} (holding {held.max_drawdown:.1%})",
        ]
        if self.run.pending:
            lines.append(f"{count(len(self.run.pending), 'order')} of the last close found no bar to fill")
        return [*lines, self.honesty.luck(), self.honesty.verdict]

    def sentence(self) -> str:
        """The result as one would say it: nothing flattering left alone, nothing left out."""
        own, held = self.statistics, self.benchmark_statistics
        text = (
            f"{self.title} With {listed(self.symbols)} from {day(self.start)} to {day(self.end)} it made "
            f"{_percent(own.total_return)} in {count(len(self.trades), 'trade')}, after {_dollars(self.costs.total)} "
            f"of costs on {_dollars(own.start_value)}; buying and holding {_percent(held.total_return)}. "
            f"Sharpe ratio {_ratio(own.sharpe)}{self._within()}, deepest fall {own.max_drawdown:.1%} "
            f"(holding {held.max_drawdown:.1%})."
        )
        return f"{text} {self.honesty.luck()} {self.honesty.verdict}"

    def _within(self) -> str:
        interval = self.honesty.intervals.get("sharpe")
        if interval is None or np.isnan(interval.low):
            return ""
        return f" ({interval.low:.2f} to {interval.high:.2f} in {interval.level:.0%} of resampled histories)"

    def to_json(self) -> dict[str, Json]:
        """Everything but the curves, as plain JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "parameters": dict(self.parameters),
            "symbols": list(self.symbols),
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "bars": int(self.run.at.size),
            "statistics": self.statistics.to_json(),
            "benchmark": self.benchmark_statistics.to_json(),
            "costs": dict(asdict(self.costs)),
            "pending": len(self.run.pending),
            "refused": len(self.run.refused),
            "honesty": self.honesty.to_json(),
            "sentence": self.sentence(),
        }


def backtest(
    strategy: Strategy,
    market: Market,
    settings: EngineSettings | None = None,
    *,
    start: int | None = None,
    end: int | None = None,
    trials: Trials | None = None,
    checks: Checks | None = None,
    compiled: bool | None = None,
) -> BacktestResult:
    """Trade ``strategy`` over ``market`` from ``start`` to ``end`` (ns, both included) and check the result.

    Bars before ``start`` feed indicators only. Without ``start`` it begins at the strategy's first decision, so that
    buying and holding is compared over the same days. ``trials`` remembers what was tried on this data (default: for
    the life of this process). ``compiled``: as in :func:`~retainer.trading.engine.simulate`. Raises
    :class:`InvalidInputError` naming what does not fit.
    """
    settings, checks = settings or EngineSettings(), checks or Checks()
    own = {symbol: market[symbol] for symbol in strategy.symbols if symbol in market}
    wanted = evaluate(strategy, own)
    begin, until = span_of(own, wanted, start, end)
    tape = prepare(own, settings, start=begin, end=until)
    run = simulate(own, plan_of(wanted, begin, until), settings, compiled=compiled, prepared=tape)
    held = hold(own, settings, begin, until, compiled=compiled, prepared=tape)
    findings = (
        *lookahead(strategy, own, cuts=checks.cuts, seed=checks.seed, whole=wanted),
        *origin(strategy, own, seed=checks.seed, whole=wanted),
        *flattering(settings),
    )
    returns = stats.returns_of(np.r_[run.start_cash, run.equity])
    memory = session_trials() if trials is None else trials
    family = family_of(own, strategy.symbols)
    memory.record(family, {variant_of(strategy.name, identity(strategy)): stats.sharpe_ratio(returns, 1.0)})
    tried = memory.family(family)
    honesty = Honesty(
        findings=findings,
        warmup=warmup(strategy, own, whole=wanted),
        deflated=deflated_sharpe(returns, tried.count, tried.variance),
        intervals=intervals(
            returns,
            stats.returns_of(np.r_[held.start_cash, held.equity]),
            stats.periods_per_year(run.at),
            resamples=checks.resamples,
            level=checks.level,
            seed=checks.seed,
        ),
    )
    return assemble(strategy, own, run, held, honesty, {symbol: found.targets for symbol, found in wanted.items()})


def assemble(
    strategy: Strategy, market: Market, run: Run, held: Run, honesty: Honesty, targets: Mapping[str, Floats]
) -> BacktestResult:
    """The result of a run that is already checked."""
    trades, held_trades = trades_in(run, market), trades_in(held, market)
    total = run.fees + run.slippage_cost + run.borrow_cost
    rule = strategy if isinstance(strategy, Rule) else None
    return BacktestResult(
        name=strategy.name,
        title=rule.title if rule else (type(strategy).__doc__ or strategy.name).strip().split("\n")[0],
        source=rule.source() if rule else "",
        parameters=identity(strategy),
        symbols=tuple(market),
        run=run,
        benchmark=held,
        statistics=_statistics(run, trades, held),
        benchmark_statistics=_statistics(held, held_trades, None),
        trades=trades,
        costs=Costs(
            fees=run.fees,
            slippage=run.slippage_cost,
            borrow=run.borrow_cost,
            total=total,
            share=total / run.start_cash,
        ),
        honesty=honesty,
        targets=targets,
    )


def plan_of(wanted: Mapping[str, Wanted], start: int, end: int) -> Plan:
    """The engine's plan for what a strategy wants."""

    def of(name: str) -> dict[str, Floats] | None:
        found = {symbol: array for symbol, one in wanted.items() if (array := getattr(one, name)) is not None}
        return found or None

    return Plan(
        targets={symbol: np.clip(one.targets, -1.0, 1.0) for symbol, one in wanted.items()},
        stop_loss=of("loss"),
        take_profit=of("profit"),
        trailing=of("trailing"),
        start=start,
        end=end,
    )


def hold(
    market: Market,
    settings: EngineSettings,
    start: int,
    end: int,
    *,
    compiled: bool | None = None,
    prepared: Prepared | None = None,
) -> Run:
    """Buying and holding the symbols of ``market``, the cash split evenly: same engine, same costs, no limits."""
    share = 1.0 / len(market)
    targets = {symbol: np.full(len(bars), share) for symbol, bars in market.items()}
    plan = Plan(targets=targets, start=start, end=end)
    unlimited = replace(settings, limits=None, strategy=BENCHMARK)
    return simulate(market, plan, unlimited, compiled=compiled, prepared=prepared)


def span_of(market: Market, wanted: Mapping[str, Wanted], start: int | None, end: int | None) -> tuple[int, int]:
    """First and last close of the run. Raises :class:`InvalidInputError` where there is nothing to trade."""
    axis = sessions(market)
    decided = [
        int(market[symbol].close_time[one.first]) for symbol, one in wanted.items() if one.first < len(market[symbol])
    ]
    if not decided:
        raise InvalidInputError(
            f"There are too few bars for a first decision ({axis.size}).",
            hint="Give more history or shorter indicators.",
        )
    begin = min(decided) if start is None else start
    inside = axis[(axis >= begin) & (axis <= (axis[-1] if end is None else end))]
    if inside.size < 2:
        raise InvalidInputError("There are not two bars in that span.", hint="Widen start and end.")
    return int(inside[0]), int(inside[-1])


def flattering(settings: EngineSettings) -> tuple[Finding, ...]:
    """Findings about settings that make every strategy look better."""
    found: list[Finding] = []
    if settings.fill_on == "same_close":
        words = "Orders were filled at the very close that decided them; nobody can do that."
        found.append(Finding(kind="fills", words=words))
    fees = settings.fees
    if not any((fees.per_share, fees.commission_ppm, fees.minimum, fees.sell_ppm, fees.slippage_ppm)):
        found.append(Finding(kind="costs", words="Trading was free in this run: no fee and no slippage."))
    return tuple(found)


def trades_in(run: Run, market: Market) -> tuple[Trade, ...]:
    """The round trips of a run."""
    return trades_of(run.fills, run.symbols, market, run.at, _ENDED_BY, fractional=run.settings.fractional)


def _statistics(run: Run, trades: tuple[Trade, ...], held: Run | None) -> Statistics:
    return statistics_of(
        run.at,
        run.equity,
        run.exposure,
        float(np.abs(run.fills["quantity"] * run.fills["price"]).sum()),
        trades,
        start_value=run.start_cash,
        benchmark=None if held is None else held.equity,
    )


def _month_ends(at: Ints, equity: Floats) -> Iterator[tuple[int, int, float]]:
    days = [market_date(int(moment)) for moment in at]
    for row, (one, after) in enumerate(zip(days, [*days[1:], None], strict=True)):
        if after is None or (one.year, one.month) != (after.year, after.month):
            yield one.year, one.month, float(equity[row])


def _percent(share: float) -> str:
    return f"{share * 100:+,.2f} %"


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}"


def _ratio(value: float) -> str:
    return "not known" if np.isnan(value) else f"{value:.2f}"
