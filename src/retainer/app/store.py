"""The database as commands see it: all rooms' schemas together, and views for looking from another process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from retainer.app.agents import agent_migrations, load_agents
from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.core.protocols import Migration, View
from retainer.runtime.lock import holder
from retainer.runtime.sqlite import SqliteStore


def migrations(extra: Sequence[Migration] = ()) -> tuple[Migration, ...]:
    """Every room's forward steps, then those of further agents."""
    from retainer.chat.bridges.schema import MIGRATIONS as BRIDGES
    from retainer.learning.schema import MIGRATIONS as LEARNING
    from retainer.memory.schema import MIGRATIONS as MEMORY
    from retainer.runtime.schema import MIGRATIONS as RUNTIME
    from retainer.safety.schema import MIGRATIONS as SAFETY
    from retainer.trading.schema import MIGRATIONS as TRADING

    return (*RUNTIME, *SAFETY, *LEARNING, *MEMORY, *BRIDGES, *TRADING, *extra)


def running_pid(folder: DataFolder) -> int | None:
    """Process id of the service on this folder, or ``None``."""
    return holder(folder.root) or None


@contextmanager
def open_outside(settings: Settings) -> Iterator[SqliteStore]:
    """The store for a command beside a (perhaps running) service: neither creates nor changes the schema."""
    folder = DataFolder(settings.data)
    if folder.root.exists() and not folder.root.is_dir():
        raise InvalidInputError(f"{folder.root} is not a folder.", hint="Set RETAINER_DATA to a folder of yours.")
    if not folder.database.exists():
        raise NotFoundError(f"There is nothing in {folder.root} yet.", hint="Start with: retainer up")
    schema = migrations(agent_migrations(load_agents(settings)))
    store = SqliteStore.open(folder.database, schema, owner=False)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def open_view(settings: Settings) -> Iterator[View]:
    """A read-only look at the database."""
    with open_outside(settings) as store, store.view() as view:
        yield view
