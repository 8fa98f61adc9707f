"""The trading agent in the service: it trades what a plain loop of the kernels trades, and asks before it obeys."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.trading_agent.service_for_tests import LANE, START, Service, cut, pure_loop

from retainer.core.events import NewEvent
from retainer.core.labels import TRUSTED
from retainer.runtime import effects
from retainer.safety.approvals import pending
from retainer.trading.answers import ledger_rows
from retainer.trading.bars import sessions
from retainer.trading.ledger import Entry, balance, holdings

FAR = 250
"""Sessions enough for the shipped strategy to buy and sell."""


async def test_a_replay_equals_a_plain_loop_of_the_kernels_bit_for_bit(service: Service) -> None:
    await service.replay(FAR)
    bars = cut(service.market, START, FAR)
    expected = pure_loop(bars, [int(at) for at in sessions(bars)], service.agent)
    assert len(expected.fills) > 5
    assert replace(service.state, version=0).digest() == expected.state.digest()
    rows = service.store.view().query("SELECT order_id, quantity, price, fee, realised FROM fill ORDER BY id")
    assert [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in rows] == [
        (f.order_id, f.quantity, f.price, f.fee, f.realised) for f in expected.fills
    ]
    assert service.replies.texts == [service.replies.texts[0]]
    assert "prices end" in service.replies.texts[0]


async def test_the_ledger_adds_up_to_cash_shares_and_equity(service: Service) -> None:
    await service.replay(FAR)
    exported = json.loads(json.dumps(ledger_rows(service.store.view(), "paper")))
    entries = [Entry.from_json(line) for line in exported["entries"]]
    assert str(balance(entries)) == exported["cash"]
    assert holdings(entries) == exported["positions"]
    last = {s: Decimal(str(round(float(b.close[-1]), 4))) for s, b in cut(service.market, START, FAR).items()}
    worth = balance(entries) + sum((last[s] * n for s, n in holdings(entries).items()), Decimal(0))
    assert worth == Decimal(exported["equity"][-1]["equity"])
    assert sum(1 for line in entries if line.kind == "deposit") == 1


async def test_performance_equals_a_recomputation_from_the_export(service: Service) -> None:
    await service.replay(FAR)
    answer = await service.ask("performance", period="this month")
    data: Any = answer.data
    exported: Any = ledger_rows(service.store.view(), "paper")
    marks = [(mark["at"][:10], Decimal(mark["equity"])) for mark in exported["equity"]]
    month = marks[-1][0][:7]
    before = [equity for day, equity in marks if day[:7] < month][-1]
    assert Decimal(data["profit"]) == marks[-1][1] - before
    assert Decimal(data["start_equity"]) == before
    assert data["trades"] == sum(1 for f in exported["fills"] if f["at"][:7] == month)
    parts = sum(Decimal(data[name]) for name in ("realised", "unrealised", "dividends")) - Decimal(data["fees"])
    assert parts == Decimal(data["profit"])
    assert f"{abs(Decimal(data['profit'])):,.2f}" in answer.text
    whole: Any = (await service.ask("performance", period="all")).data
    assert Decimal(whole["profit"]) == marks[-1][1] - 100_000


async def test_why_answers_from_the_record(service: Service) -> None:
    await service.replay(FAR)
    answer = await service.ask("why", symbol="IBM", side="buy")
    data: Any = answer.data
    assert data["state"] == "filled"
    assert set(data["indicators"]) == {"sma_20", "sma_100", "close"}
    assert data["indicators"]["sma_20"] > data["indicators"]["sma_100"]
    assert data["signal"] in answer.text
    assert "Passed" in answer.text
    assert "I bought" in answer.text
    never = await service.ask("why", symbol="TSLA")
    assert "have not traded TSLA" in never.text


async def test_an_order_is_asked_approved_accepted_and_filled_at_the_next_open(service: Service) -> None:
    await service.replay(50)
    await service.request("trading.order", side="buy", quantity="5", symbol="apple")
    card = service.replies.texts[-1]
    close = Decimal(str(round(float(cut(service.market, START, 50)["AAPL"].close[-1]), 2)))
    assert "Buy 5 AAPL" in card
    assert f"${close}" in card
    assert f"${5 * close:,.2f}" in card
    assert "Within limits" in card
    assert not service.state.orders
    answered = await service.answer(service.card())
    assert answered.result == "approved"
    assert "Accepted: buy 5 AAPL" in service.replies.texts[-1]
    assert [o.quantity for o in service.state.orders] == [5]
    assert "Buy 5 AAPL at the next open" in (await service.ask("orders")).text
    await service.next_bar()
    filled = next(text for text in service.replies.texts if text.startswith("Filled"))
    opened = float(cut(service.market, START, 51)["AAPL"].open[-1])
    row = service.store.view().one("SELECT price, reference, quantity FROM fill")
    assert row is not None
    assert row["reference"] == round(opened * 10_000)
    assert row["price"] >= row["reference"]
    assert f"bought 5 AAPL at ${row['price'] / 10_000:,.2f}" in filled
    assert service.state.quantity("AAPL") == 5
    positions: Any = (await service.ask("positions")).data
    assert positions["positions"][0]["quantity"] == 5
    assert "You asked for it" in (await service.ask("why", symbol="AAPL")).text


async def test_the_card_of_one_symbol_says_so_and_what_is_being_sold_already_is_named(service: Service) -> None:
    await service.replay(120)
    first, *others = sorted(service.state.positions)
    assert others
    quantity = service.state.quantity(first)
    await service.request("trading.sell_all", symbol=first)
    assert f"*Sell all {first}*" in service.replies.texts[-1]
    assert (await service.answer(service.card())).result == "approved"
    await service.request("trading.sell_all")
    card = service.replies.texts[-1]
    assert "*Sell everything*" in card
    assert f"{quantity:,} {first}: being sold already, not part of this" in card


async def test_sell_everything_is_one_card_and_one_effect(service: Service) -> None:
    await service.replay(120)
    held = {s: p.quantity for s, p in service.state.positions.items()}
    assert len(held) > 1
    await service.request("trading.sell_all")
    card = service.replies.texts[-1]
    assert all(f"{quantity:,} {symbol}" in card for symbol, quantity in held.items())
    assert (await service.answer(service.card())).result == "approved"
    assert sorted(o.symbol for o in service.state.orders) == sorted(held)
    await service.request("trading.sell_all")
    assert "already being sold" in service.replies.texts[-1]
    await service.next_bar()
    assert dict(service.state.positions) == {}
    told = next(text for text in service.replies.texts if text.startswith("Filled: sold"))
    assert told.count("Filled: sold") == len(held), "one message says all of it"


async def test_a_wrong_late_or_reused_answer_does_nothing_and_says_so(service: Service) -> None:
    await service.replay(50)
    await service.request("trading.order", side="buy", quantity="5", symbol="AAPL")
    card = service.card()
    assert (await service.answer("00000000")).result == "unknown"
    late = await service.answer(card, later=timedelta(minutes=6))
    assert late.result == "expired"
    assert (await service.answer(card)).result in {"already", "expired"}
    assert "Not placed: buy 5 AAPL" in service.replies.texts[-1]
    await service.request("trading.order", side="buy", quantity="6", symbol="AAPL")
    card = service.card()
    assert (await service.answer(card)).result == "approved"
    assert (await service.answer(card)).result == "already"
    await service.next_bar()
    assert service.state.quantity("AAPL") == 6
    await service.request("trading.order", side="buy", quantity="7", symbol="AAPL")
    assert (await service.answer(service.card(), yes=False)).result == "rejected"
    await service.next_bar()
    assert service.state.quantity("AAPL") == 6


async def test_what_risk_refuses_gets_words_and_no_card(service: Service) -> None:
    await service.replay(50)
    for args, words in (
        ({"side": "buy", "quantity": "100000", "symbol": "AAPL"}, "at most"),
        ({"side": "sell", "quantity": "1", "symbol": "AAPL"}, "not enough shares"),
        ({"side": "buy", "quantity": "1", "symbol": "TSLA"}, "There is no TSLA here"),
        ({"side": "buy", "quantity": "0", "symbol": "AAPL"}, "0 shares is no order"),
        ({"side": "buy", "quantity": "NaN", "symbol": "AAPL"}, "finite"),
        ({"side": "buy", "quantity": "Infinity", "symbol": "AAPL"}, "finite"),
        ({"side": "buy", "quantity": "2.5", "symbol": "AAPL"}, "whole shares"),
        ({"side": "short", "quantity": "5", "symbol": "AAPL"}, "nothing short"),
        ({"side": "hold", "quantity": "5", "symbol": "AAPL"}, "side"),
        ({"side": "buy", "quantity": "5"}, "symbol"),
        ({"side": "buy", "quantity": "5", "symbol": "AAPL", "leverage": 3}, "leverage"),
    ):
        await service.request("trading.order", **args)
        assert words in service.replies.texts[-1], args
    assert pending(service.store.view()) == []
    await service.request("trading.fly")
    assert "do not know" in service.replies.texts[-1]


async def test_two_cards_cannot_spend_the_same_cash(service: Service) -> None:
    await service.replay(50)
    price = service.state.marks["AAPL"].close
    quantity = service.state.cash * 100 * 29 // (100 * price)
    cards = []
    for extra in range(4):
        await service.request("trading.order", side="buy", quantity=str(quantity - extra), symbol="AAPL")
        known = [card.id for card in pending(service.store.view())]
        cards += [card for card in known if card not in cards]
    results = [(await service.answer(card)).result for card in cards]
    assert results[:1] == ["approved"]
    await service.next_bar()
    assert service.state.cash >= 0
    bought = service.state.quantity("AAPL") * price
    assert bought <= 0.41 * 100_000 * 10_000
    assert any("paper broker refuses" in text for text in service.replies.texts)


async def test_stop_cancels_buys_keeps_sells_and_refuses_new_orders(service: Service) -> None:
    await service.replay(120)
    symbol = sorted(service.state.positions)[0]
    own = len(service.state.orders)
    await service.request("trading.order", side="sell", quantity="1", symbol=symbol)
    await service.answer(service.card())
    await service.request("trading.order", side="buy", quantity="1", symbol=symbol)
    await service.answer(service.card())
    await service.request("trading.order", side="buy", quantity="2", symbol=symbol)
    waiting = service.card()
    assert len(service.state.orders) == own + 2
    await service.control("stopped")
    await service.request("trading.stop", urgent=True)
    assert f"buy 1 {symbol}" in service.replies.texts[-1]
    assert f"sell 1 {symbol}" in service.replies.texts[-1]
    assert all(order.side == "sell" for order in service.state.orders)
    assert (await service.answer(waiting)).result == "refused"
    await service.request("trading.order", side="buy", quantity="1", symbol=symbol)
    assert "stopped" in service.replies.texts[-1]
    assert pending(service.store.view()) == []
    await service.request("trading.stop", urgent=True, all=True)
    assert service.state.orders == ()
    await service.replay(FAR)
    since = service_time(service, 121)
    assert service.store.view().query("SELECT at FROM fill WHERE at > ?", (since,)) == []
    assert "STOPPED" in (await service.ask("status")).text
    await service.control("running")
    assert "Trading: running" in (await service.ask("status")).text


def service_time(service: Service, session: int) -> float:
    row = service.store.view().query("SELECT at FROM equity ORDER BY at LIMIT ?", (session,))[-1]
    return float(row["at"])


async def test_stop_holds_even_if_no_stop_request_arrives(service: Service) -> None:
    await service.replay(60)
    await service.request("trading.order", side="buy", quantity="1", symbol="AAPL")
    await service.answer(service.card())
    await service.control("stopped")
    await service.next_bar()
    assert service.state.quantity("AAPL") == 0
    assert service.state.orders == ()


async def test_pause_lets_exits_through_and_takes_entries_up_again_on_resume(service: Service) -> None:
    await service.replay(90)
    await service.control("paused")
    await service.replay(150)
    assert dict(service.state.positions) == {}
    await service.request("trading.order", side="buy", quantity="1", symbol="AAPL")
    assert "paused" in service.replies.texts[-1].lower()
    await service.control("running")
    await service.next_bar()
    await service.next_bar()
    assert service.state.positions


async def test_orders_outside_the_mandate_wait_for_a_yes_and_the_replay_holds(service: Service) -> None:
    await service.store.write(lambda tx: tx.execute("UPDATE mandate SET revoked_at = 1"))
    feeding = asyncio.create_task(service.replay(140))
    while not pending(service.store.view()):
        await asyncio.sleep(0.05)
    stood = service.bars_seen()
    await asyncio.sleep(0.7)
    assert service.bars_seen() == stood
    assert "sma-trend on paper" in service.replies.texts[-1]
    while not feeding.done():
        for card in pending(service.store.view()):
            await service.answer(card.id, yes=False)
        await asyncio.sleep(0.05)
    await feeding
    assert dict(service.state.positions) == {}


async def test_a_bar_twice_or_out_of_order_changes_nothing(service: Service) -> None:
    await service.replay(50)
    before = service.state.digest()
    row = service.store.view().one("SELECT seq FROM event WHERE kind = 'bar' ORDER BY seq DESC LIMIT 1")
    assert row is not None
    bars = cut(service.market, START, 40)
    again = NewEvent(
        source="feed:other",
        external_id="again",
        agent="trading",
        lane=LANE,
        kind="bar",
        body={
            "account": "paper",
            "at": bars["AAPL"].closed_at(39).isoformat(),
            "bars": {"AAPL": bars["AAPL"].bar(39).to_body()},
        },
        label=TRUSTED,
        occurred_at=bars["AAPL"].closed_at(39),
    )
    await service.runtime.receive(again)
    await service.runtime.idle()
    assert service.state.digest() == before


async def test_a_bar_that_cannot_be_read_stops_nothing_else(service: Service) -> None:
    await service.replay(50)
    broken = NewEvent(
        source="feed:other",
        external_id="broken",
        agent="trading",
        lane=LANE,
        kind="bar",
        body={"account": "paper", "at": "2005-06-01T20:00:00+00:00", "bars": {"AAPL": {"open": "NaN"}}},
        label=TRUSTED,
        occurred_at=service.runtime.clock.now(),
    )
    await service.runtime.receive(broken)
    await service.runtime.idle()
    await service.next_bar()
    assert service.bars_seen() == 51


async def test_an_order_of_unknown_fate_blocks_its_symbol(service: Service) -> None:
    await service.replay(50)
    await service.runtime.receive(
        NewEvent(
            source="effect",
            external_id="x:unknown",
            agent="trading",
            lane=LANE,
            kind="outcome",
            body={
                "key": "x",
                "tool": "paper.order",
                "state": "unknown",
                "reason": "The line broke.",
                "args": {"symbol": "AAPL", "side": "buy", "quantity": 5, "client_order_id": "x"},
            },
            reply_to="terminal:local",
            occurred_at=service.runtime.clock.now(),
        )
    )
    await service.runtime.idle()
    assert "Nobody can say" in service.replies.texts[-1]
    assert service.state.blocked == ("AAPL",)
    await service.request("trading.order", side="buy", quantity="5", symbol="AAPL")
    assert "unknown fate" in service.replies.texts[-1]


async def test_before_the_first_bar_every_question_has_an_honest_answer(service: Service) -> None:
    for name, args in (
        ("performance", {"period": "this month"}),
        ("trades", {}),
        ("positions", {}),
        ("orders", {}),
        ("quote", {"symbol": "AAPL"}),
        ("status", {}),
        ("mandate", {}),
        ("why", {"symbol": "AAPL"}),
        ("chart", {}),
    ):
        answer = await service.ask(name, **args)
        assert answer.text
        assert "Error" not in answer.text
    await service.request("trading.order", side="buy", quantity="5", symbol="AAPL")
    assert "no prices yet" in service.replies.texts[-1]


async def test_every_order_effect_was_allowed_by_the_mandate_or_asked(service: Service) -> None:
    await service.replay(130)
    orders = effects.select_effects(service.store.view(), "e.effect_class = 'money'")
    assert orders
    assert all(order.args["strategy"] == "sma-trend" for order in orders)
    assert all(Decimal(str(order.args["notional"])) <= Decimal(30_500) for order in orders)


async def test_the_chart_is_drawn_outside_the_service(service: Service, tmp_path: Path) -> None:
    await service.replay(130)
    answer = await service.ask("chart", period="all")
    assert answer.picture is not None
    assert Path(answer.picture).read_bytes().startswith(b"\x89PNG")
    assert "Deepest fall" in answer.text


async def test_trades_and_quotes_name_their_dates(service: Service) -> None:
    await service.replay(130)
    trades = await service.ask("trades", period="all")
    assert "2005" in trades.text
    quote: Any = (await service.ask("quote", symbol="IBM")).data
    assert quote["at"].startswith("2005-07")
    assert (await service.ask("quote", symbol="XYZ")).text.startswith("I have no price of XYZ")
    assert "may trade AAPL" in (await service.ask("mandate")).text
    assert date(2005, 1, 3).isoformat() in str((await service.ask("performance", period="all")).data)
