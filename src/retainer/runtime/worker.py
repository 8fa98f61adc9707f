"""A lane worker inside a Dask worker: ``dask worker SCHEDULER --preload retainer.runtime.worker``.

Dask places the processes, starts them anew when they die, and runs sweeps in them; beside that, each one handles lanes
of the PostgreSQL database on a thread with an event loop of its own. What a killed worker was handling is free the
moment its session ends, and goes on elsewhere.

``--entry=module:callable`` names what makes the worker's runtime: called without arguments, it returns an async context
manager that handles lanes while it is entered.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from importlib import import_module
from typing import Any, Final, cast

import click
import structlog

from retainer.core.errors import InvalidInputError
from retainer.runtime.store import StorageError

Entry = Callable[[], AbstractAsyncContextManager[Any]]

ENTRY: Final = "retainer.app.worker:lane_worker"
"""The lane worker that the configuration describes."""
_END_S: Final = 7.0
"""Longest time given to the lanes to end, in seconds: Dask kills a worker 8 seconds after it was told to."""

_AGAIN_S: Final = 2.0
"""Pause, in seconds, before a database that is not there is tried again."""

log = structlog.get_logger(__name__)


def find_entry(name: str) -> Entry:
    """The callable behind ``module:callable``. Raises :class:`InvalidInputError`."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInputError(
            f"There is no {name!r}: {error}.", hint="Name a callable like package.module:function."
        ) from error
    return cast("Entry", found)


class LaneThread:
    """A runtime on a thread and event loop of its own."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="retainer-lanes", daemon=True)

    def start(self) -> None:
        """Return when lanes are being handled, or will be once the database is there; raises what else is wrong."""
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            self._thread.join()
            raise self._failed

    def stop(self) -> None:
        """Let running handlers finish for a few seconds; what does not re-enters elsewhere. Harmless when repeated."""
        if self._loop is not None and self._leave is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(_END_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failed = error
            if self._ready.is_set():
                log.exception("lanes_ended")
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        while not self._leave.is_set():
            try:
                async with self._entry():
                    self._ready.set()
                    log.info("lanes_served")
                    await self._leave.wait()
            except StorageError as error:  # a worker may be there before its database
                log.warning("lanes_wait", error=str(error))
                self._ready.set()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._leave.wait(), _AGAIN_S)


_running: dict[int, LaneThread] = {}
"""By identity of the Dask worker: one each, also where several share a process."""


@click.command()
@click.option("--entry", default=ENTRY, show_default=True, help="What makes the lane worker: module:callable.")
def dask_setup(worker: object, entry: str) -> None:
    """Handle lanes beside Dask's own tasks. Called by Dask when the worker starts."""
    lanes = LaneThread(find_entry(entry))
    lanes.start()
    _running[id(worker)] = lanes


def dask_teardown(worker: object) -> None:
    """Called by Dask when the worker ends."""
    lanes = _running.pop(id(worker), None)
    if lanes is not None:
        lanes.stop()
