"""How an event travels: received once, handled in order, closed whole, answered once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.runtime.conftest import START, EditableWire, House, Scripted, Wire, message, order, say

from retainer.core.effects import Decision, Verdict
from retainer.core.errors import RefusedError, RetainerError
from retainer.core.events import Event
from retainer.core.labels import OWNER, UNTRUSTED, Label, Trust
from retainer.core.protocols import Context, Tx
from retainer.runtime.base import BaseStore
from retainer.runtime.explain import depth, explain, recent
from retainer.runtime.inbox import insert_event, requeue


async def test_a_message_is_answered_once_however_often_it_is_received(house: House) -> None:
    async def echo(ctx: Context, event: Event) -> None:
        ctx.send(say(f"you said {event.body['text']}"))

    await house.on(echo)
    first = await house.runtime.receive(message("hi"))
    second = await house.runtime.receive(message("hi"))
    await house.runtime.idle()
    assert first[0].new
    assert second[0] == type(first[0])(first[0].seq, False)
    assert house.terminal.done == [("e1:reply", "you said hi")]
    assert house.states() == {"e1:reply": "done"}
    assert [kind for _, kind, _ in house.guard.audit] == ["effect.allowed", "effect.done"]


async def test_also_runs_in_the_receiving_transaction_and_only_for_something_new(house: House) -> None:
    async def nothing(ctx: Context, event: Event) -> None: ...

    ran: list[int] = []
    await house.on(nothing)
    for _ in range(2):
        await house.runtime.receive(message("x"), also=lambda tx: ran.append(1))
    assert ran == [1]
    with pytest.raises(RuntimeError, match="no"):
        await house.runtime.receive(message("y", 2), also=_raise)
    assert house.one("SELECT COUNT(*) AS n FROM event") == 1


def _raise(_tx: Tx) -> None:
    raise RuntimeError("no")


async def test_events_of_a_lane_run_one_after_another_and_urgent_ones_first(house: House) -> None:
    running: list[str] = []
    order_: list[Any] = []
    go = asyncio.Event()

    async def handler(ctx: Context, event: Event) -> None:
        running.append(event.lane)
        assert running.count(event.lane) == 1
        order_.append(event.body["text"])
        await go.wait()
        running.remove(event.lane)

    await house.on(handler)
    await house.runtime.receive(message("first"))
    await house.until(lambda: order_)
    await house.runtime.receive(
        message("second", 2), message("third", 3), message("urgent", 4, urgent=True), message("other", 1, chat="b")
    )
    await house.until(lambda: len(order_) == 2)
    assert order_ == ["first", "other"]
    assert set(house.runtime.depth().active) == {"chat:terminal:local", "chat:terminal:b"}
    go.set()
    await house.runtime.idle()
    assert order_ == ["first", "other", "urgent", "second", "third"]


async def test_interrupt_reaches_the_running_handler_only(house: House) -> None:
    seen: list[bool] = []
    inside, go = asyncio.Event(), asyncio.Event()

    async def handler(ctx: Context, event: Event) -> None:
        inside.set()
        await go.wait()
        seen.append(ctx.interrupted)

    await house.on(handler)
    house.runtime.interrupt("chat:terminal:local")
    await house.runtime.receive(message("a"), message("b", 2))
    await inside.wait()
    house.runtime.interrupt("chat:terminal:local")
    go.set()
    await house.runtime.idle()
    assert seen == [True, False]


async def test_steps_and_now_are_the_same_on_re_entry(house: House) -> None:
    ran: list[str] = []
    values: list[Any] = []

    async def handler(ctx: Context, event: Event) -> None:
        async def look() -> dict[str, Any]:
            ran.append("look")
            return {"at": ["x", 1]}

        values.append((ctx.now, await ctx.step("look", look, input_digest="d"), ctx.attempts))
        if len(values) == 1:
            house.clock.advance(hours=1)
            raise RuntimeError("bug")
        ctx.send(say("done"))

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.until(lambda: len(values) == 1)
    await house.settle()
    assert ran == ["look"]
    assert values == [(START, {"at": ["x", 1]}, 1), (START, {"at": ["x", 1]}, 2)]
    assert house.terminal.texts == ["done"]


async def test_a_step_recorded_for_another_input_parks_the_event_and_tells(house: House) -> None:
    digests = iter(["before", "after", "before"])

    async def handler(ctx: Context, event: Event) -> None:
        async def look() -> int:
            return 1

        digest = next(digests)
        try:
            await ctx.step("look", look, input_digest=digest)
        except RetainerError:
            ctx.send(say("swallowed"))
            return
        if ctx.attempts == 1:
            raise RuntimeError("bug")

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert house.one("SELECT state FROM event") == "parked"
    assert len(house.terminal.texts) == 1
    assert "`explain 1`" in house.terminal.texts[0]
    assert house.runtime.depth().parked == 1
    await house.store.write(lambda tx: requeue(tx, 1))
    house.runtime.wake()
    await house.runtime.idle()
    assert house.one("SELECT state FROM event") == "done"


async def test_a_handler_that_always_raises_is_dead_after_three_tries_and_the_lane_goes_on(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        if event.body["text"] == "poison":
            ctx.send(say("never said"))
            raise RefusedError("The cellar is locked.")
        ctx.send(say("fine"))

    await house.on(handler)
    await house.runtime.receive(message("poison"), message("good", 2))
    await house.settle()
    assert house.terminal.texts == [
        "I could not handle that: The cellar is locked; `explain 1` has the details.",
        "fine",
    ]
    assert [e.attempts for e in house.seen] == [1, 2, 3, 1]
    assert ("chat:terminal:local", "event.dead", "event:1") in house.guard.audit
    said = explain(house.store.view(), 1)["event"]
    assert isinstance(said, dict)
    assert "The cellar is locked" in str(said["error"])


async def test_what_strange_errors_say_is_kept_but_not_told(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        raise ValueError("token 12345:secret")

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert house.terminal.texts == [
        "I could not handle that: an internal error (ValueError); `explain 1` has the details."
    ]


async def test_an_event_for_nobody_dies_with_words(house: House) -> None:
    async def nothing(ctx: Context, event: Event) -> None: ...

    await house.on(nothing)
    await house.runtime.receive(message("x", agent="butler"))
    await house.settle()
    assert "no agent named butler" in house.terminal.texts[0]


async def test_the_close_is_all_or_nothing(house: House) -> None:
    tries: list[int] = []

    async def handler(ctx: Context, event: Event) -> None:
        tries.append(1)
        ctx.send(say("hello"))
        ctx.apply(lambda tx: _put(tx, "a"))
        ctx.emit(message("follow", 99, chat="other", kind="note"))
        if len(tries) == 1:
            ctx.apply(_fail)

    def _put(tx: Tx, key: str) -> None:
        tx.execute("INSERT INTO meta (key, value) VALUES (?, 'x')", (key,))

    def _fail(tx: Tx) -> None:
        raise RuntimeError("half way")

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.until(lambda: tries)
    await asyncio.sleep(0.05)
    assert house.one("SELECT COUNT(*) AS n FROM meta") == 0
    assert house.one("SELECT COUNT(*) AS n FROM event") == 1
    house.guard.verdicts["terminal.reply"] = Verdict(Decision.ALLOW)
    await house.settle()
    assert house.terminal.texts.count("hello") >= 1
    assert house.states()["e1:reply"] == "done"
    assert house.one("SELECT COUNT(*) AS n FROM meta") == 1


async def test_a_unit_may_return_effects_whose_words_depend_on_what_it_found(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        def unit(tx: Tx) -> list[Any]:
            found = tx.one("SELECT COUNT(*) AS n FROM event")
            return [say(f"{found['n'] if found else 0} events")]

        ctx.apply(unit)

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.runtime.idle()
    assert house.terminal.texts == ["1 events"]


async def test_emitted_events_carry_cause_and_the_joined_label(house: House) -> None:
    async def chat(ctx: Context, event: Event) -> None:
        if event.kind == "message":

            async def read() -> str:
                return "web page"

            await ctx.step("read", read, label=Label(Trust.UNTRUSTED, private=True))
            ctx.emit(message("please", 7, agent="chat", lane="other", kind="request", label=OWNER))

    await house.on(chat)
    await house.runtime.receive(message("x"))
    await house.runtime.idle()
    request = house.seen[1]
    assert (request.kind, request.cause) == ("request", "event:1")
    assert request.label == Label(Trust.UNTRUSTED, private=True)


async def test_a_turn_is_a_fold_over_rows(house: House) -> None:
    turns: list[Any] = []
    buy = order()

    async def handler(ctx: Context, event: Event) -> None:
        async def read() -> str:
            return "page"

        ctx.commit(buy)
        await ctx.step("read", read, label=UNTRUSTED)
        await ctx.call(buy)
        turns.append(ctx.turn)
        if len(turns) == 1:
            raise RuntimeError("once more")
        with pytest.raises(RefusedError, match="untrusted"):
            ctx.commit(order("another", text="sell everything"))

    house.runtime.add_adapter("paper.order", Wire())
    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert turns[0] == turns[1]
    assert turns[0].label == UNTRUSTED
    assert turns[0].commitments == turns[0].spent == frozenset({buy.digest})
    at_check = next(turn for name, turn in house.guard.turns if name == "order")
    assert at_check.commitments == {buy.digest}
    assert not at_check.spent


async def test_two_effects_of_one_name_are_a_mistake(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        ctx.send(say("a"))
        ctx.send(say("b"))

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert "named 'reply'" in house.terminal.texts[0]


async def test_a_placeholder_is_opened_updated_and_completed_by_the_reply(house: House) -> None:
    phone = EditableWire()
    house.runtime.add_adapter("telegram.reply", phone)

    async def handler(ctx: Context, event: Event) -> None:
        await ctx.open(say("", address="telegram:42"))
        assert phone.shown == {"bubble1": "..."}
        await ctx.update("reply", {"text": "hel"})
        ctx.send(say("hello", address="telegram:42"))

    await house.on(handler)
    await house.runtime.receive(message("x", reply_to="telegram:42"))
    await house.runtime.idle()
    assert phone.shown == {"bubble1": "hello"}
    assert phone.updates == ["hel"]
    assert house.states() == {"e1:reply": "done"}


async def test_an_unfinished_placeholder_is_completed_with_an_honest_line(house: House) -> None:
    phone = EditableWire()
    house.runtime.add_adapter("telegram.reply", phone)

    async def handler(ctx: Context, event: Event) -> None:
        await ctx.open(say("", address="telegram:42"))
        if event.body["text"] == "bad":
            raise RefusedError("No.")

    await house.on(handler)
    await house.runtime.receive(
        message("x", reply_to="telegram:42"), message("bad", 2, reply_to="telegram:42", chat="c")
    )
    await house.settle()
    assert sorted(phone.shown.values()) == [
        "I could not handle that: No; `explain 2` has the details.",
        "I have no answer. `explain 1` has the details.",
    ]


async def test_a_dead_event_that_is_requeued_is_answered_after_all(house: House) -> None:
    phone = EditableWire()
    house.runtime.add_adapter("telegram.reply", phone)
    broken = [True]

    async def handler(ctx: Context, event: Event) -> None:
        await ctx.open(say("", address="telegram:42"))
        if broken[0]:
            raise RefusedError("No.")
        ctx.send(say("at last", address="telegram:42"))

    await house.on(handler)
    await house.runtime.receive(message("x", reply_to="telegram:42"))
    await house.settle()
    broken[0] = False
    assert await house.store.write(lambda tx: requeue(tx, 1))
    house.runtime.wake()
    await house.runtime.idle()
    assert list(phone.shown.values())[1:] == ["at last"]


async def test_another_process_inserts_a_row_and_the_service_notices(
    house: House, open_beside: Callable[[], BaseStore]
) -> None:
    async def echo(ctx: Context, event: Event) -> None:
        ctx.send(say("noticed"))

    await house.on(echo)
    await house.runtime.idle()
    other = open_beside()
    try:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await other.write(lambda tx: insert_event(tx, message("from outside"), START))
        await house.until(lambda: house.terminal.done)
        assert loop.time() - began < 2
    finally:
        other.close()


async def test_agents_talk_through_lanes(house: House) -> None:
    async def chat(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            ctx.emit(message("?", 5, agent="trading", lane="account:paper", kind="request"))

    async def trading(ctx: Context, event: Event) -> None:
        ctx.send(say("from the trader"))

    house.runtime.add_agent(Scripted("trading", trading))
    await house.on(chat)
    await house.runtime.receive(message("x"))
    await house.runtime.idle()
    assert house.terminal.texts == ["from the trader"]


async def test_explain_log_and_depth_show_what_happened(house: House) -> None:
    async def echo(ctx: Context, event: Event) -> None:
        async def think() -> str:
            return "hm"

        await ctx.step("think", think)
        ctx.send(say("hello"))
        if event.kind == "message":
            ctx.emit(message("next", 2, kind="note"))

    await house.on(echo)
    await house.runtime.receive(message("x"))
    await house.runtime.idle()
    view = house.store.view()
    told: Any = explain(view, 1)
    assert told["event"]["state"] == "done"
    assert [(s["name"], s["value"]) for s in told["steps"]] == [("think", "hm")]
    assert [(e["key"], e["state"]) for e in told["effects"]] == [("e1:reply", "done")]
    assert [c["seq"] for c in told["caused"]] == [2]
    second: Any = explain(view, 2)
    assert [c["seq"] for c in second["causes"]] == [1]
    assert [(e["seq"], e["body"]["text"]) for e in recent(view, 5)] == [(2, "next"), (1, "x")]
    assert recent(view, 5, kind="note")[0]["effects"][0]["summary"] == "hello"
    figures = depth(view)
    assert (figures.waiting, figures.events, figures.dead) == ({}, 2, 0)
    assert set(figures.effects.values()) == {0}


async def test_stop_lets_handlers_finish_and_what_is_cut_off_re_enters(house: House) -> None:
    began: list[str] = []
    go = asyncio.Event()

    async def slow(ctx: Context, event: Event) -> None:
        began.append(str(event.body["text"]))
        if event.body["text"] == "long" and ctx.attempts == 1:
            await asyncio.sleep(3600)
        await go.wait()
        ctx.send(say(f"answer to {event.body['text']} at try {ctx.attempts}"))

    await house.on(slow)
    await house.runtime.receive(message("short"), message("queued", 2), message("long", 1, chat="b"))
    await house.until(lambda: len(began) == 2)
    stopping = asyncio.create_task(house.runtime.stop(0.3))
    await asyncio.sleep(0)
    go.set()
    await stopping
    assert house.one("SELECT COUNT(*) AS n FROM event WHERE state = 'done'") == 1
    await house.again(slow)
    await house.runtime.idle()
    assert sorted(house.terminal.texts) == [
        "answer to long at try 2",
        "answer to queued at try 1",
        "answer to short at try 1",
    ]


# --- stepping aside --------------------------------------------------------------------------------------------------
class Slow:
    """Messages that begin with ``slow`` step aside and wait for ``go``; everything else is answered at once."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, ctx: Context, event: Event) -> None:
        text = str(event.body["text"])
        if text.startswith("slow"):
            if ctx.step_aside():
                ctx.send(say("never said: the handler begins again"))
                return
            self.begun.append(text)
            await self.go.wait()
        ctx.send(say(f"re {text}"))


async def test_a_lane_goes_on_while_an_event_that_stepped_aside_is_handled(house: House) -> None:
    slow = Slow()
    await house.on(slow)
    await house.runtime.receive(message("slow one"), message("slow two", 2), message("quick", 3))
    await house.until(lambda: house.terminal.texts == ["re quick"])
    assert slow.begun == ["slow one"]
    assert house.runtime.depth().active == ("chat:terminal:local",)
    slow.go.set()
    await house.runtime.idle("chat:terminal:local")
    assert slow.begun == ["slow one", "slow two"]
    assert house.terminal.texts == ["re quick", "re slow one", "re slow two"]


async def test_what_stepped_aside_is_interrupted_with_its_lane(house: House) -> None:
    seen: list[bool] = []
    inside, go = asyncio.Event(), asyncio.Event()

    async def handler(ctx: Context, event: Event) -> None:
        if not ctx.step_aside():
            inside.set()
            await go.wait()
            seen.append(ctx.interrupted)

    await house.on(handler)
    await house.runtime.receive(message("a"))
    await inside.wait()
    house.runtime.interrupt("chat:terminal:local")
    go.set()
    await house.runtime.idle()
    assert seen == [True]


async def test_after_a_crash_an_event_goes_on_beside_its_lane_with_its_records(house: House) -> None:
    runs: list[tuple[int, Any]] = []

    async def handler(ctx: Context, event: Event) -> None:
        async def look() -> str:
            return f"run {len(runs)}"

        found = await ctx.step("look", look)
        if not ctx.step_aside():
            runs.append((ctx.attempts, found))
            if len(runs) == 1:
                raise RuntimeError("cut off")
            ctx.send(say("done"))

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.until(lambda: len(runs) == 1)
    await house.settle()
    assert runs == [(1, "run 0"), (2, "run 0")]
    assert house.terminal.texts == ["done"]
