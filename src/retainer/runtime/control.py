"""Running, paused or stopped: one row that the guard, the close and the deliverer all read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.protocols import Tx, View

State = Literal["running", "paused", "stopped"]


@dataclass(frozen=True, slots=True)
class Control:
    """The owner's last word. *paused* blocks new entries, *stopped* refuses every order that is not protective."""

    state: State
    by: str
    """Person id, or the name of what did it (``terminal``)."""
    reason: str
    at: datetime

    @property
    def stopped(self) -> bool:
        """Whether orders are refused."""
        return self.state == "stopped"

    @property
    def paused(self) -> bool:
        """Whether new entries are blocked (true while stopped as well)."""
        return self.state != "running"


RUNNING = Control("running", "", "", datetime.fromtimestamp(0, UTC))
"""What holds before anybody said anything."""


def read_control(view: View) -> Control:
    """The present state; :data:`RUNNING` if none was ever set."""
    row = view.one("SELECT state, by, reason, at FROM control ORDER BY id DESC LIMIT 1")
    if row is None:
        return RUNNING
    return Control(row["state"], row["by"], row["reason"], from_epoch(row["at"]))


def set_control(tx: Tx, state: State, *, by: str, reason: str, now: datetime) -> Control:
    """Append the new state (the former ones stay as history). Returns it.

    ``stop`` also refuses waiting orders in the same transaction: :func:`retainer.runtime.effects.refuse_orders`.
    """
    tx.execute(
        "INSERT INTO control (state, by, reason, at, audited) VALUES (?, ?, ?, ?, 0)",
        (state, by, reason, to_epoch(now)),
    )
    return Control(state, by, reason, now)


def history(view: View, limit: int = 20) -> list[Control]:
    """The last changes, newest first."""
    rows = view.query("SELECT state, by, reason, at FROM control ORDER BY id DESC LIMIT ?", (limit,))
    return [Control(r["state"], r["by"], r["reason"], from_epoch(r["at"])) for r in rows]
