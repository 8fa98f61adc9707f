"""Facts come from what was stated, stand in the person's own words, and the latest holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retainer import MemoryManager
from retainer.core.errors import InvalidInputError
from retainer.memory.cards import statements

DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("My name is Anna.", "name", "Anna"),
        ("hi, my name is Anna Maria Svensson and I live in Oslo", "name", "Anna Maria Svensson"),
        ("please call me Ishmael", "name", "Ishmael"),
        ("I live in Oslo now", "home", "Oslo"),
        ("By the way, I just moved to New York because of work", "home", "New York"),
        ("I work at the harbour office, mostly nights", "employer", "the harbour office"),
        ("my birthday is on 3 May", "birthday", "3 May"),
        ("I don't like olives", "taste:olives", "olives"),
        ("I really love the sea!", "taste:sea", "the sea"),
        ("I'm allergic to peanuts.", "allergy:peanuts", "peanuts"),
        ("my sister's name is Ingrid", "my:sister's name", "Ingrid"),
        ("My dog is called Rex", "my:dog", "Rex"),
        ("my favourite colour is dark green", "my:favourite colour", "dark green"),
        ("remember that the spare key is with Tom", "note:spare key is with tom", "the spare key is with Tom"),
        ("answer shorter please", "rule:length", "answer shorter"),
        ("Be brief.", "rule:length", "Be brief"),
        ("from now on, use metric units", "rule:use metric units", "use metric units"),
        ("always give dates in full", "rule:always give dates in full", "always give dates in full"),
    ],
)
def test_statements(text: str, key: str, value: str) -> None:
    found = {statement.key: statement.value for statement in statements(text)}
    assert found.get(key) == value


@pytest.mark.parametrize(
    "text",
    [
        "do I live in Oslo?",
        "she said my name is Bob",
        "what is my name",
        "my question is simple",
        "if I live in Rome I will be happy",
        "my job is not what I wanted",
        "my name is what?",
        "buy 5 AAPL",
        "",
    ],
)
def test_what_is_not_a_statement(text: str) -> None:
    assert statements(text) == []


@given(
    st.text(max_size=200)
    | st.from_regex(r"(my name is|I live in|remember that|I like|my dog is) .{0,60}", fullmatch=True)
)
@settings(max_examples=200, deadline=None)
def test_a_value_always_stands_in_its_message(text: str) -> None:
    assert all(statement.value in text and statement.value for statement in statements(text))


def test_the_latest_wins_and_the_old_is_answerable_by_date() -> None:
    memory = MemoryManager()
    for number, city in enumerate(["Oslo", "Rome", "Lima"]):
        memory.remember(f"I live in {city}", at=DAY + timedelta(days=100 * number))
    (now,) = memory.facts()
    assert (now.value, now.until) == ("Lima", None)
    then = memory.facts(at=DAY + timedelta(days=150))
    assert [fact.value for fact in then] == ["Rome"]
    assert [fact.value for fact in memory.facts(past=True)] == ["Oslo", "Rome", "Lima"]
    assert memory.facts(at=DAY - timedelta(days=1)) == []


def test_a_changed_taste_is_a_contradiction() -> None:
    memory = MemoryManager()
    memory.remember("I like olives", at=DAY)
    memory.remember("I don't like olives", at=DAY + timedelta(days=1))
    assert [fact.words for fact in memory.facts()] == ["You don’t like olives."]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["Oslo", "Rome", "Lima"])), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_two_hundred_contradictions_in_any_order_leave_one_truth(stated: list[tuple[int, str]]) -> None:
    memory = MemoryManager()
    for place, (day, city) in enumerate(stated):
        memory.remember(f"I live in {city}", at=DAY + timedelta(days=day), seq=place + 1, source=f"m{place}")
    expected = max(enumerate(stated), key=lambda item: (item[1][0], item[0]))[1][1]
    assert [fact.value for fact in memory.facts()] == [expected]


def test_only_the_person_states_facts() -> None:
    memory = MemoryManager()
    memory.remember("My name is HAL", role="assistant", at=DAY)
    assert memory.facts() == []


def test_behaviour_rules_supersede_by_matter() -> None:
    memory = MemoryManager()
    first = memory.update_behavior("answer shorter", at=DAY)
    assert (first.value, memory.behavior()) == ("answer shorter", ["answer shorter"])
    memory.update_behavior("answer in more detail", at=DAY + timedelta(days=1))
    memory.update_behavior("call the portfolio the pot", at=DAY + timedelta(days=2))
    assert memory.behavior() == ["answer in more detail", "call the portfolio the pot"]
    with pytest.raises(InvalidInputError, match="empty rule"):
        memory.update_behavior(" ")


def test_what_do_you_know_about_me() -> None:
    memory = MemoryManager()
    assert "have not told me" in memory.about()
    memory.remember("My name is Anna", at=DAY)
    memory.update_behavior("answer shorter", at=DAY)
    text = memory.about()
    assert "1. Your name is Anna. (since 2026-01-01)" in text
    assert "Your rule: Answer shorter" in text
    assert memory.profile() == ["Your name is Anna."]
