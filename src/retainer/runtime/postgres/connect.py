"""Connections to PostgreSQL with the house's settings, and its trouble in words."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import errors as pg
from psycopg.adapt import Buffer, Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg.types.numeric import FloatBinaryDumper, Int8BinaryDumper

from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Row
from retainer.runtime.store import StorageError

Connection = psycopg.Connection[dict[str, Any]]

OLDEST: Final = 140000
"""Oldest server: it can end idle sessions by itself."""
_DEFAULTS: Final[dict[str, str]] = {
    "application_name": "retainer",
    "connect_timeout": "5",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}
_HINTS: Final[tuple[tuple[type[psycopg.Error], str], ...]] = (
    (pg.DiskFull, "The server's disk is full. Free some space; work goes on by itself."),
    (pg.OutOfMemory, "The server is out of memory."),
    (pg.TooManyConnections, "The server has no free connection: raise its max_connections, or run fewer workers."),
    (pg.ReadOnlySqlTransaction, "This connection may only read (is it a standby?). Use the primary's address."),
    (pg.InsufficientPrivilege, "The role may not do this: let it own the database."),
    (pg.LockNotAvailable, "Another process has been writing for too long. Look at pg_stat_activity."),
    (pg.QueryCanceled, "The server cancelled the statement."),
    (pg.DataCorrupted, "The server reports damaged data. Stop, and restore a backup of the database."),
    (pg.IndexCorrupted, "The server reports a damaged index. Stop, and REINDEX or restore a backup of the database."),
)


class _Whole(Loader):
    """``SUM`` of whole numbers comes as NUMERIC; no column of ours is one."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return float(text) if "." in text or "e" in text.lower() else int(text)


class Int8(Int8BinaryDumper):
    """Every whole number, truth values too, as BIGINT: one prepared statement per query, not one per size."""

    def dump(self, obj: Any) -> Buffer | None:
        return super().dump(int(obj))


def where(url: str) -> str:
    """The database in words, without user and password. Raises :class:`InvalidInputError`."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error as error:
        raise InvalidInputError(
            "The address of the database cannot be read.", hint='Write it like "postgresql://user@host:5432/retainer".'
        ) from error
    host = parts.get("host") or parts.get("hostaddr") or "this machine"
    return f"{parts.get('dbname') or parts.get('user') or 'postgres'} on {host}"


def connect(url: str, settings: dict[str, str]) -> Connection:
    """An autocommit connection with ``settings`` (server parameters) applied. Raises :class:`StorageError`."""
    name = where(url)
    given = conninfo_to_dict(url)
    options: dict[str, Any] = {key: value for key, value in _DEFAULTS.items() if given.get(key) in (None, "")}
    try:
        connection: Connection = psycopg.connect(
            url, autocommit=True, row_factory=dict_row, cursor_factory=psycopg.RawCursor, **options
        )
    except psycopg.Error as error:
        raise _unreachable(name, error) from error
    try:
        _check(connection, name)
        _adapt(connection)
        for key, value in settings.items():
            connection.execute("SELECT set_config($1, $2, false)", (key, value))
    except psycopg.Error as error:
        connection.close()
        raise worded(error, name) or error from error
    except BaseException:
        connection.close()
        raise
    return connection


def _unreachable(name: str, error: psycopg.Error) -> StorageError:
    said = " ".join(str(error).split())
    return StorageError(
        f"The database {name} cannot be reached: {said}.".replace("..", "."),
        hint="Check that the server runs, its address and the password; work goes on by itself once it is back.",
    )


def _check(connection: Connection, name: str) -> None:
    version = connection.info.server_version
    if version < OLDEST:
        raise StorageError(
            f"The server of {name} is PostgreSQL {version // 10000}, which is too old.", hint="Use 14 or newer."
        )
    shown = connection.execute("SHOW synchronous_commit").fetchone()
    if shown is not None and shown["synchronous_commit"] == "off":
        connection.execute("SET synchronous_commit = on")


def _adapt(connection: Connection) -> None:
    connection.prepare_threshold = 2
    connection.prepared_max = 500
    adapters = connection.adapters
    for kind in (int, bool):
        adapters.register_dumper(kind, Int8)
    adapters.register_dumper(float, FloatBinaryDumper)
    adapters.register_loader("numeric", _Whole)


def worded(error: psycopg.Error, name: str) -> StorageError | None:
    """``error`` in words if the storage is at fault; ``None`` if the statement is (a bug, a constraint)."""
    for kind, hint in _HINTS:
        if isinstance(error, kind):
            return StorageError(f"The database {name} failed: {' '.join(str(error).split())}.", hint=hint)
    if isinstance(error, psycopg.OperationalError):
        return StorageError(
            f"The connection to the database {name} was lost: {' '.join(str(error).split())}.",
            hint="Work goes on by itself once it is back.",
        )
    return None


def rows(found: list[dict[str, Any]]) -> list[Row]:
    """As the protocol types them."""
    return list(found)
