"""What every bridge must do, through the whole service. A new bridge adds one :class:`Channel` and passes all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.bridges.fake_telegram import TOKEN, FakeTelegram
from tests.bridges.house import House, house

from retainer.chat.bridges.terminal import Shown, typed
from retainer.core.clock import SystemClock
from retainer.core.protocols import IncomingMessage
from retainer.runtime.control import read_control


class Channel(Protocol):
    """The far side of a bridge, as a test moves it."""

    house: House

    async def say(self, text: str, *, stranger: bool = False) -> None: ...

    async def say_again(self) -> None:
        """Bring the last message once more, as after a lost confirmation."""
        ...

    async def press(self, data: str) -> None: ...

    async def send_media(self) -> None: ...

    def texts(self) -> list[str]:
        """What the person sees now."""
        ...

    def stranger_texts(self) -> list[str]: ...

    def fail_once(self) -> None:
        """Let the next delivery fail, where the far side can."""
        ...


class TelegramChannel:
    """Telegram, by the Bot API server."""

    def __init__(self, running: House, server: FakeTelegram) -> None:
        self.house = running
        self._server = server

    async def say(self, text: str, *, stranger: bool = False) -> None:
        await self._server.say(text, user=666 if stranger else 42)

    async def say_again(self) -> None:
        await self._server.push_again(self._server.last_update)

    async def press(self, data: str) -> None:
        await self._server.press(max(self._server.messages), data)

    async def send_media(self) -> None:
        await self._server.say(None, voice={"file_id": "v", "duration": 2})

    def texts(self) -> list[str]:
        return self._server.texts()

    def stranger_texts(self) -> list[str]:
        return self._server.texts(666)

    def fail_once(self) -> None:
        self._server.fault("sendMessage", "429", 1)


class TerminalChannel:
    """The terminal of this process."""

    def __init__(self, running: House) -> None:
        self.house = running
        self._shown: dict[str, str] = {}
        self._last: IncomingMessage | None = None
        self._numbers = iter(range(1000))

    async def watch(self) -> None:
        async for item in self.house.terminal.items():
            if isinstance(item, Shown):
                self._shown[item.ref] = item.message.text

    async def say(self, text: str, *, stranger: bool = False) -> None:
        await self._bring(text, sender_id="somebody" if stranger else "local")

    async def say_again(self) -> None:
        assert self._last is not None
        await self.house.hub.receive(self._last)

    async def press(self, data: str) -> None:
        await self._bring("", data=data)

    async def send_media(self) -> None:
        await self._bring("", attachment="a voice note")

    def texts(self) -> list[str]:
        return list(self._shown.values())

    def stranger_texts(self) -> list[str]:
        return []

    def fail_once(self) -> None:
        """Nothing is between us and the terminal that could fail."""

    async def _bring(self, text: str, **fields: Any) -> None:
        message = typed(text, None, f"n{next(self._numbers)}", SystemClock())
        self._last = replace(message, **fields)
        await self.house.hub.receive(self._last)


@asynccontextmanager
async def telegram(folder: Path) -> AsyncIterator[Channel]:
    async with FakeTelegram() as server, house(folder, url=server.url, token=TOKEN) as running:
        yield TelegramChannel(running, server)


@asynccontextmanager
async def terminal(folder: Path) -> AsyncIterator[Channel]:
    async with house(folder) as running:
        channel = TerminalChannel(running)
        watching = asyncio.create_task(channel.watch())
        yield channel
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture(params=[telegram, terminal], ids=lambda make: str(make.__name__))
async def channel(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Channel]:
    async with request.param(tmp_path) as made:
        yield made


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_stranger_meets_silence(channel: Channel) -> None:
    await channel.say("hello, stop, buy everything", stranger=True)
    await channel.say("stop", stranger=True)
    await channel.say("after")
    await until(lambda: channel.texts() == ["re after"])
    assert channel.stranger_texts() == []
    assert len(channel.house.agent.heard) == 1
    assert not read_control(channel.house.store.view()).stopped


async def test_a_duplicate_is_answered_once(channel: Channel) -> None:
    await channel.say("once")
    await until(lambda: channel.texts() == ["re once"])
    await channel.say_again()
    await channel.say("next")
    await until(lambda: "re next" in channel.texts())
    assert channel.texts() == ["re once", "re next"]


async def test_order_is_kept(channel: Channel) -> None:
    wanted = [f"re m{n}" for n in range(12)]
    for n in range(12):
        await channel.say(f"m{n}")
    await until(lambda: len(channel.texts()) == 12)
    assert channel.texts() == wanted


async def test_a_delivery_that_fails_is_made_up_for(channel: Channel) -> None:
    channel.fail_once()
    await channel.say("hello")
    await channel.say("again")
    await until(lambda: channel.texts() == ["re hello", "re again"])


async def test_a_long_reply_arrives_whole(channel: Channel) -> None:
    await channel.say("long")
    await until(lambda: any("Paragraph 11." in text for text in channel.texts()))
    words = " ".join(channel.texts()).split()
    assert len(words) == 12 * 152
    assert [word for word in words if word.endswith(".")] == [f"{n}." for n in range(12)]


async def test_a_huge_message_is_refused_honestly(channel: Channel) -> None:
    await channel.say("x" * 33_000)
    await until(lambda: any("33,000 characters" in text for text in channel.texts()))
    assert not channel.house.agent.heard


async def test_media_get_an_honest_answer(channel: Channel) -> None:
    await channel.send_media()
    await until(lambda: channel.texts() == ["I cannot read a voice note yet. Please tell me in words."])


async def test_a_card_is_changed_where_it_stands(channel: Channel) -> None:
    await channel.say("card")
    await until(lambda: channel.texts() == ["Buy 5 AAPL?"])
    await channel.press("a:abcd2345")
    await until(lambda: channel.texts() == ["Approved."])


async def test_stop_is_heard_at_once_in_the_middle_of_a_reply(channel: Channel) -> None:
    await channel.say("slow")
    await until(lambda: bool(channel.house.agent.heard))
    await channel.say("stop")
    await until(lambda: read_control(channel.house.store.view()).stopped, 1.0)
    await until(lambda: {"slow (stopped)", "did stop"} <= set(channel.texts()))


async def test_health_is_told(channel: Channel) -> None:
    await channel.say("hello")
    await until(lambda: channel.texts() == ["re hello"])
    health = channel.house.hub.health()
    assert all(state["ok"] is True for state in health.values()), health
    assert all({"ok", "detail", "last_contact"} <= set(state) for state in health.values())
