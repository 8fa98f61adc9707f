"""The kernel's judgement on vectors made by hand: each rule at its edge, the second symbol's columns among others'.

Money is dollars here and nothing is rounded, unless a test says so. A rule that a test does not name cannot bind.
"""

from __future__ import annotations

from typing import Any

import pytest

from retainer.trading.kernel import judge as bits
from retainer.trading.kernel import layout as at
from retainer.trading.kernel.judge import judge, take_stock
from retainer.trading.limits import Reason

NEVER = 1e18
NOW = 400 * at.DAY_NS
OTHER = at.HEADER
SYMBOL = at.HEADER + at.SYMBOL_COLUMNS
"""The symbol judged; another one lies before it."""
ORDERS = SYMBOL + at.SYMBOL_COLUMNS


class Book:
    """An account of two symbols at 100 dollars a share, 100,000 dollars of cash, and nothing else."""

    def __init__(self, **rules: float) -> None:
        size = ORDERS + 400
        self.f = [0.0] * size
        self.w = [0] * size
        self.r = [0.0] * at.RULES
        for rule in (
            at.ORDER_BPS,
            at.POSITION_BPS,
            at.GROSS_BPS,
            at.LOSS_BPS,
            at.DRAWDOWN_BPS,
            at.COLLAR_BPS,
            at.OPEN_LIMIT,
            at.PER_MINUTE,
            at.PER_DAY,
            at.STALE_NS,
            at.FUTURE_NS,
        ):
            self.r[rule] = NEVER
        self.r[at.UNIT] = self.r[at.LOTS] = 1.0
        for name, value in rules.items():
            self.r[getattr(at, name)] = value
        self.f[at.CASH] = self.f[at.EQUITY] = 100_000.0
        self.w[at.AT] = NOW
        self.w[at.TRADING] = 1
        self.w[at.SYMBOLS_END] = self.w[at.ORDERS_END] = ORDERS
        self.w[at.RECENT_FIRST] = self.w[at.RECENT_END] = ORDERS + 200
        self.w[at.PEAK_FIRST] = self.w[at.PEAK_END] = ORDERS + 300
        for symbol in (OTHER, SYMBOL):
            self.f[symbol + at.MARK] = 100.0
            self.w[symbol + at.SEEN] = NOW
            self.w[symbol + at.ALLOWED] = 1

    def symbol(self, **columns: float) -> Book:
        """Set columns of the symbol that is judged."""
        for name, value in columns.items():
            if name in {"SEEN", "ALLOWED", "BLOCKED"}:
                self.w[SYMBOL + getattr(at, name)] = int(value)
            else:
                self.f[SYMBOL + getattr(at, name)] = value
        return self

    def header(self, **columns: Any) -> Book:
        """Set columns of the header."""
        whole = {"AT", "TRADING", "ALIVE_ORDERS"}
        for name, value in columns.items():
            (self.w if name in whole else self.f)[getattr(at, name)] = value
        return self

    def rests(self, side: int, quantity: float, *, symbol: int = SYMBOL, alive: int = 1, **more: float) -> Book:
        """Add a resting order."""
        o = self.w[at.ORDERS_END]
        self.w[at.ORDERS_END] = o + at.ORDER_COLUMNS
        self.f[o + at.O_QUANTITY] = quantity
        self.f[o + at.O_LIMIT] = more.get("limit", 0.0)
        self.f[o + at.O_STOP] = more.get("stop", 0.0)
        for column, value in (
            (at.O_SYMBOL, symbol),
            (at.O_SIDE, side),
            (at.O_ALIVE, alive),
            (at.O_PARENT, more.get("parent", 0)),
            (at.O_STRATEGY, more.get("strategy", 0)),
        ):
            self.w[o + column] = int(value)
        self.w[o + at.O_NEXT] = self.w[symbol + at.FIRST]
        self.w[symbol + at.FIRST] = o
        return self

    def accepted(self, age: int, *, side: int = 1, quantity: float = 5.0, symbol: int = SYMBOL, adds: int = 1) -> Book:
        """Remember an order that was accepted ``age`` nanoseconds ago."""
        e = self.w[at.RECENT_END]
        self.w[at.RECENT_END] = e + at.RECENT_COLUMNS
        self.f[e + at.R_QUANTITY] = quantity
        for column, value in (
            (at.R_AT, NOW - age),
            (at.R_SYMBOL, symbol),
            (at.R_SIDE, side),
            (at.R_INCREASES, adds),
        ):
            self.w[e + column] = value
        return self

    def peak(self, equity: float) -> Book:
        """Remember a highest value of the account."""
        self.f[self.w[at.PEAK_END]] = equity
        self.w[at.PEAK_END] += 1
        return self

    def judge(
        self,
        side: int = 1,
        quantity: float = 10.0,
        kind: int = at.MARKET,
        *,
        limit: float = 0.0,
        stop: float = 0.0,
        trail: float = 0.0,
        strategy: int = 0,
        guards: int = 1,
    ) -> Reason:
        """The reasons against an order in the second symbol."""
        take_stock(self.f, self.w, self.r)
        found = judge(self.f, self.w, self.r, SYMBOL, side, kind, quantity, limit, stop, trail, strategy, guards)
        return Reason(found)


NONE = Reason(0)


def test_the_bits_are_those_of_the_reasons() -> None:
    kernel = {
        "BAD_NUMBER": "BAD_NUMBER",
        "BAD_KIND": "BAD_KIND",
        "BAD_SYMBOL": "SYMBOL",
        "NO_PRICE": "NO_PRICE",
        "STALE": "STALE",
        "HELD_UP": "BLOCKED",
        "COLLAR": "COLLAR",
        "NOT_HELD": "SHORT",
        "ORDER_VALUE": "ORDER_VALUE",
        "POSITION": "POSITION",
        "TOO_GROSS": "GROSS",
        "NOT_COVERED": "CASH",
        "DAILY_LOSS": "DAILY_LOSS",
        "DRAWDOWN": "DRAWDOWN",
        "RATE_MINUTE": "RATE_MINUTE",
        "RATE_DAY": "RATE_DAY",
        "DUPLICATE": "DUPLICATE",
        "TOO_MANY": "OPEN_ORDERS",
        "ORDER_CAP": "ORDER_CAP",
        "CLOSED": "MARKET_CLOSED",
        "NOT_LIMIT": "MARKET_ORDER",
        "FUTURE": "FUTURE",
        "VOLUME": "VOLUME",
        "ROUND_TRIPS": "ROUND_TRIPS",
    }
    assert {ours: Reason(getattr(bits, ours)).name for ours in kernel} == kernel


# --- what the order is ------------------------------------------------------------------------------------------------
HUGE = 1e15
"""Beyond this, whole numbers are not exact in a float any more."""
BELOW = 1e15 - 1.0


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"kind": -1}, Reason.BAD_KIND),
        ({"kind": at.ON_CLOSE}, NONE),
        ({"kind": at.ON_CLOSE + 1}, Reason.BAD_KIND),
        ({"side": 0}, Reason.BAD_KIND),
        ({"side": 2}, Reason.BAD_KIND),
        ({"quantity": 0.0}, Reason.BAD_NUMBER),
        ({"quantity": 0.5}, NONE),
        ({"quantity": -1.0}, Reason.BAD_NUMBER),
        ({"quantity": HUGE}, Reason.BAD_NUMBER),
        ({"quantity": float("nan")}, Reason.BAD_NUMBER),
        ({"kind": at.LIMIT, "limit": 0.5}, NONE),
        ({"kind": at.LIMIT, "limit": 0.0}, Reason.BAD_NUMBER),
        ({"kind": at.LIMIT, "limit": HUGE}, Reason.BAD_NUMBER),
        ({"kind": at.LIMIT, "limit": 90.0, "stop": 90.0}, Reason.BAD_KIND),
        ({"kind": at.LIMIT, "limit": 90.0, "trail": 1.0}, Reason.BAD_KIND),
        ({"kind": at.MARKET, "limit": 90.0}, Reason.BAD_KIND),
        ({"kind": at.MARKET, "limit": float("nan")}, Reason.BAD_KIND),
        ({"kind": at.STOP, "stop": 90.0}, NONE),
        ({"kind": at.STOP, "stop": 0.0}, Reason.BAD_NUMBER),
        ({"kind": at.STOP, "stop": HUGE}, Reason.BAD_NUMBER),
        ({"kind": at.STOP_LIMIT, "stop": 90.0, "limit": 90.0}, NONE),
        ({"kind": at.STOP_LIMIT, "limit": 90.0}, Reason.BAD_NUMBER),
        ({"kind": at.TRAILING, "trail": 50_000.0}, NONE),
        ({"kind": at.TRAILING, "trail": 0.0}, Reason.BAD_NUMBER),
        ({"kind": at.TRAILING, "trail": at.PPM - 1.0}, NONE),
        ({"kind": at.TRAILING, "trail": at.PPM}, Reason.BAD_NUMBER),
        ({"kind": at.TRAILING, "trail": 50_000.0, "stop": 90.0}, NONE),
        ({"kind": at.TRAILING, "trail": 50_000.0, "stop": 0.5}, NONE),
        ({"kind": at.TRAILING, "trail": 50_000.0, "stop": BELOW}, NONE),
        ({"kind": at.TRAILING, "trail": 50_000.0, "stop": HUGE}, Reason.BAD_NUMBER),
        ({"kind": at.TRAILING, "trail": 50_000.0, "stop": -1.0}, Reason.BAD_NUMBER),
        ({"kind": at.TRAILING, "trail": 50_000.0, "limit": 90.0}, Reason.BAD_KIND),
    ],
)
def test_an_order_has_the_numbers_of_its_kind_and_no_others(order: Any, reason: Reason) -> None:
    book = Book(SHORT_ALLOWED=1.0).header(CASH=NEVER, EQUITY=NEVER)
    assert book.judge(**order) == reason


@pytest.mark.parametrize("order", [{"quantity": BELOW}, {"kind": at.LIMIT, "limit": BELOW, "quantity": 1.0}])
def test_the_largest_numbers_are_judged_like_any_other(order: Any) -> None:
    book = Book(COLLAR_BPS=1e30).header(CASH=1e30, EQUITY=1e30)
    assert book.judge(**order) == NONE


def test_every_fault_of_an_order_is_named() -> None:
    assert Book().judge(quantity=0.0, limit=90.0) == Reason.BAD_NUMBER | Reason.BAD_KIND


# --- permission -------------------------------------------------------------------------------------------------------
def test_symbols_that_are_not_allowed_or_held_up_and_a_closed_exchange_refuse() -> None:
    assert Book().symbol(ALLOWED=0).judge() == Reason.SYMBOL
    assert Book().symbol(BLOCKED=1).judge() == Reason.BLOCKED
    assert Book().header(TRADING=0).judge() == Reason.MARKET_CLOSED
    everything = Book().symbol(ALLOWED=0, BLOCKED=1).header(TRADING=0).judge()
    assert everything == Reason.SYMBOL | Reason.BLOCKED | Reason.MARKET_CLOSED


@pytest.mark.parametrize(
    ("order", "allowed"),
    [
        ({}, False),
        ({"kind": at.STOP, "stop": 90.0}, False),
        ({"kind": at.LIMIT, "limit": 90.0}, True),
        ({"kind": at.STOP_LIMIT, "limit": 90.0, "stop": 90.0}, True),
    ],
)
@pytest.mark.parametrize("switch", [0.0, 0.5, 1.0])
def test_where_only_limits_are_allowed_nothing_goes_without_one(order: Any, allowed: bool, switch: float) -> None:
    expected = NONE if allowed or switch == 0.0 else Reason.MARKET_ORDER
    assert Book(LIMIT_ONLY=switch).judge(**order) == expected


# --- the price --------------------------------------------------------------------------------------------------------
def test_a_price_is_there_not_too_old_and_not_from_the_future() -> None:
    assert Book().symbol(SEEN=0).judge() == Reason.NO_PRICE
    assert Book(STALE_NS=60.0).symbol(SEEN=NOW - 60).judge() == NONE
    assert Book(STALE_NS=60.0).symbol(SEEN=NOW - 61).judge() == Reason.STALE
    assert Book(FUTURE_NS=5.0).symbol(SEEN=NOW + 5).judge() == NONE
    assert Book(FUTURE_NS=5.0).symbol(SEEN=NOW + 6).judge() == Reason.FUTURE


@pytest.mark.parametrize(
    ("side", "order", "reason"),
    [
        (1, {"kind": at.LIMIT, "limit": 105.0}, NONE),
        (1, {"kind": at.LIMIT, "limit": 105.01}, Reason.COLLAR),
        (1, {"kind": at.LIMIT, "limit": 1.0}, NONE),
        (-1, {"kind": at.LIMIT, "limit": 95.0}, NONE),
        (-1, {"kind": at.LIMIT, "limit": 94.99}, Reason.COLLAR),
        (-1, {"kind": at.LIMIT, "limit": 900.0}, NONE),
        (1, {"kind": at.STOP_LIMIT, "stop": 200.0, "limit": 210.0}, NONE),
        (1, {"kind": at.STOP_LIMIT, "stop": 200.0, "limit": 210.01}, Reason.COLLAR),
        (1, {"kind": at.STOP, "stop": 900.0}, NONE),
    ],
)
def test_a_limit_is_near_the_price_or_near_its_stop(side: int, order: Any, reason: Reason) -> None:
    assert Book(COLLAR_BPS=500.0, SHORT_ALLOWED=1.0).judge(side, **order) == reason


# --- what is held -----------------------------------------------------------------------------------------------------
def test_what_is_sold_is_held_and_not_promised_to_another_sale() -> None:
    assert Book().symbol(QUANTITY=10.0).judge(-1, 10.0) == NONE
    assert Book().symbol(QUANTITY=10.0).judge(-1, 10.5) == Reason.SHORT
    waiting = Book().symbol(QUANTITY=10.0).rests(-1, 6.0)
    assert waiting.judge(-1, 4.0) == NONE
    assert waiting.judge(-1, 4.5) == Reason.SHORT
    assert Book().symbol(QUANTITY=10.0).rests(1, 6.0).judge(-1, 10.0) == NONE
    assert Book().symbol(QUANTITY=10.0).rests(-1, 6.0, symbol=OTHER).judge(-1, 10.0) == NONE


def test_a_strategy_sells_its_own_shares_only() -> None:
    book = Book().symbol(QUANTITY=10.0, OWN=6.0)
    assert book.judge(-1, 6.0, strategy=1) == NONE
    assert book.judge(-1, 6.5, strategy=1) == Reason.SHORT
    assert book.judge(-1, 6.5, strategy=0) == NONE
    waiting = Book().symbol(QUANTITY=10.0, OWN=6.0).rests(-1, 4.0, strategy=1).rests(-1, 1.0)
    assert waiting.judge(-1, 2.0, strategy=1) == NONE
    assert waiting.judge(-1, 2.5, strategy=1) == Reason.SHORT


def test_exits_that_guard_a_position_count_only_when_asked() -> None:
    guarded = Book().symbol(QUANTITY=10.0, OWN=10.0).rests(-1, 10.0, parent=7, strategy=1)
    for strategy in (0, 1):
        assert guarded.judge(-1, 10.0, strategy=strategy, guards=0) == NONE
        assert guarded.judge(-1, 10.0, strategy=strategy, guards=1) == Reason.SHORT


# --- exposure that an order adds --------------------------------------------------------------------------------------
def test_where_nothing_is_sold_short_a_buy_adds_all_of_itself_and_a_sale_nothing() -> None:
    small = Book(ORDER_BPS=100.0)  # 1,000 dollars
    assert small.symbol(QUANTITY=50.0).judge(1, 10.0) == NONE
    assert small.judge(1, 10.5) == Reason.ORDER_VALUE
    assert small.judge(-1, 50.0) == NONE


@pytest.mark.parametrize(
    ("held", "side", "fits"),
    [
        (0.0, 1, 10.0),
        (0.0, -1, 10.0),
        (20.0, -1, 30.0),  # 20 close the position, 10 open the other side
        (20.0, 1, 10.0),
        (-20.0, 1, 30.0),
        (-20.0, -1, 10.0),
        (0.5, -1, 10.5),
        (-0.5, 1, 10.5),
    ],
)
def test_with_shorts_an_order_adds_what_goes_beyond_closing(held: float, side: int, fits: float) -> None:
    book = Book(ORDER_BPS=100.0, SHORT_ALLOWED=1.0).symbol(QUANTITY=held)
    assert book.judge(side, fits) == NONE
    assert book.judge(side, fits + 0.5) == Reason.ORDER_VALUE


def test_an_order_that_closes_no_more_than_is_there_is_not_held_back_by_loss_or_rate() -> None:
    book = Book(SHORT_ALLOWED=1.0, PER_MINUTE=0.0).symbol(QUANTITY=10.0)
    assert book.judge(-1, 10.0) == NONE
    assert book.judge(-1, 10.5) == Reason.RATE_MINUTE


@pytest.mark.parametrize(
    ("order", "value"),
    [
        ({"kind": at.MARKET}, 1_000.0),
        ({"kind": at.LIMIT, "limit": 90.0}, 900.0),
        ({"kind": at.LIMIT, "limit": 0.5}, 5.0),
        ({"kind": at.STOP, "stop": 110.0}, 1_100.0),
        ({"kind": at.STOP, "stop": 0.5}, 5.0),
        ({"kind": at.STOP_LIMIT, "stop": 110.0, "limit": 120.0}, 1_200.0),
    ],
)
def test_an_order_is_worth_its_limit_else_its_stop_else_the_last_close(order: Any, value: float) -> None:
    assert Book(ORDER_MONEY=value).judge(1, 10.0, **order) == NONE
    assert Book(ORDER_MONEY=value - 0.5).judge(1, 10.0, **order) == Reason.ORDER_CAP


def test_a_cap_below_a_dollar_is_a_cap_and_none_is_none() -> None:
    assert Book(ORDER_MONEY=0.5).judge() == Reason.ORDER_CAP
    assert Book(ORDER_MONEY=0.0).judge() == NONE


def test_the_share_of_one_order_in_the_account() -> None:
    assert Book(ORDER_BPS=1_000.0).judge(1, 100.0) == NONE
    assert Book(ORDER_BPS=1_000.0).judge(1, 100.5) == Reason.ORDER_VALUE


@pytest.mark.parametrize("held", [50.0, -50.0])
def test_a_position_counts_what_is_held_either_way_and_what_waits_in_its_symbol(held: float) -> None:
    book = Book(POSITION_BPS=1_000.0, SHORT_ALLOWED=1.0).symbol(QUANTITY=held)  # 10,000 dollars
    side = 1 if held > 0 else -1
    book.rests(side, 20.0).rests(side, 70.0, symbol=OTHER)
    assert book.judge(side, 30.0) == NONE
    assert book.judge(side, 30.5) == Reason.POSITION


def test_all_positions_together_count_what_waits_anywhere() -> None:
    book = Book(GROSS_BPS=1_000.0).header(GROSS=5_000.0).rests(1, 20.0, symbol=OTHER)
    assert book.judge(1, 30.0) == NONE
    assert book.judge(1, 30.5) == Reason.GROSS


@pytest.mark.parametrize(("rounded", "fits"), [(0.0, True), (1.0, False), (0.5, False)])
def test_the_value_of_all_positions_is_rounded_up_where_money_is_whole(rounded: float, fits: bool) -> None:
    """5,000.5 and 5,000 fit below 10,000.5 as they are; rounded up they are 10,001."""
    book = Book(GROSS_BPS=1_000.05, ROUND=rounded).header(GROSS=5_000.5)
    assert book.judge(1, 50.0) == (NONE if fits else Reason.GROSS)


def test_the_cash_covers_a_purchase_beside_those_that_wait_but_not_a_short_sale() -> None:
    book = Book(SHORT_ALLOWED=1.0).header(CASH=5_000.0).rests(1, 20.0, symbol=OTHER)
    assert book.judge(1, 30.0) == NONE
    assert book.judge(1, 30.5) == Reason.CASH
    assert book.judge(-1, 900.0) == NONE


def test_only_resting_orders_that_add_and_guard_nothing_are_promised_money() -> None:
    def promised(**order: Any) -> float:
        book = Book(SHORT_ALLOWED=1.0).symbol(QUANTITY=10.0).rests(**order)
        book.judge()
        assert book.f[at.PROMISED] == book.f[SYMBOL + at.RESERVED]
        assert book.f[OTHER + at.RESERVED] == 0.0
        return book.f[at.PROMISED]

    assert promised(side=1, quantity=2.0) == 200.0
    assert promised(side=1, quantity=0.005) == 0.5
    assert promised(side=1, quantity=2.0, limit=90.0) == 180.0
    assert promised(side=1, quantity=2.0, stop=110.0) == 220.0
    assert promised(side=-1, quantity=12.0) == 200.0
    assert promised(side=-1, quantity=10.0) == 0.0
    assert promised(side=1, quantity=2.0, alive=0) == 0.0
    assert promised(side=1, quantity=2.0, parent=3) == 0.0


def test_what_was_promised_before_is_forgotten() -> None:
    book = Book()
    book.f[OTHER + at.RESERVED] = book.f[SYMBOL + at.RESERVED] = book.f[at.PROMISED] = 7.0
    take_stock(book.f, book.w, book.r)
    assert book.f[OTHER + at.RESERVED] == book.f[SYMBOL + at.RESERVED] == book.f[at.PROMISED] == 0.0


# --- the state of the account -----------------------------------------------------------------------------------------
def test_after_a_loss_since_the_close_before_nothing_is_added() -> None:
    assert Book(LOSS_BPS=300.0).header(EQUITY=97.0, DAY_EQUITY=100.0, CASH=NEVER).judge() == NONE
    assert Book(LOSS_BPS=300.0).header(EQUITY=96.9, DAY_EQUITY=100.0, CASH=NEVER).judge() == Reason.DAILY_LOSS


def test_far_below_the_highest_value_nothing_is_added() -> None:
    assert Book(DRAWDOWN_BPS=2_000.0).judge() == NONE, "no highest value yet"
    assert Book(DRAWDOWN_BPS=2_000.0).peak(125_000.0).judge() == NONE
    assert Book(DRAWDOWN_BPS=2_000.0).peak(125_001.0).judge() == Reason.DRAWDOWN
    assert Book(DRAWDOWN_BPS=2_000.0).peak(125_001.0).peak(1.0).judge() == Reason.DRAWDOWN, "the first is the highest"


def test_rates_count_accepted_orders_that_added_exposure() -> None:
    book = Book(PER_MINUTE=2.0, PER_DAY=4.0).accepted(at.MINUTE_NS - 1)
    assert book.judge() == NONE
    assert book.accepted(0, symbol=OTHER).judge() == Reason.RATE_MINUTE
    later = Book(PER_MINUTE=2.0, PER_DAY=2.0).accepted(at.MINUTE_NS).accepted(0, adds=0)
    assert later.judge() == NONE
    assert later.accepted(at.DAY_NS).judge() == NONE
    assert later.accepted(at.DAY_NS - 1).judge() == Reason.RATE_DAY
    assert (later.w[at.BUYS_MINUTE], later.w[at.BUYS_DAY]) == (0, 2)


def test_orders_that_wait_are_counted() -> None:
    assert Book(OPEN_LIMIT=3.0).header(ALIVE_ORDERS=2).judge() == NONE
    assert Book(OPEN_LIMIT=3.0).header(ALIVE_ORDERS=3).judge() == Reason.OPEN_ORDERS


@pytest.mark.parametrize(("mean", "day"), [(1_000.0, 0.0), (0.0, 1_000.0), (1_000.0, 400.0), (400.0, 1_000.0)])
def test_an_order_is_a_small_part_of_the_usual_volume_or_of_todays(mean: float, day: float) -> None:
    book = Book(VOLUME_PPM=10_000.0).symbol(MEAN_VOLUME=mean, DAY_VOLUME=day)  # one in a hundred
    assert book.judge(1, 10.0) == NONE
    assert book.judge(1, 10.5) == Reason.VOLUME


def test_volume_is_shares_and_unknown_volume_holds_nothing_back() -> None:
    lots = Book(VOLUME_PPM=10_000.0, LOTS=100.0).symbol(MEAN_VOLUME=1_000.0)
    assert lots.judge(1, 1_000.0) == NONE
    assert lots.judge(1, 1_001.0) == Reason.VOLUME
    assert Book(VOLUME_PPM=10_000.0).judge() == NONE
    assert Book(VOLUME_PPM=0.0).symbol(MEAN_VOLUME=1.0).judge() == NONE
    assert Book(VOLUME_PPM=0.5).symbol(MEAN_VOLUME=0.5).judge() == Reason.VOLUME
    assert Book(VOLUME_PPM=10_000.0).symbol(MEAN_VOLUME=1_000.0, QUANTITY=90.0).judge(-1, 90.0) == NONE


def test_a_symbol_goes_round_only_so_often() -> None:
    assert Book(TRIPS_LIMIT=2.0).symbol(TRIPS=1.0).judge() == NONE
    assert Book(TRIPS_LIMIT=2.0).symbol(TRIPS=2.0).judge() == Reason.ROUND_TRIPS
    assert Book(TRIPS_LIMIT=0.5).symbol(TRIPS=0.5).judge() == Reason.ROUND_TRIPS
    assert Book(TRIPS_LIMIT=0.0).symbol(TRIPS=9.0).judge() == NONE


@pytest.mark.parametrize(
    ("recent", "same"),
    [
        ({"age": 59}, True),
        ({"age": 60}, False),
        ({"age": 0, "quantity": 10.5}, False),
        ({"age": 0, "side": -1}, False),
        ({"age": 0, "symbol": OTHER}, False),
    ],
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_same_order_a_moment_ago_is_a_mistake(recent: Any, same: bool, position: int) -> None:
    book = Book(DUPLICATE_NS=60.0)
    for place in range(3):
        accepted: dict[str, Any] = {"quantity": 10.0, **recent} if place == position else {"age": 0, "quantity": 1.0}
        book.accepted(**accepted)
    assert book.judge() == (Reason.DUPLICATE if same else NONE)
