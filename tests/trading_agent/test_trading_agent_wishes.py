"""Orders as people word them, text in and reply out, on the real account: cards, questions and clear refusals."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from tests.trading_agent.service_for_tests import Service, open_service

from retainer.agent.grammar import Grammar
from retainer.safety.approvals import pending
from retainer.trading.bars import Bars
from retainer.trading.units import units_to_decimal
from retainer.trading.words import money


@pytest.fixture
async def traded(tmp_path: Path, market: Mapping[str, Bars]) -> AsyncIterator[Service]:
    """Three sessions old, with 31 IBM bought by hand."""
    service = await open_service(tmp_path / "db.sqlite", market)
    await service.replay(2)
    await say(service, "buy 31 IBM")
    await service.answer(service.card())
    await service.next_bar()
    yield service
    await service.close()


async def say(service: Service, text: str) -> str:
    """The reply, or the card, that ``text`` leads to."""
    match = Grammar([one for one in service.agent.capabilities() if not one.urgent]).match(text)
    assert match is not None, text
    if match.capability.run is not None:
        parsed = match.capability.parameters.model_validate(dict(match.args))
        return (await match.capability.run(service.store.view(), parsed)).text
    before = set(service.replies.said)
    await service.request(match.capability.name, False, **match.args)
    return "\n".join(str(args["text"]) for key, args in service.replies.said.items() if key not in before)


def close(service: Service, symbol: str) -> Decimal:
    return units_to_decimal(service.state.marks[symbol].close)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("buy 0 AAPL", "0 shares is no order. The smallest is one: “buy 1 AAPL”."),
        ("buy -5 AAPL", "I cannot buy less than nothing. Did you mean “buy 5 AAPL” or “sell 5 AAPL”?"),
        ("buy 5 XYZ", "There is no XYZ here. I can trade AAPL (Apple), GOOG (Google), IBM and MSFT (Microsoft)."),
        ("short 5 IBM", "I sell nothing short, only what the account holds. You hold 31 IBM: “sell 31 IBM”"),
        ("short 5 AAPL", "I sell nothing short, only what the account holds. You hold no AAPL."),
        ("sell half my AAPL", "You hold no AAPL, so there is nothing to sell."),
        ("sell 1% of my IBM", "1% of 31 IBM is less than one share. “sell 1 IBM” sells one."),
        ("buy half the IBM", "A part of what?"),
        ("buy $1 of GOOG", "$1.00 does not reach one GOOG: it closed at"),
        ("buy 5 AAPL for $95", "Is $95.00 the price of one share or of all? Say “buy 5 AAPL at 95”"),
        ("buy 5 AAPL at 0", "A price must be above zero."),
        ("sell 3 IBM stop 900", "A stop sells when the price falls to it, and $900.00 is not below the last close"),
        ("buy 3 IBM stop 1", "A stop to buy waits until the price rises to it"),
        ("buy 5", "Buy 5 of what? I can trade AAPL (Apple), GOOG"),
    ],
)
async def test_what_cannot_be_ordered_is_answered_with_what_can(traded: Service, text: str, said: str) -> None:
    reply = await say(traded, text)
    assert said in reply
    assert reply.endswith("Nothing was ordered.")
    assert pending(traded.store.view()) == []


async def test_half_a_share_is_answered_with_the_nearest_orders_and_their_cost(traded: Service) -> None:
    price = close(traded, "AAPL")
    assert await say(traded, "buy 2.5 AAPL") == (
        f"Only whole shares are traded here. The nearest: “buy 2 AAPL” (about {money(2 * price)}) or “buy 3 AAPL” "
        f"(about {money(3 * price)}). Nothing was ordered."
    )
    assert "“buy 0 AAPL”" not in await say(traded, "buy .5 AAPL")


async def test_dollars_become_whole_shares_in_code_and_the_card_says_how(traded: Service) -> None:
    price = close(traded, "GOOG")
    count = int(Decimal(1000) // price)
    card = await say(traded, "buy $1000 of google")
    assert f"Buy {count} GOOG" in card
    assert (
        f"You asked for $1,000.00 of GOOG: {count} whole shares at the last close, {money(price * count)}; one more "
        "would go over." in card
    )
    await traded.answer(traded.card())
    [order] = traded.state.orders or [None]
    await traded.next_bar()
    assert traded.state.quantity("GOOG") == count
    assert order is None or order.quantity == count


async def test_a_part_of_what_is_held_is_rounded_down_to_whole_shares(traded: Service) -> None:
    card = await say(traded, "sell half my IBM")
    assert "Sell 15 IBM" in card
    assert "Half of the 31 IBM you hold is 15, rounded down to whole shares." in card


@pytest.mark.parametrize(
    ("text", "title", "kind"),
    [
        ("buy five aapl", r"Buy 5 AAPL\*", "market"),
        ("sell 3 IBM stop 40", r"Sell 3 IBM at the stop \$40\.00", "stop"),
        ("sell 3 IBM if it falls below 40", r"Sell 3 IBM at the stop \$40\.00", "stop"),
        ("buy 5 AAPL limit 12.50", r"Buy 5 AAPL at \$12\.50 or better", "limit"),
        ("buy 5 apple at $12.50", r"Buy 5 AAPL at \$12\.50 or better", "limit"),
    ],
)
async def test_a_limit_or_a_stop_is_what_was_said_and_nothing_else(
    traded: Service, text: str, title: str, kind: str
) -> None:
    card = await say(traded, text)
    assert re.search(title, card), card
    await traded.answer(traded.card())
    row = traded.store.view().one("SELECT COUNT(*) AS n FROM paper_order")
    assert row is not None
    assert row["n"] == 2
    await traded.request("trading.stop", urgent=True, all=False)
    resting = [order.type for order in traded.state.orders]
    assert resting == (["stop"] if kind == "stop" else [])


async def test_too_much_is_refused_in_the_words_of_the_risk_manager(traded: Service) -> None:
    reply = await say(traded, "buy 1000000 AAPL")
    assert "I cannot buy 1,000,000 AAPL." in reply
    assert "One order may be at most 30 % of the account" in reply


async def test_an_order_without_a_size_is_asked_back_with_what_helps(traded: Service) -> None:
    reply = await say(traded, "buy aapl")
    assert reply.startswith(f"How many AAPL shall I buy? It closed at {money(close(traded, 'AAPL'))} on ")
    assert "You hold 31" in await say(traded, "sell ibm")
    assert "You hold no MSFT, so there is nothing to sell." in await say(traded, "sell microsoft")


async def test_cancel_takes_back_ones_own_resting_orders_and_no_others(traded: Service) -> None:
    assert "You have no order waiting, so nothing was cancelled." in await say(traded, "cancel my order")
    for text in ("buy 5 AAPL at 1", "sell 3 IBM stop 40"):
        await say(traded, text)
        if pending(traded.store.view()):
            await traded.answer(traded.card())
    asked = await say(traded, "cancel my order")
    assert "Nothing was cancelled." in asked
    assert "“cancel the AAPL order”" in asked
    assert await say(traded, "cancel the apple order") == "Cancelled: buy 5 AAPL. Nothing of it was filled."
    assert [order.symbol for order in traded.state.orders] == ["IBM"]
    assert "sell 3 IBM" in await say(traded, "cancel all my orders")
    assert traded.state.orders == ()


async def test_is_my_money_safe_is_answered_with_facts(traded: Service) -> None:
    text = await say(traded, "is my money safe?")
    for fact in (
        "I can promise nothing about prices",
        "paper account: practice money",
        "Trading runs; “stop” ends it at once",
        "waits for your yes",
        "By itself the bot may do this:",
        "a buy up to 30 % of the account",
        f"Books compared just now: cash {money(Decimal(traded.state.cash) / 100)} and all shares equal the sum of",
    ):
        assert fact in text
    await traded.control("stopped")
    assert "Trading is STOPPED" in await say(traded, "is my money safe?")


async def test_books_that_do_not_add_up_are_named(traded: Service) -> None:
    await traded.store.write(lambda tx: tx.execute("UPDATE ledger SET amount = amount + 1 WHERE kind = 'deposit'"))
    assert "THE BOOKS DO NOT ADD UP" in await say(traded, "is my money safe?")


async def test_what_is_held_and_what_waits(traded: Service) -> None:
    assert (await say(traded, "how many shares of IBM do I have")).startswith("You hold 31 IBM, worth ")
    assert await say(traded, "do I have any apple") == "You hold no AAPL."
    assert await say(traded, "what are you waiting for?") == "No card waits for your yes. No orders are waiting."
    await say(traded, "buy 5 AAPL")
    assert "• Buy 5 AAPL (paper account)" in await say(traded, "what are you waiting for?")
    await traded.answer(traded.card())
    assert "On order: buy 5." in await say(traded, "do I have any apple")
    digest = await say(traded, "what happened this month")
    assert "This month: *" in digest
    assert "bought 31 IBM at" in digest
