"""What the strategy's targets lead to: sizes, edges, other people's shares, and the risk verdict of each order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from retainer.trading.kernels import apply_accept, fill, order_id, propose
from retainer.trading.limits import Reason


def test_an_entry_is_sized_in_whole_shares_of_equity(desk: Any) -> None:
    proposal = propose(desk.account(AAPL=192.01), desk.limits, {"AAPL": 2_500}, desk.at(1), "trend")
    [order] = proposal.orders
    assert (order.side, order.quantity, order.bits) == ("buy", 130, 0)  # 25,000 / 192.01 = 130.2
    assert order.notional == 130 * 19_201
    assert proposal.state.targets == {"AAPL": 2_500}


def test_an_entry_happens_on_the_change_of_the_target_only(desk: Any) -> None:
    state = desk.account(AAPL=100)
    after = propose(state, desk.limits, {"AAPL": 2_500}, desk.at(1), "trend").state
    assert propose(after, desk.limits, {"AAPL": 2_500}, desk.at(1), "trend").orders == ()


def test_what_the_owner_sold_is_not_bought_back(desk: Any) -> None:
    state = replace(desk.holding("AAPL", 100, 100, strategy="trend"), targets={"AAPL": 2_500})
    state = apply_accept(state, desk.order("AAPL", "sell", 100, day=2))
    state = fill(state, {"AAPL": desk.bar("AAPL", 3, (100,))}, desk.at(3), desk.free).state
    assert propose(state, desk.limits, {"AAPL": 2_500}, desk.at(3), "trend").orders == ()


def test_an_exit_sells_the_strategy_s_shares_and_not_the_owner_s(desk: Any) -> None:
    state = apply_accept(desk.holding("AAPL", 5, 100), desk.order("AAPL", "buy", 50, day=2, strategy="trend"))
    state = fill(state, {"AAPL": desk.bar("AAPL", 3, (100,))}, desk.at(3), desk.free).state
    [order] = propose(state, desk.limits, {"AAPL": 0}, desk.at(3), "trend").orders
    assert (order.side, order.quantity, order.increases_exposure) == ("sell", 50, False)
    untouched = propose(desk.holding("AAPL", 5, 100), desk.limits, {"AAPL": 0}, desk.at(2), "trend")
    assert untouched.orders == ()


def test_an_exit_stays_wanted_until_the_shares_are_gone(desk: Any) -> None:
    state = replace(desk.holding("AAPL", 50, 100, strategy="trend"), targets={"AAPL": 0})
    proposal = propose(state, desk.limits, {"AAPL": 0}, desk.at(2), "trend")
    assert [o.side for o in proposal.orders] == ["sell"]
    resting = apply_accept(proposal.state, proposal.orders[0].accepted("x", desk.at(2)))
    assert propose(resting, desk.limits, {"AAPL": 0}, desk.at(2), "trend").orders == ()


def test_an_unfilled_entry_is_cancelled_when_the_strategy_changes_its_mind(desk: Any) -> None:
    state = apply_accept(desk.account(AAPL=100), desk.order("AAPL", "buy", 50, strategy="trend", id="late"))
    proposal = propose(replace(state, targets={"AAPL": 2_500}), desk.limits, {"AAPL": 0}, desk.at(1), "trend")
    assert proposal.orders == ()
    assert [c.order.id for c in proposal.cancelled] == ["late"]
    assert proposal.state.orders == ()


def test_a_smaller_target_sells_the_difference(desk: Any) -> None:
    state = replace(desk.holding("AAPL", 250, 100, strategy="trend"), targets={"AAPL": 2_500})
    [order] = propose(state, desk.limits, {"AAPL": 1_000}, desk.at(2), "trend").orders
    assert (order.side, order.quantity) == ("sell", 150)
    [more] = propose(state, desk.limits, {"AAPL": 3_000}, desk.at(2), "trend").orders
    assert (more.side, more.quantity) == ("buy", 50)


def test_four_entries_at_once_pass_and_leave_a_reserve(desk: Any) -> None:
    state = desk.account(AAPL=100, GOOG=400, IBM=150, MSFT=27)
    proposal = propose(state, desk.limits, dict.fromkeys(("AAPL", "GOOG", "IBM", "MSFT"), 2_500), desk.at(1), "trend")
    assert [o.bits for o in proposal.orders] == [0, 0, 0, 0]
    assert 0 < state.cash - sum(o.notional for o in proposal.orders) < state.cash // 50


def test_entries_are_cut_to_the_cash_and_skipped_without_any(desk: Any) -> None:
    state = desk.holding("AAPL", 900, 100, IBM=50)
    proposal = propose(state, desk.limits, {"IBM": 2_500}, desk.at(2), "trend")
    assert [o.quantity for o in proposal.orders] == [198]  # 10,000 less 1 % = 9,900
    assert proposal.orders[0].bits == 0
    broke = propose(desk.holding("AAPL", 1_000, 100, IBM=150), desk.limits, {"IBM": 2_500}, desk.at(2), "trend")
    assert broke.orders == ()
    assert "no room" in broke.skipped["IBM"]


def test_a_refused_entry_is_recorded_with_its_reasons(desk: Any) -> None:
    state = desk.account(AAPL=100, IBM=150)
    limits = replace(desk.limits, symbols=("IBM",))
    orders = propose(state, limits, {"AAPL": 2_500, "IBM": 2_500}, desk.at(1), "trend").orders
    assert {o.symbol: o.bits for o in orders} == {"AAPL": Reason.SYMBOL, "IBM": 0}


def test_a_symbol_without_a_price_waits(desk: Any) -> None:
    proposal = propose(desk.account(AAPL=100), desk.limits, {"IBM": 2_500}, desk.at(1), "trend")
    assert proposal.orders == ()


def test_the_same_wish_has_the_same_client_id() -> None:
    first = order_id("paper", "trend", "AAPL", "buy", 1)
    assert first == order_id("paper", "trend", "AAPL", "buy", 1)
    assert first != order_id("paper", "trend", "AAPL", "buy", 2)
