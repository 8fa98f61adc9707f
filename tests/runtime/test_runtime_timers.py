"""Timers fire once, in one transaction, however late; schedules follow their zone."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

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


CHANGES = {
    "Europe/Berlin": [datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)],
    "America/New_York": [datetime(2026, 3, 7, 18, tzinfo=UTC), datetime(2026, 10, 31, 18, tzinfo=UTC)],
    "Australia/Lord_Howe": [datetime(2026, 4, 4, 5, tzinfo=UTC), datetime(2026, 10, 3, 5, tzinfo=UTC)],
}
"""The day before clocks are set forward or back, by an hour or by half of one."""


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("clock", ["01:00", "01:30", "01:45", "02:00", "02:30", "03:00", "09:00"])
def test_a_daily_timer_fires_once_on_every_day_of_a_clock_change(zone: str, clock: str) -> None:
    hour, minute = map(int, clock.split(":"))
    for start in CHANGES[zone]:
        now, days = start, list[date]()
        while len(days) < 3:
            now = next_time(f"{minute} {hour} * * *", zone, now)
            days.append(now.astimezone(ZoneInfo(zone)).date())
        first = start.astimezone(ZoneInfo(zone)).date()
        assert days == [first + timedelta(days=n) for n in (1, 2, 3)]


@pytest.mark.parametrize("start", CHANGES["Europe/Berlin"])
def test_an_hourly_timer_follows_the_hours_that_pass_and_not_the_clock_on_the_wall(start: datetime) -> None:
    times = [start]
    for _ in range(48):
        times.append(next_time("0 * * * *", "Europe/Berlin", times[-1]))
    assert {after - before for before, after in pairwise(times)} == {timedelta(hours=1)}


MOVES = st.lists(
    st.one_of(
        st.integers(1, 900),  # time passes
        st.just(8 * 3600),  # the machine sleeps
        st.integers(1, 7200).map(lambda back: -back),  # the clock is set back
        st.integers(901, 7200),  # or forward
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25, deadline=None)
@given(MOVES, st.sampled_from([start for starts in CHANGES.values() for start in starts]), st.sampled_from([*CHANGES]))
def test_whatever_the_clock_does_each_period_fires_once_and_none_early(
    moves: list[int], start: datetime, zone: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "r.db", MIGRATIONS)
        for name, cron in (("hourly", "0 * * * *"), ("daily", "30 2 * * *")):
            timer = Timer(lane="l", name=name, agent="a", cron=cron, zone=zone)
            store.write_now(lambda tx, timer=timer: set_timer(tx, timer, start))  # type: ignore[misc]  # bound default
        now = latest = start
        for move in moves:
            now += timedelta(seconds=move)
            latest = max(latest, now)
            before = {timer.name: timer.at for timer in pending_timers(store.view())}
            fired = store.write_now(lambda tx, at=now: fire_due(tx, at))  # type: ignore[misc]  # bound default
            assert fired == sum(at is not None and at <= now for at in before.values())
            assert all(timer.at is not None and timer.at > now for timer in pending_timers(store.view()))
        rows = store.view().query("SELECT external_id, occurred_at FROM event ORDER BY seq")
        assert len({row["external_id"] for row in rows}) == len(rows)
        assert all(row["occurred_at"] <= latest.timestamp() for row in rows), "none before its time"
        for name in ("hourly", "daily"):
            times = [row["occurred_at"] for row in rows if f"/{name}@" in row["external_id"]]
            assert times == sorted(set(times)), "a clock set back fires no period again"
        store.close()


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 1700), st.sampled_from(CHANGES["Europe/Berlin"]))
def test_a_clock_that_only_passes_fires_every_single_period(step: int, start: datetime) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "r.db", MIGRATIONS)
        timer = Timer(lane="l", name="n", agent="a", cron="*/30 * * * *", zone="Europe/Berlin")
        store.write_now(lambda tx: set_timer(tx, timer, start))
        ends, now, fired = start + timedelta(hours=20), start, 0
        while now < ends:
            now = min(ends, now + timedelta(seconds=max(step, 300)))
            fired += store.write_now(lambda tx, at=now: fire_due(tx, at))  # type: ignore[misc]  # bound default
        assert fired == 40
        store.close()


async def test_a_service_that_slept_and_whose_clock_was_set_back_reminds_once(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            ctx.timer("tea", at=ctx.now + timedelta(hours=1), body={"text": "tea"})
        else:
            ctx.send(say(f"Reminder: {event.body['text']}", name=f"r{event.seq}"))

    await house.on(handler)
    await house.runtime.receive(message("remind me"))
    await house.runtime.idle()
    house.clock.advance(hours=8)
    house.runtime.wake()
    await house.until(lambda: house.terminal.done)
    for hours in (-8, 2, -1, 8):
        house.clock.advance(hours=hours)
        house.runtime.wake()
        await house.runtime.idle()
    await house.again(handler)
    house.runtime.wake()
    await house.runtime.idle()
    assert house.terminal.texts == ["Reminder: tea"]


async def test_a_clock_that_was_a_year_ahead_does_not_keep_a_schedule_waiting_for_a_year(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        ctx.send(say(str(event.occurred_at.date())))

    daily = Timer(lane="chat:terminal:local", name="news", agent="chat", cron="0 8 * * *", reply_to="terminal:local")
    await house.store.write(lambda tx: set_timer(tx, daily, START))
    await house.on(handler)
    house.clock.advance(days=365)
    house.runtime.wake()
    await house.until(lambda: house.seen)
    house.clock.advance(days=-365)
    for _ in range(3):
        house.clock.advance(days=1)
        house.runtime.wake()
        await asyncio.sleep(0.1)
        await house.runtime.idle()
    days = [(START + timedelta(days=days)).date() for days in (1, 2, 3)]
    assert [event.occurred_at.date() for event in house.seen] == days, "tomorrow's was early, once; the others on time"


@pytest.mark.parametrize(("cron", "zone"), [("nonsense", "UTC"), ("0 9 * * *", "Mars/Base"), ("* * * * * *", "UTC")])
def test_a_bad_schedule_is_explained(cron: str, zone: str) -> None:
    with pytest.raises(InvalidInputError, match="five fields and a zone"):
        next_time(cron, zone, START)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 50_000), min_size=1, max_size=12))
def test_each_period_fires_at_most_once_and_the_clock_may_jump(jumps: list[int]) -> None:
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
