"""Orders of every kind on the live path: accepted from an effect's arguments, kept in the state, filled by the bars."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from retainer.core.values import digest
from retainer.trading.brokers.paper import judge_now, order_from_args
from retainer.trading.kernels import apply_accept, fill, price_order, propose, risk
from retainer.trading.limits import Reason
from retainer.trading.order_effects import order_args
from retainer.trading.parity import compare_fills
from retainer.trading.state import AccountState, Fill, Order
from retainer.trading.strategy import Exits
from retainer.trading.units import to_units


def accept(state: AccountState, proposed: Any, **more: Any) -> AccountState:
    """The order as it comes out of an effect's arguments."""
    args = {**order_args(proposed, "paper", f"id-{state.next_seq}", state.at, 10_000_000), **more}
    return apply_accept(state, order_from_args(json.loads(json.dumps(args))))


def test_a_bracket_guards_its_shares_and_survives_saving_at_every_step(desk: Any) -> None:
    state = desk.account(AAPL=100)
    state = accept(state, price_order(state, "AAPL", "buy", 10), stop_loss_price="95.00", take_profit_price="110.00")
    state = AccountState.from_json(json.loads(json.dumps(state.to_json())))
    filled = fill(state, {"AAPL": desk.bar("AAPL", 2, (100, 101, 99, 100))}, desk.at(2), desk.free)
    exits = [(o.type, o.quantity, o.stop or o.limit, o.protective, o.side) for o in filled.state.orders]
    assert exits == [("stop", 10, to_units(95), True, "sell"), ("limit", 10, to_units(110), True, "sell")]
    assert len({o.id for o in filled.state.orders}) == 2
    state = AccountState.from_json(json.loads(json.dumps(filled.state.to_json())))
    assert state == filled.state
    out = fill(state, {"AAPL": desk.bar("AAPL", 3, (100, 112, 99, 111))}, desk.at(3), desk.free)
    assert [(f.side, f.price) for f in out.fills] == [("sell", to_units(110))]
    assert [c.reason for c in out.cancelled] == ["its partner was filled"]
    assert (out.state.orders, out.state.positions) == ((), {})
    assert [p.kind for p in out.postings] == ["fill"]


def test_an_order_asked_for_before_the_newest_bar_is_judged_by_the_newest_bar(desk: Any) -> None:
    state = desk.account(AAPL=100)
    args = order_args(price_order(state, "AAPL", "buy", 10), "paper", "id-1", state.at, 10_000_000)
    later = fill(state, {"AAPL": desk.bar("AAPL", 2, (101,))}, desk.at(2), desk.free).state
    assert judge_now(later, order_from_args(args), desk.limits) == 0


def test_a_trailing_stop_keeps_its_level_in_the_state(desk: Any) -> None:
    state = desk.holding("AAPL", 10, 100)
    trailing = price_order(state, "AAPL", "sell", 10, "trailing", trail=50_000)
    state = accept(state, trailing)
    assert state.orders[0].stop == to_units(95)
    state = fill(state, {"AAPL": desk.bar("AAPL", 3, (100, 120, 100, 118))}, desk.at(3), desk.free).state
    assert state.orders[0].stop == to_units(114)
    done = fill(state, {"AAPL": desk.bar("AAPL", 4, (113, 115, 110, 112))}, desk.at(4), desk.free)
    assert [f.price for f in done.fills] == [to_units(113)]


def test_an_order_for_the_day_ends_with_its_session(desk: Any) -> None:
    state = desk.account(AAPL=100)
    limit = price_order(state, "AAPL", "buy", 10, "limit", limit=to_units(95))
    state = accept(state, limit, time_in_force="day")
    state = fill(state, {"AAPL": desk.bar("AAPL", 2, (100,))}, desk.at(2), desk.free).state
    assert len(state.orders) == 1
    ended = fill(state, {"AAPL": desk.bar("AAPL", 3, (94,))}, desk.at(3), desk.free)
    assert (ended.fills, [c.reason for c in ended.cancelled]) == ((), ["its session ended"])


def test_a_state_of_the_first_format_is_read_and_goes_on(desk: Any) -> None:
    state = apply_accept(desk.holding("AAPL", 10, 100), desk.order("AAPL", "sell", 10, day=2, stop=95))
    old = state.to_json()
    old["format"] = 1
    del old["unsettled"]
    first = set(asdict(desk.order("AAPL", "buy", 1))) - {
        *("trail", "stop_loss", "take_profit", "trail_exit", "relative", "oco", "parent", "triggered", "expires")
    }
    old["orders"] = [{name: row[name] for name in first} for row in old["orders"]]
    old["marks"] = {s: {name: row[name] for name in ("close", "factor", "at")} for s, row in old["marks"].items()}
    read = AccountState.from_json(json.loads(json.dumps(old)))
    assert read.orders == state.orders
    assert read.to_json()["format"] == 2
    assert digest(old) != read.digest()
    filled = fill(read, {"AAPL": desk.bar("AAPL", 3, (94,))}, desk.at(3), desk.free)
    assert [f.price for f in filled.fills] == [to_units(94)]


def test_an_order_s_arguments_say_everything_about_it(desk: Any) -> None:
    state = desk.account(AAPL=100)
    proposed = price_order(state, "AAPL", "buy", 3, "stop_limit", stop=to_units(101), limit=to_units(102))
    order: Order = order_from_args(order_args(proposed, "paper", "x", state.at, 1))
    assert (order.type, order.stop, order.limit, order.quantity) == ("stop_limit", to_units(101), to_units(102), 3)


def one_fill(order_id: str, quantity: int, price: float, fee: int = 0) -> Fill:
    return Fill(
        order_id=order_id,
        symbol="AAPL",
        side="buy",
        quantity=quantity,
        price=to_units(price),
        reference=to_units(price),
        at=1,
        fee=fee,
        realised=0,
    )


def test_a_broker_s_fills_are_compared_with_the_bars_order_by_order() -> None:
    expected = [one_fill("a", 10, 100), one_fill("b", 5, 50), one_fill("c", 1, 10)]
    actual = [one_fill("a", 4, 100.02), one_fill("a", 6, 100.07), one_fill("b", 5, 50), one_fill("d", 1, 10)]
    report = compare_fills(expected, actual)
    assert (report.orders, report.same, report.missing, report.unexpected) == (4, 1, ("c",), ("d",))
    [different] = report.differences
    assert (different.order_id, different.filled, different.price) == ("a", 10, to_units(100.05))
    assert report.cost == different.cost == 50


def guarded(desk: Any, quantity: int = 10) -> Any:
    """An account whose strategy holds AAPL, bought at 100, behind a stop at 95 and a target at 110."""
    state = desk.account(AAPL=100)
    order = price_order(state, "AAPL", "buy", quantity, strategy="trend")
    state = accept(state, order, stop_loss_price="95.00", take_profit_price="110.00")
    return fill(state, {"AAPL": desk.bar("AAPL", 2, (100,))}, desk.at(2), desk.free).state


def kinds(state: AccountState) -> list[tuple[str, int]]:
    return [(order.type, order.quantity) for order in state.orders]


def test_an_exit_takes_the_bracket_back_when_it_is_accepted_and_not_before(desk: Any) -> None:
    state = guarded(desk)
    proposal = propose(state, desk.limits, {"AAPL": 0}, desk.at(2), "trend")
    [sale] = proposal.orders
    assert (sale.side, sale.quantity, sale.bits) == ("sell", 10, 0)
    assert proposal.cancelled == ()
    assert kinds(proposal.state) == [("stop", 10), ("limit", 10)]
    assert kinds(accept(proposal.state, sale)) == [("market", 10)]


def test_a_refused_exit_leaves_the_position_guarded(desk: Any) -> None:
    """The sale is never accepted; the next day falls through the stop at 95 and opens at 94: sold there."""
    state = propose(guarded(desk), desk.limits, {"AAPL": 0}, desk.at(2), "trend").state
    filled = fill(state, {"AAPL": desk.bar("AAPL", 3, (94,))}, desk.at(3), desk.free)
    assert [(f.side, f.quantity, f.price) for f in filled.fills] == [("sell", 10, to_units(94))]
    assert filled.state.positions == {}
    assert filled.state.orders == ()


def test_a_partial_exit_takes_back_as_much_protection_as_it_sells(desk: Any) -> None:
    """10 shares are 1 % of 100,000 dollars. A target of 40 basis points is 4 shares: 6 are sold, 4 stay guarded."""
    state = replace(guarded(desk), targets={"AAPL": 100})
    [sale] = propose(state, desk.limits, {"AAPL": 40}, desk.at(2), "trend").orders
    assert (sale.side, sale.quantity) == ("sell", 6)
    assert kinds(accept(state, sale)) == [("stop", 4), ("limit", 4), ("market", 6)]


def test_a_person_sells_unguarded_shares_before_guarded_ones(desk: Any) -> None:
    """10 guarded shares of the strategy and 5 of the person's own: selling 8 takes back the protection of 3."""
    state = guarded(desk)
    held = replace(state.positions["AAPL"], quantity=15, own=10)
    state = replace(state, positions={"AAPL": held})
    sale = price_order(state, "AAPL", "sell", 8)
    assert risk(sale, state, desk.limits, state.at) == 0
    assert kinds(accept(state, sale)) == [("stop", 7), ("limit", 7), ("market", 8)]
    limit = price_order(state, "AAPL", "sell", 8, "limit", limit=to_units(120))
    assert risk(limit, state, desk.limits, state.at) == Reason.SHORT


def test_the_exits_of_a_strategy_s_entry_reach_the_broker(desk: Any) -> None:
    """A trailing stop of 2 % and a target of 5 %: bought at 100, the exits rest at 98 and 105."""
    state = desk.account(AAPL=100)
    exits = {"AAPL": Exits(trailing=20_000, profit=50_000)}
    [entry] = propose(state, desk.limits, {"AAPL": 500}, state.at, "trend", exits).orders
    state = accept(state, entry)
    state = fill(state, {"AAPL": desk.bar("AAPL", 2, (100,))}, desk.at(2), desk.free).state
    assert [(o.type, o.stop, o.limit, o.protective) for o in state.orders] == [
        ("trailing", to_units(98), None, True),
        ("limit", None, to_units(105), True),
    ]
