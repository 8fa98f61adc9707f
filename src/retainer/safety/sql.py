"""One read-only SQL statement over listed tables: SQLite's own authorizer decides, not a list of bad words.

The statement is compiled under the authorizer, which sees every table, column, function and kind of action it would
touch; anything but reading is refused before a row is read. The connection is read-only as well, and a progress
handler ends what takes too long. SQLite asks it between steps only, so no step may be long: a function that compares
every place of one text with every place of another is measured before it runs.
"""

from __future__ import annotations

import re
import sqlite3
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError
from retainer.core.values import writable
from retainer.safety.sqlsize import too_many_words

MAX_SQL = 10_000
MAX_VALUE = 250_000
"""Bytes of one value, also of one in the middle of a computation."""
MAX_WORK = 100_000_000
"""The lengths of two texts that one function compares, multiplied: up to half a second."""
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
_STEPS = 100
_QUADRATIC = {"instr": (2,), "replace": (3,), "trim": (2,), "ltrim": (2,), "rtrim": (2,)}
"""Functions whose work is the product of two lengths, with the counts of arguments where it is."""
_PLACE = re.compile(r"%([-+ #0!,.*\d]*)")
"""Flags, width and precision of a place of PRINTF and FORMAT."""
_NUMBER = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_PATTERNS = {"like": (2, 3), "glob": (2,)}
_VALUES = "Give one text, number, bytes or None for each '?'."
_FEW = 10
"""As many LIKE and GLOB run as SQLite has them, which is fast; their patterns are short (:data:`MAX_PATTERN`)."""


@dataclass(frozen=True, slots=True)
class _Notes:
    """What was refused, in words, and how often each function stands in the statement."""

    refused: list[str] = field(default_factory=list)
    uses: Counter[str] = field(default_factory=Counter)


def check_sql(connection: sqlite3.Connection, sql: str, *, tables: Collection[str] | None = None) -> None:
    """Raise :class:`RefusedError` unless ``sql`` is a single statement that only reads ``tables`` (``None``: any).

    It is compiled, never run. Tables of SQLite itself are never readable, and neither are temporary ones and those of
    attached databases: a name means a table of the main one.
    """
    with _authorised(connection, tables) as notes:
        _compile(connection, sql, notes)


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
    with more than :data:`MAX_ANSWER`; :class:`InvalidInputError` for ``params`` that do not fit it, and for a file that
    is no database; :class:`~retainer.core.errors.NotFoundError` where no file is.
    """
    if isinstance(params, str | bytes | bytearray) or not isinstance(params, Sequence):
        raise InvalidInputError("The values of a statement come as a list.", hint=_VALUES)
    with closing(_open(database, seconds)) as connection:
        connection.row_factory = sqlite3.Row
        connection.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, MAX_COLUMNS)
        _limit(connection)
        deadline = time.monotonic() + seconds
        with _authorised(connection, tables) as notes, closing(sqlite3.connect(":memory:")) as apart:
            _compile(connection, sql, notes)
            _measure(connection, sql, apart, notes, deadline)
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
            found: list[dict[str, Any]] = []
            size = 0
            try:
                for row in islice(connection.execute(sql, tuple(params)), rows):
                    size += sum(len(value) for value in row if isinstance(value, str | bytes))
                    if size > MAX_ANSWER:
                        raise RefusedError("That answer is too large.", hint="Ask for less at once.")
                    found.append(dict(row))
            except (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError, UnicodeEncodeError) as error:
                raise InvalidInputError(f"The values do not fit the statement: {error}.", hint=_VALUES) from error
            except sqlite3.Error as error:
                raise _why(error, notes.refused, late=time.monotonic() > deadline) from error
            return found


def _open(database: Path, seconds: float) -> sqlite3.Connection:
    """Read-only; a lock is waited for ``seconds`` at most, and what is no plain file (a pipe would wait) not at all."""
    try:
        mode = database.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"There is no database {str(database)!r}.", hint="Check its path.") from error
    except OSError as error:
        raise RefusedError(f"{str(database)!r} cannot be used: {error.strerror}.", hint="Check its path.") from error
    except ValueError as error:
        raise InvalidInputError(f"{str(database)!r} is not the path of a file.", hint="Check its path.") from error
    if not stat.S_ISREG(mode):
        raise RefusedError(f"{str(database)!r} is not a plain file.", hint="Name the file of a database.")
    connection: sqlite3.Connection | None = None
    try:
        uri = f"{database.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, timeout=seconds, uri=True, isolation_level=None)
        for setting in ("query_only = ON", "trusted_schema = OFF", "schema_version"):  # the last reads the file
            connection.execute(f"PRAGMA {setting}").fetchone()
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.OperationalError):  # locked, not permitted
            raise RefusedError(f"{str(database)!r} cannot be read now: {error}.", hint="Is it in use?") from error
        raise InvalidInputError(f"{str(database)!r} is no database: {error}.", hint="Name another file.") from error
    return connection


def _limit(connection: sqlite3.Connection) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN)


def _measure(
    connection: sqlite3.Connection, sql: str, apart: sqlite3.Connection, notes: _Notes, deadline: float
) -> None:
    """Have the :data:`_QUADRATIC` functions that ``sql`` names measured first, then answered by ``apart``.

    A view of the database that uses one of them may not be read by a statement that names it too: SQLite lets no view
    call what was put in its function's place. Hence only those that are named.
    """
    _limit(apart)
    named = sql.casefold()
    many = notes.uses["like"] + notes.uses["glob"] > _FEW
    for name, counts in (_QUADRATIC | (_PATTERNS if many else {})).items():
        for count in counts if name in named else ():
            call = f"SELECT {name}({', '.join('?' * count)})"
            answer = partial(_answer, apart, call, notes, deadline)
            connection.create_function(name, count, answer, deterministic=True)
    for name in ("printf", "format"):
        if name in named:
            connection.create_function(name, -1, partial(_printed, apart, name, notes, deadline), deterministic=True)


def _answer(apart: sqlite3.Connection, call: str, notes: _Notes, deadline: float, *given: Any) -> Any:
    lengths = sorted(len(value) for value in given if isinstance(value, str | bytes))
    if len(lengths) > 1 and lengths[-1] * lengths[-2] > MAX_WORK:
        notes.refused.append("it searches too much text for too much text")
        raise RefusedError(notes.refused[0])
    if time.monotonic() > deadline:
        raise TimeoutError
    try:
        return apart.execute(call, given).fetchone()[0]
    except sqlite3.Error as error:
        notes.refused.append(str(error))
        raise


def _printed(apart: sqlite3.Connection, name: str, notes: _Notes, deadline: float, *given: Any) -> Any:
    """SQLite fills a wide place character by character, also far beyond what a value can hold."""
    places = _PLACE.findall(str(given[0])) if given else []
    wide = sum(_number(digits) for place in places for digits in re.findall(r"\d+", place))
    if any("*" in place for place in places):  # as wide as an argument says
        wide += sum(map(_number, given[1:]))
    if wide > MAX_VALUE:
        notes.refused.append(f"{name} would fill more than {MAX_VALUE:,} characters")
        raise RefusedError(notes.refused[0])
    return _answer(apart, f"SELECT {name}({', '.join('?' * len(given))})", notes, deadline, *given)


def _number(value: Any) -> int:
    """Its size, as SQLite reads it: also from the beginning of a text."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    found = _NUMBER.match(text)
    return int(min(abs(float(found.group())), 1e9)) if found else 0


@contextmanager
def _authorised(connection: sqlite3.Connection, tables: Collection[str] | None) -> Iterator[_Notes]:
    notes = _Notes()
    connection.set_authorizer(_authorizer(tables, _outside(connection), notes))
    try:
        yield notes
    finally:
        connection.set_authorizer(None)


def _authorizer(
    tables: Collection[str] | None, outside: Collection[str], notes: _Notes
) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    known = None if tables is None else {name.casefold() for name in tables}

    def decide(action: int, first: str | None, second: str | None, database: str | None, _source: str | None) -> int:
        if action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE}:
            return sqlite3.SQLITE_OK
        name = (first or "").casefold()
        if action == sqlite3.SQLITE_READ:
            if (database or "main").casefold() != "main" or (database is None and name in outside):
                notes.refused.append(f"the table {first} is not in the main database")
            elif not name or (not name.startswith(("sqlite_", "pragma_")) and (known is None or name in known)):
                return sqlite3.SQLITE_OK
            else:
                notes.refused.append(f"the table {first} may not be read")
        elif action == sqlite3.SQLITE_FUNCTION:
            function = (second or "").casefold()
            notes.uses[function] += 1
            if function in FUNCTIONS:
                return sqlite3.SQLITE_OK
            notes.refused.append(f"the function {second} may not be used")
        else:
            notes.refused.append("it does more than read")
        return sqlite3.SQLITE_DENY

    return decide


def _outside(connection: sqlite3.Connection) -> frozenset[str]:
    """Tables that a bare name finds outside the main database: where only rows are counted, SQLite does not say."""
    names: dict[str, set[str]] = {}
    factory, connection.text_factory = connection.text_factory, partial(str, encoding="utf-8", errors="replace")
    try:
        cursor = connection.cursor()
        cursor.row_factory = None
        schemas = [name for (name,) in cursor.execute("SELECT name FROM pragma_database_list")]
        for schema in schemas if schemas != ["main"] else ():
            quoted = schema.replace('"', '""')
            found = cursor.execute(f'SELECT name FROM "{quoted}".sqlite_master')  # noqa: S608 - a quoted name
            names[schema] = {name.casefold() for (name,) in found}
    finally:
        connection.text_factory = factory
    temporary, main = names.pop("temp", set()), names.pop("main", set())
    return frozenset(temporary.union(*names.values()) - (main - temporary))


def _compile(connection: sqlite3.Connection, sql: str, notes: _Notes) -> None:
    if not isinstance(sql, str) or len(sql) > MAX_SQL or "\x00" in sql or not writable(sql):
        raise InvalidInputError(f"A statement has at most {MAX_SQL:,} characters, and no control characters.")
    words = sql.lstrip().split(None, 1)
    if not words or words[0].casefold().rstrip("(*") not in {"select", "with", "values"}:
        raise RefusedError("Only a single SELECT may be run here.")
    if too_many_words(sql):
        raise RefusedError("That statement repeats itself too often.", hint="Name each WITH expression less often.")
    try:
        with closing(connection.execute(f"EXPLAIN {sql}")):
            return
    except (sqlite3.Error, sqlite3.Warning) as error:
        if isinstance(error, sqlite3.ProgrammingError) and "binding" in str(error):
            return  # it compiled: only its parameters are missing
        raise _why(error, notes.refused, late=False) from error


def _why(error: Exception, refused: list[str], *, late: bool) -> RefusedError:
    if refused:
        return RefusedError(f"That statement is refused: {refused[0]}.", hint="Read listed tables with one SELECT.")
    if late:
        return RefusedError("That statement takes too long.", hint="Ask for less at once.")
    return RefusedError(f"That is not one statement that can be run: {error}.")
