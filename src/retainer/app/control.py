"""``retainer stop | pause | resume`` from another terminal, whether or not the service runs."""

from __future__ import annotations

import asyncio
import sys

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.store import open_outside, running_pid
from retainer.chat.bridges.terminal_remote import MailboxHandle, RemoteTerminal
from retainer.chat.hub import PhoneBridge
from retainer.core.clock import SystemClock
from retainer.runtime.control import read_control

_WORDS = {
    "stopped": "Stopped: no new order until you say resume.",
    "paused": "Paused: no new entries.",
    "running": "Running: trading may go on, within its mandate and limits.",
}


def run_control(settings: Settings, word: str) -> int:
    """Say ``word`` as the owner at this machine; prints what now holds."""
    asyncio.run(_say(settings, word))
    with open_outside(settings) as store, store.view() as view:
        control = read_control(view)
    running = running_pid(DataFolder(settings.data)) is not None
    later = "" if running else " The service is not running; it will start in this state."
    sys.stdout.write(f"{_WORDS[control.state]}{later}\n")
    return 0


async def _say(settings: Settings, word: str) -> None:
    """As if it had been typed in the chat: in effect, with waiting orders refused, when this returns."""
    with open_outside(settings) as store:
        clock = SystemClock()
        hub = PhoneBridge(MailboxHandle(store, clock), limits=settings.safety.limits())
        await RemoteTerminal(store, clock, hub.receive).say(word)
