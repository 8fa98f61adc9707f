"""Tables of the bridges: references only, never a text."""

from __future__ import annotations

from retainer.core.protocols import Migration

_FIRST = """
CREATE TABLE reply_part (
    effect_key TEXT NOT NULL,
    part INTEGER NOT NULL,
    ref TEXT NOT NULL,
    PRIMARY KEY (effect_key, part)
);
CREATE TABLE terminal_seen (
    address TEXT PRIMARY KEY,
    effect_id INTEGER NOT NULL
);
"""

MIGRATIONS: tuple[Migration, ...] = (Migration(name="bridges/001", sql=_FIRST),)
"""``reply_part``: messages of a reply too long for one, so that each is edited again after a crash, not sent again.
``terminal_seen``: the last effect that a terminal has shown."""
