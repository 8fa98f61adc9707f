"""What people text on an ordinary day, and what each sentence is taken for when no model is there.

The table is the measure: at least 95 % must be read as meant, and none may be read as an order that was not given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from retainer.chat.commands import card_answer, urgent_command
from retainer.chat.conversation import Message
from retainer.chat.helping import help_text
from retainer.chat.numbered import numbered_answer
from retainer.chat.own import own_capabilities
from retainer.chat.understanding import Understanding
from retainer.core.effects import EffectClass
from retainer.trading.agent import TradingBotAgent

NOW = datetime(2026, 11, 2, 15, 0, tzinfo=UTC)
AGENT = TradingBotAgent()
ALL = (*AGENT.capabilities(), *own_capabilities())
MONEY = {one.name for one in ALL if one.effect_class is EffectClass.MONEY}
UNDERSTANDING = Understanding(lambda: ALL, ZoneInfo("Europe/Berlin"), 0.3)

EVERYDAY: list[tuple[str, str, Mapping[str, Any]]] = [
    # orders
    ("buy 5 AAPL", "trading.order", {"side": "buy", "quantity": "5", "symbol": "AAPL"}),
    ("Buy 5 apple", "trading.order", {"side": "buy", "quantity": "5", "symbol": "AAPL"}),
    ("buy 5 apple shares please", "trading.order", {"side": "buy", "quantity": "5", "symbol": "AAPL"}),
    ("buy five AAPL", "trading.order", {"side": "buy", "quantity": "5", "symbol": "AAPL"}),
    ("buy twenty-five shares of Google", "trading.order", {"side": "buy", "quantity": "25", "symbol": "GOOG"}),
    (
        "can you buy 10 shares of microsoft for me?",
        "trading.order",
        {"side": "buy", "quantity": "10", "symbol": "MSFT"},
    ),
    ("i want to buy 3 IBM", "trading.order", {"side": "buy", "quantity": "3", "symbol": "IBM"}),
    ("I'd like to sell 2 MSFT", "trading.order", {"side": "sell", "quantity": "2", "symbol": "MSFT"}),
    ("purchase 4 AAPL", "trading.order", {"side": "buy", "quantity": "4", "symbol": "AAPL"}),
    ("buy 5 more AAPL", "trading.order", {"side": "buy", "quantity": "5", "symbol": "AAPL"}),
    ("Buy 1,000 IBM", "trading.order", {"side": "buy", "quantity": "1000", "symbol": "IBM"}),
    ("buy 1000000 AAPL", "trading.order", {"side": "buy", "quantity": "1000000", "symbol": "AAPL"}),
    ("buy 0 AAPL", "trading.order", {"side": "buy", "quantity": "0", "symbol": "AAPL"}),
    ("buy -5 AAPL", "trading.order", {"side": "buy", "quantity": "-5", "symbol": "AAPL"}),
    ("buy 2.5 AAPL", "trading.order", {"side": "buy", "quantity": "2.5", "symbol": "AAPL"}),
    ("buy 5 XYZ", "trading.order", {"side": "buy", "quantity": "5", "symbol": "XYZ"}),
    ("short 5 IBM", "trading.order", {"side": "short", "quantity": "5", "symbol": "IBM"}),
    ("buy $1000 of GOOG", "trading.order", {"side": "buy", "amount": "1000", "symbol": "GOOG"}),
    ("buy 500 dollars worth of apple", "trading.order", {"side": "buy", "amount": "500", "symbol": "AAPL"}),
    ("invest $2k in Google", "trading.order", {"side": "buy", "amount": "2000", "symbol": "GOOG"}),
    ("sell $300 of IBM", "trading.order", {"side": "sell", "amount": "300", "symbol": "IBM"}),
    ("sell half my IBM", "trading.order", {"side": "sell", "part": "1/2", "symbol": "IBM"}),
    ("sell half of the apple shares", "trading.order", {"side": "sell", "part": "1/2", "symbol": "AAPL"}),
    ("sell a third of my MSFT", "trading.order", {"side": "sell", "part": "1/3", "symbol": "MSFT"}),
    ("sell 20% of my Google stock", "trading.order", {"side": "sell", "part": "20/100", "symbol": "GOOG"}),
    ("buy 5 AAPL at 95", "trading.order", {"side": "buy", "quantity": "5", "symbol": "AAPL", "limit": "95"}),
    ("buy 5 AAPL limit 95", "trading.order", {"side": "buy", "quantity": "5", "symbol": "AAPL", "limit": "95"}),
    ("buy 5 AAPL at $95.50", "trading.order", {"side": "buy", "quantity": "5", "symbol": "AAPL", "limit": "95.50"}),
    (
        "buy 5 AAPL if it drops to 80",
        "trading.order",
        {"side": "buy", "quantity": "5", "symbol": "AAPL", "limit": "80"},
    ),
    ("sell 3 IBM stop 80", "trading.order", {"side": "sell", "quantity": "3", "symbol": "IBM", "stop": "80"}),
    (
        "sell 3 IBM if it falls below 80",
        "trading.order",
        {"side": "sell", "quantity": "3", "symbol": "IBM", "stop": "80"},
    ),
    ("sell 3 IBM with a stop at 80", "trading.order", {"side": "sell", "quantity": "3", "symbol": "IBM", "stop": "80"}),
    ("sell everything", "trading.sell_all", {}),
    ("sell all my stocks", "trading.sell_all", {}),
    ("close all positions", "trading.sell_all", {}),
    ("sell all my IBM", "trading.sell_all", {"symbol": "IBM"}),
    ("sell all of my apple shares", "trading.sell_all", {"symbol": "AAPL"}),
    ("get me out of IBM", "trading.sell_all", {"symbol": "IBM"}),
    ("cancel my order", "trading.cancel", {}),
    ("cancel the IBM order", "trading.cancel", {"symbol": "IBM"}),
    ("cancel all my orders", "trading.cancel", {"which": "all"}),
    ("buy aapl", "trading.unsized", {"side": "buy", "symbol": "AAPL"}),
    ("buy some apple", "trading.unsized", {"side": "buy", "symbol": "AAPL"}),
    ("sell IBM", "trading.unsized", {"side": "sell", "symbol": "IBM"}),
    ("buy 5", "trading.unsized", {"side": "buy", "quantity": "5"}),
    ("buy 5 AAPL and 3 IBM", "say", {}),
    ("buy 5 AAPL, then sell 3 IBM", "say", {}),
    ("don't buy AAPL", "say", {}),
    ("do not sell anything", "say", {}),
    ("should I buy apple?", "say", {}),
    ("is Google a good buy?", "say", {}),
    # talk that must never become an order
    ("buy milk", "converse", {}),
    ("I bought a house", "converse", {}),
    ("what if I buy 5 AAPL?", "converse", {}),
    ("my brother wants to sell 5 AAPL", "converse", {}),
    ("I sold my car for 5000 dollars", "converse", {}),
    ("buy me some time", "converse", {}),
    # how it went
    ("how did the bot do this month?", "trading.performance", {"period": "this month"}),
    ("how did we do today", "trading.performance", {"period": "today"}),
    ("how are we doing?", "trading.performance", {}),
    ("how's it doing", "trading.performance", {}),
    ("am I up or down?", "trading.performance", {}),
    ("am i up or down this week", "trading.performance", {"period": "this week"}),
    ("are we making money", "trading.performance", {}),
    ("did we make any money yesterday?", "trading.performance", {"period": "yesterday"}),
    ("how much did I lose last month", "trading.performance", {"period": "last month"}),
    ("profit this year", "trading.performance", {"period": "this year"}),
    ("what's my profit?", "trading.performance", {}),
    ("p&l today", "trading.performance", {"period": "today"}),
    ("how is my money doing", "trading.performance", {}),
    ("how's the bot doing today", "trading.performance", {"period": "today"}),
    ("how much are we up this month", "trading.performance", {"period": "this month"}),
    ("what happened today?", "trading.digest", {"period": "today"}),
    ("what happened yesterday", "trading.digest", {"period": "yesterday"}),
    ("what did I miss?", "trading.digest", {}),
    ("anything new?", "trading.digest", {}),
    ("give me a summary of this week", "trading.digest", {"period": "this week"}),
    ("what trades did you make this week", "trading.trades", {"period": "this week"}),
    ("show me the trades", "trading.trades", {}),
    ("what did you buy today?", "trading.trades", {"period": "today"}),
    ("did you buy anything today", "trading.trades", {"period": "today"}),
    ("any trades yesterday?", "trading.trades", {"period": "yesterday"}),
    ("last trades", "trading.trades", {}),
    ("how many trades did you make this month", "trading.trades", {"period": "this month"}),
    ("why did you buy IBM?", "trading.why", {"symbol": "IBM", "side": "buy"}),
    ("why did the bot sell apple", "trading.why", {"symbol": "AAPL", "side": "sell"}),
    ("why do we own Google", "trading.why", {"symbol": "GOOG"}),
    # what is there
    ("what do I own?", "trading.positions", {}),
    ("how is my portfolio?", "trading.positions", {}),
    ("how much cash do I have", "trading.positions", {}),
    ("what's in my account", "trading.positions", {}),
    ("what stocks do we have", "trading.positions", {}),
    ("balance", "trading.positions", {}),
    ("how much is my account worth?", "trading.positions", {}),
    ("how much money do we have", "trading.positions", {}),
    ("how many shares of apple do I have", "trading.holding", {"symbol": "AAPL"}),
    ("how many IBM do we own?", "trading.holding", {"symbol": "IBM"}),
    ("do I have any Google", "trading.holding", {"symbol": "GOOG"}),
    ("how is my IBM doing?", "trading.holding", {"symbol": "IBM"}),
    ("what's AAPL at", "trading.quote", {"symbol": "AAPL"}),
    ("what is IBM trading at?", "trading.quote", {"symbol": "IBM"}),
    ("price of google", "trading.quote", {"symbol": "GOOG"}),
    ("how much is microsoft", "trading.quote", {"symbol": "MSFT"}),
    ("apple price", "trading.quote", {"symbol": "AAPL"}),
    ("open orders", "trading.orders", {}),
    ("do I have any open orders?", "trading.orders", {}),
    ("what are you waiting for?", "trading.waiting", {}),
    ("is there anything to approve?", "trading.waiting", {}),
    ("are you trading?", "trading.status", {}),
    ("is the bot running?", "trading.status", {}),
    ("what is the bot doing right now", "trading.status", {}),
    ("is my money safe?", "trading.safety", {}),
    ("is this real money?", "trading.safety", {}),
    ("can you lose my money?", "trading.safety", {}),
    ("can I trust you?", "trading.safety", {}),
    ("what are the risks", "trading.safety", {}),
    ("what are my limits?", "trading.safety", {}),
    ("how much can I lose", "trading.safety", {}),
    ("what may the bot do without asking?", "trading.mandate", {}),
    # stop and go, yes and no
    ("stop", "stop", {}),
    ("STOP!!!", "stop", {}),
    ("stop trading now", "stop", {}),
    ("please stop everything", "stop all", {}),
    ("pause", "pause", {}),
    ("pause the bot please", "pause", {}),
    ("resume", "resume", {}),
    ("halt the bot", "say", {}),
    ("shut it all down now", "say", {}),
    ("yes", "yes", {}),
    ("go ahead", "yes", {}),
    ("no thanks", "no", {}),
    ("yes 2", "yes", {"number": 2}),
    ("no to all", "no", {"number": None}),
    ("reject the first one", "no", {"number": 1}),
    # help, status, people
    ("help", "chat.help", {}),
    ("what can you do?", "chat.help", {}),
    ("how does this work?", "chat.help", {}),
    ("help me with reminders", "chat.help", {"topic": "reminders"}),
    ("who are you?", "chat.help", {}),
    ("status", "chat.status", {}),
    ("is everything ok?", "chat.status", {}),
    ("are you there?", "chat.status", {}),
    ("who can talk to you?", "chat.people", {}),
    ("can other people control you?", "chat.people", {}),
    ("what time is it?", "chat.time", {}),
    ("log", "chat.log", {}),
    # reminders
    ("remind me at 9 to call Anna", "remind", {}),
    ("remind me tomorrow at 8:30 to take out the bins", "remind", {}),
    ("can you remind me in 20 minutes to check the oven", "remind", {}),
    ("remind me to buy 5 AAPL tomorrow at 10", "remind", {}),
    ("what reminders do I have?", "chat.reminders", {}),
    ("do I have any reminders?", "chat.reminders", {}),
    ("cancel reminder 1", "chat.unremind", {"number": 1}),
    # memory
    ("my name is Anna", "say", {}),
    ("remember that the key is with Tom", "say", {}),
    ("what do you know about me?", "chat.facts", {}),
    ("what's my name?", "chat.facts", {}),
    ("forget 3", "chat.forget", {"what": "3"}),
    ("forget everything", "chat.forget", {"what": "everything"}),
    ("export my data", "chat.export", {}),
    # conversation
    ("good evening, how was your trip", "converse", {}),
    ("tell me a joke", "converse", {}),
    ("what is the capital of France?", "converse", {}),
    ("thank you so much", "converse", {}),
]


async def reading(text: str) -> tuple[str, Mapping[str, Any]]:
    """What a message is taken for, in the order in which the chat agent asks."""
    if (urgent := urgent_command(text)) is not None:
        return f"{urgent.command}{' all' if urgent.all else ''}", {}
    if (counted := numbered_answer(text)) is not None:
        return "yes" if counted.yes else "no", {"number": counted.number}
    if (answer := card_answer(text)) is not None:
        return "yes" if answer.yes else "no", {}
    message = Message(text=text, person="owner", address="terminal:local", lane="chat", seq=1, now=NOW)
    intent = await UNDERSTANDING.engine.decide(message)
    if intent is None:
        return "converse", {}
    return (intent.capability, dict(intent.args)) if intent.capability else (intent.action, {})


async def test_everyday_sentences_are_read_as_they_are_meant() -> None:
    wrong = []
    for text, meant, args in EVERYDAY:
        found = await reading(text)
        if found != (meant, args):
            wrong.append(f"{text!r}: {found[0]} {dict(found[1])}, not {meant} {dict(args)}")
    share = 1 - len(wrong) / len(EVERYDAY)
    assert len(EVERYDAY) >= 150
    assert share >= 0.95, f"{share:.1%} right; wrong:\n" + "\n".join(wrong)


@pytest.mark.parametrize(("text", "meant", "args"), EVERYDAY, ids=[text for text, _, _ in EVERYDAY])
async def test_no_sentence_moves_money_that_was_not_meant(text: str, meant: str, args: Mapping[str, Any]) -> None:
    """Whatever else goes wrong: what is read as an order is exactly the order that was given."""
    found = await reading(text)
    if found[0] in MONEY or meant in MONEY:
        assert found == (meant, args)


def test_a_model_is_never_offered_an_order_for_what_is_no_plain_wish() -> None:
    for text, meant, _ in EVERYDAY:
        if meant not in MONEY | {"trading.unsized", "say"}:
            offered = {one.capability.name for one in UNDERSTANDING.candidates(text, 5)}
            assert not offered & MONEY, text


def test_a_short_answer_completes_the_order_that_was_asked_about() -> None:
    completed = UNDERSTANDING.completed
    assert completed("5", "buy aapl") == "buy 5 AAPL"
    assert completed("five shares please", "buy some apple") == "buy five AAPL"
    assert completed("$500", "buy aapl") == "buy $500 AAPL"
    assert completed("half", "sell IBM") == "sell half IBM"
    assert completed("all of it", "sell IBM") == "sell all IBM"
    assert completed("google", "buy 5") == "buy 5 google"


@pytest.mark.parametrize(
    ("text", "earlier"),
    [
        ("5", ""),
        ("5", "how are you"),
        ("5", "buy 5 AAPL"),
        ("no", "buy aapl"),
        ("yes", "buy aapl"),
        ("none", "sell IBM"),
        ("what is it worth?", "buy aapl"),
        ("5 or 6", "buy aapl"),
        ("status", "buy aapl"),
        ("milk", "buy aapl"),
    ],
)
def test_nothing_else_completes_an_order(text: str, earlier: str) -> None:
    assert UNDERSTANDING.completed(text, earlier) is None


TOPICS = ("", "orders", "reminders", "trades", "money", "memory", "people", "stop", "profit", "price")


@pytest.mark.parametrize("topic", TOPICS)
async def test_every_sentence_that_help_shows_is_understood_word_for_word(topic: str) -> None:
    shown = re.findall("“([^”]+)”", help_text(ALL, topic))
    assert shown
    for sentence in shown:
        if "…" not in sentence and sentence != "help":
            assert (await reading(sentence))[0] != "converse", sentence


async def test_every_example_means_its_own_capability() -> None:
    for capability in ALL:
        for example in capability.examples:
            meant = (await reading(example))[0]
            assert meant == capability.name or (meant == "remind" and capability.name == "chat.reminders"), example
