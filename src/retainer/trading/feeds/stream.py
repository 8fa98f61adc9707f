"""The hub of all market data feeds: starts each, restarts one that fails, knows how each is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog

from retainer.core.errors import InvalidInputError
from retainer.core.protocols import RuntimeHandle
from retainer.core.values import Json

_log = structlog.get_logger(__name__)

RESTART_FIRST_S = 1.0
RESTART_MOST_S = 60.0


class Feed(Protocol):
    """Brings the bars of one account as ``bar`` events into its lane."""

    name: str
    account: str

    async def run(self, runtime: RuntimeHandle) -> None:
        """Deliver bars until the data ends (return) or until cancelled. Continues where the account is."""
        ...

    def health(self) -> Mapping[str, Json]:
        """``ok`` (bool), ``detail`` (words), ``at`` (ISO time of the last bar sent, or ``None``)."""
        ...


class MarketDataStream:
    """All feeds of this service. With no argument it is empty; :meth:`add` feeds, then :meth:`start`."""

    def __init__(self, *feeds: Feed) -> None:
        self._feeds: list[Feed] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, str] = {}
        for feed in feeds:
            self.add(feed)

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The feeds, in the order they were added."""
        return tuple(self._feeds)

    def add(self, feed: Feed) -> None:
        """Add a feed. One account has one feed: two clocks in one lane would contradict each other."""
        if any(other.account == feed.account for other in self._feeds):
            raise InvalidInputError(f"The account '{feed.account}' has a feed already.", hint="Remove one of them.")
        self._feeds.append(feed)

    async def start(self, runtime: RuntimeHandle) -> None:
        """Start every feed that is not running."""
        for feed in self._feeds:
            if feed.name not in self._tasks:
                self._tasks[feed.name] = asyncio.create_task(self._keep(feed, runtime), name=f"feed:{feed.name}")

    async def stop(self) -> None:
        """Cancel every feed and wait for it."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self) -> None:
        """Wait until every started feed has come to the end of its data."""
        await asyncio.gather(*self._tasks.values())

    def health(self) -> dict[str, Mapping[str, Json]]:
        """How each feed is, by its name."""
        result: dict[str, Mapping[str, Json]] = {}
        for feed in self._feeds:
            failure = self._failures.get(feed.name)
            result[feed.name] = {**feed.health(), **({"ok": False, "detail": failure} if failure else {})}
        return result

    async def _keep(self, feed: Feed, runtime: RuntimeHandle) -> None:
        pause = RESTART_FIRST_S
        while True:
            try:
                await feed.run(runtime)
            except Exception as error:  # noqa: BLE001  a feed may fail in any way; it is reported and tried again
                self._failures[feed.name] = f"{type(error).__name__}: {error}"
                _log.warning("feed failed", feed=feed.name, error=type(error).__name__, again_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, RESTART_MOST_S)
            else:
                self._failures.pop(feed.name, None)
                return
