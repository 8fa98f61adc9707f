"""The terminal: everything is shown once, in this process or another one, now or after a restart."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.bridges.house import MIGRATIONS, house

from retainer.chat.bridges.terminal import Attending, Growing, Item, Opened, Shown, TerminalClient, recent_inputs
from retainer.chat.bridges.terminal_plain import PlainChat, lines_of
from retainer.chat.bridges.terminal_remote import MailboxHandle, RemoteTerminal
from retainer.chat.bridges.terminal_view import TerminalStatus, bar, live, render, status_line
from retainer.chat.hub import PhoneBridge
from retainer.core.clock import SystemClock
from retainer.core.effects import Permit
from retainer.core.errors import RefusedError
from retainer.core.protocols import Button, OutgoingMessage
from retainer.runtime.control import read_control
from retainer.runtime.sqlite import SqliteStore


class Watching:
    """A client whose items are collected."""

    def __init__(self, client: TerminalClient) -> None:
        self._client = client
        self.items: list[Item] = []

    async def __aenter__(self) -> Watching:
        self._task = asyncio.create_task(self._collect())
        await asyncio.sleep(0.05)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _collect(self) -> None:
        async for item in self._client.items():
            self.items.append(item)

    @property
    def texts(self) -> list[str]:
        return [item.message.text for item in self.items if isinstance(item, Shown)]

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.texts) < count:
                await asyncio.sleep(0.01)


def remote(store: SqliteStore) -> RemoteTerminal:
    clock = SystemClock()
    return RemoteTerminal(store, clock, PhoneBridge(MailboxHandle(store, clock)).receive)


async def test_replies_grow_and_are_shown_once(tmp_path: Path) -> None:
    async with house(tmp_path) as h, Watching(h.terminal) as watched:
        await h.terminal.say("slow")
        await asyncio.sleep(0.1)
        h.agent.release.set()
        await watched.wait(1)
        assert watched.texts == ["slow done"]
        assert isinstance(watched.items[0], Opened)
        assert any(isinstance(item, Growing) and "and so on" in item.text for item in watched.items)


async def test_what_was_missed_is_shown_later_and_not_again(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.terminal.say("one")
        await h.runtime.idle()
        async with Watching(h.terminal) as watched:
            await watched.wait(1)
            await h.terminal.say("two")
            await watched.wait(2)
            await h.runtime.idle()
        assert watched.texts == ["re one", "re two"]
    async with house(tmp_path) as h, Watching(h.terminal) as again:
        await h.terminal.say("three")
        await again.wait(1)
        assert again.texts == ["re three"]


async def test_a_terminal_in_another_process_sees_the_same(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        other = SqliteStore.open(tmp_path / "retainer.db", MIGRATIONS, owner=False)
        try:
            client = remote(other)
            async with Watching(client) as watched:
                await client.say("hello")
                await watched.wait(1)
                await client.say("card")
                await watched.wait(2)
                await client.press("a:abcd2345")
                await watched.wait(3)
                await client.say("stop")
                assert read_control(h.store.view()).stopped
                await watched.wait(4)
            assert watched.texts == ["re hello", "Buy 5 AAPL?", "Approved.", "did stop"]
            shown = [item for item in watched.items if isinstance(item, Shown)]
            assert shown[2].ref == shown[1].key  # the card was changed, not followed by another message
        finally:
            other.close()


async def test_what_waits_behind_a_reply_shows_a_sign_here_and_in_another_process(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        other = SqliteStore.open(tmp_path / "retainer.db", MIGRATIONS, owner=False)
        try:
            async with Watching(h.terminal) as here, Watching(remote(other)) as there:
                await h.terminal.say("slow")
                await h.terminal.say("behind it")
                for watched in (here, there):
                    async with asyncio.timeout(10):
                        while Attending() not in watched.items:
                            await asyncio.sleep(0.01)
                h.agent.release.set()
                await here.wait(2)
                await there.wait(2)
                assert here.texts == there.texts == ["slow done", "re behind it"]
        finally:
            other.close()


async def test_history_is_what_was_typed(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for text in ("first", "second"):
            await h.terminal.say(text)
        assert list(recent_inputs(h.store.view())) == ["first", "second"]


async def test_without_a_permit_nothing_is_shown(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        with pytest.raises(RefusedError):
            await h.terminal.send("local", OutgoingMessage(text="x"), None, "k", Permit("other", "d"))
        with pytest.raises(RefusedError):
            await h.terminal.send("elsewhere", OutgoingMessage(text="x"), None, "k", Permit("k", "d"))


async def typed_lines(*lines: str) -> AsyncIterator[str]:
    for line in lines:
        yield line


async def test_plain_chat_answers_line_by_line(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        out = io.StringIO()
        chat = PlainChat(h.terminal, out, settle=h.runtime.idle, patience=10, echo=True)
        assert await chat.run(typed_lines("hello", "card", "1", "7", "stop")) == 0
        assert out.getvalue().splitlines() == [
            "> hello",
            "re hello",
            "> card",
            "Buy 5 AAPL?",
            "[1] Approve",
            "> 1",
            "Approved.",
            "> 7",
            "re 7",
            "> stop",
            "did stop",
        ]


async def test_lines_are_read_from_a_stream() -> None:
    assert [line async for line in lines_of(io.StringIO("a\nb\n"))] == ["a", "b"]


def test_the_status_line_fits_narrow_terminals() -> None:
    status = TerminalStatus(
        bot="stopped", equity="$100,000.00", model="Qwen2.5 1.5B", progress=0.43, rate="5.1 MB/s", note="paper"
    )
    for width in (20, 40, 80, 200):
        assert sum(len(text) for _, text in status_line(status, width)) <= width
    wide = "".join(text for _, text in status_line(status, 200))
    assert "■ stopped" in wide
    assert "43%" in wide
    assert "5.1 MB/s" in wide
    assert status_line(TerminalStatus(), 80) == []


def test_bars_and_live_text() -> None:
    assert bar(0.0, 4) == "░░░░"
    assert bar(0.5, 4) == "██░░"
    assert bar(2.0, 4) == "████"
    assert live("one\ntwo\nthree", 80, 2) == "two\nthree"
    assert all(len(line) < 20 for line in live("word " * 50, 20, 3).split("\n"))


def test_cards_show_numbered_choices_and_every_character() -> None:
    card = OutgoingMessage(text="Buy 5 [AAPL] at *$190*?", buttons=(Button("Approve", "a:x"), Button("Reject", "r:x")))
    shown = render(card, 60)
    for part in ("Buy 5 [AAPL] at", "$190", " 1 ", "Approve", " 2 ", "Reject"):
        assert part in shown
    assert max(len(line) for line in render(OutgoingMessage(text="word " * 50), 30).splitlines()) <= 30
