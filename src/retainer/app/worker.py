"""The lane worker: the service without its doors. It handles lanes and sends orders; a ``retainer up`` on the same
database listens to phones, feeds and clocks, and delivers what is said."""

from __future__ import annotations

import asyncio

from retainer.app.config import Settings, load_settings
from retainer.app.logs import log_to_stderr
from retainer.app.service import Service
from retainer.core.errors import InvalidInputError

GRACE_S = 4.0
"""How long running handlers may take to finish at the end. Dask kills a worker 8 seconds after it was told to end, and
whoever takes over would count that as a crash."""


class LaneWorker(Service):
    """``async with LaneWorker(settings):`` handles lanes of the configured PostgreSQL database, beside others."""

    def __init__(self, settings: Settings) -> None:
        if not settings.store.url.get_secret_value():
            raise InvalidInputError(
                "A file is served by one process.",
                hint="Set store.url to a PostgreSQL database to have several; see docs/scaling.md.",
            )
        super().__init__(settings)

    async def start(self) -> None:
        """Open the database, wire everything, handle lanes. Raises :class:`RetainerError` in words."""
        self._known_model()
        self.folder.make()
        try:
            self._compose()
            await asyncio.to_thread(self._notice_loss)
            await self.store.write(self._first_start)
            self.runtime.serve_queues(self._delivers)
            await self.runtime.start()
        except BaseException:
            await self._close()
            raise
        if self._model is None:
            self._spawn(self._bring_model(), "model")

    async def stop(self, grace: float = GRACE_S) -> None:
        """Running handlers finish, or re-enter elsewhere."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.runtime.stop(grace)
        await self._close()

    async def _close(self) -> None:
        await asyncio.to_thread(self.models.close)
        if hasattr(self, "memory"):
            self.memory.close()
        if hasattr(self, "store"):
            await asyncio.to_thread(self.store.close)

    def _delivers(self, queue: str) -> bool:
        """Everything but what is said: a channel is served by the process that listens to it."""
        return queue.partition(":")[0] not in self.hub.health()


def lane_worker() -> LaneWorker:
    """The lane worker that configuration file and environment describe."""
    settings = load_settings()
    log_to_stderr(settings.log)
    return LaneWorker(settings)
