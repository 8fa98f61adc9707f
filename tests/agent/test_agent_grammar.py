"""Phrase grammars: what is taken exactly, what is not, and that nothing is ever guessed."""

from __future__ import annotations

import timeit
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from retainer.agent.grammar import Grammar, compile_phrase, match
from retainer.agent.slots import dollars, spoken_number
from retainer.agent.text import tokens
from retainer.core.capabilities import Capability
from retainer.core.effects import EffectClass
from retainer.core.errors import InvalidInputError


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: Literal["buy", "sell"]
    quantity: int = Field(gt=0)
    symbol: str


class Period(BaseModel):
    period: Literal["today", "this_month", "last_month"] = "today"


class Why(BaseModel):
    symbol: str
    side: Literal["buy", "sell"] | None = None


class Note(BaseModel):
    when: str
    text: str


class Share(BaseModel):
    amount: Decimal = Field(gt=0)


ORDER = Capability(
    name="trading.order",
    agent="trading",
    description="Order",
    parameters=Order,
    effect_class=EffectClass.MONEY,
    phrases=("(buy|sell) {quantity} [share[s] of] {symbol} [share[s]]",),
    extra={"symbols": {"apple": "AAPL", "international business machines": "IBM"}},
)
PERFORMANCE = Capability(
    name="trading.performance",
    agent="trading",
    description="Profit",
    parameters=Period,
    phrases=("how (did|is) the bot (do|doing) [{period}]", "(profit|p&l) [{period}]", "what's my profit"),
)
WHY = Capability(
    name="trading.why",
    agent="trading",
    description="Why",
    parameters=Why,
    phrases=("why did (you|the bot) (buy|sell) {symbol}",),
)
NOTE = Capability(
    name="home.note", agent="home", description="Note", parameters=Note, phrases=("note for {when} saying {text}",)
)
GRAMMAR = Grammar([ORDER, PERFORMANCE, WHY, NOTE])


@pytest.mark.parametrize(
    ("text", "name", "args"),
    [
        ("buy 5 AAPL", "trading.order", {"side": "buy", "quantity": 5, "symbol": "AAPL"}),
        ("Please, buy 5 shares of apple!", "trading.order", {"side": "buy", "quantity": 5, "symbol": "AAPL"}),
        ("hey can you sell five ibm please", "trading.order", {"side": "sell", "quantity": 5, "symbol": "IBM"}),
        ("BUY 1,000 BRK.B", "trading.order", {"side": "buy", "quantity": 1000, "symbol": "BRK.B"}),
        (
            "sell 2 International Business Machines",
            "trading.order",
            {"side": "sell", "quantity": 2, "symbol": "IBM"},
        ),
        ("How did the bot do this month?", "trading.performance", {"period": "this_month"}),
        ("P&L", "trading.performance", {}),
        ("whats my profit", "trading.performance", {}),
        ("What’s my profit?", "trading.performance", {}),
        ("why did you buy IBM?", "trading.why", {"symbol": "IBM", "side": "buy"}),
        (
            "note for tomorrow at 9 saying call Anna, then Bob",
            "home.note",
            {"when": "tomorrow at 9", "text": "call Anna, then Bob"},
        ),
    ],
)
def test_exact_phrases_give_their_capability_and_typed_arguments(text: str, name: str, args: dict[str, object]) -> None:
    found = GRAMMAR.match(text)
    assert found is not None
    assert (found.capability.name, dict(found.args)) == (name, args)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "don't buy 5 AAPL",
        "do not buy 5 AAPL",
        "buy -5 AAPL",
        "buy 0 AAPL",
        "buy 5.5 AAPL",
        "buy 5.5.5 AAPL",
        "buy 1,5 AAPL",
        "buy $5 AAPL",
        "buy 5% AAPL",
        "buy 5k AAPL",
        "buy 5 shares",
        "buy 5 of them",
        "buy 5 bananas",
        "buy AAPL",
        "buy 5 AAPL and sell 3 IBM",
        "should I buy 5 AAPL",
        "yesterday I told Bob to buy 5 AAPL",
        "how did the bot do next century",
    ],
)
def test_anything_else_is_no_match(text: str) -> None:
    assert GRAMMAR.match(text) is None


def test_the_reading_with_most_literal_words_wins() -> None:
    class Free(BaseModel):
        what: str

    broad = Capability(name="a.forget", agent="a", description="", parameters=Free, phrases=("forget {what}",))
    narrow = Capability(name="a.all", agent="a", description="", phrases=("forget everything",))
    found = match("forget everything", [broad, narrow])
    assert found is not None
    assert found.capability.name == "a.all"


def test_two_equally_good_readings_are_none_when_one_moves_money() -> None:
    def other(effect_class: EffectClass) -> Capability:
        return Capability(
            name="b.order",
            agent="b",
            description="",
            parameters=Order,
            effect_class=effect_class,
            phrases=("(buy|sell) {quantity} {symbol}",),
        )

    assert match("buy 5 AAPL", [ORDER, other(EffectClass.MONEY)]) is None
    reading = Capability(name="c.x", agent="c", description="", phrases=("profit",))
    assert match("profit", [PERFORMANCE, reading]) is not None


def test_a_decimal_slot_keeps_the_exact_number() -> None:
    capability = Capability(name="a.b", agent="a", description="", parameters=Share, phrases=("set {amount}",))
    found = match("set 0.10", [capability])
    assert found is not None
    assert found.args == {"amount": "0.10"}


@pytest.mark.parametrize("phrase", ["buy {nothing}", "buy [more", "buy (a|b", "buy } x", "", "a ] b", "{"])
def test_a_phrase_that_does_not_compile_names_itself(phrase: str) -> None:
    with pytest.raises(InvalidInputError, match=r"trading\.order"):
        compile_phrase(Capability(name="trading.order", agent="t", description="", parameters=Order), phrase)


def test_a_phrase_with_too_many_forms_is_refused() -> None:
    phrase = " ".join("(a|b|c)" for _ in range(9))
    with pytest.raises(InvalidInputError, match="unfolds"):
        compile_phrase(Capability(name="x.y", agent="x", description=""), phrase)


def test_sixty_capabilities_match_within_a_millisecond() -> None:
    many = [
        Capability(
            name=f"a{n}.b",
            agent=f"a{n}",
            description="",
            parameters=Period,
            phrases=tuple(f"how (did|is) thing{n} (do|doing) [number {m}] [{{period}}]" for m in range(8)),
        )
        for n in range(60)
    ]
    grammar = Grammar([*many, ORDER])
    seconds = min(timeit.repeat(lambda: grammar.match("how did thing59 do number 7 this month"), number=20, repeat=5))
    assert seconds / 20 < 0.001


@given(
    quantity=st.integers(min_value=1, max_value=10**6),
    symbol=st.sampled_from(["AAPL", "IBM", "MSFT", "GOOG"]),
    side=st.sampled_from(["buy", "sell"]),
    before=st.sampled_from(["", "please ", "Hey, ", "can you please "]),
    after=st.sampled_from(["", "!", " please.", " thanks"]),
)
def test_politeness_and_punctuation_never_change_an_order(
    quantity: int, symbol: str, side: str, before: str, after: str
) -> None:
    found = GRAMMAR.match(f"{before}{side} {quantity:,} {symbol}{after}")
    assert found is not None
    assert found.args == {"side": side, "quantity": quantity, "symbol": symbol}


@given(st.text(max_size=200))
def test_no_text_makes_it_raise(text: str) -> None:
    found = GRAMMAR.match(text)
    assert found is None or found.capability in GRAMMAR.capabilities


@given(st.text(alphabet="abcdefghij ", max_size=40), st.integers(1, 999))
def test_extra_words_around_an_order_make_it_no_order(extra: str, quantity: int) -> None:
    words = [word for word in extra.split() if word not in {"a", "i"}]
    if words:
        assert GRAMMAR.match(f"zq{' '.join(words)} buy {quantity} AAPL") is None


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("twenty five", "25"),
        ("twenty-five", "25"),
        ("a hundred", "100"),
        ("two hundred and ten", "210"),
        ("a dozen", "12"),
        ("one thousand two hundred", "1200"),
        ("twenty twenty", None),
        ("five six", None),
        ("ten five", None),
        ("a five", None),
        ("", None),
    ],
)
def test_numbers_in_words(words: str, value: str | None) -> None:
    assert spoken_number(words.replace("-", " ").split()) == value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("$5", "5"),
        ("1000$", "1000"),
        ("$1,000.50", "1000.50"),
        ("$2k", "2000"),
        ("$.50", ".50"),
        ("5", None),
        ("$", None),
        ("$5$", None),
        ("€5", None),
        ("-$5", None),
    ],
)
def test_dollars_need_their_sign(word: str, value: str | None) -> None:
    assert dollars(word) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("buy \u22125 AAPL", ["buy", "-5", "aapl"]),
        ("buy \u20135 AAPL", ["buy", "-5", "aapl"]),
        ("buy .5 AAPL", ["buy", ".5", "aapl"]),
        ("buy 500 € of AAPL", ["buy", "500", "€", "of", "aapl"]),
        ("buy 5 $AAPL", ["buy", "5", "aapl"]),
        ("10\u201320", ["10", "20"]),
    ],
)
def test_no_sign_that_changes_an_amount_is_lost(text: str, words: list[str]) -> None:
    assert tokens(text) == words
