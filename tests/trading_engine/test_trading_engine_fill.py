"""How bars act on resting orders. Every figure here was computed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from retainer.core.errors import InvalidInputError
from retainer.trading.kernels import apply_accept, cancel, cancel_where, fill, open_account
from retainer.trading.limits import Fees
from retainer.trading.state import equity
from retainer.trading.units import to_units


def test_a_market_order_decided_at_a_close_fills_at_the_next_open(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=100), desk.order("AAPL", "buy", 5))
    filled = fill(state, {"AAPL": desk.bar("AAPL", 2, (101, 105, 99, 104))}, desk.at(2), desk.free)
    [done] = filled.fills
    assert (done.quantity, done.price, done.at) == (5, to_units(101), desk.at(2))
    assert filled.state.cash == 10_000_000 - 50_500
    assert filled.state.orders == ()
    assert equity(filled.state) == 10_000_000 + 5 * 300


def test_no_bar_no_fill_and_the_order_keeps_resting(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=100, IBM=50), desk.order("AAPL", "buy", 5))
    filled = fill(state, {"IBM": desk.bar("IBM", 2, (50,))}, desk.at(2), desk.free)
    assert filled.fills == ()
    assert [order.symbol for order in filled.state.orders] == ["AAPL"]
    later = fill(filled.state, {"AAPL": desk.bar("AAPL", 3, (120,))}, desk.at(3), desk.free)
    assert later.fills[0].price == to_units(120)


def test_orders_of_the_last_bar_stay_pending(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=100), desk.order("AAPL", "buy", 5))
    assert len(state.orders) == 1
    assert state.quantity("AAPL") == 0


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ((90, 91, 89, 90), 90),  # the open is beyond the stop: filled there, not at 97
        ((98, 99, 96, 98), 97),
        ((98, 99, 97, 98), 97),  # touched exactly
        ((98, 99, 97.01, 98), None),
    ],
)
def test_a_stop_fills_at_the_worse_of_stop_and_open(desk: Any, bar: tuple[float, ...], price: float | None) -> None:
    state = apply_accept(desk.holding("AAPL", 100, 100), desk.order("AAPL", "sell", 100, day=2, stop=97))
    fills = fill(state, {"AAPL": desk.bar("AAPL", 3, bar)}, desk.at(3), desk.free).fills
    assert [f.price for f in fills] == ([] if price is None else [to_units(price)])


@pytest.mark.parametrize(
    ("bar", "price"), [((90, 91, 89, 90), 90), ((98, 99, 94, 98), 95), ((98, 99, 95.01, 98), None)]
)
def test_a_limit_fills_at_the_better_of_limit_and_open(desk: Any, bar: tuple[float, ...], price: float | None) -> None:
    state = apply_accept(desk.account(AAPL=100), desk.order("AAPL", "buy", 10, limit=95))
    fills = fill(state, {"AAPL": desk.bar("AAPL", 2, bar)}, desk.at(2), desk.free).fills
    assert [f.price for f in fills] == ([] if price is None else [to_units(price)])


def test_a_buy_stop_that_the_open_passed_pays_the_open(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=100), desk.order("AAPL", "buy", 10, stop=103))
    assert fill(state, {"AAPL": desk.bar("AAPL", 2, (106, 107, 105, 106))}, desk.at(2), desk.free).fills[
        0
    ].price == to_units(106)


def test_the_adverse_extreme_comes_first(desk: Any) -> None:
    """Both the stop at 95 and the profit limit at 105 lie within the bar: the stop wins, the limit finds no shares."""
    state = apply_accept(desk.holding("AAPL", 10, 100), desk.order("AAPL", "sell", 10, day=2, stop=95))
    state = apply_accept(state, desk.order("AAPL", "sell", 10, day=2, limit=105))
    filled = fill(state, {"AAPL": desk.bar("AAPL", 3, (100, 110, 90, 100))}, desk.at(3), desk.free)
    assert [f.price for f in filled.fills] == [to_units(95)]
    assert [c.order.type for c in filled.cancelled] == ["limit"]
    assert filled.state.quantity("AAPL") == 0


def test_the_bar_of_the_entry_can_stop_it_out(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=100), desk.order("AAPL", "buy", 10, limit=98))
    state = apply_accept(state, desk.order("AAPL", "sell", 10, stop=96))
    filled = fill(state, {"AAPL": desk.bar("AAPL", 2, (100, 101, 95, 100))}, desk.at(2), desk.free)
    assert [(f.side, f.price) for f in filled.fills] == [("buy", to_units(98)), ("sell", to_units(96))]
    assert filled.state.realised == -10 * 200


def test_at_one_open_sells_pay_for_buys(desk: Any) -> None:
    state = desk.holding("AAPL", 1_000, 100, IBM=50)
    assert state.cash == 0
    state = apply_accept(state, desk.order("IBM", "buy", 2_000, day=2))
    state = apply_accept(state, desk.order("AAPL", "sell", 1_000, day=2))
    bars = {"AAPL": desk.bar("AAPL", 3, (100,)), "IBM": desk.bar("IBM", 3, (50,))}
    filled = fill(state, bars, desk.at(3), desk.free)
    assert [f.side for f in filled.fills] == ["sell", "buy"]
    assert (filled.state.cash, filled.state.quantity("IBM")) == (0, 2_000)


def test_a_gap_up_cuts_the_buy_to_the_cash_there_is(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=100, cash=1_000), desk.order("AAPL", "buy", 10))
    filled = fill(state, {"AAPL": desk.bar("AAPL", 2, (130,))}, desk.at(2), desk.free)
    assert (filled.fills[0].quantity, filled.fills[0].unfilled) == (7, 3)
    assert filled.state.cash == 100_000 - 7 * 13_000
    broke = apply_accept(filled.state, desk.order("AAPL", "buy", 1, day=2))
    none = fill(broke, {"AAPL": desk.bar("AAPL", 3, (130,))}, desk.at(3), desk.free)
    assert none.fills == ()
    assert "cash" in none.cancelled[0].reason


def test_profit_is_realised_against_the_average_cost(desk: Any) -> None:
    state = desk.holding("AAPL", 10, 100)
    state = apply_accept(state, desk.order("AAPL", "buy", 10, day=2))
    state = fill(state, {"AAPL": desk.bar("AAPL", 3, (110,))}, desk.at(3), desk.free).state
    state = apply_accept(state, desk.order("AAPL", "sell", 5, day=3))
    filled = fill(state, {"AAPL": desk.bar("AAPL", 4, (120,))}, desk.at(4), desk.free)
    assert filled.fills[0].realised == 5 * (12_000 - 10_500)
    position = filled.state.positions["AAPL"]
    assert (position.quantity, position.cost) == (15, 15 * 10_500)


def test_slippage_is_one_basis_point_against_us_rounded_to_the_cent(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=192), desk.order("AAPL", "buy", 5))
    filled = fill(state, {"AAPL": desk.bar("AAPL", 2, (191.99, 195, 190, 193))}, desk.at(2), Fees())
    assert filled.fills[0].price == to_units(192.01)  # 191.99 * 1.0001 = 192.0092, up to the tick
    assert filled.fills[0].reference == to_units(191.99)
    state = apply_accept(filled.state, desk.order("AAPL", "sell", 5, day=2))
    sold = fill(state, {"AAPL": desk.bar("AAPL", 3, (191.99,))}, desk.at(3), Fees())
    assert sold.fills[0].price == to_units(191.97)  # 191.97 after 191.9708 down to the tick


def test_a_limit_is_never_paid_beyond(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=100), desk.order("AAPL", "buy", 5, limit=99.995))
    filled = fill(state, {"AAPL": desk.bar("AAPL", 2, (100, 101, 99, 100))}, desk.at(2), Fees())
    assert filled.fills[0].price <= to_units(99.995)


def test_fees_per_share_percent_minimum_and_on_sells(desk: Any) -> None:
    fees = Fees(per_share=50, commission_ppm=100, minimum=100, sell_ppm=28, slippage_ppm=0)
    state = apply_accept(desk.account(AAPL=100), desk.order("AAPL", "buy", 300))
    bought = fill(state, {"AAPL": desk.bar("AAPL", 2, (100,))}, desk.at(2), fees)
    assert bought.fills[0].fee == 150 + 300  # half a cent a share and a basis point of 30,000 dollars
    state = apply_accept(bought.state, desk.order("AAPL", "sell", 1, day=2))
    sold = fill(state, {"AAPL": desk.bar("AAPL", 3, (100,))}, desk.at(3), fees)
    assert sold.fills[0].fee == 100 + 1  # the minimum, and 0.28 cents rounded up
    assert sold.state.fees == 551
    assert [p.kind for p in sold.postings] == ["fill", "fee"]


def test_a_split_changes_position_resting_orders_and_prices(desk: Any) -> None:
    state = desk.holding("AAPL", 101, 90, strategy="trend")
    state = apply_accept(state, desk.order("AAPL", "sell", 101, day=2, stop=80))
    state = apply_accept(state, desk.order("AAPL", "buy", 7, day=2, limit=70))
    bar = desk.bar("AAPL", 3, (45, 46, 44, 45.5), factor=2.0)
    filled = fill(state, {"AAPL": bar}, desk.at(3), desk.free)
    assert filled.fills == ()
    position = filled.state.positions["AAPL"]
    assert (position.quantity, position.cost, position.own) == (202, 101 * 9_000, 202)
    assert [(o.quantity, o.stop or o.limit) for o in filled.state.orders] == [(202, to_units(40)), (14, to_units(35))]
    assert [(p.kind, p.quantity, p.amount) for p in filled.postings] == [("split", 101, 0)]
    assert equity(filled.state) == state.cash + 202 * 4_550


def test_a_reverse_split_pays_the_fraction_in_cash(desk: Any) -> None:
    state = apply_accept(desk.holding("AAPL", 105, 2), desk.order("AAPL", "buy", 9, day=2, limit=1))
    filled = fill(state, {"AAPL": desk.bar("AAPL", 3, (20,), factor=0.1)}, desk.at(3), desk.free)
    position = filled.state.positions["AAPL"]
    assert (position.quantity, position.cost) == (10, 105 * 200 - 1_000)
    assert filled.state.cash == state.cash + 1_000  # half a new share at 20 dollars
    assert filled.state.realised == 0
    assert "split" in filled.cancelled[0].reason


def test_a_dividend_is_credited_on_the_shares_of_the_day_before(desk: Any) -> None:
    state = apply_accept(desk.holding("IBM", 100, 200), desk.order("IBM", "sell", 100, day=2))
    factor = 200 / (200 - 0.85)
    filled = fill(state, {"IBM": desk.bar("IBM", 3, (199,), factor=factor)}, desk.at(3), desk.free)
    assert next((p.kind, p.amount, p.quantity) for p in filled.postings) == ("dividend", 8_500, 0)
    assert filled.state.dividends == 8_500
    assert filled.state.quantity("IBM") == 0


def test_a_strategy_sells_only_its_own_shares(desk: Any) -> None:
    state = desk.holding("AAPL", 10, 100)
    state = apply_accept(state, desk.order("AAPL", "buy", 20, day=2, strategy="trend"))
    state = fill(state, {"AAPL": desk.bar("AAPL", 3, (100,))}, desk.at(3), desk.free).state
    state = apply_accept(state, desk.order("AAPL", "sell", 30, day=3, strategy="trend"))
    filled = fill(state, {"AAPL": desk.bar("AAPL", 4, (100,))}, desk.at(4), desk.free)
    assert (filled.fills[0].quantity, filled.fills[0].unfilled) == (20, 10)
    assert (filled.state.quantity("AAPL"), filled.state.positions["AAPL"].own) == (10, 0)


def test_a_person_sells_their_own_shares_first(desk: Any) -> None:
    state = apply_accept(desk.holding("AAPL", 10, 100), desk.order("AAPL", "buy", 20, day=2, strategy="trend"))
    state = fill(state, {"AAPL": desk.bar("AAPL", 3, (100,))}, desk.at(3), desk.free).state
    for day, quantity, own in ((4, 6, 20), (5, 6, 18), (6, 18, 0)):
        state = apply_accept(state, desk.order("AAPL", "sell", quantity, day=day))
        state = fill(state, {"AAPL": desk.bar("AAPL", day, (100,))}, desk.at(day), desk.free).state
        position = state.positions.get("AAPL")
        assert (position.own if position else 0) == own
    assert state.positions == {}


def test_day_and_peak_follow_the_closes(desk: Any) -> None:
    state = desk.holding("AAPL", 1_000, 100)
    up = fill(state, {"AAPL": desk.bar("AAPL", 3, (110,))}, desk.at(3), desk.free).state
    assert (up.day, up.day_equity, up.peak) == ("2013-01-09", 10_000_000, 11_000_000)
    down = fill(up, {"AAPL": desk.bar("AAPL", 4, (100,))}, desk.at(4), desk.free).state
    assert (down.day, down.day_equity, down.peak) == ("2013-01-10", 11_000_000, 11_000_000)
    later = fill(down, {"AAPL": desk.bar("AAPL", 94, (90,))}, desk.at(94), desk.free).state
    assert later.peak == 10_000_000  # the highest of the last 90 days: 110 is 91 days old, 100 is 90


def test_within_a_day_the_day_s_start_stays(desk: Any) -> None:
    state = desk.holding("AAPL", 1_000, 100)
    morning = replace(desk.bar("AAPL", 3, (110,)), close_time=desk.at(3) - 3_600 * 10**9)
    state = fill(state, {"AAPL": morning}, morning.close_time, desk.free).state
    evening = fill(state, {"AAPL": desk.bar("AAPL", 3, (90,))}, desk.at(3), desk.free).state
    assert (evening.day_equity, equity(evening)) == (10_000_000, 9_000_000)


def test_accepted_orders_are_remembered_for_a_day(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=100), desk.order("AAPL", "buy", 5))
    almost = replace(desk.bar("AAPL", 2, (100,)), close_time=desk.at(2) - 1)
    state = fill(state, {"AAPL": almost}, almost.close_time, desk.free).state
    assert len(state.recent) == 1
    assert fill(state, {"AAPL": desk.bar("AAPL", 2, (100,))}, desk.at(2), desk.free).state.recent == ()


def test_a_bar_set_acts_once_and_in_order(desk: Any) -> None:
    state = desk.account(AAPL=100)
    with pytest.raises(InvalidInputError, match="not after"):
        fill(state, {"AAPL": desk.bar("AAPL", 1, (100,))}, desk.at(1), desk.free)
    with pytest.raises(InvalidInputError, match="another time"):
        fill(state, {"AAPL": desk.bar("AAPL", 3, (100,))}, desk.at(2), desk.free)


def test_an_order_is_accepted_once_and_cancelled_once(desk: Any) -> None:
    order = desk.order("AAPL", "buy", 5)
    state = apply_accept(desk.account(AAPL=100), order)
    with pytest.raises(InvalidInputError, match="accepted already"):
        apply_accept(state, order)
    state, gone = cancel(state, order.id)
    assert gone is not None
    assert gone.id == order.id
    assert cancel(state, order.id)[1] is None
    assert cancel_where(state, lambda o: True) == (state, ())


def test_an_account_opens_with_money() -> None:
    state, posting = open_account(10_000_000)
    assert (state.cash, posting.kind, posting.amount) == (10_000_000, "deposit", 10_000_000)
    with pytest.raises(InvalidInputError, match="cannot open"):
        open_account(0)
