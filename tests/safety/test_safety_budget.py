"""The language model's budget: counted in rows on a clock that is passed in, refused in words with a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from retainer.core.clock import ManualClock
from retainer.core.protocols import ChatMessage, Generation, Usage
from retainer.models.scripted import ScriptedCall, ScriptedModel
from retainer.runtime.schema import MIGRATIONS as RUNTIME
from retainer.runtime.sqlite import SqliteStore
from retainer.safety.budget import BudgetSpentError, ModelBudget, Use, count, note_told, spent, told, use_lines, used
from retainer.safety.limits import Limits, wait
from retainer.safety.schema import MIGRATIONS as SAFETY

ASKED = (ChatMessage("user", "what do you think of the sea?"),)
ROOM = Limits()


@pytest.fixture
def add(store: SqliteStore) -> Callable[..., None]:
    def do(now: datetime, person: str = "ana", **what: int) -> None:
        store.write_now(lambda tx: count(tx, person, now, **what))

    return do


# --- counting --------------------------------------------------------------------------------------------------------
def test_use_is_counted_per_window_and_person_and_survives_a_restart(
    store: SqliteStore, add: Callable[..., None], now: datetime, tmp_path: Path
) -> None:
    add(now, calls=1, tokens=100)
    add(now + timedelta(minutes=1), calls=1)
    add(now + timedelta(minutes=20), "ben", calls=1, tokens=7)
    later = now + timedelta(minutes=30)
    store.close()
    again = SqliteStore.open(tmp_path / "retainer.db", (*RUNTIME, *SAFETY))
    assert used(again.view(), later) == Use(3, 107)
    assert used(again.view(), later, person="ana") == Use(2, 100)
    assert used(again.view(), now + timedelta(minutes=66)) == Use(1, 7)
    assert used(again.view(), now + timedelta(hours=3)) == Use(0, 0)
    assert used(again.view(), now + timedelta(hours=3), timedelta(days=1)) == Use(3, 107)
    again.close()


def test_what_no_window_reaches_is_dropped(store: SqliteStore, add: Callable[..., None], now: datetime) -> None:
    add(now, calls=1)
    add(now + timedelta(days=2), calls=1)
    assert store.view().query("SELECT calls FROM model_use") == [{"calls": 1}]


def test_a_clock_that_was_set_back_does_not_lock_anybody_out(
    store: SqliteStore, add: Callable[..., None], now: datetime
) -> None:
    add(now + timedelta(days=400), calls=1)
    assert spent(store.view(), "ana", now, replace(ROOM, model_calls_per_hour=1)) is None


# --- limits ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("limits", "words", "window"),
    [
        (replace(ROOM, model_calls_per_hour=3), "3 model calls an hour", timedelta(hours=1)),
        (replace(ROOM, model_calls_per_person=2), "2 model calls an hour for one person", timedelta(hours=1)),
        (replace(ROOM, model_tokens_per_hour=3000), "3,000 model tokens an hour", timedelta(hours=1)),
        (replace(ROOM, model_tokens_per_day=3000), "3,000 model tokens a day", timedelta(days=1)),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_each_limit_holds_exactly_and_frees_when_it_says(
    store: SqliteStore, add: Callable[..., None], now: datetime, limits: Limits, words: str, window: timedelta
) -> None:
    add(now, calls=1, tokens=1000)
    add(now, "ben", calls=1, tokens=1000)
    assert spent(store.view(), "ana", now, limits) is None
    add(now + timedelta(minutes=10), calls=1, tokens=1000)
    found = spent(store.view(), "ana", now + timedelta(minutes=10), limits)
    assert found is not None
    assert found.limit == words
    assert found.free_at == now + timedelta(minutes=5) + window
    assert spent(store.view(), "ana", found.free_at - timedelta(seconds=1), limits) == found
    assert spent(store.view(), "ana", found.free_at, limits) is None


def test_one_person_cannot_use_up_what_the_others_have(
    store: SqliteStore, add: Callable[..., None], now: datetime
) -> None:
    limits = replace(ROOM, model_calls_per_person=2)
    add(now, calls=2)
    assert spent(store.view(), "ana", now, limits) is not None
    assert spent(store.view(), "ben", now, limits) is None


def test_of_several_limits_the_one_that_frees_last_is_named(
    store: SqliteStore, add: Callable[..., None], now: datetime
) -> None:
    add(now, calls=5, tokens=5000)
    found = spent(store.view(), "ana", now, replace(ROOM, model_calls_per_hour=5, model_tokens_per_day=5000))
    assert found is not None
    assert found.limit == "5,000 model tokens a day"


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (timedelta(seconds=20), "at 16:00 (in 20 seconds)"),
        (timedelta(minutes=59, seconds=1), "at 16:59 (in 60 minutes)"),
        (timedelta(hours=7), "at 23:00 (in 7 hours)"),
    ],
)
def test_when_it_frees_is_said_for_a_phone(
    store: SqliteStore, add: Callable[..., None], now: datetime, ahead: timedelta, words: str
) -> None:
    add(now, calls=1)
    found = spent(store.view(), "ana", now, replace(ROOM, model_calls_per_hour=1))
    assert found is not None
    at = replace(found, free_at=now + ahead)
    assert at.when(now, ZoneInfo("Europe/Berlin")) == words


def test_a_person_is_told_once_until_it_frees(store: SqliteStore, now: datetime) -> None:
    assert not told(store.view(), "ana", now)
    for until in (now + timedelta(minutes=5), now + timedelta(hours=1)):
        store.write_now(lambda tx, until=until: note_told(tx, "ana", until))  # type: ignore[misc]
    assert told(store.view(), "ana", now + timedelta(minutes=59))
    assert not told(store.view(), "ana", now + timedelta(hours=1))
    assert not told(store.view(), "ben", now)


def test_status_says_what_is_used_once_something_is(
    store: SqliteStore, add: Callable[..., None], now: datetime
) -> None:
    assert use_lines(store.view(), now, ROOM) == []
    add(now, calls=2, tokens=1500)
    assert use_lines(store.view(), now + timedelta(hours=2), ROOM) == [
        "Model use: 0 of 600 calls and 0 of 2,000,000 tokens this hour; 1,500 of 10,000,000 tokens in 24 hours."
    ]


# --- the model, counted ----------------------------------------------------------------------------------------------
class Telling(ScriptedModel):
    """Says what it has used, as a server does."""

    def _reply(self, call: ScriptedCall) -> tuple[list[str], Generation]:
        words, generation = super()._reply(call)
        return words, replace(generation, usage=Usage(prompt=900, completion=100))


async def settled(store: SqliteStore) -> None:
    await store.write(lambda _tx: None)  # counts are written soon, in order with other writes


async def test_calls_and_tokens_of_a_metered_model_are_counted_and_then_refused(
    store: SqliteStore, now: datetime
) -> None:
    clock, model = ManualClock(now), Telling(["the sea is wide", {"choice": "none"}, "never said"])
    budget = ModelBudget(store, clock, replace(ROOM, model_tokens_per_hour=2000))
    metered = budget.metered(model, "ana")
    assert metered.name == "scripted"
    assert [piece async for piece in metered.stream(ASKED) if isinstance(piece, str)] == ["the", " sea", " is", " wide"]
    assert (await metered.complete(ASKED, schema={"type": "object"})).text == '{"choice": "none"}'
    await settled(store)
    assert used(store.view(), now, person="ana") == Use(2, 2000)
    words = "2,000 model tokens an hour is the limit; it frees at 16:05 UTC"
    with pytest.raises(BudgetSpentError, match=words):
        await metered.complete(ASKED)
    with pytest.raises(BudgetSpentError, match=words):
        await anext(metered.stream(ASKED))
    assert len(model.calls) == 2
    clock.advance(hours=2)
    assert (await metered.complete(ASKED)).text == "never said"


async def test_a_call_that_is_cut_short_or_fails_is_counted_too(store: SqliteStore, now: datetime) -> None:
    model = ScriptedModel(["one two three four", ConnectionError("gone")])
    metered = ModelBudget(store, ManualClock(now)).metered(model, "ana")
    stream = metered.stream(ASKED)
    assert [await anext(stream), await anext(stream)] == ["one", " two"]
    await stream.aclose()  # type: ignore[attr-defined]
    assert model.cancelled == 1
    with pytest.raises(ConnectionError):
        await metered.complete(ASKED)
    await settled(store)
    assert used(store.view(), now) == Use(2, 2 * (len(ASKED[0].content) // 4) + 2)


class Silent(ScriptedModel):
    """Its server does not say what was used."""

    def _reply(self, call: ScriptedCall) -> tuple[list[str], Generation]:
        words, generation = super()._reply(call)
        return words, replace(generation, usage=Usage())


async def test_what_a_server_does_not_count_is_estimated(store: SqliteStore, now: datetime) -> None:
    metered = ModelBudget(store, ManualClock(now)).metered(Silent(["wide " * 40]), "ana")
    await metered.complete(ASKED)
    await settled(store)
    assert used(store.view(), now).tokens > 40


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (-5, "1 second"),
        (0.2, "1 second"),
        (40, "40 seconds"),
        (89.5, "2 minutes"),
        (601, "11 minutes"),
        (7200, "2 hours"),
        (86_400, "24 hours"),
    ],
)
def test_a_wait_is_said_in_the_largest_unit_that_helps(now: datetime, ahead: float, words: str) -> None:
    assert wait(now + timedelta(seconds=ahead), now) == words
