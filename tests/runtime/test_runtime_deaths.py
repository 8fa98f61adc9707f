"""An event that takes the whole program down is not re-entered for ever, and takes no other event with it."""

from __future__ import annotations

import asyncio

import structlog
from tests.runtime.conftest import QUICK, House, message, say

from retainer.core.events import Event
from retainer.core.protocols import Context, Tx
from retainer.runtime.inbox import requeue
from retainer.runtime.runtime import Runtime
from retainer.runtime.trace import cause_number, root_of


async def die(house: House) -> None:
    """What SIGKILL leaves behind: rows as they are, a runtime that writes nothing any more."""
    runtime = house.runtime
    lanes = runtime._lanes
    assert lanes is not None
    lanes._run = "gone"  # the farewell of an end in order does not reach what the dead run had begun
    await runtime.stop(0.0)


async def start_again(house: House, handler: object) -> None:
    house.runtime = Runtime(house.store, house.clock, house.guard, settings=QUICK)
    house.runtime.add_adapter("terminal.reply", house.terminal)
    await house.on(handler)  # type: ignore[arg-type]


async def test_the_event_at_fault_is_parked_after_so_many_deaths_and_its_sender_told(house: House) -> None:
    deadly = asyncio.Event()

    async def handler(ctx: Context, event: Event) -> None:
        if event.body["text"] == "deadly":
            deadly.set()
            await asyncio.sleep(3600)
        ctx.send(say(f"fine: {event.body['text']}"))

    await house.on(handler)
    await house.runtime.receive(message("deadly"), message("behind it", 2))
    for _ in range(QUICK.crashes):
        await asyncio.wait_for(deadly.wait(), 10)
        await die(house)
        deadly.clear()
        await start_again(house, handler)
    await house.settle()
    assert house.one("SELECT state FROM event WHERE seq = 1") == "parked"
    assert any(f"ended {QUICK.crashes} times in the middle of it" in text for text in house.terminal.texts)
    assert house.terminal.texts[-1] == "fine: behind it"


async def test_others_that_were_under_way_are_not_taken_along(house: House) -> None:
    """Two events are being handled whenever the program dies; only one is to blame."""
    deaths = 0
    deadly, slow_runs = asyncio.Event(), []

    async def handler(ctx: Context, event: Event) -> None:
        if event.body["text"] == "deadly":
            deadly.set()
            await asyncio.sleep(3600)
        slow_runs.append(ctx.attempts)
        if not deaths:
            await asyncio.sleep(3600)
        ctx.send(say("slow but innocent"))

    await house.on(handler)
    await house.runtime.receive(message("slow", chat="a"), message("deadly", chat="b"))
    await house.until(lambda: deadly.is_set() and slow_runs)
    while deaths < QUICK.crashes:
        await asyncio.wait_for(deadly.wait(), 10)
        deaths += 1
        await die(house)
        deadly.clear()
        await start_again(house, handler)
    await house.settle()
    assert house.one("SELECT state FROM event WHERE external_id = 'b:1'") == "parked"
    assert house.one("SELECT state FROM event WHERE external_id = 'a:1'") == "done"


async def test_an_end_in_order_counts_against_nobody(house: House) -> None:
    begun = asyncio.Event()

    async def handler(ctx: Context, event: Event) -> None:
        begun.set()
        await asyncio.sleep(3600)

    await house.on(handler)
    await house.runtime.receive(message("slow"))
    for _ in range(QUICK.crashes + 1):
        await asyncio.wait_for(begun.wait(), 10)
        begun.clear()
        await house.runtime.stop(0.0)
        await start_again(house, handler)
    await asyncio.wait_for(begun.wait(), 10)
    assert house.one("SELECT deaths FROM event") == 0
    assert house.one("SELECT attempts FROM event") == QUICK.crashes + 2


async def test_the_owner_may_have_a_parked_event_tried_again(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        ctx.send(say("now it works"))

    await house.on(handler)

    def unit(tx: Tx) -> None:
        tx.execute("UPDATE event SET state = 'parked', deaths = 5")
        requeue(tx, 1)

    await house.runtime.receive(message("x"))
    await house.runtime.idle()
    await house.store.write(unit)
    await house.until(lambda: house.one("SELECT state FROM event") == "done")
    assert house.one("SELECT deaths FROM event") == 0


async def test_a_trace_leads_to_the_outside_fact_through_events_and_effects(house: House) -> None:
    async def nothing(ctx: Context, event: Event) -> None: ...

    await house.on(nothing)
    await house.runtime.receive(message("root"))
    await house.runtime.receive(message("asked", 2, cause="event:1"))
    await house.runtime.receive(message("outcome", 3, cause="e2:order"))
    await house.runtime.receive(message("strange", 4, cause="something else"))
    view = house.store.view()
    assert [root_of(view, seq) for seq in (1, 2, 3, 4, 99)] == [1, 1, 1, 4, 99]
    assert [cause_number(cause) for cause in ("event:7", "e8:reply", "nothing", None)] == [7, 8, None, None]


async def test_an_event_has_one_trace_before_and_after_its_service_died(house: House) -> None:
    traces: list[object] = []

    async def dies_once(ctx: Context, event: Event) -> None:
        if event.seq == 1:
            return
        traces.append(structlog.contextvars.get_contextvars()["trace"])
        if len(traces) == 1:
            await asyncio.Event().wait()
        ctx.send(say("answer"))

    await house.on(dies_once)
    await house.runtime.receive(message("root"))
    await house.runtime.receive(message("what it led to", 2, cause="event:1"))
    await house.until(lambda: traces)
    await die(house)
    await start_again(house, dies_once)
    await house.runtime.idle()
    assert traces == ["e1", "e1"]
