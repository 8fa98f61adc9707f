"""Lanes under pressure and in trouble: limited room, a full disk, strange handlers, any arrival order."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.conftest import QUICK, START, House, Scripted, TrivialGuard, Wire, message, order, say

from retainer.core.errors import InvalidInputError
from retainer.core.events import Event
from retainer.core.protocols import Context, Tx
from retainer.runtime.inbox import insert_event
from retainer.runtime.runtime import Runtime
from retainer.runtime.schema import MIGRATIONS
from retainer.runtime.settings import RuntimeSettings
from retainer.runtime.sqlite import SqliteStore
from retainer.runtime.store import DamagedError, StorageError
from retainer.runtime.timers import TimerLoop


async def test_room_is_limited_and_shared_fairly_but_control_never_waits(house: House) -> None:
    house.runtime = Runtime(house.store, house.clock, house.guard, settings=RuntimeSettings(lanes=1))
    handled: list[str] = []
    go, inside = asyncio.Event(), asyncio.Event()

    async def handler(ctx: Context, event: Event) -> None:
        if event.lane != "control":
            inside.set()
            await go.wait()
        handled.append(f"{event.lane[-1]}{event.body['text']}")

    await house.on(handler)
    await house.runtime.receive(message("1", 1, chat="a"), message("2", 2, chat="a"))
    await inside.wait()
    await house.runtime.receive(message("1", 1, chat="b"), message("!", 9, lane="control", urgent=True))
    await house.until(lambda: handled == ["l!"])
    go.set()
    await house.runtime.idle()
    assert handled == ["l!", "a1", "b1", "a2"]


async def test_a_full_disk_neither_kills_nor_counts_against_an_event(house: House) -> None:
    tries: list[int] = []

    async def handler(ctx: Context, event: Event) -> None:
        tries.append(1)
        ctx.send(say("z" * 200_000))

    def limit(pages: int) -> Any:
        return lambda tx: tx.query(f"PRAGMA max_page_count = {pages}")

    await house.on(handler)
    used = await house.store.write(lambda tx: tx.query("PRAGMA page_count"))
    await house.store.write(limit(used[0]["page_count"] + 5))
    await house.runtime.receive(message("x"))
    await house.until(lambda: len(tries) >= 2, 20)
    assert house.one("SELECT state FROM event") == "waiting"
    assert house.one("SELECT failures FROM event") == 0
    await house.store.write(limit(1_000_000))
    await house.runtime.idle()
    assert [len(text) for text in house.terminal.texts] == [200_000]


async def test_a_handler_whose_inner_task_was_cancelled_fails_like_any_other(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        if ctx.attempts == 1:
            inner = asyncio.create_task(asyncio.sleep(9))
            asyncio.get_running_loop().call_soon(inner.cancel)
            await inner
        ctx.send(say("second try"))

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert house.terminal.texts == ["second try"]


async def test_a_call_that_its_handler_gave_up_on_is_seen_through_later(house: House) -> None:
    broker = Wire()
    broker.gate = asyncio.Event()
    house.runtime.add_adapter("paper.order", broker)

    async def handler(ctx: Context, event: Event) -> None:
        if event.kind != "message":
            return
        try:
            async with asyncio.timeout(0.05):
                await ctx.call(order())
        except TimeoutError:
            ctx.send(say("it takes long"))

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.until(lambda: house.terminal.done)
    broker.gate.set()
    house.runtime.wake()
    await house.runtime.idle()
    assert house.states() == {"e1:order": "done", "e1:reply": "done"}
    assert len(broker.done) == 1


async def test_a_guard_that_raises_blocks_the_effect_and_nothing_else(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        ctx.send(order() if event.body["text"] == "buy" else say("fine"))

    class Broken(TrivialGuard):
        def check(self, view: Any, effect: Any, turn: Any, now: Any) -> Any:
            if effect.tool == "paper.order":
                raise ZeroDivisionError
            return super().check(view, effect, turn, now)

    broker = Wire()
    house.runtime = Runtime(house.store, house.clock, Broken(), settings=QUICK)
    house.runtime.add_adapter("terminal.reply", house.terminal)
    house.runtime.add_adapter("paper.order", broker)
    await house.on(handler)
    await house.runtime.receive(message("buy"), message("hello", 1, chat="b"))
    await house.until(lambda: "fine" in house.terminal.texts)
    await house.settle()
    assert broker.done == []
    assert any("ZeroDivisionError" in text for text in house.terminal.texts)


async def test_text_that_cannot_be_stored_is_refused_and_loses_nothing(house: House) -> None:
    with pytest.raises(InvalidInputError, match="cannot be stored"):
        await house.runtime.receive(message("half a \ud83d surrogate"))
    assert (await house.runtime.receive(message("nul \x00 and 🎉")))[0].new


async def test_names_are_taken_once(house: House) -> None:
    async def nothing(ctx: Context, event: Event) -> None: ...

    await house.on(nothing)
    with pytest.raises(InvalidInputError, match="Two agents"):
        house.runtime.add_agent(Scripted("chat", nothing))
    with pytest.raises(InvalidInputError, match="runs already"):
        await house.runtime.start()


ARRIVALS = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 6)), max_size=25)


@settings(max_examples=15, deadline=None)
@given(ARRIVALS)
def test_whatever_arrives_is_handled_once_and_in_order(arrivals: list[tuple[int, bool, int]]) -> None:
    """Duplicates (same lane and number) are stored once; non-urgent events of a lane keep their order."""
    handled: dict[str, list[Event]] = defaultdict(list)

    async def handler(ctx: Context, event: Event) -> None:
        handled[event.lane].append(event)
        await asyncio.sleep(0)

    async def run(store: SqliteStore) -> None:
        from retainer.core.clock import ManualClock

        runtime = Runtime(store, ManualClock(START), TrivialGuard(), settings=QUICK)
        runtime.add_agent(Scripted("chat", handler))
        await runtime.start()
        for lane, urgent, number in arrivals:
            await runtime.receive(message("x", number, chat=f"c{lane}", urgent=urgent))
        await runtime.idle()
        await runtime.stop()

    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "r.db", MIGRATIONS)
        asyncio.run(run(store))
        store.close()
    assert sum(map(len, handled.values())) == len({(lane, number) for lane, _, number in arrivals})
    for events in handled.values():
        calm = [event.seq for event in events if not event.urgent]
        assert calm == sorted(calm)


async def test_rows_written_past_the_runtime_are_noticed_in_process_too(house: House) -> None:
    async def echo(ctx: Context, event: Event) -> None:
        ctx.send(say("seen"))

    await house.on(echo)

    def unit(tx: Tx) -> None:
        insert_event(tx, message("x"), START)

    await house.store.write(unit)
    await house.until(lambda: house.terminal.done)


async def test_damage_that_only_the_timers_see_is_told(house: House) -> None:
    told: list[StorageError] = []

    class Damaged:
        def view(self) -> Any:
            raise DamagedError("The database is damaged.")

    loop = TimerLoop(cast("Any", Damaged()), house.clock, cast("Any", None), cast("Any", None), told.append)
    task = asyncio.create_task(loop.run())
    await house.until(lambda: told)
    task.cancel()
    assert isinstance(told[0], DamagedError)
