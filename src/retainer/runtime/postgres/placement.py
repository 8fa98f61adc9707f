"""Lanes and queues as advisory locks of the writing session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from retainer.runtime.placement import AbstractHold
from retainer.runtime.postgres.session import PostgresSession

_LOOK: Final = 0.05
"""Seconds between attempts to take what another process has, for those who wait for it."""

Ask = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function on the writer's thread, outside any transaction, and waits for it."""
Tell = Callable[[Callable[[], Any]], None]
"""The same without waiting; in the order of the calls."""


class PostgresPlacement:
    """:class:`~retainer.runtime.placement.Placement`; to be used on the event loop's thread."""

    def __init__(self, session: PostgresSession, ask: Ask, tell: Tell) -> None:
        self._session = session
        self._ask = ask
        self._tell = tell
        self._counts: dict[str, int] = {}

    async def take(self, name: str) -> bool:
        held = self._counts.get(name, 0) > 0 and not self._session.gone
        if not held and not await self._ask(lambda: self._session.take(name)):
            return False
        self._counts[name] = self._counts.get(name, 0) + 1
        return True

    def leave(self, name: str) -> None:
        count = self._counts.pop(name, 0) - 1
        if count > 0:
            self._counts[name] = count
        elif count == 0 and not self._session.gone:
            self._tell(lambda: self._session.leave(name))

    def elsewhere(self, name: str) -> bool:
        return name in self._session.elsewhere

    def held(self, name: str) -> AbstractHold:
        return _Hold(self, name)

    async def confirm(self) -> None:
        if not self._session.fresh():
            await self._ask(lambda: self._session.run("SELECT 1", ()))

    def on_lost(self, call: Callable[[], None] | None) -> None:
        self._session.lost = call

    def resume(self) -> None:
        self._counts.clear()
        self._session.gone = False


class _Hold:
    def __init__(self, placement: PostgresPlacement, name: str) -> None:
        self._placement = placement
        self._name = name

    async def __aenter__(self) -> None:
        while True:
            if await self._placement.take(self._name):
                return
            await asyncio.sleep(_LOOK)

    async def __aexit__(self, *_: object) -> None:
        self._placement.leave(self._name)
