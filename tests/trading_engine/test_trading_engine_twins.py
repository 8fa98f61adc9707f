"""The plain and the compiled kernels agree bit for bit, and what must hold of every run holds of any market."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retainer.trading.bars import Bars, close_of
from retainer.trading.engine import EngineSettings, Plan, PlannedOrder, Run, simulate, simulate_many
from retainer.trading.kernel import build, loop
from retainer.trading.limits import NO_FEES, NOTHING_BINDS, Fees, Limits

NAMES = ("AAPL", "IBM", "MSFT")
COSTLY = Fees(per_share=35, commission_ppm=50, minimum=35, sell_ppm=28, impact_ppm=900, sell_micro=166, sell_cap=700)
SETTINGS: tuple[EngineSettings, ...] = (
    EngineSettings(fees=COSTLY, limits=Limits(symbols=NAMES)),
    EngineSettings(
        fees=COSTLY, limits=Limits(symbols=NAMES[:2], volume_ppm=50_000, round_trips=1, order_cents=2 * 10**6)
    ),
    EngineSettings(fees=COSTLY, exact=True, fractional=True, short=True, borrow=0.05),
    EngineSettings(fees=NO_FEES, fractional=True, volume_share=0.02, settle_sessions=2),
    EngineSettings(fees=COSTLY, short=True, borrow=0.1, fill_on="next_close", cash=Decimal("5000.55")),
    EngineSettings(fees=COSTLY, exact=True, fill_on="same_close", calendar="XNYS"),
    EngineSettings(fees=COSTLY, exact=True, to_cents=True, settle_sessions=1),
)


def made_market(seed: int, rows: int, symbols: int) -> dict[str, Bars]:
    """Random bars with gaps, jumps, missing rows, splits and dividends."""
    rng = np.random.default_rng(seed)
    market = {}
    for name in NAMES[:symbols]:
        factor = np.cumprod(rng.choice([1.0] * 30 + [2.0, 1.5, 0.1, 1.004, 1.02], rows)).clip(1e-3, 1e3)
        close = np.maximum(1.0, 100 * np.exp(np.cumsum(rng.normal(0, 0.05, rows)))) / factor
        close = np.maximum(0.02, np.round(close, 4))
        opened = np.maximum(0.02, np.round(close * np.exp(rng.normal(0, 0.03, rows)), 4))
        high = np.round(np.maximum(opened, close) * (1 + abs(rng.normal(0, 0.02, rows))), 4)
        low = np.maximum(0.01, np.round(np.minimum(opened, close) * (1 - abs(rng.normal(0, 0.02, rows))), 4))
        kept = np.flatnonzero(rng.random(rows) > 0.1)
        kept = kept if kept.size else np.array([0])
        times = np.array([close_of(date(2013, 1, 7) + timedelta(days=int(n))) for n in kept])
        volume = rng.integers(0, 20_000, rows)
        market[name] = Bars(
            symbol=name,
            close_time=times,
            open=opened[kept],
            high=high[kept],
            low=low[kept],
            close=close[kept],
            volume=volume[kept],
            factor=factor[kept],
        )
    return market


def made_plan(seed: int, market: Mapping[str, Bars], own: EngineSettings) -> Plan:
    """Targets that come and go, exits of all sorts, and orders of every kind."""
    rng = np.random.default_rng(seed)
    levels = [0.0, 0.0, 0.2, 0.35, 0.9, float("nan")] + ([-0.3, -0.8] if own.short else [])
    targets = {}
    exits: dict[str, Any] = {"stop_loss": {}, "take_profit": {}, "trailing": {}}
    orders: list[PlannedOrder] = []
    for name, bars in market.items():
        targets[name] = np.repeat(rng.choice(levels, len(bars)), rng.integers(1, 4))[: len(bars)]
        for kind, chance in (("stop_loss", 0.5), ("take_profit", 0.5), ("trailing", 0.2)):
            given = np.where(rng.random(len(bars)) < chance, rng.uniform(0.01, 0.2, len(bars)), np.nan)
            exits[kind][name] = given
        orders += [made_order(rng, int(row), bars) for row in np.flatnonzero(rng.random(len(bars)) < 0.3)]
    return Plan(targets=targets, orders=tuple(orders), **exits)


def made_order(rng: np.random.Generator, row: int, bars: Bars) -> PlannedOrder:
    """An order of some kind near the last close."""
    kind: Any = rng.choice(["market", "limit", "stop", "stop_limit", "trailing", "on_close"])
    last = float(bars.close[row])

    def near() -> float:
        return max(0.01, round(last * float(rng.uniform(0.9, 1.1)), 2))

    bracket = rng.random() < 0.4
    return PlannedOrder(
        row=row,
        symbol=bars.symbol,
        side="buy" if rng.random() < 0.6 else "sell",
        quantity=int(rng.integers(1, 200)),
        type=kind,
        limit=near() if kind in ("limit", "stop_limit") else None,
        stop=near() if kind in ("stop", "stop_limit") else None,
        trail=round(float(rng.uniform(0.005, 0.2)), 4) if kind == "trailing" else None,
        stop_loss=near() if bracket else None,
        take_profit=near() if bracket else None,
        oco=str(rng.choice(["", "", "pair"])),
        day=bool(rng.random() < 0.3),
    )


def check(run: Run, market: Mapping[str, Bars]) -> None:
    """What must hold: money and shares come from somewhere, nothing is held that was not filled."""
    fills = run.fills
    signed = fills["side"] * fills["quantity"]
    own = run.settings
    spent = float((signed * fills["price"]).sum())
    value = float((run.shares * run.marks).sum())
    splits = any((np.diff(bars.factor) != 0).any() for bars in market.values())
    tolerance = 0.02 * (len(fills) + 2) + 1e-9 * abs(spent)
    assert abs(run.cash[-1] + value - run.equity[-1]) <= tolerance
    assert run.fees == pytest.approx(float(fills["fee"].sum()), abs=1e-6 * (1 + len(fills)))
    if not splits:
        expected = run.start_cash - spent - run.fees + run.dividends - run.borrow_cost
        assert abs(run.cash[-1] - expected) <= tolerance
        for s, name in enumerate(run.symbols):
            assert run.shares[s] == pytest.approx(float(signed[fills["symbol"] == s].sum()), abs=1e-6), name
    if not own.short:
        assert (run.cash >= -1e-6).all()
        assert (run.shares >= 0).all()
    for fill in fills:
        bars = market[run.symbols[int(fill["symbol"])]]
        row = bars.index_of(int(fill["at"]))
        assert row is not None, "a fill without a bar"
        assert bars.low[row] - 1e-4 <= fill["reference"] <= bars.high[row] + 1e-4
        assert fill["side"] * (fill["price"] - fill["reference"]) >= -1e-9
        assert fill["decided"] < fill["at"] or own.fill_on == "same_close" or fill["parent"] > 0
    if own.volume_share:
        for at, symbol in {(int(f["at"]), int(f["symbol"])) for f in fills}:
            bars = market[run.symbols[symbol]]
            done = fills[(fills["at"] == at) & (fills["symbol"] == symbol)]["quantity"].sum()
            row = bars.index_of(at)
            assert row is not None
            assert done <= bars.volume[row] * own.volume_share + 1e-6


SCENARIOS = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(2, 120), st.integers(1, 3), st.sampled_from(range(len(SETTINGS)))
)


@settings(max_examples=80, deadline=None)
@given(SCENARIOS)
def test_money_and_shares_come_from_fills_and_no_bar_is_bent(scenario: tuple[int, int, int, int]) -> None:
    seed, rows, symbols, which = scenario
    market = made_market(seed, rows, symbols)
    own = SETTINGS[which]
    check(simulate(market, made_plan(seed, market, own), own, compiled=False), market)


@settings(max_examples=40, deadline=None)
@given(SCENARIOS, st.integers(1, 100))
def test_later_bars_change_nothing_of_what_has_happened(scenario: tuple[int, int, int, int], cut: int) -> None:
    seed, rows, symbols, which = scenario
    market = made_market(seed, rows, symbols)
    own = SETTINGS[which]
    plan = made_plan(seed, market, own)
    whole = simulate(market, plan, own, compiled=False)
    end = int(whole.at[min(cut, len(whole.at) - 1)])
    part = simulate(market, Plan(**{**_fields(plan), "end": end}), own, compiled=False)
    assert part.equity.tobytes() == whole.equity[: len(part.equity)].tobytes()
    assert part.fills.tobytes() == whole.fills[: len(part.fills)].tobytes()


def _fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__slots__}


@pytest.mark.skipif(not build.numba_installed(), reason="numba is not installed")
def test_compiled_and_plain_kernels_agree_bit_for_bit() -> None:
    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(SCENARIOS)
    def agree(scenario: tuple[int, int, int, int]) -> None:
        seed, rows, symbols, which = scenario
        market = made_market(seed, rows, symbols)
        own = SETTINGS[which]
        plan = made_plan(seed, market, own)
        plain, compiled = (simulate(market, plan, own, compiled=twin) for twin in (False, True))
        assert plain.digest() == compiled.digest()

    agree()


def test_rows_that_only_move_prices_are_passed_as_if_they_had_been_traded(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = 0

    def counted(*inputs: Any) -> int:
        nonlocal passed
        passed += (reached := idle(*inputs)) - inputs[-2]
        return reached

    idle = loop.idle
    cases = []
    for seed in range(60):
        market = made_market(seed, 80, 1 + seed % 3)
        plan = Plan(targets={name: steady(seed, len(bars)) for name, bars in market.items()})
        cases.append((market, plan, SETTINGS[seed % len(SETTINGS)]))
    # more peaks in their window than there is room for at first
    patient = Limits(symbols=NAMES, per_minute=NOTHING_BINDS, per_day=NOTHING_BINDS, duplicate_ns=0)
    falling = Plan(targets={"AAPL": np.full(700, 0.3)})
    cases.append(({"AAPL": falling_minutes(700)}, falling, EngineSettings(limits=patient)))
    for market, plan, own in cases:
        monkeypatch.setattr(loop, "idle", counted)
        quick = simulate(market, plan, own, compiled=False)
        monkeypatch.setattr(loop, "idle", lambda *inputs: inputs[-2])
        assert quick.digest() == simulate(market, plan, own, compiled=False).digest()
    assert passed > 1_000


def falling_minutes(rows: int) -> Bars:
    """Bars of a minute, each a cent below the one before."""
    close = np.round(100 - 0.01 * np.arange(rows), 2)
    start = close_of(date(2013, 1, 7))
    return Bars(
        symbol="AAPL",
        close_time=start + np.arange(rows) * 60 * 10**9,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=np.full(rows, 1_000),
        factor=np.ones(rows),
    )


def steady(seed: int, rows: int) -> Any:
    """Targets that change seldom: 0 at first, some rows without an opinion."""
    rng = np.random.default_rng(seed)
    changes = rng.random(rows) < 0.03
    targets = np.where(np.cumsum(changes) % 2 == 1, 0.3, 0.0)
    return np.where(rng.random(rows) < 0.1, np.nan, targets)


def test_many_sets_give_what_each_gives_alone() -> None:
    market = made_market(3, 200, 2)
    for own in (SETTINGS[0], SETTINGS[2]):
        rng = np.random.default_rng(1)
        times = np.unique(np.concatenate([bars.close_time for bars in market.values()]))
        sets = rng.choice([0.0, 0.2, 0.3], (5, times.size, 2))
        many = simulate_many(market, sets, own, curves=True, compiled=False)
        assert many.equity is not None
        for k in range(5):
            targets = {
                name: sets[k][np.searchsorted(times, bars.close_time), s]
                for s, (name, bars) in enumerate(sorted(market.items()))
            }
            run = simulate(market, Plan(targets=targets), own, compiled=False)
            assert many.equity[k].tobytes() == run.equity.tobytes()
            assert (many.final[k], many.fills[k], many.refused[k]) == (run.final, len(run.fills), len(run.refused))
            top = np.maximum.accumulate(np.maximum(run.equity, run.start_cash))
            assert many.worst[k] == pytest.approx(float(((top - run.equity) / top).max()), abs=1e-12)
