"""The router proposes; the grounding check and the engine decide by rules."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel

from retainer.agent.engine import Choice, DecisionEngine, FunctionDecider, Intent, Score, ask
from retainer.agent.grounding import ground
from retainer.agent.router import Router
from retainer.core.capabilities import Capability
from retainer.core.effects import EffectClass
from retainer.core.errors import InvalidInputError, NotFoundError


class Order(BaseModel):
    side: Literal["buy", "sell"]
    quantity: int
    symbol: str
    note: str = ""


ORDER = Capability(
    name="trading.order",
    agent="trading",
    description="Buy or sell shares",
    parameters=Order,
    effect_class=EffectClass.MONEY,
    examples=("buy 5 AAPL", "sell my apple shares"),
)
PERFORMANCE = Capability(
    name="trading.performance",
    agent="trading",
    description="How much money the bot made",
    examples=("how did the bot do this month", "what is my profit"),
)
LAMP = Capability(name="home.lamp", agent="home", description="Switch lamps", examples=("turn on the kitchen lamp",))
ROUTER = Router([ORDER, PERFORMANCE, LAMP])


def names(text: str) -> list[str]:
    return [one.capability.name for one in ROUTER.candidates(text)]


def test_near_texts_propose_the_right_capability() -> None:
    assert names("did the bot make a profit")[0] == "trading.performance"
    assert names("the kitchen lamp should be on") == ["home.lamp"]


@pytest.mark.parametrize("text", ["hello", "tell me a joke about cats", "what is the capital of France?", ""])
def test_conversation_proposes_nothing(text: str) -> None:
    assert names(text) == []


def test_money_is_proposed_only_when_the_words_order_something() -> None:
    assert "trading.order" not in names("how are my apple shares")
    assert "trading.order" in names("please get rid of it, sell my apple shares now")


def test_a_correction_is_an_exemplar() -> None:
    taught = Router([ORDER, PERFORMANCE, LAMP], [("how is granny's piggy bank", "trading.performance")])
    assert taught.candidates("how is the piggy bank")[0].capability is PERFORMANCE


@pytest.mark.parametrize(
    ("args", "text", "kept", "missing"),
    [
        (
            {"side": "buy", "quantity": 5, "symbol": "AAPL"},
            "buy five aapl",
            {"side": "buy", "quantity": 5, "symbol": "AAPL"},
            (),
        ),
        (
            {"side": "buy", "quantity": 100, "symbol": "AAPL"},
            "buy some AAPL",
            {"side": "buy", "symbol": "AAPL"},
            ("quantity",),
        ),
        (
            {"side": "buy", "quantity": 5, "symbol": "TSLA"},
            "buy 5 of the car maker",
            {"side": "buy", "quantity": 5},
            ("symbol",),
        ),
        ({"side": "sell", "quantity": 5, "symbol": "AAPL"}, "get 5 AAPL", {"quantity": 5, "symbol": "AAPL"}, ("side",)),
        (
            {"side": "buy", "quantity": 5, "symbol": "AAPL"},
            "buy 5 apple",
            {"side": "buy", "quantity": 5, "symbol": "AAPL"},
            (),
        ),
        (
            {"side": "buy", "quantity": 5, "symbol": "AAPL", "note": "urgent"},
            "buy 5 AAPL",
            {"side": "buy", "quantity": 5, "symbol": "AAPL"},
            (),
        ),
        (
            {"side": "buy", "quantity": 5, "symbol": "AAPL"},
            "sell 5 AAPL or buy more",
            {"quantity": 5, "symbol": "AAPL"},
            ("side",),
        ),
        (
            {"side": "buy", "quantity": 5, "symbol": "AAPL"},
            "buy 5, apple or ibm",
            {"side": "buy", "quantity": 5},
            ("symbol",),
        ),
        (
            {"side": "buy", "quantity": 5, "symbol": "AAPL"},
            "buy 5 apple, not above 95",
            {"side": "buy", "quantity": 5, "symbol": "AAPL"},
            ("quantity",),
        ),
        ({}, "buy", {}, ("side", "quantity", "symbol")),
    ],
)
def test_arguments_come_from_the_words_or_are_missing(
    args: dict[str, object], text: str, kept: dict[str, object], missing: tuple[str, ...]
) -> None:
    found = ground(Order, args, text, {"apple": "AAPL", "ibm": "IBM"}, strict=True)  # type: ignore[arg-type]  # plain test values
    assert (dict(found.args), found.missing) == (kept, missing)


async def test_the_first_decider_with_an_opinion_wins_and_is_named() -> None:
    engine: DecisionEngine[str] = DecisionEngine([FunctionDecider("never", lambda _: None)])
    engine.add(FunctionDecider("always", lambda text: Intent(action="say", text=text)))
    engine.add(FunctionDecider("first", lambda text: Intent(action="x") if text == "x" else None), before="always")
    assert engine.deciders == ("never", "first", "always")
    assert (await engine.decide("x")) == Intent(action="x", decider="first")
    assert (await engine.decide("y")) == Intent(action="say", text="y", decider="always")
    with pytest.raises(NotFoundError, match="nobody"):
        engine.add(FunctionDecider("z", lambda _: None), before="nobody")


async def test_a_choice_outside_the_options_is_no_answer() -> None:
    question = Choice("Which?", ("a", "b"))

    async def says(value: str) -> str | None:
        async def answer(_: object) -> dict[str, str]:
            return {"choice": value}

        return await ask(question, answer)

    assert await says("a") == "a"
    assert await says("c") is None
    assert Score("How good?").read({"score": 7}) == 7
    for wrong in (11, True, "7", None):
        with pytest.raises(InvalidInputError):
            Score("How good?").read({"score": wrong})
