"""How few transactions a turn takes where one process serves the database, and what must not suffer from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
from tests.runtime.conftest import EditableWire, House, Wire, message, say

from retainer.core.effects import RepeatClass
from retainer.core.errors import NotSentError
from retainer.core.events import Event
from retainer.core.protocols import Context, Tx


def counted(house: House) -> list[str]:
    """The states that each unit of work leaves behind, for what the house has one event and one effect of."""
    writes: list[str] = []
    write = house.store.write

    async def counting(apply: Callable[[Tx], Any]) -> Any:
        result = await write(apply)
        event = house.one("SELECT state FROM event WHERE attempts > 0 ORDER BY seq DESC LIMIT 1")
        effect = house.one("SELECT state FROM effect ORDER BY id DESC LIMIT 1")
        writes.append(f"{event}/{effect}")
        return result

    house.store.write = counting  # type: ignore[method-assign]
    return writes


async def hello(ctx: Context, event: Event) -> None:
    ctx.send(say(f"hello {event.body['text']}"))


async def test_a_turn_is_claimed_as_it_is_stored_and_its_reply_begun_as_it_is_closed(house: House) -> None:
    await house.on(hello)
    writes = counted(house)
    await house.runtime.receive(message("Ana"))
    await house.runtime.idle()
    assert writes == ["waiting/None", "done/sending", "done/done"]
    assert house.terminal.texts == ["hello Ana"]
    assert [kind for _, kind, _ in house.guard.audit] == ["effect.allowed", "effect.done"]


async def test_a_reply_that_must_not_be_said_twice_is_begun_only_when_it_is_its_turn(house: House) -> None:
    """Between *sending* and the sending itself lies as little as can be."""
    house.runtime.add_adapter("terminal.reply", Wire(RepeatClass.NONE))
    await house.on(hello)
    writes = counted(house)
    await house.runtime.receive(message("Ana"))
    await house.runtime.idle()
    assert [state for state, _ in groupby(writes)] == ["waiting/None", "done/ready", "done/sending", "done/done"]


async def test_a_reply_into_a_placeholder_that_is_shown_is_an_edit_and_begun_as_its_event_closes(house: House) -> None:
    wire = EditableWire()
    house.runtime.add_adapter("terminal.reply", wire)

    async def slowly(ctx: Context, event: Event) -> None:
        await ctx.open(say("..."))
        ctx.send(say("there"))

    await house.on(slowly)
    writes = counted(house)
    await house.runtime.receive(message("Ana"))
    await house.runtime.idle()
    assert writes == ["waiting/None", "waiting/sending", "waiting/sending", "done/sending", "done/done"]
    assert list(wire.shown.values()) == ["there"]


async def test_a_reply_waits_behind_what_its_queue_still_has(house: House) -> None:
    house.terminal.fails = [NotSentError("down"), NotSentError("down")]
    await house.on(hello)
    await house.runtime.receive(message("one"))
    await house.until(lambda: house.one("SELECT reason FROM effect") == "down")
    await house.runtime.receive(message("two", 2))
    await house.runtime.idle()
    assert house.terminal.texts == []
    house.clock.advance(seconds=10)
    house.runtime.wake()
    first = "SELECT state FROM effect ORDER BY id LIMIT 1"
    await house.until(lambda: not house.terminal.fails and house.one(first) == "ready")
    house.clock.advance(seconds=10)
    house.runtime.wake()
    await house.until(lambda: house.terminal.texts == ["hello one", "hello two"])


async def test_several_replies_of_one_event_go_one_after_another(house: House) -> None:
    async def twice(ctx: Context, event: Event) -> None:
        ctx.send(say("first", "a"))
        ctx.send(say("second", "b"))

    await house.on(twice)
    await house.runtime.receive(message("x"))
    await house.runtime.idle()
    assert house.terminal.texts == ["first", "second"]


async def test_messages_that_arrive_together_keep_their_order(house: House) -> None:
    await house.on(hello)
    await asyncio.gather(*(house.runtime.receive(message(str(n), n)) for n in range(10)))
    await house.runtime.idle()
    assert house.terminal.texts == [f"hello {n}" for n in range(10)]


async def test_a_lane_is_let_go_when_its_event_was_known_or_could_not_be_stored(house: House) -> None:
    await house.on(hello)
    await house.runtime.receive(message("one"))
    await house.runtime.idle()
    await house.runtime.receive(message("one"))

    def broken(_tx: Tx) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await house.runtime.receive(message("two", 2), also=broken)
    await house.runtime.receive(message("three", 3))
    await house.runtime.idle()
    assert house.terminal.texts == ["hello one", "hello three"]


async def test_an_event_whose_receiver_was_cancelled_is_handled_all_the_same(house: House) -> None:
    await house.on(hello)
    receiving = asyncio.create_task(house.runtime.receive(message("one")))
    await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    await house.until(lambda: house.terminal.texts == ["hello one"])
    assert house.one("SELECT deaths FROM event") == 0
