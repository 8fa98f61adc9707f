"""Each kind of order, and what bars do to it. Every figure here was computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.trading_engine.engine_for_tests import deals, order, series, trade

from retainer.core.errors import InvalidInputError
from retainer.trading.engine import CANCEL_REASONS, ORDER_KINDS
from retainer.trading.kernel import layout
from retainer.trading.limits import Fees, Limits, Reason


def reasons(run: Any) -> list[str]:
    return [CANCEL_REASONS[int(gone["reason"])] for gone in run.cancelled]


def test_the_kernels_numbers_of_the_order_kinds_are_those_of_the_words() -> None:
    named = [getattr(layout, name.upper()) for name in ORDER_KINDS]
    assert named == list(range(len(ORDER_KINDS)))


def test_a_market_order_fills_at_the_next_open() -> None:
    run = trade(series([100, (101, 105, 99, 104)]), orders=[order(0, "buy", 5)])
    assert deals(run) == [(1, 1, 5, 101)]
    assert run.final == 100_000 + 5 * 3


def test_an_order_on_the_close_fills_at_the_next_close() -> None:
    run = trade(series([100, (101, 105, 99, 104)]), orders=[order(0, "buy", 5, type="on_close")])
    assert deals(run) == [(1, 1, 5, 104)]


def test_targets_fill_at_the_next_open_the_next_close_or_when_told_so_at_the_very_close() -> None:
    bars = series([100, (101, 105, 99, 104), 110])
    for fill_on, row, price in (("next_open", 1, 101), ("next_close", 1, 104), ("same_close", 0, 100)):
        run = trade(bars, targets={"AAPL": [5, 5, 5]}, unit="shares", fill_on=fill_on)
        assert deals(run) == [(row, 1, 5, price)]
        assert run.flatters == (fill_on == "same_close")


def test_an_order_of_the_last_bar_stays_pending() -> None:
    run = trade(series([100, 101]), orders=[order(1, "buy", 5)])
    assert deals(run) == []
    [waiting] = run.pending
    assert (waiting.symbol, waiting.side, waiting.quantity) == ("AAPL", "buy", 5)


def test_a_missing_bar_fills_nothing() -> None:
    other = series([50, 50, 50], "IBM")
    run = trade(series([100, None, 120]), other, orders=[order(0, "buy", 5)])
    assert deals(run) == [(2, 1, 5, 120)]


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ((90, 91, 89, 90), 90),  # the open gaps through the stop
        ((98, 99, 96, 98), 97),
        ((98, 99, 97.01, 98), None),
    ],
)
def test_a_stop_fills_at_the_worse_of_stop_and_open(bar: Any, price: float | None) -> None:
    run = trade(series([100, 100, bar]), orders=[order(0, "buy", 10), order(1, "sell", 10, type="stop", stop=97)])
    assert deals(run)[1:] == ([] if price is None else [(2, -1, 10, price)])


@pytest.mark.parametrize(
    ("bar", "price"), [((90, 91, 89, 90), 90), ((98, 99, 94, 98), 95), ((98, 99, 95.01, 98), None)]
)
def test_a_limit_fills_at_the_better_of_limit_and_open(bar: Any, price: float | None) -> None:
    run = trade(series([100, bar]), orders=[order(0, "buy", 10, type="limit", limit=95)])
    assert deals(run) == ([] if price is None else [(1, 1, 10, price)])


@pytest.mark.parametrize(
    ("bar", "price"), [((107, 108, 106, 107), 107), ((103, 106, 102, 104), 105), ((103, 104.99, 102, 104), None)]
)
def test_a_limit_to_sell_fills_at_the_better_of_limit_and_open(bar: Any, price: float | None) -> None:
    run = trade(series([100, 100, bar]), orders=[order(0, "buy", 10), order(1, "sell", 10, type="limit", limit=105)])
    assert deals(run)[1:] == ([] if price is None else [(2, -1, 10, price)])


@pytest.mark.parametrize(("bar", "price"), [((106, 107, 105, 106), 106), ((102, 104, 101, 104), 103)])
def test_a_stop_to_buy_fills_at_the_worse_of_stop_and_open(bar: Any, price: float) -> None:
    run = trade(series([100, bar]), orders=[order(0, "buy", 10, type="stop", stop=103)])
    assert deals(run) == [(1, 1, 10, price)]


@pytest.mark.parametrize(
    ("bars", "fills"),
    [
        ([(98, 99, 96.5, 97)], [(2, 97)]),  # met on the way down, within the limit
        ([(95, 95.5, 94, 95)], []),  # the open is below the limit: it rests as a limit now
        ([(95, 95.5, 94, 95), (96.5, 97, 96, 96)], [(3, 96.5)]),  # and the next open is better than it
    ],
)
def test_a_stop_limit_to_sell_never_sells_below_its_limit(bars: Any, fills: Any) -> None:
    orders = [order(0, "buy", 10), order(1, "sell", 10, type="stop_limit", stop=97, limit=96)]
    run = trade(series([100, 100, *bars]), orders=orders)
    assert [(row, price) for row, _, _, price in deals(run)[1:]] == fills


@pytest.mark.parametrize(
    ("bars", "fills"),
    [
        ([(100, 104, 99, 103)], [(1, 102)]),  # met on the way up, within the limit
        ([(105, 106, 104, 105)], []),  # the open is beyond the limit: it rests as a limit now
        ([(105, 106, 104, 105), (104, 104, 102.5, 103)], [(2, 103)]),
        ([(101, 101.5, 100, 101), (101, 101.9, 100, 101)], []),  # never met
    ],
)
def test_a_stop_limit_becomes_a_limit_when_its_stop_is_met(bars: Any, fills: Any) -> None:
    run = trade(series([100, *bars]), orders=[order(0, "buy", 10, type="stop_limit", stop=102, limit=103)])
    assert [(row, price) for row, _, _, price in deals(run)] == fills


def test_a_trailing_stop_follows_the_high_and_never_goes_back() -> None:
    bars: list[Any] = [100, (100, 110, 100, 110), (109, 112, 105, 112), (108, 109, 101, 103)]
    run = trade(
        series(bars), orders=[order(0, "buy", 10), order(0, "sell", 10, type="trailing", trail=0.05)], short=True
    )
    # 110 puts it at 104.5; the low of 105 does not meet it; 112 puts it at 106.4, met on the way down from 108
    assert deals(run) == [(1, 1, 10, 100), (3, -1, 10, 106.4)]


def test_a_trailing_stop_can_be_met_between_the_high_and_the_close_of_one_bar() -> None:
    bars: list[Any] = [100, (100, 120, 100, 110)]
    run = trade(
        series(bars), orders=[order(0, "buy", 10), order(0, "sell", 10, type="trailing", trail=0.05)], short=True
    )
    assert deals(run) == [(1, 1, 10, 100), (1, -1, 10, 114)]  # 120 less 5 %


def test_a_trailing_stop_to_buy_follows_the_low() -> None:
    bars: list[Any] = [100, 100, (100, 100, 90, 90), (91, 95, 91, 95)]
    orders = [order(0, "sell", 10), order(0, "buy", 10, type="trailing", trail=0.05)]
    run = trade(series(bars), orders=orders, short=True)
    assert deals(run) == [(1, -1, 10, 100), (3, 1, 10, 94.5)]  # 90 and 5 %
    assert run.realised == 55


@pytest.mark.parametrize(
    ("bar", "price"), [((108, 109, 94, 100), 108), ((100, 106, 94, 95), 105), ((99, 104, 94, 95), 95)]
)
def test_a_bracket_of_a_short_buys_back_and_its_high_comes_first(bar: Any, price: float) -> None:
    run = trade(series([100, 100, bar]), orders=[order(0, "sell", 10, stop_loss=105, take_profit=95)], short=True)
    assert deals(run) == [(1, -1, 10, 100), (2, 1, 10, price)]
    assert reasons(run) == ["its partner was filled"]


def test_the_adverse_extreme_of_a_bracket_comes_first() -> None:
    entry = order(0, "buy", 10, stop_loss=95, take_profit=105)
    run = trade(series([100, 100, (100, 110, 90, 100)]), orders=[entry])
    assert deals(run) == [(1, 1, 10, 100), (2, -1, 10, 95)]
    assert reasons(run) == ["its partner was filled"]
    assert run.pending == ()


def test_a_bracket_takes_its_profit_and_cancels_its_stop() -> None:
    run = trade(series([100, 100, (101, 110, 99, 104)]), orders=[order(0, "buy", 10, stop_loss=95, take_profit=105)])
    assert deals(run)[1:] == [(2, -1, 10, 105)]
    assert run.realised == 50


def test_the_bar_of_the_entry_can_stop_it_out() -> None:
    entry = order(0, "buy", 10, type="limit", limit=98, stop_loss=96)
    run = trade(series([100, (100, 101, 95, 100)]), orders=[entry])
    assert deals(run) == [(1, 1, 10, 98), (1, -1, 10, 96)]


def test_a_stop_below_a_buy_stop_entry_is_met_between_the_high_and_the_close() -> None:
    entry = order(0, "buy", 10, type="stop", stop=104, stop_loss=102)
    run = trade(series([100, (100, 106, 99, 101)]), orders=[entry])
    assert deals(run) == [(1, 1, 10, 104), (1, -1, 10, 102)]


def test_one_cancels_the_other() -> None:
    pair = [
        order(0, "buy", 10, type="limit", limit=95, oco="either"),
        order(0, "buy", 10, type="stop", stop=105, oco="either"),
    ]
    run = trade(series([100, (100, 106, 99, 105), (105, 106, 90, 100)]), orders=pair)
    assert deals(run) == [(1, 1, 10, 105)]
    assert reasons(run) == ["its partner was filled"]


def test_a_plan_s_stop_is_a_share_of_the_fill_price_and_holds_until_the_target_changes() -> None:
    bars = series([100, 102, (101, 101, 90, 92), 100, 100, 101])
    run = trade(bars, targets={"AAPL": [0.1, 0.1, 0.1, 0.1, 0, 0.1]}, stop_loss={"AAPL": np.full(6, 0.05)})
    # 10,000 / 100 = 100 shares at 102; 5 % below is 96.90
    assert deals(run) == [(1, 1, 100, 102), (2, -1, 100, 96.9)]
    assert [w.quantity for w in run.pending] == [98]  # 99,490 / 10 / 101: the target changed from 0 to 0.1 again


def test_an_exit_by_target_takes_back_the_stop() -> None:
    bars = series([100, 100, 100, (99, 99, 80, 80)])
    run = trade(bars, targets={"AAPL": [0.1, 0.1, 0, 0]}, stop_loss={"AAPL": np.full(4, 0.05)})
    assert deals(run) == [(1, 1, 100, 100), (3, -1, 100, 99)]
    assert reasons(run) == ["the position it guarded is being sold"]


def test_a_fill_takes_at_most_a_share_of_the_volume_and_the_rest_carries_over() -> None:
    run = trade(series([100, 101, 102, 103]), orders=[order(0, "buy", 250)], volume_share=0.1)
    assert deals(run) == [(1, 1, 100, 101), (2, 1, 100, 102), (3, 1, 50, 103)]


def test_a_stop_that_was_met_goes_on_at_the_market_until_it_is_done() -> None:
    bars = series([100, 100, 100, (98, 99, 96, 98), (99, 100, 99, 100)], volume=100)
    run = trade(bars, orders=[order(0, "buy", 20), order(2, "sell", 20, type="stop", stop=97)], volume_share=0.1)
    assert deals(run) == [(1, 1, 10, 100), (2, 1, 10, 100), (3, -1, 10, 97), (4, -1, 10, 99)]


def test_the_exits_of_an_entry_filled_in_parts_guard_what_was_filled() -> None:
    """A tenth of 1,000 shares a bar: 100 and 50 bought, the stop of 150 sells 100 and 50."""
    bars = series([100, 100, 100, (96, 96, 94, 95), 94])
    run = trade(bars, orders=[order(0, "buy", 150, stop_loss=95)], volume_share=0.1)
    assert deals(run) == [(1, 1, 100, 100), (2, 1, 50, 100), (3, -1, 100, 95), (4, -1, 50, 94)]
    # of 250, 200 are bought when the stop is met; it takes the volumes that follow and ends the rest of the entry
    early = trade(
        series([100, 100, (96, 96, 94, 95), 94, 93]), orders=[order(0, "buy", 250, stop_loss=95)], volume_share=0.1
    )
    assert deals(early) == [(1, 1, 100, 100), (2, 1, 100, 96), (3, -1, 100, 94), (4, -1, 100, 93)]
    assert reasons(early) == ["its exit was filled first"]


def test_what_one_of_a_pair_has_filled_in_part_is_taken_off_the_other() -> None:
    """100 of 150 are bought at 95: the other one is for 50, and ends the first when it fills."""
    pair = [
        order(0, "buy", 150, type="limit", limit=95, oco="either"),
        order(0, "buy", 150, type="stop", stop=105, oco="either"),
    ]
    run = trade(series([100, (95, 96, 95, 96), (104, 106, 104, 105), 95]), orders=pair, volume_share=0.1)
    assert deals(run) == [(1, 1, 100, 95), (2, 1, 50, 105)]
    assert reasons(run) == ["its partner was filled"]


def test_an_order_for_the_day_ends_with_its_session() -> None:
    run = trade(series([100, 100, 94]), orders=[order(0, "buy", 10, type="limit", limit=95, day=True)])
    assert deals(run) == []
    assert reasons(run) == ["its session ended"]


def test_a_split_changes_shares_resting_orders_and_their_prices() -> None:
    bars = series([90, 90, (45, 46, 44, 45.5), (41, 41, 39, 40)], factor=[1, 1, 2, 2])
    run = trade(bars, orders=[order(0, "buy", 101), order(1, "sell", 101, type="stop", stop=80)])
    assert deals(run) == [(1, 1, 101, 90), (3, -1, 202, 40)]


SPLIT = [1.0, 1.0, 2.0, 2.0]
"""Two for one before the third bar: 90 becomes 45."""


@pytest.mark.parametrize(
    ("resting", "bars", "fill"),
    [
        # a bracket of 11 at 80 and 120: of 22 at 40 and 60
        (order(0, "buy", 11, stop_loss=80, take_profit=120), [(45, 46, 44, 45), (44, 61, 44, 60)], (3, -1, 22, 60)),
        (order(0, "buy", 11, stop_loss=80, take_profit=120), [(45, 46, 44, 45), (44, 44, 39, 40)], (3, -1, 22, 40)),
        # 10 % below 90 is 81, then 40.50; the high of 46 puts it at 41.40
        (order(1, "sell", 11, type="trailing", trail=0.1), [(45, 46, 44, 45), (42, 42, 41, 41)], (3, -1, 22, 41.4)),
        # 10 to buy from 100 on, up to 102: 20 from 50 on, up to 51
        (order(1, "buy", 10, type="stop_limit", stop=100, limit=102), [45, (49, 50.5, 49, 50)], (3, 1, 20, 50)),
        (order(1, "buy", 10, type="limit", limit=86.01), [45, (44, 44, 43, 43)], (3, 1, 20, 43)),  # 43.005: to even
    ],
)
def test_a_split_changes_every_kind_of_resting_order(resting: Any, bars: Any, fill: Any) -> None:
    orders = [resting] if resting.row == 0 else [order(0, "buy", 11), resting]
    run = trade(series([90, 90, *bars], factor=SPLIT), orders=orders)
    assert deals(run)[1:] == [fill]


def test_a_reverse_split_pays_the_fraction_in_cash_unless_fractions_are_held() -> None:
    """105 shares, one for ten: 10 and half a share of 20 dollars."""
    bars = series([2, 2, 20, 20], factor=[1, 1, 0.1, 0.1])
    whole = trade(bars, orders=[order(0, "buy", 105)])
    assert (whole.shares[0], whole.cash[-1], whole.final) == (10, 100_000 - 210 + 10, 100_000)
    parts = trade(bars, orders=[order(0, "buy", 105)], fractional=True)
    assert (parts.shares[0], parts.cash[-1], parts.final) == (10.5, 100_000 - 210, 100_000)


def test_a_dividend_lowers_no_limit_to_sell_and_no_stop_to_buy() -> None:
    """FINRA rule 5330: 1.50 off the stop at 190 of a bracket, nothing off its 203, nor off a stop to buy at 201."""
    factor = [1, 1, *[200 / 198.5] * 3]
    bars = series([200, 200, (198.5, 199, 189, 198), (198, 200.99, 188.51, 190), (190, 203, 190, 200)], factor=factor)
    run = trade(bars, orders=[order(0, "buy", 100, stop_loss=190, take_profit=203)])
    assert deals(run)[1:] == [(4, -1, 100, 203)]
    assert run.dividends == 150
    assert deals(trade(bars, orders=[order(1, "buy", 10, type="stop", stop=201)])) == [(4, 1, 10, 201)]


def test_a_dividend_is_paid_and_lowers_a_resting_stop_and_a_buy_limit() -> None:
    factor = [1, 1, 200 / 198.5, 200 / 198.5]
    bars = series([200, 200, (198.5, 199, 189, 198), (198, 198, 188.4, 190)], factor=factor)
    orders = [order(0, "buy", 100), order(1, "sell", 100, type="stop", stop=190)]
    run = trade(bars, orders=orders)
    assert run.dividends == 150
    assert deals(run)[1:] == [(3, -1, 100, 188.5)]  # 190 less 1.50
    limit = trade(bars, orders=[order(1, "buy", 10, type="limit", limit=190.5)])
    assert deals(limit) == [(2, 1, 10, 189)]


def test_fees_slippage_and_ticks() -> None:
    fees = Fees(
        per_share=50, commission_ppm=100, minimum=100, sell_ppm=28, slippage_ppm=100, sell_micro=166, sell_cap=1
    )
    run = trade(series([100, 191.99, 191.99]), orders=[order(0, "buy", 100), order(1, "sell", 100)], fees=fees)
    bought, sold = run.fills
    assert (bought["price"], sold["price"]) == (192.01, 191.97)  # 192.009199 up, 191.970801 down to the cent
    assert bought["fee"] == pytest.approx(0.5 + 1.93)  # 192.01 cents beside 50: 242.01 cents, up
    assert sold["fee"] == pytest.approx(2.42 + 0.54 + 0.01)  # 241.97 up, 53.75 up, 1.66 cents at most 1
    assert run.slippage_cost == pytest.approx(0.02 * 100 * 2)


@pytest.mark.parametrize(
    ("fees", "bought", "sold"),
    [
        ({"per_share": 50}, 0.50, 0.50),  # half a cent a share
        ({"commission_ppm": 1_000}, 5.00, 5.00),  # 0.1 % of 5,000
        ({"commission_ppm": 1_000, "per_share": 50}, 5.50, 5.50),
        ({"commission_ppm": 1_000, "minimum": 700}, 7.00, 7.00),
        ({"commission_ppm": 1_000, "minimum": 300}, 5.00, 5.00),
        ({"sell_ppm": 28}, 0.00, 0.14),  # of the value sold
        ({"sell_ppm": 27}, 0.00, 0.14),  # 13.5 cents, up
        ({"sell_micro": 166}, 0.00, 0.02),  # 1.66 cents, up
        ({"sell_micro": 166_000, "sell_cap": 598}, 0.00, 5.98),  # 16.60, at most 5.98
        ({"minimum": 100, "sell_ppm": 28}, 1.00, 1.14),  # the minimum is one of the commission
    ],
)
def test_each_fee_by_itself_on_100_shares_at_50_dollars(fees: dict[str, int], bought: float, sold: float) -> None:
    orders = [order(0, "buy", 100), order(1, "sell", 100)]
    run = trade(series([50, 50, 50]), orders=orders, fees=Fees(slippage_ppm=0, **fees))
    assert run.fills["fee"].tolist() == [bought, sold]
    assert run.final == pytest.approx(100_000 - bought - sold)


def test_the_minimum_is_paid_for_every_part_of_an_order() -> None:
    fees = Fees(slippage_ppm=0, minimum=100)
    run = trade(series([50, 50, 50]), orders=[order(0, "buy", 100)], fees=fees, volume_share=0.05)
    assert [(f["quantity"], f["fee"]) for f in run.fills] == [(50, 1.0), (50, 1.0)]


@pytest.mark.parametrize(
    ("fees", "up", "down"),
    [
        ({"slippage_ppm": 100}, 100.01, 99.99),  # a basis point
        ({"slippage_ppm": 123}, 100.02, 99.98),  # 100.0123, to the tick against the account
        ({"slippage_ppm": 123, "tick": 1}, 100.0123, 99.9877),
        ({"slippage_ppm": 0, "slippage_units": 300}, 100.03, 99.97),  # a fixed three cents
        ({"slippage_ppm": 0, "impact_ppm": 10_000}, 100.50, 99.50),  # 1 % for the whole volume, here half of it
        ({"slippage_ppm": 100, "slippage_units": 300, "impact_ppm": 10_000}, 100.54, 99.46),
    ],
)
def test_each_slippage_by_itself_on_half_of_the_volume(fees: dict[str, int], up: float, down: float) -> None:
    orders = [order(0, "buy", 500), order(1, "sell", 500)]
    run = trade(series([100, 100, 100]), orders=orders, fees=Fees(**fees))
    assert deals(run) == [(1, 1, 500, up), (2, -1, 500, down)]
    limits = [order(0, "buy", 500, type="limit", limit=100), order(1, "sell", 500, type="limit", limit=100)]
    assert [price for *_, price in deals(trade(series([100, 100, 100]), orders=limits, fees=Fees(**fees)))] == [
        100,
        100,
    ]


def test_amounts_rounded_to_cents_carry_fees_on_the_rounded_amount() -> None:
    # 100 x 0.12345 is 12.345 dollars, booked as 12.35: half of it is 6.175, a fee of 6.18 (of 12.345 it would be 6.17)
    run = trade(
        series([1, 0.12345, 0.12345]),
        orders=[order(0, "buy", 100)],
        fees=Fees(commission_ppm=500_000, slippage_ppm=0),
        exact=True,
        to_cents=True,
    )
    assert run.fees == 6.18
    assert run.cash[-1] == 100_000 - 12.35 - 6.18


def test_slippage_grows_with_the_share_of_the_volume() -> None:
    fees = Fees(slippage_ppm=0, slippage_units=100, impact_ppm=10_000)
    run = trade(series([100, 100]), orders=[order(0, "buy", 500)], fees=fees)
    assert deals(run) == [(1, 1, 500, 100.51)]  # a cent, and half the volume at 1 %: 50 cents


def test_fractions_of_a_share() -> None:
    run = trade(series([3, 3]), targets={"AAPL": [0.5, 0.5]}, fractional=True)
    assert [deal[2] for deal in deals(run)] == pytest.approx([16_666.666666])
    whole = trade(series([3, 3]), targets={"AAPL": [0.5, 0.5]})
    assert deals(whole) == [(1, 1, 16_666, 3)]


def test_several_symbols_share_the_cash_and_sells_pay_for_buys() -> None:
    first, second = series([100, 100, 100, 100]), series([50, 50, 50, 50], "IBM")
    run = trade(first, second, targets={"AAPL": [1, 1, 0, 0], "IBM": [0, 0, 1, 1]})
    assert deals(run) == [(1, 1, 1_000, 100), (3, -1, 1_000, 100)]
    assert run.skipped == 1  # at the close of the decision the cash was still in AAPL
    later = trade(first, second, targets={"AAPL": [0.5, 0.5, 0, 0], "IBM": [0, 0, 0.5, 0.5]})
    assert deals(later) == [(1, 1, 500, 100), (3, -1, 500, 100), (3, 1, 1_000, 50)]


def test_a_gap_up_cuts_a_buy_to_the_cash() -> None:
    run = trade(series([100, 130]), orders=[order(0, "buy", 1_000)])
    assert [(f["quantity"], f["unfilled"]) for f in run.fills] == [(769, 231)]
    assert run.cash[-1] == 100_000 - 769 * 130


def test_nothing_is_sold_short_unless_the_switch_is_on() -> None:
    run = trade(series([100, 100]), orders=[order(0, "sell", 10)])
    assert [Reason(int(bits)) for bits in run.refused["bits"]] == [Reason.SHORT]
    with pytest.raises(InvalidInputError, match="cannot be meant"):
        trade(series([100, 100]), targets={"AAPL": [-0.5, -0.5]})


def test_a_short_pays_for_its_borrowed_shares_and_their_dividends() -> None:
    bars = series([200, 200, 200, 198.5, 150], factor=[1, 1, 1, 200 / 198.5, 200 / 198.5])
    run = trade(bars, targets={"AAPL": [-0.5, -0.5, -0.5, 0, 0]}, short=True, borrow=0.365)
    assert deals(run) == [(1, -1, 250, 200), (4, 1, 250, 150)]
    assert run.dividends == -250 * 1.5
    assert run.borrow_cost == 50 + 50 + 49.63  # 0.1 % of 50,000 a night, of 49,625 at last, up to the cent
    assert run.final == pytest.approx(100_000 + 250 * 50 - 375 - 149.63)


def test_the_high_comes_first_for_a_short() -> None:
    bars = series([100, 100, (100, 106, 90, 100)])
    exits: dict[str, Any] = {"stop_loss": {"AAPL": np.full(3, 0.05)}, "take_profit": {"AAPL": np.full(3, 0.05)}}
    run = trade(bars, targets={"AAPL": [-0.1, -0.1, -0.1]}, short=True, **exits)
    assert deals(run) == [(1, -1, 100, 100), (2, 1, 100, 105)]


def test_proceeds_that_have_not_settled_buy_nothing() -> None:
    first, second = series([100] * 4), series([50] * 4, "IBM")
    orders = [
        order(0, "buy", 1_000),
        order(1, "sell", 1_000),
        order(2, "buy", 100, symbol="IBM"),
        order(2, "buy", 101, symbol="IBM"),
    ]
    run = trade(first, second, orders=orders, settle_sessions=1)
    assert deals(run) == [(1, 1, 1_000, 100), (2, -1, 1_000, 100)]
    assert [Reason(int(bits)) for bits in run.refused["bits"]] == [Reason.CASH] * 2
    assert len(deals(trade(first, second, orders=orders))) == 4


def test_outside_the_sessions_of_the_exchange_nothing_is_filled_or_accepted() -> None:
    days: list[Any] = [100] * 15  # Monday 7 January to Monday 21 January 2013: weekends, and the holiday of that Monday
    run = trade(series(days), orders=[order(4, "buy", 5), order(5, "buy", 6), order(12, "buy", 7)], calendar="XNYS")
    assert deals(run) == [(7, 1, 5, 100)]  # decided on Friday, filled on Monday
    assert [Reason(int(bits)) for bits in run.refused["bits"]] == [Reason.MARKET_CLOSED] * 2


@pytest.mark.parametrize(
    ("limits", "orders", "reason"),
    [
        ({"order_cents": 100_000}, [order(0, "buy", 11)], Reason.ORDER_CAP),
        ({"limit_only": True}, [order(0, "buy", 1)], Reason.MARKET_ORDER),
        ({"volume_ppm": 1_000}, [order(0, "buy", 2)], Reason.VOLUME),
        ({"round_trips": 1}, [order(0, "buy", 1)], None),
        ({"order_bps": 1_000}, [order(0, "buy", 101)], Reason.ORDER_VALUE),
        ({"position_bps": 1_000}, [order(0, "buy", 101)], Reason.POSITION),
        ({"gross_bps": 1_000}, [order(0, "buy", 101)], Reason.GROSS),
        ({"open_orders": 1}, [order(0, "buy", 1), order(0, "buy", 2)], Reason.OPEN_ORDERS),
        ({"per_minute": 1}, [order(0, "buy", 1), order(0, "buy", 2)], Reason.RATE_MINUTE),
        ({"duplicate_ns": 60 * 10**9}, [order(0, "buy", 1), order(0, "buy", 1)], Reason.DUPLICATE),
        ({}, [order(0, "buy", 1, type="limit", limit=106)], Reason.COLLAR),
        ({}, [order(0, "buy", 1, type="stop_limit", stop=105, limit=111)], Reason.COLLAR),
    ],
)
def test_the_limits_bind_in_a_backtest_as_they_do_live(limits: Any, orders: Any, reason: Reason | None) -> None:
    open_ones: dict[str, Any] = {"symbols": ("AAPL",), "duplicate_ns": 0, "order_bps": 10_000, "position_bps": 10_000}
    run = trade(series([100, 100]), orders=orders, limits=Limits(**{**open_ones, **limits}))
    assert [Reason(int(bits)) for bits in run.refused["bits"]] == ([] if reason is None else [reason])


def test_a_symbol_goes_round_at_most_so_often_in_a_session() -> None:
    day = series([100] * 6)
    hours = series([100] * 6)
    minutes = day.close_time[0] + np.arange(6) * 60 * 10**9
    hours = type(hours)(
        symbol="AAPL",
        close_time=minutes,
        open=hours.open,
        high=hours.high,
        low=hours.low,
        close=hours.close,
        volume=hours.volume,
        factor=hours.factor,
    )
    orders = [order(0, "buy", 1), order(1, "sell", 1), order(2, "buy", 2)]
    limits = Limits(symbols=("AAPL",), round_trips=1)
    assert [Reason(int(b)) for b in trade(hours, orders=orders, limits=limits).refused["bits"]] == [Reason.ROUND_TRIPS]
    assert len(trade(day, orders=orders, limits=limits).refused) == 0


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"targets": {"AAPL": [0.1]}}, "One value per bar"),
        ({"targets": {"IBM": [0.1, 0.1]}}, "no bars of IBM"),
        ({"targets": {"AAPL": [0.1, float("inf")]}}, "cannot be meant"),
        ({"targets": {}, "stop_loss": {"AAPL": np.array([0.1, -0.1])}}, "row 1"),
        ({"orders": [order(5, "buy", 1)]}, "no row 5"),
        ({"orders": [order(0, "buy", float("nan"))]}, "quantity nan"),
        ({"orders": [order(0, "hold", 1)]}, "unknown"),
        ({"orders": [order(0, "sell", 1, type="trailing", trail=1.5)]}, "no share of the price"),
        ({"volume_share": 2.0}, "no share"),
        ({"fill_on": "yesterday"}, "unknown"),
        ({"to_cents": True}, "goes with exact"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(bad: Any, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        trade(series([100, 100]), **bad)
    assert words in f"{caught.value} {caught.value.hint}"
