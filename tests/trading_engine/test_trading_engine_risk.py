"""Each risk rule alone: what just passes, what just does not, and what the person is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from retainer.trading.kernels import apply_accept, cancel, price_order, risk
from retainer.trading.limits import Reason
from retainer.trading.risk import (
    LiveFacts,
    RiskManager,
    approval_words,
    codes,
    money,
    read_order,
    verdict_words,
    words_of,
)
from retainer.trading.state import AccountState, ProposedOrder
from retainer.trading.units import DAY_NS, MINUTE_NS, to_units

ALL_BITS = sum(Reason)


def bits(desk: Any, state: AccountState, order: ProposedOrder, **limits: Any) -> Reason:
    return Reason(risk(order, state, replace(desk.limits, **limits), state.at))


def buy(state: AccountState, quantity: int, symbol: str = "AAPL", **more: Any) -> ProposedOrder:
    return price_order(state, symbol, "buy", quantity, **more)


def sell(state: AccountState, quantity: int, **more: Any) -> ProposedOrder:
    return price_order(state, "AAPL", "sell", quantity, **more)


def test_the_tour_s_orders_pass_on_a_hundred_thousand_dollars(desk: Any) -> None:
    state = desk.account(AAPL=192)
    assert bits(desk, state, buy(state, 5)) == 0
    verdict = RiskManager().validate_risk(buy(state, 5), state)
    assert verdict.ok
    assert verdict.words == (
        "Within limits: $960.00 is 1.0% of the account (30 % allowed per order), and cash covers it.",
    )


@pytest.mark.parametrize("quantity", [0, -1, 1_000_000_001, True, 1.5])
def test_a_quantity_is_a_whole_number_above_zero(desk: Any, quantity: Any) -> None:
    state = desk.account(AAPL=100)
    assert bits(desk, state, replace(buy(state, 1), quantity=quantity)) == Reason.BAD_NUMBER


def test_limit_and_stop_need_their_price_and_no_other(desk: Any) -> None:
    state = desk.account(AAPL=100)
    assert bits(desk, state, replace(buy(state, 1), type="limit")) == Reason.BAD_NUMBER
    assert bits(desk, state, replace(buy(state, 1), type="stop", stop=0)) == Reason.BAD_NUMBER
    assert bits(desk, state, replace(buy(state, 1), limit=to_units(100))) == Reason.BAD_KIND
    wrong: Any = "short"
    assert bits(desk, state, replace(buy(state, 1), side=wrong)) == Reason.BAD_KIND


def test_only_listed_symbols_with_a_fresh_price(desk: Any) -> None:
    state = desk.account(AAPL=100)
    assert bits(desk, state, buy(state, 1), symbols=()) == Reason.SYMBOL
    assert bits(desk, state, buy(state, 1, "IBM")) == Reason.NO_PRICE
    assert risk(buy(state, 1), state, desk.limits, state.at + 7 * DAY_NS) == 0
    assert risk(buy(state, 1), state, desk.limits, state.at + 7 * DAY_NS + 1) == Reason.STALE
    assert bits(desk, replace(state, blocked=("AAPL",)), buy(state, 1)) == Reason.BLOCKED


@pytest.mark.parametrize(("limit", "reason"), [(105, 0), (105.01, Reason.COLLAR), (50, 0)])
def test_a_buy_limit_is_at_most_five_percent_above_the_last_price(desk: Any, limit: float, reason: int) -> None:
    state = desk.account(AAPL=100)
    assert bits(desk, state, buy(state, 1, order_type="limit", limit=to_units(limit))) == reason


@pytest.mark.parametrize(("limit", "reason"), [(95, 0), (94.99, Reason.COLLAR), (200, 0)])
def test_a_sell_limit_is_at_most_five_percent_below_the_last_price(desk: Any, limit: float, reason: int) -> None:
    state = desk.holding("AAPL", 10, 100)
    assert bits(desk, state, sell(state, 1, order_type="limit", limit=to_units(limit))) == reason


def test_nothing_is_sold_short_or_twice(desk: Any) -> None:
    state = desk.holding("AAPL", 10, 100)
    assert bits(desk, state, sell(state, 10)) == 0
    assert bits(desk, state, sell(state, 11)) == Reason.SHORT
    waiting = apply_accept(state, desk.order("AAPL", "sell", 6, day=2))
    assert bits(desk, waiting, sell(waiting, 4)) == 0
    assert bits(desk, waiting, sell(waiting, 5)) == Reason.SHORT
    assert bits(desk, state, sell(state, 5, strategy="trend")) == Reason.SHORT  # the owner's shares


@pytest.mark.parametrize(("quantity", "reason"), [(300, 0), (301, Reason.ORDER_VALUE)])
def test_one_order_is_at_most_thirty_percent(desk: Any, quantity: int, reason: int) -> None:
    state = desk.account(AAPL=100)
    assert bits(desk, state, buy(state, quantity)) == reason


def test_one_symbol_is_at_most_forty_percent_waiting_buys_included(desk: Any) -> None:
    state = desk.holding("AAPL", 200, 100)
    assert bits(desk, state, buy(state, 200)) == 0
    assert bits(desk, state, buy(state, 201)) == Reason.POSITION
    waiting = apply_accept(state, desk.order("AAPL", "buy", 100, day=2))
    assert bits(desk, waiting, buy(waiting, 101)) == Reason.POSITION


def test_all_positions_are_at_most_the_gross_limit(desk: Any) -> None:
    state = desk.holding("AAPL", 200, 100, IBM=50)
    assert bits(desk, state, buy(state, 400, "IBM"), gross_bps=4_000) == 0
    assert bits(desk, state, buy(state, 401, "IBM"), gross_bps=4_000) == Reason.GROSS


def test_only_cash_that_is_not_promised_buys(desk: Any) -> None:
    state = desk.holding("AAPL", 900, 100, IBM=50)
    assert bits(desk, state, buy(state, 200, "IBM")) == 0
    assert bits(desk, state, buy(state, 201, "IBM")) == Reason.GROSS | Reason.CASH
    waiting = apply_accept(state, desk.order("IBM", "buy", 150, day=2))
    assert Reason.CASH in bits(desk, waiting, buy(waiting, 51, "IBM"))
    assert bits(desk, waiting, buy(waiting, 50, "IBM")) == 0


def test_after_a_bad_day_only_sells_go_ahead(desk: Any) -> None:
    state = desk.holding("AAPL", 200, 100)
    fine = replace(state, day_equity=10_309_278)  # 100,000.00 is 97.00 % of it
    assert bits(desk, fine, buy(fine, 1)) == 0
    bad = replace(state, day_equity=10_309_279)
    assert bits(desk, bad, buy(bad, 1)) == Reason.DAILY_LOSS
    assert bits(desk, bad, sell(bad, 200)) == 0


def test_in_a_deep_drawdown_only_sells_go_ahead(desk: Any) -> None:
    state = replace(desk.holding("AAPL", 200, 100), peaks=((1, 12_500_001),))
    assert bits(desk, state, buy(state, 1)) == Reason.DRAWDOWN
    assert bits(desk, state, sell(state, 200)) == 0
    shallow = replace(state, peaks=((1, 12_500_000),))
    assert bits(desk, shallow, buy(shallow, 1)) == 0


def test_the_rates_count_accepted_buys_on_the_account_s_clock(desk: Any) -> None:
    state = desk.account(AAPL=100)
    for quantity in range(1, 6):
        assert bits(desk, state, buy(state, quantity)) == 0
        state = apply_accept(state, desk.order("AAPL", "buy", quantity))
    assert bits(desk, state, buy(state, 6)) == Reason.RATE_MINUTE
    assert risk(buy(state, 6), state, desk.limits, state.at + MINUTE_NS) == 0
    few = replace(desk.limits, per_day=5)
    assert risk(buy(state, 6), state, few, state.at + MINUTE_NS) == Reason.RATE_DAY
    assert risk(buy(state, 6), state, few, state.at + DAY_NS) == 0


def test_a_runaway_loop_gets_five_buys_a_minute(desk: Any) -> None:
    state = desk.account(AAPL=1)
    sent = 0
    for number in range(1_000):
        order = buy(state, number + 1)
        if not risk(order, state, desk.limits, state.at):
            state = apply_accept(state, order.accepted(str(number), state.at))
            sent += 1
    assert sent == 5


def test_the_same_order_twice_within_a_minute_is_a_mistake(desk: Any) -> None:
    state = desk.account(AAPL=100)
    order = desk.order("AAPL", "buy", 5)
    state = apply_accept(state, order)
    assert bits(desk, state, buy(state, 5)) == Reason.DUPLICATE
    assert risk(buy(state, 5), state, desk.limits, state.at + MINUTE_NS) == 0
    taken_back, _ = cancel(state, order.id)
    assert bits(desk, taken_back, buy(taken_back, 5)) == 0


def test_waiting_orders_are_limited(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=100), desk.order("AAPL", "buy", 1))
    assert bits(desk, state, buy(state, 2), open_orders=1) == Reason.OPEN_ORDERS


@pytest.mark.parametrize(
    "quantity", [float("nan"), float("inf"), "nan", "-inf", 0, -5, 2.5, "five", None, True, 10**30, "1e999999"]
)
def test_the_manager_refuses_any_number_that_is_none(desk: Any, quantity: Any) -> None:
    verdict = RiskManager().validate_risk({"symbol": "AAPL", "side": "buy", "quantity": quantity}, desk.account(AAPL=9))
    assert not verdict.ok
    assert "bad_number" in verdict.reasons
    assert "whole number" in verdict.words[0]


def test_the_manager_reads_plain_orders(desk: Any) -> None:
    state, manager = desk.account(AAPL=100), RiskManager()
    assert manager.validate_risk({"symbol": "AAPL", "side": "BUY", "quantity": "5"}, state).ok
    limit = {"symbol": "AAPL", "side": "buy", "quantity": 5, "type": "limit", "limit": "99.50"}
    assert manager.validate_risk(limit, state).ok
    assert manager.validate_risk({**limit, "limit": float("nan")}, state).reasons == ("bad_number",)
    assert manager.validate_risk({**limit, "side": "hold"}, state).reasons[0] == "bad_kind"
    assert not manager.validate_risk({}, state).ok


def test_facts_outside_the_account(desk: Any) -> None:
    state, manager = desk.account(AAPL=100), RiskManager()
    cases = {
        "not_armed": LiveFacts(armed=False),
        "not_reconciled": LiveFacts(reconciled=False),
        "not_approved": LiveFacts(approved=False),
        "client_id": LiveFacts(client_id="x", client_id_known=True),
        "quote_age": LiveFacts(quote_age_seconds=15.1),
    }
    for code, facts in cases.items():
        verdict = manager.validate_risk(buy(state, 5), state, facts=facts)
        assert verdict.reasons == (code,)
        assert verdict.words[0]
    assert manager.validate_risk(buy(state, 5), state, facts=LiveFacts(quote_age_seconds=-3)).reasons == ("quote_age",)
    assert manager.validate_risk(buy(state, 5), state, facts=LiveFacts(client_id="x", quote_age_seconds=15)).ok


def test_the_edges_of_facts_outside_the_account(desk: Any) -> None:
    state, manager = desk.account(AAPL=100), RiskManager()

    def reasons(**facts: Any) -> tuple[str, ...]:
        return manager.validate_risk(buy(state, 5), state, facts=LiveFacts(**facts)).reasons

    assert reasons(quote_age_seconds=-2.0) == ()
    assert reasons(quote_age_seconds=-2.1) == ("quote_age",)
    assert reasons(client_id="") == ("client_id",)
    assert reasons(rejects_in_a_row=2) == ()
    assert reasons(rejects_in_a_row=3) == ("rejects",)
    assert reasons(max_rejects_in_a_row=1) == ()
    assert reasons(stopped=True, halted=True, market_open=False) == ("market_closed", "stopped", "halted")


def test_a_verdict_that_passes_has_no_bits_and_one_that_does_not_has_those_of_its_reasons(desk: Any) -> None:
    state, manager = desk.account(AAPL=100), RiskManager()
    assert manager.validate_risk(buy(state, 5), state).bits == 0
    assert manager.validate_risk(buy(state, 301), state).bits == Reason.ORDER_VALUE


def test_loose_prices_are_read_in_the_units_of_the_kernel(desk: Any) -> None:
    """Prices in ten-thousandths of a dollar, a trail in millionths of the price; what cannot be read is 0."""
    state = desk.holding("AAPL", 10, 100)
    raw = {"symbol": "AAPL", "side": "sell", "quantity": 1_000_000_000, "type": "stop_limit", "stop": "95.5"}
    order, bits_ = read_order({**raw, "limit": 95, "strategy": "trend"}, state)
    assert (order.quantity, order.stop, order.limit, order.trail, bits_) == (1_000_000_000, 955_000, 950_000, None, 0)
    assert (order.side, order.type, order.strategy, order.notional) == ("sell", "stop_limit", "trend", 10**13)
    trailing, bits_ = read_order({**raw, "type": "trailing", "stop": None, "trail": 0.05}, state)
    assert (trailing.trail, bits_) == (50_000, 0)
    unread, bits_ = read_order({**raw, "limit": "cheap"}, state)
    assert (unread.limit, unread.stop, bits_) == (0, 955_000, Reason.BAD_NUMBER)
    assert read_order({**raw, "quantity": 1_000_000_001}, state)[0].quantity == 0
    assert read_order({**raw, "limit": float("nan"), "side": "hold"}, state)[1] == Reason.BAD_NUMBER | Reason.BAD_KIND


def test_the_words_of_a_yes_say_what_was_compared(desk: Any) -> None:
    state = desk.holding("AAPL", 10, 100)
    words = RiskManager().validate_risk(sell(state, 4), state).words
    assert words == ("Within limits: it sells 4 of 10 AAPL, 6 stay.",)
    halves = replace(desk.limits, order_bps=3_050)
    bought = RiskManager(halves).validate_risk(buy(state, 3), state)
    assert bought.words == (
        "Within limits: $300.00 is 0.3% of the account (30.5 % allowed per order), and cash covers it.",
    )
    nothing, a_cent = replace(state, cash=-100_000), replace(state, cash=-99_999)
    assert approval_words(buy(state, 1), nothing, desk.limits).startswith("Within limits: $100.00 is all of the")
    assert approval_words(buy(state, 1), a_cent, desk.limits).startswith("Within limits: $100.00 is 1000000.0% of the")


def test_the_words_of_a_no_hold_its_figures(desk: Any) -> None:
    state = desk.holding("AAPL", 10, 100, IBM=50)
    state = apply_accept(state, desk.order("AAPL", "sell", 6, day=2))
    state = apply_accept(state, desk.order("AAPL", "buy", 3, day=2))
    state = apply_accept(state, desk.order("IBM", "buy", 2, day=2))
    limits = replace(desk.limits, symbols=(), volume_ppm=12_500, order_cents=123_450, round_trips=2)
    order = replace(sell(state, 5), type="limit", limit=to_units(80))
    short = replace(state, cash=-3_100_000, day_equity=10_000_000, peaks=((1, 0),))
    told = {
        reason: words_of(reason, limits, order, short if reason in {Reason.DAILY_LOSS, Reason.DRAWDOWN} else state)[0]
        for reason in (
            Reason.SYMBOL,
            Reason.SHORT,
            Reason.COLLAR,
            Reason.ORDER_CAP,
            Reason.VOLUME,
            Reason.DAILY_LOSS,
            Reason.DRAWDOWN,
            Reason.ROUND_TRIPS,
        )
    }
    assert told == {
        Reason.SYMBOL: "Only nothing may be traded (not AAPL).",
        Reason.SHORT: (
            "There are not enough shares to sell, and nothing is sold short "
            "(10 held, 6 of them in waiting orders, 5 wanted)."
        ),
        Reason.COLLAR: "The limit is more than 5 % on the wrong side of the last price ($80.00 against $100.00).",
        Reason.ORDER_CAP: "One order may be at most $1,234.50 (this is $500.00).",
        Reason.VOLUME: (
            "One order may be at most 1.25 % of the volume that usually trades in a session (5 wanted, 1,000 usual)."
        ),
        Reason.DAILY_LOSS: ("The account lost more than 3 % since the close before: only sells (it lost 130.0%)."),
        Reason.DRAWDOWN: (
            "The account is more than 20 % below its highest value of 90 days: only sells (it is everything below)."
        ),
        Reason.ROUND_TRIPS: "One symbol may be bought and sold at most 2 times in one session.",
    }
    no_limit = words_of(Reason.COLLAR, limits, replace(order, limit=None), state)[0]
    assert no_limit.endswith("($0.00 against $100.00).")
    assert (money(0), money(-1), money(123_456)) == ("$0.00", "-$0.01", "$1,234.56")


def test_every_reason_has_words_and_a_code(desk: Any) -> None:
    state = desk.holding("AAPL", 10, 100)
    order = replace(buy(state, 5), type="limit", limit=to_units(120))
    assert len(codes(ALL_BITS)) == len(words_of(ALL_BITS, desk.limits)) == len(Reason)
    for sentence in (*words_of(ALL_BITS, desk.limits), *words_of(ALL_BITS, desk.limits, order, state)):
        assert sentence.endswith(".")
        assert sentence[0].isupper()
    assert words_of(Reason.ORDER_VALUE, desk.limits, order, state) == (
        "One order may be at most 30 % of the account (this is $500.00 of $100,000.00).",
    )
    assert verdict_words(0, desk.limits).startswith("Passed")
    assert verdict_words(Reason.CASH, desk.limits).startswith("Refused: The cash")


def test_the_verdict_names_all_reasons(desk: Any) -> None:
    state = desk.account(AAPL=100)
    assert RiskManager().validate_risk(buy(state, 2_000), state).reasons == ("order_value", "position", "gross", "cash")
