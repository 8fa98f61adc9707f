"""Ideas in words: common sentences become specs by grammar; what is not understood is shown, never guessed."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError
from retainer.trading.phrases import Idea, idea_of, read_idea

NAMES = {"aapl": "AAPL", "apple": "AAPL", "ibm": "IBM", "msft": "MSFT", "goog": "GOOG", "google": "GOOG"}


def read(text: str) -> Idea:
    return read_idea(text, NAMES)


def said(text: str) -> tuple[Any, ...]:
    spec = read(text).spec
    assert spec is not None
    stops = spec.stops.model_dump(exclude_none=True)
    return (spec.symbols, *spec.buy_when, *(spec.sell_when or ("",)), *([stops] if stops else []))


@pytest.mark.parametrize(
    ("text", "symbols", "buy", "sell"),
    [
        (
            "test buying AAPL when RSI(2) is under 10 and price is above the 200-day average, sell when RSI is over 70",
            ("AAPL",),
            "RSI(2) < 10 and close > SMA(200)",
            "RSI(2) > 70",
        ),
        (
            "Backtest buying Apple and IBM whenever the 20-day average crosses above the 100-day average and selling "
            "when it crosses below.",
            ("AAPL", "IBM"),
            "SMA(20) crosses above SMA(100)",
            "SMA(20) crosses below SMA(100)",
        ),
        (
            "What if I had bought IBM when the price closed above its 50 day moving average, and sold when it closed "
            "below it?",
            ("IBM",),
            "close > SMA(50)",
            "close < SMA(50)",
        ),
        (
            "test buying IBM when RSI(3) drops below fifteen, selling when it rises above sixty",
            ("IBM",),
            "RSI(3) < 15",
            "RSI(3) > 60",
        ),
        (
            "test holding IBM while the 50-day EMA is above the 200-day EMA",
            ("IBM",),
            "EMA(50) > EMA(200)",
            "not (EMA(50) > EMA(200))",
        ),
        (
            "test when RSI(2) is below 5 buy AAPL, sell when price is above its 5-day average",
            ("AAPL",),
            "RSI(2) < 5",
            "close > SMA(5)",
        ),
        (
            "test buying AAPL if MACD crosses above its signal line and volume is above its 20-day average; sell if "
            "MACD crosses below its signal",
            ("AAPL",),
            "MACD.macd crosses above MACD.macdsignal and volume > SMA(volume, 20)",
            "MACD.macd crosses below MACD.macdsignal",
        ),
        (
            "test buying GOOG when it breaks above the 20-day high and sell when it breaks below the 10-day low",
            ("GOOG",),
            "close > MAX(high, 20)[1]",
            "close < MIN(low, 10)[1]",
        ),
        (
            "test buying AAPL when price is below the lower Bollinger band, sell when price is above the middle band",
            ("AAPL",),
            "close < BBANDS(20, 2).lowerband",
            "close > BBANDS(20, 2).middleband",
        ),
        (
            "test buying AAPL when the price is under $50, sell when it is above 80 dollars",
            ("AAPL",),
            "price < 50",
            "price > 80",
        ),
        (
            "test buying AAPL when RSI is between 20 and 30, exit when RSI is over 55",
            ("AAPL",),
            "(RSI(14) > 20 and RSI(14) < 30)",
            "RSI(14) > 55",
        ),
        (
            "test buying AAPL when ADX(14) is above 25 or CCI(20) < -100, sell when ADX < 15",
            ("AAPL",),
            "ADX(14) > 25 or CCI(20) < -100",
            "ADX(14) < 15",
        ),
        (
            "test buying IBM at a golden cross, sell at a death cross".replace(" at a ", " when there is a ", 2),
            ("IBM",),
            "SMA(50) crosses above SMA(200)",
            "SMA(50) crosses below SMA(200)",
        ),
        (
            "test buying IBM when price is more than 5% below its 50-day average, "
            "sell when it makes a new 52-week high",
            ("IBM",),
            "close < SMA(50) * (1 - 5%)",
            "close > MAX(high, 252)[1]",
        ),
    ],
)
def test_common_sentences(text: str, symbols: tuple[str, ...], buy: str, sell: str) -> None:
    assert said(text) == (symbols, buy, sell)


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("sell after 5 days", {"bars": 5}),
        ("sell after two weeks", {"bars": 10}),
        ("sell 3 days later", {"bars": 3}),
        ("sell the next day", {"bars": 1}),
        ("sell at a 10% gain or a 5% loss", {"profit": 0.1, "loss": 0.05}),
        ("with a stop of 5%", {"loss": 0.05}),
        ("with an 8% trailing stop", {"trailing": 0.08}),
        ("with a stop loss at 4 percent and a take profit at 12 percent", {"loss": 0.04, "profit": 0.12}),
        ("take profit at 20%, stop loss at 10%", {"profit": 0.2, "loss": 0.1}),
        ("sell when it is 3% below the entry", {"loss": 0.03}),
    ],
)
def test_exits_that_are_about_the_position(text: str, stops: dict[str, float]) -> None:
    assert said(f"test buying MSFT when it falls 3 days in a row, {text}")[-1] == stops


def test_streaks_and_moves() -> None:
    assert said("test buying MSFT when it falls 2 days in a row, sell after 5 days")[1] == (
        "(close < close[1] and close[1] < close[2])"
    )
    assert said("test buying MSFT when it is down more than 5% in 3 days, sell after 5 days")[1] == (
        "close / close[3] - 1 < -5%"
    )
    assert (
        said("test buying MSFT when it rises 10% over 2 weeks, sell after 5 days")[1] == "close / close[10] - 1 > 10%"
    )


@pytest.mark.parametrize(
    ("text", "start", "end", "years"),
    [
        ("since 2005", date(2005, 1, 1), None, None),
        ("from 2003 to 2006", date(2003, 1, 1), date(2006, 12, 31), None),
        ("between 2003-02-01 and 2006-03-31", date(2003, 2, 1), date(2006, 3, 31), None),
        ("in 2008", date(2008, 1, 1), date(2008, 12, 31), None),
        ("until 2007", None, date(2007, 12, 31), None),
        ("over the last 3 years", None, None, 3),
    ],
)
def test_periods(text: str, start: date | None, end: date | None, years: int | None) -> None:
    idea = read(f"test buying IBM when RSI(2) is under 10, sell when RSI is over 70, {text}")
    assert (idea.start, idea.end, idea.years) == (start, end, years)


def test_classics_by_name_and_size() -> None:
    assert read("test buy and hold of IBM").strategy.name == "buy-and-hold"
    idea = read("backtest the moving average crossover on apple and ibm since 2004, with half the account")
    assert (idea.strategy.name, idea.strategy.symbols, idea.strategy.weight) == ("sma-cross", ("AAPL", "IBM"), 0.5)
    assert idea.start == date(2004, 1, 1)
    assert read("test momentum-rotation on aapl, ibm and msft").strategy.symbols == ("AAPL", "IBM", "MSFT")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("test buying TSLA when RSI is under 30, sell when RSI is over 70", "tsla when rsi"),
        ("test buying AAPL when the moon is full, sell when RSI is over 70", "the moon is full"),
        ("test buying AAPL when RSI is under 30, sell when the news is bad", "the news is bad"),
        ("test buying AAPL when RSI is under 30, sell when RSI is over 70, on margin", "on margin"),
        ("test buying AAPL when RSI(2) is under 10", "When to sell is not said"),
        ("test selling AAPL when RSI(2) is under 10", "aapl when"),
        ("test when RSI(2) is under 10, sell when RSI is over 70", "What should be bought is not said"),
        ("test buying AAPL", "When to buy is not said"),
        ("test buying AAPL when RSI is under 30, sell when RSI is over 70, since 2005-13-40", "2005-13-40"),
        ("test my new phone", "my new phone"),
        ("buy 5 AAPL", "Begin with"),
        ("", "the end of the sentence"),
    ],
)
def test_what_is_not_understood_is_shown(text: str, shown: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        read(text)
    assert shown in str(error.value)


def test_parts_that_a_model_told_apart_are_read_by_the_same_grammar() -> None:
    idea = idea_of(["apple"], "RSI(2) is under 10", "when RSI is over 70", names=NAMES, period="since 2005")
    assert idea.spec is not None
    assert (idea.spec.symbols, idea.spec.buy_when, idea.spec.sell_when) == (
        ("AAPL",),
        ("RSI(2) < 10",),
        ("RSI(2) > 70",),
    )
    with pytest.raises(InvalidInputError, match="sell_when: I do not understand “the moon sets”"):
        idea_of(["IBM"], "RSI is under 10", "the moon sets")
    with pytest.raises(InvalidInputError, match="period: I do not know"):
        idea_of(["IBM"], "RSI is under 10", "RSI is over 70", period="when it rained")


SAID = (
    "test buying AAPL when RSI(2) is under over 10 70% and or price the 200-day average sell it crosses above below "
    "after 5 days since 2005 with a stop of between MACD its signal"
)
WORDS = st.sampled_from(SAID.split(" "))


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=25))
def test_any_words_are_an_idea_or_a_sentence_about_what_is_wrong(words: list[str]) -> None:
    try:
        idea = read(" ".join(words))
    except InvalidInputError as error:
        assert str(error)  # noqa: PT017  either outcome is right
    else:
        assert idea.strategy.symbols == ("AAPL",)
