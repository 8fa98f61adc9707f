"""One read-only SQL statement over listed tables: SQLite's own authorizer decides, not a list of bad words.

The statement is compiled under the authorizer, which sees every table, column, function and kind of action it would
touch; anything but reading is refused before a row is read. The connection is read-only as well, and a progress
handler ends what takes too long.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from retainer.core.errors import InvalidInputError, RefusedError

MAX_SQL = 10_000
MAX_VALUE = 1_000_000
"""Bytes of one value, also of one in the middle of a computation."""
MAX_PATTERN = 100
"""Bytes of a pattern for LIKE and GLOB: one match is one step, which nothing interrupts."""
MAX_ANSWER = 10_000_000
"""Bytes of texts in an answer."""
MAX_COLUMNS = 100
_FUNCTIONS = (
    "abs avg ceil ceiling coalesce concat concat_ws count cume_dist date datetime dense_rank exp first_value floor "
    "format glob group_concat hex iif ifnull instr julianday lag last_value lead length like ln log log10 log2 lower "
    "ltrim max median min mod nth_value ntile nullif percent_rank pow power printf quote rank replace round row_number "
    "rtrim sign sqrt string_agg strftime substr substring sum time timediff total trim trunc typeof unicode unixepoch "
    "upper"
)
FUNCTIONS = frozenset(_FUNCTIONS.split())
"""Functions a statement may use: arithmetic, text, dates and aggregates. None loads, writes or allocates at will."""
_STEPS = 2_000


def check_sql(connection: sqlite3.Connection, sql: str, *, tables: Collection[str] | None = None) -> None:
    """Raise :class:`RefusedError` unless ``sql`` is a single statement that only reads ``tables`` (``None``: any).

    It is compiled, never run. Tables of SQLite itself are never readable.
    """
    with _authorised(connection, tables) as refused:
        _compile(connection, sql, refused)


def read_sql(
    database: Path,
    sql: str,
    params: Sequence[Any] = (),
    *,
    tables: Collection[str] | None = None,
    rows: int = 1_000,
    seconds: float = 2.0,
) -> list[dict[str, Any]]:
    """Run ``sql`` on a database file opened read-only; at most ``rows`` rows within ``seconds`` of work.

    Raises :class:`RefusedError` for anything but one reading statement, and for one that takes too long or answers
    with more than :data:`MAX_ANSWER`.
    """
    uri = f"{database.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
        connection.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, MAX_COLUMNS)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN)
        with _authorised(connection, tables) as refused:
            _compile(connection, sql, refused)
            deadline = time.monotonic() + seconds
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
            found: list[dict[str, Any]] = []
            size = 0
            try:
                for row in islice(connection.execute(sql, tuple(params)), rows):
                    size += sum(len(value) for value in row if isinstance(value, str | bytes))
                    if size > MAX_ANSWER:
                        raise RefusedError("That answer is too large.", hint="Ask for less at once.")
                    found.append(dict(row))
            except sqlite3.Error as error:
                raise _why(error, refused, late=time.monotonic() > deadline) from error
            return found


@contextmanager
def _authorised(connection: sqlite3.Connection, tables: Collection[str] | None) -> Iterator[list[str]]:
    refused: list[str] = []
    connection.set_authorizer(_authorizer(tables, refused))
    try:
        yield refused
    finally:
        connection.set_authorizer(None)


def _authorizer(
    tables: Collection[str] | None, refused: list[str]
) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    known = None if tables is None else {name.casefold() for name in tables}

    def decide(action: int, first: str | None, second: str | None, _database: str | None, _source: str | None) -> int:
        if action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE}:
            return sqlite3.SQLITE_OK
        name = (first or "").casefold()
        if action == sqlite3.SQLITE_READ:
            if not name or (not name.startswith(("sqlite_", "pragma_")) and (known is None or name in known)):
                return sqlite3.SQLITE_OK
            refused.append(f"the table {first} may not be read")
        elif action == sqlite3.SQLITE_FUNCTION:
            if (second or "").casefold() in FUNCTIONS:
                return sqlite3.SQLITE_OK
            refused.append(f"the function {second} may not be used")
        else:
            refused.append("it does more than read")
        return sqlite3.SQLITE_DENY

    return decide


def _compile(connection: sqlite3.Connection, sql: str, refused: list[str]) -> None:
    if len(sql) > MAX_SQL or "\x00" in sql:
        raise InvalidInputError(f"A statement has at most {MAX_SQL:,} characters, and no control characters.")
    words = sql.lstrip().split(None, 1)
    if not words or words[0].casefold().rstrip("(*") not in {"select", "with", "values"}:
        raise RefusedError("Only a single SELECT may be run here.")
    try:
        with closing(connection.execute(f"EXPLAIN {sql}")):
            return
    except (sqlite3.Error, sqlite3.Warning) as error:
        if isinstance(error, sqlite3.ProgrammingError) and "binding" in str(error):
            return  # it compiled: only its parameters are missing
        raise _why(error, refused, late=False) from error


def _why(error: Exception, refused: list[str], *, late: bool) -> RefusedError:
    if refused:
        return RefusedError(f"That statement is refused: {refused[0]}.", hint="Read listed tables with one SELECT.")
    if late:
        return RefusedError("That statement takes too long.", hint="Ask for less at once.")
    return RefusedError(f"That is not one statement that can be run: {error}.")
