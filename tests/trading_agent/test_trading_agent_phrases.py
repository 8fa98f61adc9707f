"""Every phrase compiles, and what people say means the capability they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from retainer.agent.grammar import Grammar
from retainer.core.effects import EffectClass
from retainer.trading.agent import TradingBotAgent

AGENT = TradingBotAgent(pictures=Path("pictures"))
GRAMMAR = Grammar(AGENT.capabilities())


@pytest.mark.parametrize(
    ("text", "name", "args"),
    [
        ("How did the bot do this month?", "performance", {"period": "this month"}),
        ("how did the bot do", "performance", {}),
        ("how are we doing?", "performance", {}),
        ("p&l", "performance", {}),
        ("profit last week", "performance", {"period": "last week"}),
        ("did we make any money yesterday", "performance", {"period": "yesterday"}),
        ("Why did you buy IBM?", "why", {"symbol": "IBM", "side": "buy"}),
        ("why did the bot sell apple", "why", {"symbol": "AAPL", "side": "sell"}),
        ("what do you own", "positions", {}),
        ("positions", "positions", {}),
        ("Buy 5 AAPL", "order", {"side": "buy", "quantity": "5", "symbol": "AAPL"}),
        ("please sell 10 shares of IBM", "order", {"side": "sell", "quantity": "10", "symbol": "IBM"}),
        ("buy 3 MSFT at 27.50", "order", {"side": "buy", "quantity": "3", "symbol": "MSFT", "limit": "27.50"}),
        ("sell everything", "sell_all", {}),
        ("sell all my IBM", "sell_all", {"symbol": "IBM"}),
        ("price of aapl", "quote", {"symbol": "AAPL"}),
        ("open orders", "orders", {}),
        ("trades this month", "trades", {"period": "this month"}),
        ("trading status", "status", {}),
        ("what may the bot do without asking", "mandate", {}),
        ("show me a chart this year", "chart", {"period": "this year"}),
    ],
)
def test_phrases(text: str, name: str, args: dict[str, str]) -> None:
    match = GRAMMAR.match(text)
    assert match is not None
    assert match.capability.name == f"trading.{name}"
    assert {key: value for key, value in match.args.items() if value is not None} == args


@pytest.mark.parametrize(
    "text",
    [
        "why not",
        "how did it go with your date",
        "buy milk",
        "sell me a story",
        "buy €500 of AAPL",
        "don't buy 5 AAPL",
        "buy 5 AAPL and 3 IBM",
        "buy 5k AAPL",
        "sell everything but IBM",
        "buy 5 or 6 AAPL",
        "buy 1/2 AAPL",
        "stop",
    ],
)
def test_other_talk_is_not_about_money(text: str) -> None:
    match = GRAMMAR.match(text)
    assert match is None or match.capability.effect_class is EffectClass.READ


def test_every_example_means_its_own_capability() -> None:
    for capability in AGENT.capabilities():
        for example in capability.examples:
            match = GRAMMAR.match(example)
            assert match is not None, example
            assert match.capability.name == capability.name, example


def test_reads_run_here_and_everything_else_goes_to_the_account_lane() -> None:
    for capability in AGENT.capabilities():
        if capability.effect_class is EffectClass.READ:
            assert capability.run is not None
        else:
            assert capability.run is None
            assert capability.lane == "account:paper"
