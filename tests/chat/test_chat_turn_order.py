"""Who waits for whom: exact questions overtake a reply being worded; what refers to the talk keeps its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.chat.conftest import ADDRESS

from retainer.chat.cards import NONE_WAITS
from retainer.models.scripted import ScriptedModel

Start = Callable[..., Any]
STORY = "tell me a very long story about the sea"


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def decoding(start: Start) -> Any:
    """A service whose model words a reply to :data:`STORY` until it is interrupted."""
    service = await start(lambda _: "word " * 5000, delay=0.02)
    await service.put(STORY)
    await until(lambda: any("word word" in text for text in service.channel.visible))
    return service


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("profit this month", "The bot made 1,204.50 dollars"),
        ("status", "Equity: 100,000.00 dollars."),
        ("what do you know about me", "you have not told me facts"),
        ("buy 5 AAPL", "buy 5 AAPL"),
        ("remind me tomorrow at 9 to call Anna", "I will remind you"),
        ("wrong, I meant profit this month", "Noted"),
    ],
)
async def test_what_is_read_exactly_is_answered_while_the_model_words_a_reply(
    start: Start, question: str, answer: str
) -> None:
    service = await decoding(start)
    await service.put(question)
    await until(lambda: any(answer in text for text in service.channel.texts))
    assert service.model.cancelled == 0
    service.runtime.interrupt(f"chat:{ADDRESS}")
    await asyncio.wait_for(service.runtime.idle(), 10)
    assert sum(text.endswith("(stopped)") for text in service.channel.texts) == 1


async def test_a_slow_answer_holds_up_no_other_question(start: Start) -> None:
    service = await start(None)
    await service.put("weigh the idea")
    await service.put("profit this month")
    await until(lambda: any("1,204.50" in text for text in service.channel.texts))
    assert not any("grams" in text for text in service.channel.texts)
    service.trader.weighed.set()
    await until(lambda: "The idea weighs 7 grams." in service.channel.texts)


async def test_a_slow_answer_does_not_wait_for_a_reply_being_worded(start: Start) -> None:
    service = await decoding(start)
    service.trader.weighed.set()
    await service.put("weigh the idea")
    await until(lambda: "The idea weighs 7 grams." in service.channel.texts)
    assert service.model.cancelled == 0
    service.runtime.interrupt(f"chat:{ADDRESS}")
    await asyncio.wait_for(service.runtime.idle(), 10)


async def test_messages_for_the_model_are_answered_in_order_and_see_each_other(start: Start) -> None:
    service = await start(lambda messages: f"reply {len(messages)}", delay=0.05)
    for text in ("first tale please", "second tale please", "profit this month", "third tale please"):
        await service.put(text)
    await asyncio.wait_for(service.runtime.idle(), 20)
    asked = [call.messages for call in service.model.calls if "tale" in call.messages[-1].content]
    assert [messages[-1].content.split("\n")[-1].split()[0] for messages in asked] == ["first", "second", "third"]
    assert [one.content for one in asked[2]][: len(asked[1])] == [one.content for one in asked[1]]
    said = [one.content for one in asked[2][1:-1]]
    assert [next((w for w in ("first", "reply", "second", "profit", "bot") if w in one), "") for one in said] == [
        "first",
        "reply",
        "second",
        "reply",
        "profit",
        "bot",
    ]


async def test_a_bare_yes_without_a_card_waits_for_the_talk_it_may_answer(start: Start) -> None:
    go = asyncio.Event()
    service = await start(lambda messages: "Shall I go on?" if "story" in messages[-1].content else "Then I go on.")
    stream = service.model.stream

    async def held(*args: Any, **kwargs: Any) -> Any:
        await go.wait()
        async for delta in stream(*args, **kwargs):
            yield delta

    service.model.stream = held
    await service.put(STORY)
    await until(lambda: "…" in service.channel.texts)
    await service.put("yes")
    await service.put("profit this month")
    await until(lambda: any("1,204.50" in text for text in service.channel.texts))
    assert NONE_WAITS not in service.channel.texts
    go.set()
    await asyncio.wait_for(service.runtime.idle(), 20)
    assert service.channel.texts[0] == "Shall I go on?"
    assert service.channel.texts[-1] == "Then I go on."


async def test_a_yes_never_approves_a_card_that_was_asked_for_after_it(start: Start) -> None:
    service = await decoding(start)
    await service.put("yes")
    await service.put("buy 5 AAPL")
    await until(lambda: service.guard.approvals.pending(service.store.view(), address=ADDRESS))
    service.runtime.interrupt(f"chat:{ADDRESS}")
    await until(lambda: NONE_WAITS in service.channel.texts or len(service.model.calls) > 1)
    service.runtime.interrupt(f"chat:{ADDRESS}")
    await asyncio.wait_for(service.runtime.idle(), 20)
    assert len(service.guard.approvals.pending(service.store.view(), address=ADDRESS)) == 1
    assert service.orders.placed == []
    await service.say("yes")
    assert [order["quantity"] for order in service.orders.placed] == [5]


async def test_a_yes_said_before_the_card_was_there_approves_nothing_however_late_it_comes(start: Start) -> None:
    """The service was down, or the messenger kept it; their clock may be a little off."""
    service = await start()
    await service.say("buy 5 AAPL")
    assert await service.say("yes", ago=600) == [NONE_WAITS]
    assert await service.say("approve it", ago=600) == [NONE_WAITS]
    assert service.orders.placed == []
    await service.say("yes", ago=5)
    assert [order["quantity"] for order in service.orders.placed] == [5]


async def test_a_yes_to_the_card_on_the_screen_is_taken_at_once(start: Start) -> None:
    service = await start(lambda _: "word " * 5000, delay=0.02)
    await service.say("buy 5 AAPL")
    await service.put(STORY)
    await until(lambda: any("word word" in text for text in service.channel.visible))
    await service.put("yes")
    await until(lambda: service.orders.placed)
    assert service.model.cancelled == 0
    service.runtime.interrupt(f"chat:{ADDRESS}")
    await asyncio.wait_for(service.runtime.idle(), 10)


async def test_forgetting_waits_for_the_reply_under_way_and_then_erases_it_too(start: Start) -> None:
    service = await decoding(start)
    await service.put("forget everything")
    await service.put("what do you know about me")
    await service.put("profit this month")
    await until(lambda: any("1,204.50" in text for text in service.channel.texts))
    assert not any("forg" in text.casefold() for text in service.channel.texts)
    service.runtime.interrupt(f"chat:{ADDRESS}")
    await asyncio.wait_for(service.runtime.idle(), 10)
    assert any("forg" in text.casefold() for text in service.channel.texts)
    kept = " ".join(service.memory.export(person="owner"))
    assert "story about the sea" not in kept
    assert "word word" not in kept


async def test_a_card_expires_on_time_while_the_model_words_a_reply(start: Start) -> None:
    service = await start(lambda _: "word " * 5000, delay=0.02)
    await service.say("buy 5 AAPL")
    await service.put(STORY)
    await until(lambda: any("word word" in text for text in service.channel.visible))
    service.clock.advance(minutes=6)
    service.runtime.wake()
    await until(lambda: any("Expired, nothing was done" in text for text in service.channel.texts))
    assert service.model.cancelled == 0
    service.runtime.interrupt(f"chat:{ADDRESS}")
    await asyncio.wait_for(service.runtime.idle(), 10)


# --- a model that is on its way --------------------------------------------------------------------------------------
async def test_a_message_waits_for_a_model_that_is_being_loaded(start: Start) -> None:
    service = await start()
    service.loading = True
    await service.put("good evening, how are you")
    await until(lambda: "…" in service.channel.texts)
    await service.put("profit this month")
    await until(lambda: any("1,204.50" in text for text in service.channel.texts))
    service.model = ScriptedModel(lambda _: "Very well, thank you.")
    await asyncio.wait_for(service.runtime.idle(), 10)
    assert service.channel.texts[0] == "Very well, thank you."


async def test_a_model_that_does_not_come_is_admitted(start: Start) -> None:
    service = await start()
    service.loading = True
    await service.put("good evening, how are you")
    await until(lambda: "…" in service.channel.texts)
    service.loading = False
    await asyncio.wait_for(service.runtime.idle(), 10)
    [text] = service.channel.texts
    assert text.startswith("I cannot chat freely right now")


async def test_waiting_for_a_model_ends_after_its_time(start: Start) -> None:
    service = await start(model_wait=0.2)
    service.loading = True
    [text] = await service.say("good evening, how are you")
    assert text.startswith("I cannot chat freely right now")


async def test_a_message_killed_while_the_model_was_loading_is_answered_after_the_restart(start: Start) -> None:
    service = await start()
    service.loading = True
    await service.put("good evening, how are you")
    await until(lambda: "…" in service.channel.texts)
    await service.close()
    service.build()
    await service.runtime.start()
    await asyncio.sleep(0)
    service.model = ScriptedModel(lambda _: "Very well, thank you.")
    await asyncio.wait_for(service.runtime.idle(), 10)
    assert service.channel.texts == ["Very well, thank you."]


# --- the list of facts -----------------------------------------------------------------------------------------------
async def test_a_number_means_the_line_that_was_shown_under_it(start: Start) -> None:
    service = await start()
    for told in ("my name is Anna", "my birthday is on 3 May", "I like the sea"):
        await service.say(told)
    [listed] = await service.say("what do you know about me")
    assert [line[:2] for line in listed.split("\n")[1:4]] == ["1.", "2.", "3."]
    await service.say("forget 1")
    await service.say("forget 2")  # still the second line of the list on the screen, not of the shorter one
    [left] = await service.say("what do you know about me")
    assert [line[:2] for line in left.split("\n")[1:-1]] == ["1."]
    assert "sea" in left
    assert "May" not in left
    assert "Anna" not in left
