"""The interactive chat on the small service, for tests that type at it.

``python chat_on_terminal.py FOLDER [SECONDS]``: with SECONDS the service takes so long over every line.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

import structlog
from tests.bridges.house import house

from retainer.chat.bridges.terminal import TerminalClient, recent_inputs
from retainer.chat.bridges.terminal_ui import TerminalUI
from retainer.chat.bridges.terminal_view import TerminalStatus
from retainer.runtime.control import read_control


class SlowHouse:
    """A client whose service takes its time over every line."""

    def __init__(self, client: TerminalClient, seconds: float) -> None:
        self._client = client
        self._seconds = seconds

    async def say(self, text: str) -> None:
        await asyncio.sleep(self._seconds)
        await self._client.say(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)


async def main(folder: Path, seconds: float) -> None:
    """Chat until the person leaves."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory((folder / "log").open("a", encoding="utf-8")))
    async with house(folder) as h:

        def status() -> TerminalStatus:
            return TerminalStatus(
                bot=read_control(h.store.view()).state,
                model="small model",
                progress=0.43,
                rate="5.1 MB/s",
                equity="$100,000.00",
            )

        history = recent_inputs(h.store.view())
        client = cast("TerminalClient", SlowHouse(h.terminal, seconds)) if seconds else h.terminal
        ui = TerminalUI(client, status=status, history=history, welcome="Welcome.", tick=0.1)
        await ui.run()
    sys.stdout.write("left cleanly\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
