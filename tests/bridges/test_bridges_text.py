"""Texts cut for a channel read as they should, and nothing of them is lost."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.chat.bridges.text import FENCE, readable, split_message, split_text, to_html, units
from retainer.chat.bridges.tokens import extract_token
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Button, OutgoingMessage

WORDS = st.lists(st.sampled_from(["word", "a", "x" * 130, "\n", "\n\n", "🙂" * 40, "é", "tail."]), max_size=80)


@given(WORDS.map(" ".join), st.integers(100, 300))
def test_pieces_fit_and_together_hold_every_word(text: str, limit: int) -> None:
    pieces = split_text(text, limit)
    assert all(units(piece) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(
    st.lists(st.sampled_from(["```py\n", "```\n", "code line\n" * 8, "prose. " * 10, "\n\n", "```"]), max_size=30).map(
        "".join
    ),
    st.integers(100, 400),
)
def test_cutting_always_ends_and_pieces_fit(text: str, limit: int) -> None:
    assert all(units(piece) <= limit for piece in split_text(text, limit))


def test_a_text_that_fits_is_left_alone() -> None:
    assert split_text("  as it is \n\n", 4000) == ["  as it is \n\n"]
    assert split_text("", 4000) == [""]


def test_cuts_are_made_between_paragraphs() -> None:
    assert split_text("a" * 80 + "\n\n" + "b" * 80, 120) == ["a" * 80, "b" * 80]


def test_a_code_block_moves_whole_when_something_stands_before_it() -> None:
    text = "p" * 80 + "\n\n```py\n" + "x = 1\n" * 10 + "```"
    assert split_text(text, 120) == ["p" * 80, "```py\n" + "x = 1\n" * 10 + "```"]


def test_a_code_block_longer_than_a_piece_is_closed_and_opened_again() -> None:
    pieces = split_text("```py\n" + "x = 1\n" * 60 + "```", 150)
    assert len(pieces) > 1
    assert all(piece.count(FENCE) == 2 and piece.startswith("```py\n") for piece in pieces)


def test_the_last_part_carries_buttons() -> None:
    buttons = (Button("Approve", "a:abcd2345"),)
    parts = split_message(OutgoingMessage(text="a" * 150, buttons=buttons), 100)
    assert [part.buttons for part in parts] == [(), buttons]
    assert split_message(OutgoingMessage(text="a" * 150), None) == [OutgoingMessage(text="a" * 150)]


def test_pieces_shorter_than_a_sentence_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        split_text("x" * 500, 50)


@given(st.text())
def test_html_shows_every_character(text: str) -> None:
    shown = html.unescape(re.sub(r"</?(?:b|pre)>", "", to_html(text)))
    kept = [char for char in shown if char not in "*`\n"]
    code = re.sub(r"```\w*\n", "", text)
    assert kept == [char for char in code if char not in "*`\n"]


@given(st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF, exclude_categories=())))
def test_readable_text_can_be_kept_in_any_database(text: str) -> None:
    kept = readable(text)
    kept.encode()
    assert "\0" not in kept
    assert readable("a\n\tb🙂\u200d") == "a\n\tb🙂\u200d"


GOOD = "123456789:AAEabcdefghijklmnopqrstuvwxyz0123456"


@pytest.mark.parametrize("pasted", [GOOD, f"  {GOOD}\n", f"Use this token to access the HTTP API:\n{GOOD}\nKeep it."])
def test_the_token_is_found_in_whatever_is_pasted(pasted: str) -> None:
    assert extract_token(pasted) == GOOD


@pytest.mark.parametrize("pasted", ["", "hello", "123:short", f"{GOOD} and {GOOD[:-1]}x"])
def test_a_wrong_paste_is_refused_without_repeating_it(pasted: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        extract_token(pasted)
    assert not pasted or pasted not in str(refused.value)
