"""The database as commands see it: all rooms' schemas together, and views for looking from another process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from retainer.app.agents import agent_migrations, load_agents
from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.operations.damage import vanished, with_advice
from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.core.protocols import Migration, View
from retainer.runtime.base import BaseStore
from retainer.runtime.lock import holder
from retainer.runtime.sqlite import SqliteStore
from retainer.safety.redact import default_redactor
from retainer.safety.secrets import PREFIX, Secrets


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


def open_store(settings: Settings, schema: Sequence[Migration], *, owner: bool = True) -> BaseStore:
    """The store that the configuration names; as ``owner`` it is created and brought up to date."""
    url = database_url(settings)
    if not url:
        return SqliteStore.open(DataFolder(settings.data).database, schema, owner=owner)
    try:
        from retainer.runtime.postgres.store import PostgresStore
    except ImportError as error:
        raise NotFoundError(
            "The driver for PostgreSQL is not installed.", hint='Install it: pip install "retainer[postgres]"'
        ) from error
    return PostgresStore.open(url, schema, owner=owner, idle_seconds=settings.store.idle_seconds)


def database_url(settings: Settings) -> str:
    """The address of the PostgreSQL database, its password registered for redaction; empty for a file."""
    url = settings.store.url.get_secret_value()
    if url.startswith(PREFIX):
        url = Secrets(DataFolder(settings.data).secrets).resolve(url).reveal()
    password = urlsplit(url).password
    if password:
        default_redactor().register(unquote(password))
    return url


def exists(settings: Settings) -> bool:
    """Whether there may be records: a database server is asked when it is opened."""
    return bool(settings.store.url.get_secret_value()) or DataFolder(settings.data).database.exists()


@contextmanager
def open_outside(settings: Settings) -> Iterator[BaseStore]:
    """The store for a command beside a (perhaps running) service: neither creates nor changes the schema."""
    folder = DataFolder(settings.data)
    if folder.root.exists() and not folder.root.is_dir():
        raise InvalidInputError(f"{folder.root} is not a folder.", hint="Set RETAINER_DATA to a folder of yours.")
    if error := vanished(settings):
        raise with_advice(settings, error)
    if not exists(settings):
        raise NotFoundError(f"There is nothing in {folder.root} yet.", hint="Start with: retainer up")
    schema = migrations(agent_migrations(load_agents(settings)))
    store = open_store(settings, schema, owner=False)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def open_view(settings: Settings) -> Iterator[View]:
    """A read-only look at the database."""
    with open_outside(settings) as store, store.view() as view:
        yield view
