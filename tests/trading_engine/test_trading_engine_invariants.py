"""What must hold for every market and every sequence of orders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bar, close_of
from retainer.trading.kernels import apply_accept, cancel, fill, open_account, price_order, propose, risk
from retainer.trading.ledger import balance, entry, holdings
from retainer.trading.limits import Fees, Limits
from retainer.trading.state import AccountState, Posting, Side, equity
from retainer.trading.units import (
    cents_to_decimal,
    div_half_even,
    notional_cents,
    to_cents,
    to_units,
    units_to_decimal,
)

SYMBOLS = ("AAPL", "IBM")
LIMITS = Limits(symbols=SYMBOLS, per_minute=100, duplicate_ns=0)
FEES = Fees(per_share=35, commission_ppm=50, minimum=35, sell_ppm=28, slippage_ppm=100)


@dataclass(frozen=True)
class Day:
    """One day of a made-up market: moves in percent, a factor ratio, and what people and the strategy want."""

    moves: tuple[int, int, int, int]
    missing: bool
    ratio: Fraction
    wants: tuple[tuple[str, Side, int, str, int], ...]
    targets: tuple[int, int]


ORDERS = st.tuples(
    st.sampled_from(SYMBOLS),
    st.sampled_from(("buy", "sell")),
    st.integers(1, 400),
    st.sampled_from(("market", "limit", "stop")),
    st.integers(-4, 4),
)
DAYS = st.builds(
    Day,
    moves=st.tuples(*[st.integers(-12, 12)] * 4),
    missing=st.booleans(),
    ratio=st.sampled_from([Fraction(1)] * 6 + [Fraction(2), Fraction(3, 2), Fraction(1, 10), Fraction(1003, 1000)]),
    wants=st.lists(ORDERS, max_size=3).map(tuple),
    targets=st.tuples(*[st.sampled_from((0, 0, 2_500, 1_000))] * 2),
)


def run(days: list[Day]) -> tuple[list[AccountState], list[Posting]]:
    """Trade the made-up market: strategy and people together, only what risk allows."""
    state, deposit = open_account(10_000_000)
    postings, states = [deposit], []
    last = dict.fromkeys(SYMBOLS, 1_000_000)
    factor = dict.fromkeys(SYMBOLS, 1.0)
    for number, day in enumerate(days):
        at = close_of(date(2013, 1, 7) + timedelta(days=number))
        bars = {}
        for symbol in SYMBOLS[: 1 if day.missing else 2]:
            bars[symbol] = made_bar(symbol, at, last, factor, day)
        filled = fill(state, bars, at, FEES)
        postings += filled.postings
        proposal = propose(filled.state, LIMITS, dict(zip(SYMBOLS, day.targets, strict=True)), at, "trend")
        state = proposal.state
        for order in proposal.orders:
            if order.bits == 0:
                state = apply_accept(state, order.accepted(f"s{number}{order.symbol}{order.side}", at))
        for index, (symbol, side, quantity, kind, offset) in enumerate(day.wants):
            price = to_units(round(last[symbol] / 10_000 * (1 + offset / 100), 2))
            order = price_order(
                state,
                symbol,
                side,
                quantity,
                "limit" if kind == "limit" else "stop" if kind == "stop" else "market",
                limit=price if kind == "limit" else None,
                stop=price if kind == "stop" else None,
            )
            if risk(order, state, LIMITS, at) == 0:
                state = apply_accept(state, order.accepted(f"p{number}-{index}", at))
        state = state.bumped()
        states.append(state)
    return states, postings


def made_bar(symbol: str, at: int, last: dict[str, int], factor: dict[str, float], day: Day) -> Bar:
    base = max(200, int(last[symbol] / day.ratio))
    prices = [max(100, base * (100 + move) // 100) for move in day.moves]
    factor[symbol] *= float(day.ratio)
    last[symbol] = prices[3]
    return Bar(
        symbol=symbol,
        close_time=at,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[3],
        factor=factor[symbol],
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(DAYS, min_size=1, max_size=12))
def test_no_cent_and_no_share_appears_or_vanishes(days: list[Day]) -> None:
    states, postings = run(days)
    lines = [entry(posting) for posting in postings]
    last = states[-1]
    assert balance(lines) == cents_to_decimal(last.cash)
    assert holdings(lines) == {s: p.quantity for s, p in last.positions.items()}
    cost = sum(p.cost for p in last.positions.values())
    assert last.cash + cost == last.deposits + last.realised + last.dividends - last.fees
    assert sum(p.realised for p in postings) == last.realised


@settings(max_examples=60, deadline=None)
@given(st.lists(DAYS, min_size=1, max_size=12))
def test_cash_and_shares_never_go_below_zero(days: list[Day]) -> None:
    for state in run(days)[0]:
        assert state.cash >= 0
        assert all(p.quantity > 0 and 0 <= p.own <= p.quantity and p.cost >= 0 for p in state.positions.values())
        promised = sum(o.quantity for o in state.orders if o.side == "sell" and o.symbol == "AAPL")
        assert promised <= state.quantity("AAPL")


@settings(max_examples=60, deadline=None)
@given(st.lists(DAYS, min_size=1, max_size=12))
def test_the_fold_is_deterministic_and_survives_saving_at_every_step(days: list[Day]) -> None:
    states, _ = run(days)
    again, _ = run(days)
    for first, second in zip(states, again, strict=True):
        assert first.digest() == second.digest()
        saved = json.loads(json.dumps(first.to_json()))
        assert AccountState.from_json(saved) == first
        assert AccountState.from_json(saved).digest() == first.digest()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(DAYS, min_size=1, max_size=6),
    st.sampled_from(SYMBOLS),
    st.integers(1, 3_000),
)
def test_no_accepted_buy_breaks_a_limit(days: list[Day], symbol: str, quantity: int) -> None:
    state = run(days)[0][-1]
    order = price_order(state, symbol, "buy", quantity)
    if symbol not in state.marks or risk(order, state, LIMITS, state.at):
        return
    worth = equity(state)
    value = notional_cents(quantity, state.marks[symbol].close)
    held = notional_cents(state.quantity(symbol), state.marks[symbol].close)
    assert value * 10_000 <= worth * LIMITS.order_bps
    assert (held + value) * 10_000 <= worth * LIMITS.position_bps
    assert value <= state.cash


@given(st.lists(DAYS, min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_positions_come_from_fills_only(days: list[Day]) -> None:
    states, postings = run(days)
    filled = {p.symbol for p in postings if p.kind == "fill"}
    assert {s for state in states for s in state.positions} <= filled


@given(st.lists(DAYS, min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_cancelling_everything_leaves_money_and_shares_alone(days: list[Day]) -> None:
    state = run(days)[0][-1]
    after = state
    for order in state.orders:
        after, gone = cancel(after, order.id)
        assert gone == order
    assert (after.cash, after.positions, after.orders) == (state.cash, state.positions, ())


def test_a_state_of_another_format_is_refused() -> None:
    data = AccountState.opened(100).to_json()
    with pytest.raises(InvalidInputError, match="format"):
        AccountState.from_json({**data, "format": 99})
    with pytest.raises(InvalidInputError, match="damaged"):
        AccountState.from_json({**data, "surprise": 1})
    with pytest.raises(InvalidInputError, match="damaged"):
        AccountState.from_json({k: v for k, v in data.items() if k != "orders"})


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**9))
def test_division_rounds_half_to_even_exactly(numerator: int, denominator: int) -> None:
    assert div_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@given(st.integers(1, 10**12))
def test_prices_survive_as_text(units: int) -> None:
    assert to_units(units_to_decimal(units)) == units
    assert to_units(str(units_to_decimal(units))) == units


def test_money_that_is_no_number_is_refused() -> None:
    for wrong in ("nan", float("inf"), "x", ""):
        with pytest.raises(InvalidInputError):
            to_units(wrong)
        with pytest.raises(InvalidInputError):
            to_cents(wrong)
    assert to_units(438.1799) == 4_381_799
    assert to_cents("0.005") == 0
