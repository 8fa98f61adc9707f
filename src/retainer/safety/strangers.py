"""Strangers: dropped without a word and without a trace but a count."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from retainer.core.clock import utc
from retainer.core.protocols import Tx, View
from retainer.safety.identity import channel_name

KEEP = timedelta(days=30)
MAX_TRACKED = 500
"""Different strangers told apart per channel and day; the rest share one count."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the counter knows: messages of this stranger today, and whether it was their first."""

    today: int
    first: bool


def anonymous(tx: Tx, channel: str, stable_id: str) -> str:
    """A name for a stranger that cannot be turned back without this database: salted SHA-256, shortened."""
    row = tx.one("SELECT salt FROM safety_salt WHERE name = 'stranger'")
    if row is None:
        salt = secrets.token_hex(16)
        tx.execute("INSERT INTO safety_salt (name, salt) VALUES ('stranger', ?)", (salt,))
    else:
        salt = row["salt"]
    return hashlib.sha256(f"{salt}\0{channel}\0{stable_id}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


def drop(tx: Tx, channel: str, stable_id: str, now: datetime) -> Dropped:
    """Count a message of somebody who is not paired. Nothing of the message is kept."""
    channel = channel_name(channel)
    day = utc(now).date().isoformat()
    who = anonymous(tx, channel, stable_id)
    row = tx.one("SELECT count FROM stranger WHERE channel = ? AND day = ? AND who = ?", (channel, day, who))
    if row is None:
        tx.execute("DELETE FROM stranger WHERE day < ?", ((utc(now) - KEEP).date().isoformat(),))
        seen = tx.one("SELECT COUNT(*) AS n FROM stranger WHERE channel = ? AND day = ?", (channel, day))
        if seen is not None and seen["n"] >= MAX_TRACKED:
            who = ""
    changed = tx.execute(
        "UPDATE stranger SET count = count + 1 WHERE channel = ? AND day = ? AND who = ?", (channel, day, who)
    )
    if not changed:
        tx.execute("INSERT INTO stranger (channel, day, who, count) VALUES (?, ?, ?, 1)", (channel, day, who))
    return Dropped(1 if row is None else int(row["count"]) + 1, row is None and who != "")


def counts(view: View, now: datetime, days: int = 1) -> dict[str, int]:
    """Messages of strangers per channel over the last ``days`` days (UTC, today included)."""
    since = (utc(now) - timedelta(days=days - 1)).date().isoformat()
    rows = view.query(
        "SELECT channel, SUM(count) AS n FROM stranger WHERE day >= ? GROUP BY channel ORDER BY channel", (since,)
    )
    return {row["channel"]: int(row["n"]) for row in rows}
