"""What memory keeps in the runtime database: only that something was forgotten, never what.

Conversations themselves are the runtime's rows; a person's memory file is derived from them and from these.
"""

from __future__ import annotations

from retainer.core.protocols import Migration

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        name="memory/001",
        sql="""
CREATE TABLE memory_forgotten (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person TEXT NOT NULL,
    source TEXT NOT NULL,
    event_seq INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX memory_forgotten_person ON memory_forgotten (person, id);
""",
    ),
)
"""``source``: ``event:<seq>``, ``event:<seq>:quoted``, an effect's key, or ``*``: all that was said up to
``event_seq``."""
