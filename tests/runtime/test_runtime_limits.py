"""What one event may set off: agents cannot lead each other on for ever, nor speak in a person's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.runtime.conftest import START, House, Scripted, message, order, say

from retainer.core.errors import RefusedError
from retainer.core.events import Event, NewEvent
from retainer.core.protocols import Context
from retainer.runtime.context import MOST_EVENTS
from retainer.runtime.inbox import MOST_HOPS


def ask(ctx: Context, agent: str, number: int = 0) -> NewEvent:
    """A question for another agent, in its lane."""
    return replace(
        message("?", 1, agent=agent, lane=f"{agent}:1", kind="request", sender=ctx.event.sender),
        source=f"agent:{ctx.event.agent}",
        external_id=f"e{ctx.event.seq}:{number}",
    )


async def test_two_agents_that_answer_each_other_come_to_an_end_and_the_person_is_told(house: House) -> None:
    async def chat(ctx: Context, event: Event) -> None:
        ctx.emit(ask(ctx, "trading"))

    async def trading(ctx: Context, event: Event) -> None:
        ctx.emit(ask(ctx, "chat"))

    house.runtime.add_agent(Scripted("trading", trading))
    await house.on(chat)
    await house.runtime.receive(message("x"))
    await house.settle()
    hops = [row["hops"] for row in house.store.view().query("SELECT hops FROM event WHERE kind <> 'notice'")]
    assert hops == list(range(MOST_HOPS + 1))
    assert "led each other" in house.terminal.texts[-1]
    await house.runtime.receive(message("again", 2))
    await house.settle()
    assert house.one("SELECT COUNT(*) AS n FROM event WHERE hops = 0") == 2, "what begins anew is not held up"


async def test_an_agent_that_answers_every_refusal_with_another_order_comes_to_an_end(house: House) -> None:

    async def stubborn(ctx: Context, event: Event) -> None:
        ctx.send(order())

    await house.on(stubborn)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert house.one("SELECT COUNT(*) AS n FROM effect") == MOST_HOPS + 1
    reasons = [row["reason"] for row in house.store.view().query("SELECT reason FROM effect ORDER BY id")]
    assert all("Nothing here can do" in reason for reason in reasons[:-1])
    assert "led each other" in reasons[-1]


async def test_at_the_end_of_a_chain_the_answer_still_goes_out(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        ctx.send(say("done"))
        ctx.send(order())

    await house.on(handler)
    await house.runtime.receive(replace(message("x"), hops=MOST_HOPS))
    await house.settle()
    assert house.terminal.texts == ["done"]
    assert house.states() == {"e1:reply": "done", "e1:order": "refused"}


async def test_one_event_leads_to_a_bounded_number_of_events_and_timers(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        for number in range(MOST_EVENTS):
            ctx.emit(ask(ctx, "trading", number))
            ctx.timer(f"t{number}", at=ctx.now + timedelta(hours=1), body={})
        ctx.timer("t0", at=ctx.now + timedelta(hours=2), body={})  # moved, not another one
        with pytest.raises(RefusedError, match="is the limit"):
            ctx.emit(ask(ctx, "trading", MOST_EVENTS))
        with pytest.raises(RefusedError, match="is the limit"):
            ctx.timer("one more", at=ctx.now + timedelta(hours=1), body={})

    async def trading(ctx: Context, event: Event) -> None: ...

    house.runtime.add_agent(Scripted("trading", trading))
    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert house.one("SELECT COUNT(*) AS n FROM event") == 1 + MOST_EVENTS
    assert house.one("SELECT COUNT(*) AS n FROM timer") == MOST_EVENTS


async def test_a_timer_that_sets_the_next_one_waits_a_second(house: House) -> None:
    """Whatever it asks for: such a chain has no other end."""
    fired: list[Event] = []

    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "timer":
            fired.append(event)
        if len(fired) < 3:
            ctx.timer("tick", at=START, body={})

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.until(lambda: len(fired) == 1)
    await house.runtime.idle()
    house.clock.advance(seconds=1)
    await house.until(lambda: len(fired) == 2)
    await house.runtime.idle()
    house.clock.advance(seconds=1)
    await house.until(lambda: len(fired) == 3)
    assert [(event.occurred_at - START).total_seconds() for event in fired] == [0.0, 1.0, 2.0]


FORGED: list[tuple[str, Callable[[Context], object]]] = [
    ("no agent can say one", lambda ctx: ctx.emit(replace(ask(ctx, "chat"), kind="command"))),
    ("is what a person wrote", lambda ctx: ctx.emit(replace(ask(ctx, "chat"), kind="message"))),
    ("cannot put market data", lambda ctx: ctx.emit(replace(ask(ctx, "chat"), kind="bar"))),
    ("cannot put market data", lambda ctx: ctx.emit(replace(ask(ctx, "chat"), source="feed:x"))),
    ("not on behalf of p2", lambda ctx: ctx.emit(replace(ask(ctx, "chat"), sender="p2"))),
    ("no agent can say one", lambda ctx: ctx.timer("t", at=ctx.now, body={"command": "approve"}, kind="command")),
    ("is what a person wrote", lambda ctx: ctx.timer("t", at=ctx.now, body={"text": "buy"}, kind="message")),
    ("cannot put market data", lambda ctx: ctx.timer("t", at=ctx.now, body={}, kind="bar")),
]


@pytest.mark.parametrize(("words", "forge"), FORGED)
async def test_an_agent_speaks_in_nobody_elses_name(
    house: House, words: str, forge: Callable[[Context], object]
) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        with pytest.raises(RefusedError, match=words):
            forge(ctx)

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.runtime.idle()
    assert len(house.seen) == 1


async def test_an_outcome_counts_as_a_step_of_the_chain(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            ctx.send(order())

    await house.on(handler)
    await house.runtime.receive(message("buy"))
    await house.settle()
    assert [(event.kind, event.hops) for event in house.seen] == [("message", 0), ("outcome", 1)]
