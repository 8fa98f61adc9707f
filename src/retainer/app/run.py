"""``retainer up``: the service, with the chat in front of it when there is a terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress

import structlog

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.logs import setup_logging
from retainer.app.service import Service
from retainer.chat.bridges.terminal import recent_inputs
from retainer.chat.bridges.terminal_ui import TerminalUI
from retainer.chat.bridges.terminal_view import TerminalStatus
from retainer.runtime.control import read_control
from retainer.trading.book import equity_of

_log = structlog.get_logger(__name__)


def run_up(settings: Settings, *, interactive: bool) -> int:
    """Run until the person leaves, or SIGTERM or Ctrl-C. Raises :class:`RetainerError` when it cannot start."""
    folder = DataFolder(settings.data).make()
    setup_logging(folder.logs, settings.log, console=not interactive)
    return asyncio.run(_main(settings, folder, interactive=interactive))


async def _main(settings: Settings, folder: DataFolder, *, interactive: bool) -> int:
    began = time.monotonic()
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    async with Service(settings) as service:
        _log.info("service_started", seconds=round(time.monotonic() - began, 3), pid=os.getpid())
        if interactive:
            await _chat(service, leave)
        else:
            sys.stdout.write(_how_to_reach(folder))
            sys.stdout.flush()
            await leave.wait()
        _log.info("service_stopping")
    return 0


async def _chat(service: Service, leave: asyncio.Event) -> None:
    ui = TerminalUI(
        service.terminal,
        status=lambda: terminal_status(service),
        history=recent_inputs(service.store.view()),
        welcome=_welcome(service),
    )
    session = asyncio.create_task(ui.run(), name="terminal")
    left = asyncio.create_task(leave.wait())
    await asyncio.wait({session, left}, return_when=asyncio.FIRST_COMPLETED)
    for task in (session, left):
        if not task.done():
            task.cancel()
    with suppress(asyncio.CancelledError):
        await session


def terminal_status(service: Service) -> TerminalStatus:
    """The status line of this moment: cheap, asked every second."""
    view = service.store.view()
    state = service.model_state()
    progress = state.progress
    equity = equity_of(view, service.settings.trading.account)
    return TerminalStatus(
        bot=read_control(view).state,
        model="model" if progress else f"model {state.phase}",
        progress=progress.fraction if progress else None,
        rate=progress.words().partition(", ")[2] if progress else "",
        equity=f"${equity:,.2f} paper" if equity is not None else "",
    )


def _welcome(service: Service) -> str:
    return (
        f"{service.personality.name} is here. The model may take a moment the first time; everything else works now.\n"
        "Try:  how did the bot do this month?  |  why did you buy IBM?  |  buy 5 AAPL  |  stop  |  help\n"
        "Your phone: `retainer phone telegram` in another terminal. Leave with Ctrl-D."
    )


def _how_to_reach(folder: DataFolder) -> str:
    return (
        f"retainer runs on {folder.root} (process {os.getpid()}).\n"
        "  talk to it      retainer chat\n"
        "  your phone      retainer phone telegram\n"
        "  what it does    retainer status | log | explain EVENT | doctor\n"
        "  stop trading    retainer stop     (resume with: retainer resume)\n"
        f"  log             {folder.logs / 'retainer.log'}\n"
        "  end it          Ctrl-C, or SIGTERM\n"
    )
