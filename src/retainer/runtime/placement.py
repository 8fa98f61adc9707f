"""Which process handles what: with one process everything, with several whatever it holds a lock on.

Names are those of lanes and queues with what they are in front (``lane:chat:telegram:42``, ``queue:account:paper``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from retainer.runtime.store import StorageError


class PlaceLostError(StorageError):
    """The session that held this process's locks is gone: another process may have taken its lanes over."""


class Placement(Protocol):
    """Locks that end with the process that holds them, however it ends."""

    async def take(self, name: str) -> bool:
        """Take (once more) what is free or ours; ``False`` if another process has it. Undone by :meth:`leave`."""
        ...

    def leave(self, name: str) -> None:
        """Let go once; free for others when every :meth:`take` is undone."""
        ...

    def elsewhere(self, name: str) -> bool:
        """Whether another process had it when last looked; it is looked at again several times a second."""
        ...

    def held(self, name: str) -> AbstractHold:
        """``async with placement.held(name):`` takes it, waiting for as long as another process has it."""
        ...

    async def confirm(self) -> None:
        """Return if what is held is still held at this moment, else raise :class:`PlaceLostError`.

        To be called right before anything leaves this process: one that was frozen finds out here that it was
        replaced meanwhile.
        """
        ...

    def on_lost(self, call: Callable[[], None] | None) -> None:
        """Have ``call`` run, on any thread, when everything held was lost. Nothing can be written until
        :meth:`resume`, so that nothing begun under the lost locks reaches the database."""
        ...

    def resume(self) -> None:
        """Whatever ran under the lost locks has ended: begin anew."""
        ...


class AbstractHold(Protocol):
    """What :meth:`Placement.held` returns."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


class Alone:
    """The placement of a store that only one process serves."""

    async def take(self, name: str) -> bool:
        return True

    def leave(self, name: str) -> None:
        """Nothing to let go of."""

    def elsewhere(self, name: str) -> bool:
        return False

    def held(self, name: str) -> AbstractHold:
        return _NOTHING

    async def confirm(self) -> None:
        """Nobody else could have taken over."""

    def on_lost(self, call: Callable[[], None] | None) -> None:
        """It is never lost."""

    def resume(self) -> None:
        """There is nothing to begin anew."""


class _Nothing:
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        return None


_NOTHING = _Nothing()
ALONE = Alone()


def placement_of(store: object) -> Placement:
    """The store's own placement, or that of a single process."""
    found: Placement = getattr(store, "placement", ALONE)
    return found
