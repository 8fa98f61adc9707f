"""When the model's budget is spent: the person is told once, what is exact goes on, and a restart changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.chat.test_chat_turns import PROFIT

from retainer.runtime.control import read_control
from retainer.safety.limits import Limits

Start = Callable[..., Awaitable[Any]]
TALK = "tell me about the sea"


async def test_a_spent_budget_is_told_once_with_the_limit_and_when_it_frees(start: Start) -> None:
    service = await start(lambda _messages: "It is wide.", limits=Limits(model_calls_per_hour=2))
    assert await service.say(TALK) == ["It is wide."]
    assert await service.say(TALK) == ["It is wide."]
    [text] = await service.say(TALK)
    assert text.startswith(
        "I cannot talk freely for now: 2 model calls an hour is the limit, and it is reached. It frees at 17:05"
        " (in 65 minutes). Until then I answer exact questions, for example “how did the bot do this month”"
    )
    assert await service.say(TALK) == ["Free talk works again at 17:05 (in 65 minutes); exact questions work now."]
    assert len(service.model.calls) == 2
    service.clock.advance(minutes=65)
    assert await service.say(TALK) == ["It is wide."]


async def test_threat_10_a_conversation_that_runs_away_stops_at_the_models_budget(start: Start) -> None:
    service = await start(lambda _messages: "And then?", limits=Limits(model_calls_per_person=5))
    for _ in range(12):
        await service.say(TALK)
    assert len(service.model.calls) == 5


async def test_exact_questions_orders_and_stop_never_look_at_the_budget(start: Start) -> None:
    service = await start(lambda _messages: "Hm.", limits=Limits(model_calls_per_hour=1))
    await service.say(TALK)
    await service.say(TALK)
    assert await service.say("how did the bot do this month") == [PROFIT]
    [status] = await service.say("status")
    assert status.startswith("Trading: running.")
    await service.say("buy 5 AAPL")
    assert [body["capability"] for body in service.trader.requests] == ["trading.order"]
    await service.say("stop")
    assert read_control(service.store.view()).stopped
    assert len(service.model.calls) == 1


async def test_a_restart_forgets_neither_what_was_used_nor_who_was_told(start: Start) -> None:
    service = await start(lambda _messages: "Hm.", limits=Limits(model_calls_per_hour=1))
    await service.say(TALK)
    await service.say(TALK)
    await service.close()
    service.build()
    await service.runtime.start()
    [text] = await service.say(TALK)
    assert text.startswith("Free talk works again at 17:05")
    assert len(service.model.calls) == 1


async def test_a_budget_that_ends_between_two_calls_of_a_turn_ends_the_turn_in_words(start: Start) -> None:
    service = await start(lambda _messages: '{"choice": "none"}', limits=Limits(model_calls_per_hour=1))
    [text] = await service.say("what about the profit that the bot made last summer, roughly?")
    assert "1 model calls an hour is the limit" in text
    assert len(service.model.calls) == 1
