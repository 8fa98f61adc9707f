"""The chat for pipes and scripts: lines in, replies out, one after another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TextIO

from retainer.chat.bridges.terminal import Opened, Shown, TerminalClient
from retainer.chat.bridges.terminal_view import plain
from retainer.core.protocols import Button

Settle = Callable[[], Awaitable[None]]


class PlainChat:
    """Each line is said, and its answer awaited before the next; a number presses a button of the newest card."""

    def __init__(
        self,
        client: TerminalClient,
        out: TextIO,
        *,
        settle: Settle | None = None,
        patience: float = 120.0,
        echo: bool = False,
    ) -> None:
        """``settle`` waits until the service has handled what it was told; ``patience`` (seconds) bounds each wait.

        ``echo`` repeats each line before its answer, for transcripts.
        """
        self._client = client
        self._out = out
        self._settle = settle
        self._patience = patience
        self._echo = echo
        self._shown = 0
        self._open: set[str] = set()
        self._cards: dict[str, tuple[Button, ...]] = {}
        self._changed = asyncio.Event()

    async def run(self, lines: AsyncIterator[str]) -> int:
        """Say every line; returns how many got no answer in time."""
        reader = asyncio.ensure_future(self._print_items())
        unanswered = 0
        try:
            await asyncio.sleep(0)
            async for line in lines:
                if line.strip():
                    unanswered += not await self._exchange(line.strip())
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        return unanswered

    async def _exchange(self, line: str) -> bool:
        if self._echo:
            self._write(f"> {line}")
        before = self._shown
        pressed = self._choice(line)
        await (self._client.say(line) if pressed is None else self._client.press(pressed))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while self._shown == before or self._open:
                    self._changed.clear()
                    await self._changed.wait()
                if self._settle is not None:
                    await self._settle()
        return self._shown > before

    def _choice(self, line: str) -> str | None:
        if not line.isdecimal() or not self._cards:
            return None
        buttons = self._cards[next(reversed(self._cards))]
        return buttons[int(line) - 1].data if 1 <= int(line) <= len(buttons) else None

    async def _print_items(self) -> None:
        async for item in self._client.items():
            if isinstance(item, Shown):
                self._open -= {item.key, item.ref}
                self._cards.pop(item.ref, None)
                if item.message.buttons:
                    self._cards[item.ref] = item.message.buttons
                self._write(plain(item.message))
                self._shown += 1
            elif isinstance(item, Opened):
                self._open.add(item.ref)
            self._changed.set()

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


async def lines_of(stream: TextIO) -> AsyncIterator[str]:
    """Lines of ``stream`` as they come, read in a thread."""
    while line := await asyncio.to_thread(stream.readline):
        yield line.rstrip("\n")
