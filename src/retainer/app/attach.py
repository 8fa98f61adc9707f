"""``retainer chat``: a terminal beside the running service."""

from __future__ import annotations

import asyncio
import io
import sys

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.store import open_outside, running_pid
from retainer.chat.bridges.terminal import LANE, recent_inputs
from retainer.chat.bridges.terminal_plain import PlainChat, lines_of
from retainer.chat.bridges.terminal_remote import MailboxHandle, RemoteTerminal
from retainer.chat.bridges.terminal_ui import TerminalUI
from retainer.chat.bridges.terminal_view import TerminalStatus
from retainer.chat.hub import PhoneBridge
from retainer.core.clock import SystemClock
from retainer.core.errors import RetainerError
from retainer.runtime.control import read_control
from retainer.trading.book import equity_of


def run_chat(settings: Settings, *, plain: bool) -> int:
    """Talk to the running service. Raises :class:`RetainerError` when none runs."""
    if running_pid(DataFolder(settings.data)) is None:
        raise RetainerError(f"No retainer is running on {settings.data}.", hint="Start it with: retainer up")
    return asyncio.run(_chat(settings, plain=plain))


async def _chat(settings: Settings, *, plain: bool) -> int:
    with open_outside(settings) as store:
        clock = SystemClock()
        mailbox = MailboxHandle(store, clock)
        client = RemoteTerminal(store, clock, PhoneBridge(mailbox, limits=settings.safety.limits()).receive)
        if plain:
            if isinstance(sys.stdin, io.TextIOWrapper):
                sys.stdin.reconfigure(errors="replace")  # bytes that are no text are the hub's to refuse, in words
            chat = PlainChat(client, sys.stdout, settle=lambda: mailbox.idle(LANE))
            return 1 if await chat.run(lines_of(sys.stdin)) else 0

        def status() -> TerminalStatus:
            view = store.view()
            equity = equity_of(view, settings.trading.account)
            return TerminalStatus(
                bot=read_control(view).state, equity=f"${equity:,.2f} paper" if equity is not None else ""
            )

        await TerminalUI(client, status=status, history=recent_inputs(store.view())).run()
        return 0
