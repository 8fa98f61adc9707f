"""The interactive chat on the small service, for tests that type at it: ``python chat_on_terminal.py FOLDER``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog
from tests.bridges.house import house

from retainer.chat.bridges.terminal import recent_inputs
from retainer.chat.bridges.terminal_ui import TerminalUI
from retainer.chat.bridges.terminal_view import TerminalStatus
from retainer.runtime.control import read_control


async def main(folder: Path) -> None:
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
        ui = TerminalUI(h.terminal, status=status, history=history, welcome="Welcome.", tick=0.1)
        await ui.run()
    sys.stdout.write("left cleanly\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
