"""``retainer up``: the service, with the chat in front of it when there is a terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import suppress

import structlog

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.logs import setup_logging
from retainer.app.operations.damage import with_advice
from retainer.app.service import Service
from retainer.chat.bridges.terminal import recent_inputs
from retainer.chat.bridges.terminal_ui import TerminalUI
from retainer.chat.bridges.terminal_view import TerminalStatus
from retainer.runtime.control import read_control
from retainer.runtime.store import DamagedError, NewerDatabaseError, StorageError
from retainer.trading.book import equity_of

_log = structlog.get_logger(__name__)

AGAIN = 1
"""Exit code after which starting again may help; 2 says that it will not."""
END_S = 8.5
"""Seconds until an end that was asked for is forced: what is cut off re-enters at the next start."""


def run_up(settings: Settings, *, interactive: bool) -> int:
    """Run until the person leaves, or SIGTERM or Ctrl-C. Raises :class:`RetainerError` when it cannot start."""
    folder = DataFolder(settings.data).make()
    setup_logging(folder.logs, settings.log, console=not interactive)
    try:
        return asyncio.run(_main(settings, folder, interactive=interactive))
    except NewerDatabaseError:
        raise
    except DamagedError as error:
        raise with_advice(settings, error) from error
    except StorageError as error:
        # A disk that is full or read-only can be mended while a service manager starts us again and again.
        sys.stderr.write(f"retainer: {error.message}\n  -> {error.hint}\n")
        return AGAIN


async def _main(settings: Settings, folder: DataFolder, *, interactive: bool) -> int:
    began = time.monotonic()
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked_to_leave() -> None:
        end_within(END_S)
        leave.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_leave)
    async with Service(settings) as service:
        failing = asyncio.create_task(_leave_when_failed(service, leave))
        _log.info("service_started", seconds=round(time.monotonic() - began, 3), pid=os.getpid())
        if interactive:
            await _chat(service, leave)
        else:
            sys.stdout.write(_how_to_reach(folder))
            sys.stdout.flush()
            await leave.wait()
        _log.info("service_stopping")
        failing.cancel()
    if service.damage is not None:
        raise service.damage
    return 0


async def _leave_when_failed(service: Service, leave: asyncio.Event) -> None:
    await service.failed.wait()
    leave.set()


def end_within(seconds: float) -> None:
    """Whatever hangs (a model that does not answer, a far side that keeps its connection open): end then."""

    def cut() -> None:
        _log.warning("end_forced", seconds=seconds)
        sys.stdout.flush()
        os._exit(0)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()


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
        "Your phone: `retainer phone telegram` in another terminal. Leave with “quit” or Ctrl-D."
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
