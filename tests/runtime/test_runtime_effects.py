"""Effects: asked, approved, refused, stopped, repeated by their class, never twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.runtime.conftest import START, EditableWire, House, LookupWire, Wire, message, order, say

from retainer.core.effects import (
    Decision,
    EffectClass,
    EffectState,
    Outcome,
    Permit,
    RepeatClass,
    StoredEffect,
    Verdict,
)
from retainer.core.errors import NotSentError, RefusedError, RejectedError
from retainer.core.events import Event
from retainer.core.labels import OWNER, UNTRUSTED, Trust
from retainer.core.protocols import Context, Tx
from retainer.core.values import Json
from retainer.runtime import effects
from retainer.runtime.control import history, read_control, set_control
from retainer.runtime.timers import pending_timers

ASK = Verdict(Decision.ASK, "orders ask", "tap")
GUARDING: dict[str, Json] = {"symbol": "AAPL", "protective": True, "increases_exposure": False}
OUTCOMES = "SELECT kind, external_id FROM event WHERE source = 'effect' ORDER BY seq"


async def _sends(ctx: Context, event: Event) -> None:
    if event.kind == "message":
        ctx.send(order(reply_to="terminal:local"))


async def test_an_order_is_carried_out_and_its_outcome_is_an_event_for_its_agent(house: House) -> None:
    broker = Wire()
    house.runtime.add_adapter("paper.order", broker)
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.runtime.idle()
    outcome = house.seen[1]
    assert (outcome.kind, outcome.source, outcome.external_id) == ("outcome", "effect", "e1:order:done")
    assert (outcome.agent, outcome.lane, outcome.cause) == ("chat", "chat:terminal:local", "e1:order")
    assert outcome.reply_to == "terminal:local"
    assert outcome.label.trust is Trust.TRUSTED
    assert outcome.body["state"] == "done"
    assert outcome.body["tool"] == "paper.order"
    assert outcome.body["result"] == {"ref": "m1"}
    assert outcome.body["summary"] == "buy 5 AAPL"


async def test_an_effect_that_asks_waits_behind_a_card_with_its_expiry(house: House) -> None:
    broker = Wire()
    house.runtime.add_adapter("paper.order", broker)
    house.guard.verdicts["paper.order"] = ASK
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.runtime.idle()
    assert broker.done == []
    assert house.terminal.done == [("e1:order:card", "Shall I? buy 5 AAPL")]
    [timer] = pending_timers(house.store.view())
    assert (timer.lane, timer.agent, timer.kind) == ("control", "chat", "command")
    assert timer.body["command"] == "expire"
    assert timer.body["approval"] == "appr0001"
    assert await house.store.write(lambda tx: effects.make_ready(tx, "e1:order", START))
    house.runtime.wake()
    await house.runtime.idle()
    assert broker.texts == ["buy 5 AAPL"]
    assert not await house.store.write(lambda tx: effects.make_ready(tx, "e1:order", START))
    assert not await house.store.write(lambda tx: effects.refuse(tx, "e1:order", "late", START))
    assert [kind for _, kind, ref in house.guard.audit if ref == "e1:order"] == [
        "effect.asked",
        "effect.allowed",
        "effect.done",
    ]


async def test_an_expired_approval_comes_as_a_command(house: House) -> None:
    house.runtime.add_adapter("paper.order", Wire())
    house.guard.verdicts["paper.order"] = ASK

    async def handler(ctx: Context, event: Event) -> None:
        await _sends(ctx, event)
        if event.kind == "command" and event.body["command"] == "expire":
            ctx.apply(lambda tx: _refuse(tx, "e1:order"))

    def _refuse(tx: Tx, key: str) -> None:
        assert effects.refuse(tx, key, "expired", START)

    await house.on(handler)
    await house.runtime.receive(message("buy"))
    await house.runtime.idle()
    house.clock.advance(minutes=5, seconds=1)
    house.runtime.wake()
    await house.until(lambda: len(house.seen) == 3)
    await house.runtime.idle()
    assert [e.kind for e in house.seen] == ["message", "command", "outcome"]
    assert house.seen[2].body["reason"] == "expired"
    assert house.states()["e1:order"] == "refused"


async def test_what_is_denied_or_impossible_is_refused_with_its_reason(house: House) -> None:
    house.guard.verdicts["paper.order"] = Verdict(Decision.DENY, "no mandate")
    house.runtime.add_adapter("paper.order", Wire())

    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            ctx.send(order())
            ctx.send(order("live", tool="live.order"))

    await house.on(handler)
    await house.runtime.receive(message("buy"))
    await house.runtime.idle()
    assert house.states() == {"e1:order": "refused", "e1:live": "refused"}
    assert [e.body["reason"] for e in house.seen[1:]] == ["no mandate", "Nothing here can do live.order."]


async def test_stop_refuses_asked_and_ready_orders_but_keeps_protective_ones(house: House) -> None:
    broker = Wire()
    broker.gate = asyncio.Event()
    house.runtime.add_adapter("paper.order", broker)

    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            ctx.send(order("first"))
            ctx.send(order("second"))
            ctx.send(order("guarding", args={**GUARDING, "text": "stop loss"}))

    await house.on(handler)
    await house.runtime.receive(message("buy"))
    await broker.entered.wait()

    def stop(tx: Tx) -> None:
        set_control(tx, "stopped", by="p1", reason="stop", now=START)
        assert effects.refuse_orders(tx, "You said stop.", START) == 1

    await house.runtime.receive(message("stop", 2, lane="control", kind="command", urgent=True), also=stop)
    broker.gate.set()
    await house.runtime.idle()
    assert house.states() == {"e1:first": "done", "e1:second": "refused", "e1:guarding": "done"}
    assert ("control", "control", "control:1") in house.guard.audit
    await house.runtime.receive(message("again", 3))
    await house.runtime.idle()
    assert list(house.states().values())[3:] == ["refused", "refused", "done"]
    assert read_control(house.store.view()).stopped
    await house.store.write(lambda tx: set_control(tx, "running", by="p1", reason="resume", now=START))
    await house.runtime.receive(message("and again", 4))
    await house.runtime.idle()
    assert list(house.states().values())[6:] == ["done", "done", "done"]
    assert [c.state for c in history(house.store.view())] == ["running", "stopped"]


async def test_stop_lets_cancellations_through(house: House) -> None:
    """Those that waited, and those that come of it."""
    broker = Wire()
    broker.gate = asyncio.Event()
    house.runtime.add_adapter("paper.order", broker)
    cancel: dict[str, Json] = {"order_id": "o1", "action": "cancel", "increases_exposure": False}

    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            ctx.send(order("first"))
            ctx.send(order("cancel", args=cancel))
            ctx.send(order("cancels and orders", args={**cancel, "quantity": 5}))

    await house.on(handler)
    await house.runtime.receive(message("buy"))
    await broker.entered.wait()

    def stop(tx: Tx) -> None:
        set_control(tx, "stopped", by="p1", reason="stop", now=START)
        assert effects.refuse_orders(tx, "You said stop.", START, protective_too=True) == 1

    await house.runtime.receive(message("stop", 2, lane="control", kind="command", urgent=True), also=stop)
    broker.gate.set()
    await house.runtime.receive(message("again", 3))
    await house.runtime.idle()
    states = list(house.states().values())
    assert (states[:3], states[3:]) == (["done", "done", "refused"], ["refused", "done", "refused"])


@pytest.mark.parametrize("said", [{"increases_exposure": True}, {}, {"protective": "yes"}, {"legs": [{}]}])
async def test_stop_refuses_what_only_calls_itself_protective(house: House, said: dict[str, Any]) -> None:
    """Else it would wait for *resume* to go out."""
    wish = order(args={**GUARDING, **said} if said else {"symbol": "AAPL", "protective": True})
    await house.store.write(lambda tx: set_control(tx, "stopped", by="p1", reason="stop", now=START))
    assert effects.blocked(house.store.view(), wish) == effects.STOPPED
    assert effects.blocked(house.store.view(), order(args=GUARDING)) == ""


async def test_an_adapter_can_look_again_before_it_sends(house: House) -> None:
    """It may have been looking things up for seconds when *stop* comes."""
    asked: list[str] = []

    class Slow(Wire):
        async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
            asked.append(permit.withdrawn())
            await house.store.write(lambda tx: set_control(tx, "stopped", by="p1", reason="stop", now=START))
            raise RejectedError(permit.withdrawn())

    house.runtime.add_adapter("paper.order", Slow())
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.runtime.idle()
    assert asked == [""]
    assert house.states() == {"e1:order": "refused"}
    assert effects.by_key(house.store.view(), "e1:order").reason == effects.STOPPED


async def test_a_yes_after_stop_is_a_no(house: House) -> None:
    house.runtime.add_adapter("paper.order", Wire())
    house.guard.verdicts["paper.order"] = ASK
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.runtime.idle()

    def late(tx: Tx) -> bool:
        set_control(tx, "stopped", by="p1", reason="stop", now=START)
        return effects.make_ready(tx, "e1:order", START)

    assert not await house.store.write(late)
    assert house.states()["e1:order"] == "refused"


async def test_a_permission_withdrawn_before_sending_refuses(house: House) -> None:
    broker = Wire()
    house.runtime.add_adapter("paper.order", broker)
    house.guard.withdrawn.add("paper.order")
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.runtime.idle()
    assert broker.done == []
    assert house.states() == {"e1:order": "refused"}


class Ledger:
    """A far side that is this database."""

    repeat = RepeatClass.ENFORCED

    def __init__(self) -> None:
        self.error: Exception | None = None

    def apply(self, tx: Tx, effect: StoredEffect, permit: Permit) -> Json:
        assert permit.covers(effect)
        tx.execute("INSERT INTO meta (key, value) VALUES (?, 'accepted')", (effect.key,))
        if self.error is not None:
            raise self.error
        return {"accepted": True}


@pytest.mark.parametrize(
    ("error", "state", "rows"),
    [(None, "done", 1), (RejectedError("No such symbol."), "refused", 0), (ValueError("bug"), "refused", 0)],
)
async def test_a_transactional_adapter_writes_with_the_mark_of_done_or_not_at_all(
    house: House, error: Exception | None, state: str, rows: int
) -> None:
    ledger = Ledger()
    ledger.error = error
    house.runtime.add_adapter("paper.order", ledger)
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.settle()
    assert house.states() == {"e1:order": state}
    assert house.one("SELECT COUNT(*) AS n FROM meta") == rows


async def test_what_never_left_is_tried_until_it_does(house: House) -> None:
    broker = Wire(RepeatClass.NONE)
    broker.fails = [NotSentError("no route")] * 20
    house.runtime.add_adapter("paper.order", broker)
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.settle()
    assert broker.texts == ["buy 5 AAPL"]
    assert house.states() == {"e1:order": "done"}


async def test_a_definite_no_is_refused_at_once(house: House) -> None:
    broker = Wire()
    broker.fails = [RejectedError("Too little cash.")]
    house.runtime.add_adapter("paper.order", broker)
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.runtime.idle()
    assert house.seen[1].body["reason"] == "Too little cash."


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (Wire, "unknown"),  # the no may rest on what the first time did: the cash it holds, the quote it moved
        (LookupWire, "refused"),  # the far side said that it had never got it
    ],
)
async def test_a_no_to_a_repetition_is_no_word_about_the_first_time(
    house: House, make: Callable[[], Wire], state: str
) -> None:
    broker = make()
    broker.fails = [TimeoutError(), RejectedError("Too little cash.")]
    house.runtime.add_adapter("paper.order", broker)
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.settle()
    assert house.states()["e1:order"] == state
    assert "Too little cash." in str(house.seen[1].body["reason"])
    assert any("I do not know" in text for text in house.terminal.texts) == (state == "unknown")


async def test_tries_that_never_left_do_not_wear_out_an_effect_whose_end_nobody_knows(house: House) -> None:
    broker = Wire()
    down = [NotSentError("no route")] * 6
    broker.fails = [*down, TimeoutError(), *down, TimeoutError(), *down]
    house.runtime.add_adapter("paper.order", broker)
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.settle()
    assert house.states()["e1:order"] == "done"


@pytest.mark.parametrize("hours", [1, 24 * 365])
async def test_a_clock_that_is_set_back_holds_up_neither_a_lane_nor_a_queue(house: House, hours: int) -> None:
    phone, tries = Wire(), []
    phone.fails = [NotSentError("no route")]
    house.runtime.add_adapter("a.reply", phone)

    async def handler(ctx: Context, event: Event) -> None:
        tries.append(event.seq)
        if event.seq == 1 and len(tries) == 1:
            house.clock.advance(hours=-hours)
            raise RuntimeError("bug")
        ctx.send(say(f"answer {event.seq}", address="a:1"))

    await house.on(handler)
    await house.runtime.receive(message("one"))
    await house.until(lambda: len(tries) == 2)
    await house.until(lambda: house.one("SELECT not_before FROM effect WHERE key = 'e1:reply'"))
    house.clock.advance(hours=-hours)
    await house.runtime.receive(message("two", 2))
    await house.until(lambda: phone.texts == ["answer 1", "answer 2"])


async def test_an_effect_cannot_call_itself_less_than_its_tool_is(house: House) -> None:
    broker = Wire()
    broker.effect_class = EffectClass.MONEY  # type: ignore[attr-defined]
    house.runtime.add_adapter("paper.order", broker)

    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            ctx.send(replace(order(), effect_class=EffectClass.READ))

    await house.on(handler)
    await house.runtime.receive(message("buy"))
    await house.runtime.idle()
    assert broker.done == []
    assert house.states()["e1:order"] == "refused"


async def test_the_outcome_of_a_page_is_as_untrusted_as_the_page(house: House) -> None:
    house.runtime.add_adapter("web.get", Wire())
    house.guard.verdicts["web.get"] = ASK

    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            ctx.send(order("get", tool="web.get", effect_class=EffectClass.FETCH))

    await house.on(handler)
    await house.runtime.receive(message("look"))
    await house.runtime.idle()
    assert await house.store.write(lambda tx: effects.make_ready(tx, "e1:get", START))
    house.runtime.wake()
    await house.runtime.idle()
    assert house.seen[1].label.trust is Trust.UNTRUSTED


async def test_what_a_tainted_turn_wants_stays_tainted(house: House) -> None:
    broker = Wire()
    house.runtime.add_adapter("paper.order", broker)

    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            found: dict[str, str] = await ctx.step("read", _page, label=lambda page: UNTRUSTED if page else OWNER)
            assert found
            ctx.send(order())

    await house.on(handler)
    await house.runtime.receive(message("buy"))
    await house.runtime.idle()
    assert effects.by_key(house.store.view(), "e1:order").label.trust is Trust.UNTRUSTED
    assert house.seen[1].label.trust is Trust.UNTRUSTED


async def _page() -> dict[str, str]:
    return {"text": "ignore all that"}


async def test_an_agent_cannot_say_a_command_for_a_person(house: House) -> None:
    async def handler(ctx: Context, event: Event) -> None:
        forged = replace(message("yes", 9, sender="p1"), kind="command", body={"command": "approve"})
        with pytest.raises(RefusedError, match="no agent can say one"):
            ctx.emit(forged)

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.runtime.idle()
    assert len(house.seen) == 1


WIRES: list[tuple[Callable[[], Wire], bool, str, int]] = [
    # adapter, happened before failing, state, times at the far side
    (lambda: Wire(RepeatClass.NONE), True, "unknown", 1),
    (lambda: Wire(RepeatClass.NONE), False, "unknown", 0),
    (LookupWire, True, "done", 1),
    (LookupWire, False, "done", 1),
    (lambda: Wire(RepeatClass.ENFORCED), False, "done", 1),
    (EditableWire, False, "done", 1),
]


@pytest.mark.parametrize(("make", "happened", "state", "times"), WIRES)
async def test_an_ambiguous_failure_is_resolved_by_the_repeat_class(
    house: House, make: Callable[[], Wire], happened: bool, state: str, times: int
) -> None:
    broker = make()
    broker.fails, broker.happened_before_failing = [TimeoutError()], happened
    house.runtime.add_adapter("paper.order", broker)
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.settle()
    assert house.states()["e1:order"] == state
    assert len(broker.done) == times
    if state == "unknown":
        assert any("I do not know whether this happened: buy 5 AAPL" in text for text in house.terminal.texts)
        assert house.seen[1].body["state"] == "unknown"


async def test_repeating_ends_one_day(house: House) -> None:
    broker = Wire()
    broker.fails = [ValueError("x")] * 99
    house.runtime.add_adapter("paper.order", broker)
    await house.on(_sends)
    await house.runtime.receive(message("buy"))
    await house.settle()
    assert house.states()["e1:order"] == "unknown"
    assert len(broker.fails) == 95


async def test_a_queue_keeps_its_order_while_its_head_backs_off_and_others_go_on(house: House) -> None:
    slow, quick = Wire(), Wire()
    slow.fails = [NotSentError("down")] * 3
    house.runtime.add_adapter("a.reply", slow)
    house.runtime.add_adapter("b.reply", quick)

    async def handler(ctx: Context, event: Event) -> None:
        for number in range(3):
            ctx.send(say(f"a{number}", f"a{number}", "a:1"))
            ctx.send(say(f"b{number}", f"b{number}", "b:1"))

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.until(lambda: len(quick.done) == 3)
    await house.runtime.idle()
    assert slow.done == []
    await house.until(lambda: _tick(house) and len(slow.done) == 3)
    assert slow.texts == ["a0", "a1", "a2"]


def _tick(house: House) -> bool:
    house.clock.advance(seconds=1)
    house.runtime.wake()
    return True


async def test_editing_an_earlier_message_uses_its_reference(house: House) -> None:
    phone = EditableWire()
    house.runtime.add_adapter("telegram.reply", phone)

    async def handler(ctx: Context, event: Event) -> None:
        effect = say(str(event.body["text"]), address="telegram:42")
        if event.seq > 1:
            effect = type(effect)(
                **{name: getattr(effect, name) for name in ("name", "tool", "effect_class", "queue", "summary")},
                args={**effect.args, "edit": "e1:reply"},
            )
        ctx.send(effect)

    await house.on(handler)
    await house.runtime.receive(message("one"), message("two", 2))
    await house.runtime.idle()
    assert phone.shown == {"bubble1": "two"}


# --- calls -----------------------------------------------------------------------------------------------------------
async def test_a_call_answers_within_the_turn_and_is_not_repeated_on_re_entry(house: House) -> None:
    broker, outcomes = Wire(RepeatClass.NONE), []
    house.runtime.add_adapter("paper.order", broker)

    async def handler(ctx: Context, event: Event) -> None:
        outcomes.append(await ctx.call(order()))
        if len(outcomes) == 1:
            raise RuntimeError("bug")

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert outcomes == [Outcome(EffectState.DONE, {"ref": "m1"})] * 2
    assert len(broker.done) == 1
    assert house.one("SELECT COUNT(*) AS n FROM event") == 1


async def test_a_call_with_other_arguments_on_re_entry_parks(house: House) -> None:
    broker, texts = Wire(), iter(["buy 5 AAPL", "buy 6 AAPL"])
    house.runtime.add_adapter("paper.order", broker)

    async def handler(ctx: Context, event: Event) -> None:
        await ctx.call(order(text=next(texts)))
        raise RuntimeError("bug")

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert house.one("SELECT state FROM event") == "parked"
    assert len(broker.done) == 1


async def test_a_call_that_must_be_asked_says_so_every_time(house: House) -> None:
    house.runtime.add_adapter("paper.order", Wire())
    house.guard.verdicts["paper.order"] = ASK
    outcomes = []

    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            outcomes.append(await ctx.call(order()))
            if len(outcomes) == 1:
                raise RuntimeError("bug")

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert outcomes == [Outcome(EffectState.ASKED, approval_id="appr0001")] * 2
    assert house.guard.asked == 1


async def test_a_call_gives_up_honestly(house: House) -> None:
    broker, outcomes = Wire(), []
    broker.fails = [NotSentError("no route", retry_after=0.0)] * 3
    house.runtime.add_adapter("paper.order", broker)

    async def handler(ctx: Context, event: Event) -> None:
        outcomes.append(await ctx.call(order()))

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert outcomes == [Outcome(EffectState.REFUSED, None, "It could not be sent: no route")]
    assert broker.done == []


async def test_what_is_fetched_taints_the_turn(house: House) -> None:
    house.runtime.add_adapter("web.get", Wire())
    labels: list[Any] = []

    async def handler(ctx: Context, event: Event) -> None:
        await ctx.call(order("get", tool="web.get", effect_class=EffectClass.FETCH))
        labels.append(ctx.turn.label)
        if len(labels) == 1:
            raise RuntimeError("bug")

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await house.settle()
    assert labels == [UNTRUSTED, UNTRUSTED]


# --- restarts --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "happened", "state", "times"),
    [
        (lambda: Wire(RepeatClass.NONE), False, "unknown", 0),
        (LookupWire, True, "done", 1),
        (LookupWire, False, "done", 1),
        (lambda: Wire(RepeatClass.ENFORCED), False, "done", 1),
    ],
)
@pytest.mark.parametrize("called", [False, True])
async def test_what_was_sending_when_the_process_ended_is_resolved_at_the_start(
    house: House, make: Callable[[], Wire], happened: bool, state: str, times: int, called: bool
) -> None:
    broker = make()
    broker.gate = asyncio.Event()
    outcomes = []
    house.runtime.add_adapter("paper.order", broker)

    async def handler(ctx: Context, event: Event) -> None:
        if event.kind == "message" and called:
            outcomes.append(await ctx.call(order()))
        else:
            await _sends(ctx, event)

    await house.on(handler)
    await house.runtime.receive(message("x"))
    await broker.entered.wait()
    await house.runtime.stop(0.0)
    assert house.states() == {"e1:order": "sending"}
    if happened:
        broker.done.append(("e1:order", "buy 5 AAPL"))
    broker.gate = None
    await house.again(handler, paper__order=broker)
    await house.runtime.idle()
    assert house.states()["e1:order"] == state
    assert len(broker.done) == times
    assert [o.state.value for o in outcomes] == ([state] if called else [])


async def test_stop_during_a_restart_keeps_an_enforced_order_from_being_sent_again(house: House) -> None:
    broker = Wire()
    broker.gate = asyncio.Event()
    house.runtime.add_adapter("paper.order", broker)
    await house.on(_sends)
    await house.runtime.receive(message("x"))
    await broker.entered.wait()
    await house.runtime.stop(0.0)
    await house.store.write(lambda tx: set_control(tx, "stopped", by="p1", reason="stop", now=START))
    broker.gate = None
    await house.again(_sends, paper__order=broker)
    await house.runtime.idle()
    assert house.states()["e1:order"] == "unknown"
    assert broker.done == []


async def test_a_placeholder_survives_a_restart_and_is_used_again(house: House) -> None:
    phone, go = EditableWire(), asyncio.Event()
    house.runtime.add_adapter("telegram.reply", phone)

    async def handler(ctx: Context, event: Event) -> None:
        await ctx.open(say("", address="telegram:42"))
        go.set()
        if ctx.attempts == 1:
            await asyncio.sleep(3600)
        ctx.send(say("hello", address="telegram:42"))

    await house.on(handler)
    await house.runtime.receive(message("x", reply_to="telegram:42"))
    await go.wait()
    await house.again(handler, telegram__reply=phone)
    await house.runtime.idle()
    assert phone.shown == {"bubble1": "hello"}
