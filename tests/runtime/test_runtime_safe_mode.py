"""After a restore: what was under way is kept back, what is new is answered, and the owner's word decides the rest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.runtime.conftest import START, House, Wire, message, order, say

from retainer.core.effects import Decision, EffectClass, EffectState, RepeatClass, Verdict
from retainer.core.events import Event
from retainer.core.protocols import Context, Tx
from retainer.runtime import effects
from retainer.runtime.recovery import enter, leave, pending
from retainer.runtime.safe_mode import read_safe_mode
from retainer.runtime.timers import Timer, set_timer


async def until_stuck(house: House) -> Wire:
    """A house that has, at the moment of the backup, a reply and an order it could not send, a question it waits for,
    a reminder, and a message that nobody has read yet."""
    broker = Wire()
    house.runtime.add_adapter("paper.order", broker)
    house.runtime.add_adapter("note.write", Wire())
    house.guard.verdicts["paper.order"] = Verdict(Decision.ALLOW)
    await house.runtime.start()
    await house.runtime.stop(0.0)

    def unit(tx: Tx) -> None:
        from retainer.runtime.inbox import end_event, insert_event

        for number, text in enumerate(("said", "bought", "asked"), 1):
            receipt = insert_event(tx, message(text, number), START)
            end_event(tx, receipt.seq, "done", START.timestamp())
        insert_event(tx, message("unread", 4), START)
        insert_event(
            tx,
            message("bar", 5, lane="account:paper", sender=None, reply_to=None, kind="bar", source="feed"),
            START,
        )

        def place(effect: Any, seq: int, state: EffectState, repeat: RepeatClass) -> None:
            effects.insert_effect(
                tx,
                effect,
                event_seq=seq,
                lane="chat:terminal:local",
                agent="chat",
                state=state,
                repeat=repeat,
                now=START,
            )

        place(say("an old answer"), 1, EffectState.READY, RepeatClass.ENFORCED)
        place(order(), 2, EffectState.READY, RepeatClass.ENFORCED)
        place(order("second"), 2, EffectState.SENDING, RepeatClass.LOOKUP)
        place(order("asked"), 3, EffectState.ASKED, RepeatClass.ENFORCED)
        set_timer(tx, Timer(lane="chat:terminal:local", name="tea", agent="chat", at=START, event_seq=1), START)

    await house.store.write(unit)
    house.clock.advance(hours=5)
    await house.store.write(lambda tx: enter(tx, backup="b1", made_at=START, now=house.clock.now()))
    return broker


async def talk(ctx: Context, event: Event) -> None:
    if event.kind == "message" and event.body["text"] == "buy":
        ctx.send(order())
    ctx.send(say(f"{event.kind}: {event.body.get('text', event.body.get('name', ''))}"))


async def test_nothing_pending_goes_out_and_new_messages_are_answered(house: House) -> None:
    broker = await until_stuck(house)
    await house.again(talk, paper__order=broker)
    await house.runtime.receive(message("hello", 6))
    await house.runtime.idle()
    assert house.terminal.texts == ["message: hello"]
    assert broker.done == []
    assert house.one("SELECT COUNT(*) FROM event WHERE state = 'kept'") == 2


async def test_no_order_goes_out_not_even_a_new_or_an_approved_one(house: House) -> None:
    broker = await until_stuck(house)
    await house.again(talk, paper__order=broker)
    await house.runtime.receive(message("buy", 6))
    await house.runtime.idle()
    assert broker.done == []
    assert "restore --confirm" in house.one("SELECT reason FROM effect WHERE key = 'e6:order'")
    assert not await house.store.write(lambda tx: effects.make_ready(tx, "e3:asked", START))
    await house.runtime.idle()
    assert house.states()["e3:asked"] == "refused"
    assert broker.done == []


async def test_what_is_kept_back_can_be_counted(house: House) -> None:
    await until_stuck(house)
    view = house.store.view()
    mode = read_safe_mode(view)
    assert mode is not None
    assert (mode.backup, mode.made_at, mode.last_event) == ("b1", START, 5)
    waits = pending(view, mode)
    assert (waits.events, waits.messages, len(waits.orders), waits.timers) == (2, 1, 3, 1)


async def test_confirmed_without_sending_drops_it_all_and_says_so_in_the_records(house: House) -> None:
    broker = await until_stuck(house)
    await house.again(talk, paper__order=broker)
    known = {"e2:order": {"state": "accepted"}}
    assert await house.store.write(lambda tx: leave(tx, house.clock.now(), send=False, orders=known))
    house.runtime.wake()
    await house.settle()
    assert broker.done == []
    assert not any("old answer" in text or "unread" in text or "tea" in text for text in house.terminal.texts)
    assert house.states()["e2:order"] == "done"  # the broker has it
    assert house.states()["e2:second"] == "unknown"  # it could not be asked
    assert house.states()["e3:asked"] == house.states()["e1:reply"] == "refused"
    assert house.one("SELECT state FROM event WHERE external_id = 'local:4'") == "parked"
    assert house.one("SELECT state FROM event WHERE kind = 'bar'") == "done"
    assert read_safe_mode(house.store.view()) is None
    assert not await house.store.write(lambda tx: leave(tx, house.clock.now(), send=False, orders={}))


async def test_confirmed_with_sending_delivers_messages_and_reminders_but_never_orders(house: House) -> None:
    broker = await until_stuck(house)
    await house.again(talk, paper__order=broker)
    known = {"e2:order": None, "e2:second": None}
    await house.store.write(lambda tx: leave(tx, house.clock.now(), send=True, orders=known))
    house.runtime.wake()
    await house.until(lambda: {"an old answer", "message: unread", "timer: tea"} <= set(house.terminal.texts))
    await house.settle()
    assert broker.done == []
    assert {house.states()[key] for key in ("e2:order", "e2:second", "e3:asked")} == {"refused"}
    assert "the broker does not have it" in house.one("SELECT reason FROM effect WHERE key = 'e2:order'")


async def test_a_repeated_reminder_goes_on_with_its_next_time(house: House) -> None:
    await until_stuck(house)
    daily = Timer(lane="chat:terminal:local", name="daily", agent="chat", cron="0 9 * * *", event_seq=1)
    now = house.clock.now()
    await house.store.write(lambda tx: set_timer(tx, daily, START - timedelta(days=2)))
    await house.store.write(lambda tx: leave(tx, now, send=False, orders={}))
    assert house.one("SELECT next_at FROM timer WHERE name = 'daily'") > now.timestamp()
    assert house.one("SELECT COUNT(*) FROM timer WHERE name = 'tea'") == 0


@pytest.mark.parametrize("protective", [False, True])
async def test_protective_orders_wait_too(house: House, protective: bool) -> None:
    await until_stuck(house)
    wish = order(args={"symbol": "AAPL", "protective": protective}, effect_class=EffectClass.MONEY)
    assert "confirm" in effects.blocked(house.store.view(), wish)
