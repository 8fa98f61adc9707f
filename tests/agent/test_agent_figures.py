"""The figure filter: no figure about money that a record does not support is ever shown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.agent.figures import HONEST_DEED, HONEST_FIGURE, FigureFilter, figures, grounded_figures


def shown(text: str, *records: str, about_money: bool = False) -> str:
    words = FigureFilter(grounded_figures(records), about_money=about_money)
    for piece in re.findall(r"\s*\S+|\s+", text):
        words.push(piece)
    return words.finish()


@pytest.mark.parametrize(
    "invented",
    [
        "Your profit is $500 this month.",
        "You made 12 % last week.",
        "The bot earned five hundred dollars.",
        "You own 7 shares of AAPL.",
        "IBM is priced at 192.01 now.",
        "Your balance:\n100000",
        "Profit? 534.",
    ],
)
def test_an_ungrounded_figure_is_replaced_by_an_honest_sentence(invented: str) -> None:
    assert HONEST_FIGURE in shown(f"Hello there. {invented} Bye.")
    assert not figures(shown(invented)) & figures(invented)


def test_an_amount_is_never_repeated_even_a_recorded_one() -> None:
    """A small model calls a cost a profit, and yesterday's cash today's."""
    assert shown("The bot made $1,204.50 this month.", "The order cost 1204.50 dollars") == HONEST_FIGURE


def test_a_count_of_a_record_may_be_repeated() -> None:
    text = "The account made 3 trades."
    assert shown(text, "3 trades this month") == text


def test_figures_that_have_nothing_to_do_with_money_pass() -> None:
    text = "Water boils at 100 degrees. The war ended in 1945. Pick 3 colours:\n1. Red\n2. Blue\n3. Green"
    assert shown(text) == text


def test_a_bare_number_counts_when_the_question_is_about_money() -> None:
    assert shown("It is 534.", about_money=True) == HONEST_FIGURE


@pytest.mark.parametrize(
    "claim", ["I have bought 5 AAPL for you.", "I just sold everything!", "Your order has been placed."]
)
def test_a_claim_to_have_traded_is_replaced(claim: str) -> None:
    assert shown(claim) == HONEST_DEED


def test_nothing_after_the_first_figure_of_a_sentence_is_shown_before_it_is_checked() -> None:
    words = FigureFilter()
    for piece in ("Your profit", " is ", "$5", "00", ".25 today"):
        words.push(piece)
        assert not figures(words.text)
    assert words.text == "Your profit is"


def test_plain_words_stream_as_they_come() -> None:
    words = FigureFilter()
    words.push("Good morning ")
    assert words.text == "Good morning"


@given(
    st.lists(
        st.sampled_from(["Your profit is $", "5", "00", ". ", "the ", "12 %", " shares ", "!\n", "ten "]), max_size=25
    )
)
def test_whatever_the_pieces_no_ungrounded_currency_figure_is_ever_visible(pieces: list[str]) -> None:
    words = FigureFilter(about_money=True)
    for piece in pieces:
        words.push(piece)
        assert not figures(words.text)
    assert figures(words.finish()) <= {1, 2}


@given(st.text(max_size=300))
def test_no_text_makes_it_raise_and_shown_text_only_grows_or_is_replaced(text: str) -> None:
    words = FigureFilter()
    for char in text:
        words.push(char)
    assert isinstance(words.finish(), str)
