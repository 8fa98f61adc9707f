"""Exact words: what stops, what answers a card, what corrects, and above all what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.agent.grammar import compile_phrase
from retainer.agent.grammar import match as match_phrase
from retainer.chat.commands import (
    CardAnswer,
    Correction,
    UrgentCommand,
    advice_like,
    card_answer,
    correction,
    half_yes,
    stop_like,
    urgent_command,
)
from retainer.chat.own import own_capabilities


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("stop", UrgentCommand("stop")),
        ("STOP!!!", UrgentCommand("stop")),
        ("/stop", UrgentCommand("stop")),
        ("/stop@my_bot", UrgentCommand("stop")),
        ("please stop", UrgentCommand("stop")),
        ("Stop! Stop!", UrgentCommand("stop")),
        ("stop trading, please", UrgentCommand("stop")),
        ("stop all", UrgentCommand("stop", all=True)),
        ("Stop everything!", UrgentCommand("stop", all=True)),
        ("pause", UrgentCommand("pause")),
        ("pause the bot", UrgentCommand("pause")),
        ("resume please", UrgentCommand("resume")),
    ],
)
def test_control_words_are_exact_politeness_aside(text: str, command: UrgentCommand) -> None:
    assert urgent_command(text) == command


@pytest.mark.parametrize(
    "text",
    [
        "",
        "please",
        "don't stop",
        "no stop",
        "stop by the shop",
        "stop-loss",
        "never stop",
        "did it stop",
        "resume my cv",
    ],
)
def test_anything_longer_or_else_is_no_control_word(text: str) -> None:
    assert urgent_command(text) is None


def test_only_resume_needs_a_scope() -> None:
    scopes = {word: command.scope for word in ("stop", "pause", "resume") if (command := urgent_command(word))}
    assert scopes == {"stop": "chat", "pause": "chat", "resume": "trade"}


@given(st.text(max_size=120))
def test_no_text_makes_the_readers_raise(text: str) -> None:
    urgent_command(text)
    card_answer(text)
    correction(text)
    stop_like(text)
    half_yes(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("yes", CardAnswer(True)),
        ("Yes please!", CardAnswer(True)),
        ("go ahead", CardAnswer(True)),
        ("buy it", CardAnswer(True)),
        ("approve k3m9xv2a", CardAnswer(True, "k3m9xv2a")),
        ("YES 3F2A", CardAnswer(True, "", "3f2a")),
        ("yes k3m9xv2a 3F2A", CardAnswer(True, "k3m9xv2a", "3f2a")),
        ("no", CardAnswer(False)),
        ("don't", CardAnswer(False)),
        ("reject k3m9xv2a", CardAnswer(False, "k3m9xv2a")),
        ("never mind", CardAnswer(False)),
    ],
)
def test_answers_to_cards(text: str, answer: CardAnswer) -> None:
    assert card_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    ["ok", "sure", "yeah", "yes I would like a coffee", "no idea", "yes but wait", "not yes", "approve the budget", ""],
)
def test_loose_words_never_answer_a_card(text: str) -> None:
    assert card_answer(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("wrong, I meant profit last month", Correction("profit last month", explicit=True)),
        ("No, I meant “IBM”.", Correction("IBM", explicit=True)),
        ("that's wrong, I meant to ask how it did", Correction("how it did", explicit=True)),
        ("I meant IBM", Correction("IBM", explicit=False)),
        ("I really meant it", None),
        ("no", None),
        ("", None),
    ],
)
def test_corrections(text: str, found: Correction | None) -> None:
    assert correction(text) == found


@pytest.mark.parametrize("text", ["halt!", "kill the bot", "stop buying stuff", "abort everything now"])
def test_stop_like_words_are_noticed(text: str) -> None:
    assert stop_like(text)


@pytest.mark.parametrize(
    "text", ["why did you stop trading?", "how do I stop the bot", "the bus stop is near", "hello", ""]
)
def test_questions_and_buses_are_not_stop_like(text: str) -> None:
    assert not stop_like(text)


@pytest.mark.parametrize(
    "text",
    ["should I buy MSFT?", "Should I sell everything?", "is IBM a good buy?", "what should I buy", "shall we invest"],
)
def test_questions_for_advice_are_noticed(text: str) -> None:
    assert advice_like(text)


@pytest.mark.parametrize("text", ["buy 5 AAPL", "why did you buy IBM?", "is tea a good drink?", ""])
def test_orders_and_tea_are_no_questions_for_advice(text: str) -> None:
    assert not advice_like(text)


def test_every_phrase_of_the_chat_agent_compiles_and_every_example_is_understood() -> None:
    capabilities = own_capabilities()
    for capability in capabilities:
        for phrase in capability.phrases:
            assert compile_phrase(capability, phrase)
        for example in capability.examples:
            if not example.startswith("remind me"):
                found = match_phrase(example, capabilities)
                assert found is not None, example
                assert found.capability is capability
