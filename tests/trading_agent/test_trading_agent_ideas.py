"""An idea in a sentence, tested in the conversation: by grammar, on the account's own past, with a picture."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError
from tests.trading_agent.service_for_tests import Service

from retainer.agent.grammar import Grammar
from retainer.agent.grounding import ground
from retainer.agent.prompts import args_schema
from retainer.agent.reading import read_capability
from retainer.core.capabilities import Capability
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Context
from retainer.core.values import Json
from retainer.trading.agent import TradingBotAgent
from retainer.trading.answers import read_market
from retainer.trading.bars import Bars, market_date
from retainer.trading.honesty import TrialStore
from retainer.trading.ideas import IdeaArguments, idea_capability, with_history

SENTENCE = "test buying AAPL when RSI(2) is under 10 and price is above the 200-day average, sell when RSI is over 70"
NAMES = {"aapl": "AAPL", "apple": "AAPL", "ibm": "IBM", "msft": "MSFT", "goog": "GOOG"}
DAYS = 260
PNG = b"\x89PNG\r\n\x1a\n"


def capability(pictures: Path | None = None) -> Capability:
    return idea_capability("trading", "paper", dict(NAMES), pictures)


# --- the sentence ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        "Backtest buying Apple and IBM whenever the 20-day average crosses above the 100-day average, and selling "
        "when it crosses below",
        "What if I had bought IBM when the price closed above its 50-day average, and sold when it closed below it?",
        "please test buying MSFT when it falls 3 days in a row, sell after 5 days",
        "would it have paid to buy GOOG when RSI is under 30, sell when RSI is over 60",
        "backtest buy and hold of IBM since 2005",
    ],
)
def test_sentences_mean_the_test(text: str) -> None:
    grammar = Grammar(TradingBotAgent(pictures=Path("pictures")).capabilities())
    started = time.process_time()
    match = grammar.match(text)
    assert match is not None
    assert match.capability.name == "trading.test"
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "text",
    [
        "test my new phone",
        "try again",
        "what if I buy 5 AAPL",
        "test buying AAPL when the moon is full, sell when RSI is over 70",
        "test buying TSLA when RSI is under 30, sell when RSI is over 70",
    ],
)
def test_what_is_no_idea_is_left_to_others(text: str) -> None:
    match = Grammar([capability()]).match(text)
    assert match is None


def test_parts_that_a_model_told_apart_are_an_idea_too() -> None:
    model = capability().parameters
    parts = {"symbol": "AAPL", "buy_when": "RSI(2) is under 10", "sell_when": "RSI is over 70", "period": "since 2005"}
    idea = model.model_validate(parts)
    assert isinstance(idea, IdeaArguments)
    read = idea.read()
    assert read.strategy.symbols == ("AAPL",)
    assert read.start is not None
    for wrong in ({}, {**parts, "sell_when": "the moon sets"}, {"symbol": "AAPL"}, {"idea": "buying beans"}):
        with pytest.raises(ValidationError):
            model.model_validate(wrong)


def test_a_model_may_only_use_the_persons_own_words() -> None:
    """Another wording, told apart by a model: parts that were said are kept, an invented one is left out."""
    chosen = capability()
    text = "I wonder whether to get Apple once RSI(2) is under 10 and dump it once RSI is over 70, what would you say?"
    picked: dict[str, Json] = {"symbol": "AAPL", "buy_when": "RSI(2) is under 10", "sell_when": "RSI is over 70"}
    assert Grammar([chosen]).match(text) is None
    found = ground(chosen.parameters, {**picked, "period": "since 1999"}, text, NAMES, strict=False)
    assert found.args == picked
    schema: Any = args_schema(chosen.parameters)
    assert set(picked) <= set(schema["properties"])
    idea = chosen.parameters.model_validate(dict(found.args))
    assert isinstance(idea, IdeaArguments)
    spec = idea.read().spec
    assert spec is not None
    assert (spec.buy_when, spec.sell_when) == (("RSI(2) < 10",), ("RSI(2) > 70",))


# --- the answer -----------------------------------------------------------------------------------------------------
async def test_the_answer_is_honest_and_has_a_picture(service: Service, tmp_path: Path) -> None:
    await service.replay(DAYS)
    chosen = capability(tmp_path / "pictures")
    match = Grammar([chosen]).match(SENTENCE)
    assert match is not None
    assert chosen.run is not None
    answer = await chosen.run(service.store.view(), chosen.parameters.model_validate(dict(match.args)))
    for part in (
        "Buy when RSI(2) < 10 and close > SMA(200)",
        "of costs",
        "buying and holding",
        "trade",
        "better than luck",
    ):
        assert part in answer.text
    assert "Nothing was traded" in answer.text
    data: Any = answer.data
    last = market_date(int(read_market(service.store.view(), "paper")["AAPL"].close_time[-1]))
    assert data["end"] == last.isoformat()
    assert data["honesty"]["clean"] is True
    assert answer.picture is not None
    assert Path(answer.picture).read_bytes().startswith(PNG)
    again = await chosen.run(service.store.view(), chosen.parameters.model_validate(dict(match.args)))
    assert again.text == answer.text
    with TrialStore(tmp_path / "trials.db") as trials:
        assert trials.family("AAPL|day").count == 1


async def test_symbols_the_account_has_never_seen_are_named(service: Service) -> None:
    await service.replay(5)
    chosen = idea_capability("trading", "paper", {**NAMES, "tsla": "TSLA"}, None)
    arguments = chosen.parameters.model_validate({"idea": "buying TSLA when RSI is under 30, sell when RSI is over 70"})
    assert chosen.run is not None
    with pytest.raises(InvalidInputError, match="no prices of TSLA"):
        await chosen.run(service.store.view(), arguments)


async def test_arguments_that_do_not_fit_are_told_like_any_other_mistake(service: Service) -> None:
    with pytest.raises(InvalidInputError, match="I do not understand “beans”"):
        await read_capability(cast("Context", None), capability(), {"idea": "buying beans"})


def test_the_past_before_the_account_is_used_and_never_its_future(market: dict[str, Bars]) -> None:
    whole = market["AAPL"]
    seen = whole.since(int(whole.close_time[1_000]))
    assert seen is not None
    seen = seen.upto(50)
    longer = with_history({"AAPL": seen}, ("AAPL",))["AAPL"]
    assert len(longer) == 1_050
    assert int(longer.close_time[-1]) == int(seen.close_time[-1])
    other = Bars(
        symbol="AAPL",
        close_time=seen.close_time,
        open=seen.open * 2,
        high=seen.high * 2,
        low=seen.low * 2,
        close=seen.close * 2,
        volume=seen.volume,
        factor=seen.factor,
    )
    assert with_history({"AAPL": other}, ("AAPL",))["AAPL"] is other
