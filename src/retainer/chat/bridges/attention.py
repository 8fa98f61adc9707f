"""The sign that a message was taken: shown while its answer is being made, renewed, and never worth a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog

from retainer.core.protocols import Store, View
from retainer.core.replies import split_address

GRACE = 0.25
"""Seconds an answer has before a sign is shown: dots that come after a quick answer would promise another one."""
RENEW = 4.0
"""Seconds between two signs; Telegram shows one for five."""
RETRY = 0.5
"""Seconds until a sign is tried again that could not be shown."""
LONGEST = 5.0
"""Seconds that showing one sign may take."""
_log = structlog.get_logger(__name__)


class Attentive(Protocol):
    """A bridge that can show that an answer is being made."""

    async def attend(self, chat_id: str) -> None:
        """Show it for about five seconds; says nothing and changes nothing. May raise."""
        ...


class Attention:
    """One task per conversation that waits for an answer. All of them end in :meth:`close`."""

    def __init__(self, store: Callable[[], Store], bridge: Callable[[str], Attentive | None]) -> None:
        """``bridge``: the bridge of a channel, or ``None`` where no sign can be shown."""
        self._store = store
        self._bridge = bridge
        self._again: dict[str, asyncio.Event] = {}
        self._courtesies = Courtesies()

    def begin(self, address: str) -> None:
        """Something was taken from ``address``: show a sign soon, unless it is answered by then."""
        channel, chat_id = split_address(address)
        bridge = self._bridge(channel)
        if bridge is None:
            return
        if address not in self._again:
            again = self._again[address] = asyncio.Event()
            self._courtesies.spawn(self._keep(address, chat_id, bridge, again))
        self._again[address].set()

    def resume(self) -> None:
        """Begin again wherever a message waits, as after a crash."""
        for address in _waiting_addresses(self._store().view()):
            self.begin(address)

    async def close(self) -> None:
        """End every task."""
        await self._courtesies.close()
        self._again.clear()

    async def _keep(self, address: str, chat_id: str, bridge: Attentive, again: asyncio.Event) -> None:
        try:
            pause = GRACE
            while True:
                await _either(again, pause)
                if again.is_set():
                    again.clear()
                    await asyncio.sleep(GRACE)
                if not awaits_answer(self._store().view(), address) and not again.is_set():
                    return
                pause = RENEW if await self._shown(bridge, chat_id) else RETRY
        finally:
            self._again.pop(address, None)

    async def _shown(self, bridge: Attentive, chat_id: str) -> bool:
        try:
            async with asyncio.timeout(LONGEST):
                await bridge.attend(chat_id)
        except Exception as error:  # noqa: BLE001 - a sign is not worth a failure, the answer will come
            _log.debug("attention.failed", kind=type(error).__name__)
            return False
        return True


class Courtesies:
    """Small background work that may fail, with an owner who ends it before what it uses is closed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work``; its failure is logged by kind and changes nothing."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.debug("courtesy.failed", kind=type(error).__name__)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def awaits_answer(view: View, address: str) -> bool:
    """Whether anything that came from ``address``, or is done for it, is not finished."""
    row = view.one("SELECT seq FROM event WHERE state = 'waiting' AND reply_to = ? LIMIT 1", (address,))
    return row is not None


def _waiting_addresses(view: View) -> list[str]:
    rows = view.query(
        "SELECT DISTINCT reply_to FROM event WHERE state = 'waiting' AND kind = 'message' AND reply_to IS NOT NULL"
    )
    return [str(row["reply_to"]) for row in rows]


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
