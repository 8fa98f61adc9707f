"""A terminal beside a running service: it writes into the same inbox and reads the same rows."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable

from retainer.chat.bridges.attention import GRACE, RENEW, awaits_answer
from retainer.chat.bridges.terminal import ADDRESS, Attending, Item, ReplyRows, typed
from retainer.core.clock import Clock
from retainer.core.events import NewEvent, Receipt
from retainer.core.protocols import Receive, Store, Tx
from retainer.runtime.inbox import insert_event

LOOK = 0.25
"""Seconds between two looks at the database."""


class MailboxHandle:
    """:class:`~retainer.core.protocols.RuntimeHandle` for a process that runs no handlers: events go into the inbox.

    The service notices them by itself. Nothing here can interrupt a handler; what must take effect at once (*stop*)
    does so by the rows written in ``also``.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def receive(self, *events: NewEvent, also: Callable[[Tx], None] | None = None) -> list[Receipt]:
        """Store the events, and ``also`` when at least one was new, in one transaction."""
        now = self.clock.now()

        def unit(tx: Tx) -> list[Receipt]:
            receipts = [insert_event(tx, event, now) for event in events]
            if also is not None and any(receipt.new for receipt in receipts):
                also(tx)
            return receipts

        return await self.store.write(unit)

    def interrupt(self, lane: str) -> None:
        """Nothing runs in this process."""

    async def idle(self, lane: str | None = None) -> None:
        """Wait until no event waits (in ``lane``, or anywhere)."""
        where, params = (" AND lane = ?", (lane,)) if lane is not None else ("", ())
        sql = f"SELECT COUNT(*) AS n FROM event WHERE state = 'waiting'{where}"  # noqa: S608 - constant text
        while True:  # the rows are changed by another process, which cannot set an event here
            row = self.store.view().one(sql, params)
            if row is None or not row["n"]:
                return
            await asyncio.sleep(LOOK)


class RemoteTerminal:
    """:class:`~retainer.chat.bridges.terminal.TerminalClient` over the database. Replies appear when finished."""

    def __init__(self, store: Store, clock: Clock, receive: Receive) -> None:
        """``receive`` is that of a hub over a :class:`MailboxHandle`, so the same rules hold as in the service."""
        self._store = store
        self._clock = clock
        self._receive = receive
        self._session = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    async def say(self, text: str) -> None:
        """Send what was typed; durable when it returns."""
        await self._receive(typed(text, None, self._next_id(), self._clock))

    async def press(self, data: str) -> None:
        """Press a button of a card."""
        await self._receive(typed("", data, self._next_id(), self._clock))

    async def items(self) -> AsyncIterator[Item]:
        """What was missed, then what comes."""
        rows = ReplyRows(self._store)
        opened: set[str] = set()
        waited = 0.0
        try:
            while True:
                waits = awaits_answer(self._store.view(), ADDRESS)
                waited = waited + LOOK if waits else 0.0
                if waited > GRACE:
                    yield Attending()
                    waited = GRACE - RENEW
                for item in rows.opened():
                    if item.ref not in opened:
                        opened.add(item.ref)
                        yield item
                new = rows.new()
                for shown in new:
                    yield shown
                if new:
                    rows.advance()
                await asyncio.sleep(LOOK)
        finally:
            rows.advance()

    def _next_id(self) -> str:
        return f"{self._session}.{next(self._numbers)}"
