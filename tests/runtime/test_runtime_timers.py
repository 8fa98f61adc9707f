"""Timers fire once, in one transaction, however late; schedules follow their zone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.conftest import START, House, message, say

from retainer.core.errors import InvalidInputError
from retainer.core.events import Event
from retainer.core.protocols import Context
from retainer.runtime.schema import MIGRATIONS
from retainer.runtime.sqlite import SqliteStore
from retainer.runtime.timers import Timer, cancel_timer, fire_due, next_time, pending_timers, set_timer


async def test_a_reminder_fires_in_its_conversation(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            ctx.timer("tea", at=ctx.now + timedelta(minutes=10), body={"text": "tea"})
        else:
            ctx.send(say(f"Reminder: {event.body['text']}"))

    await house.on(handler)
    await house.runtime.receive(message("remind me"))
    await house.runtime.idle()
    house.clock.advance(minutes=9)
    await asyncio.sleep(0.02)
    assert house.terminal.done == []
    house.clock.advance(hours=8)
    house.runtime.wake()
    await house.until(lambda: house.terminal.done)
    await house.runtime.idle()
    assert house.terminal.texts == ["Reminder: tea"]
    timer = house.seen[1]
    assert (timer.kind, timer.sender, timer.reply_to) == ("timer", "p1", "terminal:local")
    assert timer.occurred_at == START + timedelta(minutes=10)
    assert timer.body == {"name": "tea", "text": "tea"}


async def test_a_timer_can_be_moved_and_cancelled(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        text = event.body["text"]
        if text == "set":
            ctx.timer("t", at=START + timedelta(hours=1), body={})
        elif text == "move":
            ctx.timer("t", at=START + timedelta(hours=2), body={})
        else:
            ctx.cancel_timer("t")

    await house.on(handler)
    for number, (text, times) in enumerate([("set", [1]), ("move", [2]), ("cancel", [])]):
        await house.runtime.receive(message(text, number))
        await house.runtime.idle()
        assert [t.at for t in pending_timers(house.store.view())] == [START + timedelta(hours=h) for h in times]


@pytest.mark.parametrize("misfire", ["once", "skip"])
def test_a_schedule_slept_through_fires_once_or_not_at_all(tmp_path: Path, misfire: str) -> None:
    store = SqliteStore.open(tmp_path / "r.db", MIGRATIONS)
    timer = Timer(lane="l", name="n", agent="a", cron="0 9 * * *", misfire=misfire)  # type: ignore[arg-type]  # param
    store.write_now(lambda tx: set_timer(tx, timer, START))
    after = START + timedelta(days=5, minutes=30)
    assert store.write_now(lambda tx: fire_due(tx, after)) == (1 if misfire == "once" else 0)
    assert store.write_now(lambda tx: fire_due(tx, after)) == 0
    [left] = pending_timers(store.view())
    assert left.at == datetime(2026, 1, 11, 9, tzinfo=UTC)
    assert store.write_now(lambda tx: cancel_timer(tx, "l", "n"))
    assert pending_timers(store.view()) == []
    store.close()


def test_schedules_keep_the_local_hour_over_daylight_saving() -> None:
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    first = next_time("0 9 * * *", "Europe/Berlin", before)
    second = next_time("0 9 * * *", "Europe/Berlin", first)
    assert (first, second) == (datetime(2026, 3, 29, 7, tzinfo=UTC), datetime(2026, 3, 30, 7, tzinfo=UTC))


@pytest.mark.parametrize(("cron", "zone"), [("nonsense", "UTC"), ("0 9 * * *", "Mars/Base"), ("* * * * * *", "UTC")])
def test_a_bad_schedule_is_explained(cron: str, zone: str) -> None:
    with pytest.raises(InvalidInputError, match="five fields and a zone"):
        next_time(cron, zone, START)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 50_000), min_size=1, max_size=12))
def test_each_period_fires_at_most_once_and_the_clock_may_jump(jumps: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "r.db", MIGRATIONS)
        store.write_now(lambda tx: set_timer(tx, Timer(lane="l", name="n", agent="a", cron="0 * * * *"), START))
        now, fired = START, 0
        for jump in jumps:
            now += timedelta(seconds=jump)
            instant = now
            fired += store.write_now(lambda tx, at=instant: fire_due(tx, at))  # type: ignore[misc]  # bound default
        assert fired <= int((now - START).total_seconds() // 3600)
        assert (fired > 0) == (now >= START + timedelta(hours=1))
        store.close()
