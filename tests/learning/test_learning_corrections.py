"""A correction changes how that person's phrase is taken, and nobody else's; outcomes know when they became known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError
from retainer.learning import corrections, outcomes
from retainer.learning.outcomes import LearnedOutcome
from retainer.learning.schema import MIGRATIONS
from retainer.runtime.sqlite import SqliteStore

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore.open(tmp_path / "x.db", MIGRATIONS)
    yield made
    made.close()


def correct(store: SqliteStore, phrase: str, meant: str, seq: int = 1, person: str = "anna") -> None:
    store.write_now(lambda tx: corrections.record(tx, person, phrase, meant, seq, NOW))


def look(store: SqliteStore, phrase: str, person: str = "anna") -> str | None:
    return corrections.lookup(store.view(), person, phrase)


def test_a_corrected_phrase_is_taken_as_it_was_meant(store: SqliteStore) -> None:
    correct(store, "How's the pot?", "how did the bot do this month")
    assert look(store, "hows the POT") == "how did the bot do this month"
    assert look(store, "hows the pot today") is None
    assert look(store, "hows the pot", person="ben") is None


def test_the_newest_correction_holds_and_can_be_undone(store: SqliteStore) -> None:
    correct(store, "the usual", "status", 1)
    correct(store, "the usual", "positions", 2)
    assert look(store, "the usual") == "positions"
    assert [row.meant for row in corrections.active(store.view(), "anna")] == ["positions"]
    assert store.write_now(lambda tx: corrections.undo(tx, "anna", "The usual!")) is True
    assert look(store, "the usual") is None
    assert store.write_now(lambda tx: corrections.undo(tx, "anna", "the usual")) is False


def test_recorded_twice_after_a_crash_it_is_there_once(store: SqliteStore) -> None:
    correct(store, "the usual", "status")
    correct(store, "the usual", "status")
    assert len(corrections.active(store.view(), "anna")) == 1


def test_corrections_of_corrections_are_followed_and_circles_end(store: SqliteStore) -> None:
    correct(store, "a one", "b two", 1)
    correct(store, "b two", "c three", 2)
    assert look(store, "a one") == "c three"
    correct(store, "c three", "a one", 3)
    assert look(store, "a one") is None


def test_numbers_are_part_of_a_phrase(store: SqliteStore) -> None:
    correct(store, "buy 5 of the fruit", "buy 5 AAPL")
    assert look(store, "buy 50 of the fruit") is None
    assert look(store, "buy 5.5 of the fruit") is None


def test_near_matches_are_for_reading_only_and_must_be_near(store: SqliteStore) -> None:
    correct(store, "show me the money pot", "positions")
    assert corrections.near(store.view(), "anna", "show me the pot money please") == "positions"
    assert corrections.near(store.view(), "anna", "show me the weather") is None


@pytest.mark.parametrize(("phrase", "meant"), [("", "x"), ("x", "!?"), ("Status!", "status"), ("x" * 501, "y")])
def test_what_is_no_correction(store: SqliteStore, phrase: str, meant: str) -> None:
    with pytest.raises(InvalidInputError):
        correct(store, phrase, meant)


def test_erased_corrections_are_gone(store: SqliteStore) -> None:
    correct(store, "zanzibarquokka", "status", 7)
    correct(store, "the usual", "positions", 8)
    assert store.write_now(lambda tx: corrections.erase(tx, "anna", [7])) == 1
    assert [row.source_seq for row in corrections.active(store.view(), "anna")] == [8]
    assert store.write_now(lambda tx: corrections.erase(tx, "anna")) == 1
    store.checkpoint()
    assert b"zanzibarquokka" not in store.path.read_bytes()


@given(
    made=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcdwxyz")), max_size=12),
    asked=st.sampled_from("abcd"),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_looking_up_always_ends_and_never_yields_the_phrase_itself(
    made: list[tuple[str, str]], asked: str, store: SqliteStore
) -> None:
    person = f"p{len(made)}-{hash(tuple(made))}"
    for seq, (phrase, meant) in enumerate(made):
        if phrase != meant:
            correct(store, phrase, meant, seq, person)
    assert look(store, asked, person) != asked


# --- outcomes --------------------------------------------------------------------------------------------------------
def outcome(seq: int, known: int, value: float = 1.0) -> LearnedOutcome:
    return LearnedOutcome(
        agent="trading",
        event_seq=seq,
        decision="buy IBM",
        outcome="rose",
        value=value,
        at=NOW,
        known_at=NOW + timedelta(days=known),
    )


def keep(store: SqliteStore, made: LearnedOutcome) -> bool:
    return store.write_now(lambda tx: outcomes.record(tx, made))


def test_an_outcome_does_not_exist_before_it_is_known(store: SqliteStore) -> None:
    for seq, known in ((1, 5), (2, 1)):
        assert keep(store, outcome(seq, known))
    assert outcomes.known(store.view(), "trading", NOW) == []
    assert [o.event_seq for o in outcomes.known(store.view(), "trading", NOW + timedelta(days=2))] == [2]
    assert [o.event_seq for o in outcomes.known(store.view(), "trading", NOW + timedelta(days=9))] == [2, 1]


def test_an_outcome_is_recorded_once_and_not_before_its_decision(store: SqliteStore) -> None:
    assert keep(store, outcome(1, 1)) is True
    assert keep(store, outcome(1, 1, value=2.0)) is False
    with pytest.raises(InvalidInputError, match="before the decision"):
        keep(store, outcome(2, -1))
