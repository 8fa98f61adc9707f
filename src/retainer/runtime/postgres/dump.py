"""A dump that was put back: how records notice that they are a copy, and numbers that nobody has seen.

The records note the place they live in: the server, the database and the table of events, by the server's own ids. A
dump carries the note along, and where it is put back at least one of them is another one. What keeps them, such as a
server set back as a whole to an earlier moment, has to be noticed by whoever remembers how far the records went.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from retainer.core.protocols import Tx, View

KEY: Final = "place"
"""In ``meta``: the place that the records were last opened in."""
_HERE: Final = (
    "SELECT d.oid AS base, CAST(to_regclass('event') AS oid) AS events FROM pg_database d"
    " WHERE d.datname = current_database()"
)
_MAY_ASK: Final = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE') AS may"
_SERVER: Final = "SELECT system_identifier AS id FROM pg_control_system()"


def place_of(view: View) -> str:
    """The place that these records live in; two places have two words for it."""
    here, may = view.one(_HERE), view.one(_MAY_ASK)
    server = view.one(_SERVER) if may is not None and may["may"] else None
    parts = (server["id"] if server else "", here["base"] if here else "", here["events"] if here else "")
    return "/".join(str(part) for part in parts)


def moved(tx: Tx) -> bool:
    """Whether the records came to this place since they were last opened; notes it, so that only the first one asks."""
    place, noted = place_of(tx), tx.one("SELECT value FROM meta WHERE key = ?", (KEY,))
    if noted is None:
        tx.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (KEY, place))
        return False
    tx.execute("UPDATE meta SET value = ? WHERE key = ?", (place, KEY))
    return bool(noted["value"] != place)


def continue_numbers(tx: Tx, tables: Mapping[str, str], used: Mapping[str, int], *, gap: int) -> None:
    """Let ``tables`` (name and numbered column) go on with numbers at least ``gap`` beyond all that were ever given."""
    for table, column in tables.items():
        row = tx.one(f"SELECT MAX({column}) AS n FROM {table}")  # noqa: S608 - names of our own tables
        highest = max(used.get(table, 0), int(row["n"] or 0) if row else 0)
        sequence = "pg_get_serial_sequence(?, ?)"
        last = tx.one(f"SELECT nextval({sequence}) AS n", (table, column))
        highest = max(highest, int(last["n"]) if last else 0)
        tx.query(f"SELECT setval({sequence}, ?)", (table, column, (highest // gap + 2) * gap))
