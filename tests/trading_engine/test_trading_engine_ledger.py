"""Figures of a period, recomputed by hand, and statistics against their formulas."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.trading.account_run import run_account
from retainer.trading.bars import bars_at, close_of
from retainer.trading.ledger import Entry, EquityMark, balance, entry, holdings, performance
from retainer.trading.periods import Period
from retainer.trading.samples import load_samples
from retainer.trading.settings import FeeSettings, ReplaySettings, RiskLimits, StrategySettings, TradingSettings
from retainer.trading.state import Posting
from retainer.trading.stats import buy_and_hold, max_drawdown, total_return
from retainer.trading.units import ns_to_datetime


def at(day: date) -> Any:
    return ns_to_datetime(close_of(day))


def line(day: date, kind: Any, **values: Any) -> Entry:
    exact: dict[str, Any] = {
        name: Decimal(value) if isinstance(value, str) and name != "symbol" else value for name, value in values.items()
    }
    return Entry(at=at(day), kind=kind, **exact)


LINES = [
    line(date(2013, 1, 7), "deposit", amount="1000.00"),
    line(date(2013, 1, 8), "fill", symbol="IBM", quantity=2, price="200.00", amount="-400.00"),
    line(date(2013, 1, 8), "fee", symbol="IBM", amount="-1.00"),
    line(date(2013, 2, 6), "dividend", symbol="IBM", price="0.85", amount="1.70"),
    line(date(2013, 2, 7), "fill", symbol="IBM", quantity=-1, price="190.00", amount="190.00", realised="-10.00"),
    line(date(2013, 2, 8), "deposit", amount="500.00"),
]
MARKS = [
    EquityMark(at(date(2013, 1, 7)), Decimal("1000.00")),
    EquityMark(at(date(2013, 1, 31)), Decimal("1009.00")),
    EquityMark(at(date(2013, 2, 8)), Decimal("1482.70")),
]


def test_cash_and_shares_are_sums_of_lines() -> None:
    assert balance(LINES) == Decimal("1290.70")
    assert holdings(LINES) == {"IBM": 1}


def test_a_month_by_hand() -> None:
    figures = performance(LINES, MARKS, Period("this month", date(2013, 2, 1), date(2013, 2, 28)))
    assert (figures.start, figures.end) == (date(2013, 1, 31), date(2013, 2, 8))
    assert (figures.start_equity, figures.end_equity) == (Decimal("1009.00"), Decimal("1482.70"))
    assert figures.deposits == Decimal("500.00")
    assert figures.profit == Decimal("-26.30")
    assert (figures.realised, figures.dividends, figures.fees) == (Decimal("-10.00"), Decimal("1.70"), Decimal("0.00"))
    assert figures.unrealised == Decimal("-18.00")
    assert (figures.trades, figures.sessions) == (1, 1)


def test_an_account_that_began_in_the_period_starts_from_its_deposit() -> None:
    figures = performance(LINES, MARKS, Period("January 2013", date(2013, 1, 1), date(2013, 1, 31)))
    assert (figures.start, figures.start_equity, figures.deposits) == (date(2013, 1, 7), Decimal(1000), Decimal(0))
    assert (figures.profit, figures.fees, figures.unrealised) == (Decimal("9.00"), Decimal("1.00"), Decimal("10.00"))


def test_a_period_without_a_session_says_so() -> None:
    with pytest.raises(NotFoundError, match="no market day in today") as caught:
        performance(LINES, MARKS, Period("today", date(2013, 3, 1), date(2013, 3, 1)))
    assert "2013-02-08" in caught.value.hint
    with pytest.raises(NotFoundError):
        performance([], [], Period("today", date(2013, 3, 1), date(2013, 3, 1)))


def test_lines_survive_as_json_and_damaged_ones_are_refused() -> None:
    for one in LINES:
        assert Entry.from_json(one.to_json()) == one
    assert LINES[1].to_json()["amount"] == "-400.00"
    for change in ({"kind": "gift"}, {"amount": "x"}, {"at": "yesterday"}):
        with pytest.raises(InvalidInputError):
            Entry.from_json({**LINES[0].to_json(), **change})


def test_a_posting_becomes_an_exact_line() -> None:
    posting = Posting(
        at=close_of(date(2013, 1, 8)), kind="fill", symbol="IBM", quantity=5, price=1_920_199, amount=-96_010
    )
    found = entry(posting)
    assert (found.price, found.amount, found.at) == (Decimal("192.0199"), Decimal("-960.10"), at(date(2013, 1, 8)))


def test_the_months_of_a_real_backtest_add_up_to_the_cent() -> None:
    settings, market = TradingSettings(), load_samples()
    result = run_account(
        settings.make_strategy(),
        market,
        cash=10_000_000,
        limits=settings.to_limits(),
        fees=FeeSettings(minimum=Decimal(1), sell_percent=Decimal("0.0028")).to_fees(),
        start=close_of(date(2005, 1, 3)),
        end=close_of(date(2006, 12, 29)),
    )
    lines = [entry(posting) for posting in result.postings]
    marks = [EquityMark(ns_to_datetime(t), Decimal(e) / 100) for t, e in zip(result.at, result.equity, strict=True)]
    months = []
    first = date(2005, 1, 1)
    while first < date(2007, 1, 1):
        after = (first + timedelta(days=32)).replace(day=1)
        months.append(performance(lines, marks, Period("m", first, after - timedelta(days=1))))
        first = after
    whole = performance(lines, marks, Period("all", date(2005, 1, 1), date(2006, 12, 31)))
    for name in ("profit", "realised", "unrealised", "dividends", "fees", "trades", "sessions"):
        assert sum(getattr(month, name) for month in months) == getattr(whole, name), name
    assert whole.profit == Decimal(result.equity[-1] - 10_000_000) / 100
    closes = {symbol: bars_at(market, result.at[-1])[symbol].close for symbol in holdings(lines)}
    held = sum((Decimal(n * closes[symbol]) / 10_000 for symbol, n in holdings(lines).items()), Decimal(0))
    assert abs(balance(lines) + held - whole.end_equity) <= Decimal("0.005")


# --- statistics -------------------------------------------------------------------------------------------------------
def test_return_and_drawdown_by_hand() -> None:
    curve = [100.0, 120.0, 90.0, 96.0, 130.0, 104.0]
    assert total_return(curve) == pytest.approx(0.04)
    fall = max_drawdown(curve)
    assert (fall.depth, fall.peak, fall.trough) == (0.25, 1, 2)
    assert max_drawdown([1.0, 2.0, 3.0]).depth == 0.0


@pytest.mark.parametrize("curve", [[], [1.0, float("nan")], [1.0, 0.0], [[1.0]]])
def test_a_curve_that_is_none_is_refused(curve: Any) -> None:
    with pytest.raises(InvalidInputError):
        total_return(curve)


def test_buy_and_hold_is_the_mean_of_adjusted_growth() -> None:
    market = load_samples(("IBM", "MSFT"))
    start, end = (int(market["IBM"].close_time[row]) for row in (100, 200))
    found = buy_and_hold(market, 1_000.0, start, end)
    growth = [bars.adjusted()[200] / bars.adjusted()[100] for bars in market.values()]
    assert found.value[0] == 1_000.0
    assert found.value[-1] == pytest.approx(1_000.0 * np.mean(growth))
    assert found.close_time.size == 101
    with pytest.raises(InvalidInputError, match="No symbol"):
        buy_and_hold(market, 1.0, 0, 1)


# --- settings ---------------------------------------------------------------------------------------------------------
def test_defaults_work_and_the_strategy_s_entries_fit_the_limits() -> None:
    settings = TradingSettings()
    limits = settings.to_limits()
    assert settings.cash == 100_000
    assert limits.order_bps >= settings.strategy.weight * 10_000
    assert settings.make_strategy().name == "sma-trend"
    assert (limits.daily_loss_bps, limits.drawdown_bps, limits.per_minute, limits.per_day) == (300, 2_000, 5, 50)
    assert settings.to_fees().slippage_ppm == 100


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in (
        lambda: StrategySettings(fast=100, slow=20),
        lambda: RiskLimits(order=Decimal(2)),
        lambda: ReplaySettings(start=date(2008, 1, 2), live_from=date(2007, 1, 3)),
        lambda: TradingSettings(cash=Decimal(0)),
        lambda: TradingSettings.model_validate({"colour": "blue"}),
    ):
        with pytest.raises(ValidationError):
            wrong()
