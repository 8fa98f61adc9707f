"""Whether the records were restored and their owner has not confirmed it yet; read wherever something is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from retainer.core.clock import from_epoch
from retainer.core.effects import Effect, EffectClass, StoredEffect
from retainer.core.protocols import View

KEY: Final = "safe_mode"
"""In ``meta``: the safe mode that holds, as JSON."""
SILENT: Final = "silent_upto"
"""In ``meta``: timers set by events up to this number do not fire."""
HELD: Final = 2
"""``effect.held`` of what safe mode keeps back (1 is held by a running handler)."""
KEPT: Final = "kept"
"""``event.state`` of events that safe mode keeps back."""
WORDS: Final = "Restored from a backup: nothing is traded until you confirm with `retainer restore --confirm`."
OLD: Final = "Kept back after a restore: it may have happened since the backup was made. Ask for it again."


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeMode:
    """That the records were restored and not confirmed yet."""

    backup: str
    """Name of the backup."""
    made_at: datetime
    """When the backup was made."""
    since: datetime
    """When it was restored."""
    last_event: int
    """Events up to this number are from before."""


def read_safe_mode(view: View) -> SafeMode | None:
    """The safe mode that holds, or ``None``."""
    row = view.one("SELECT value FROM meta WHERE key = ?", (KEY,))
    if row is None:
        return None
    found: dict[str, Any] = json.loads(row["value"])
    return SafeMode(
        backup=found["backup"],
        made_at=from_epoch(found["made_at"]),
        since=from_epoch(found["since"]),
        last_event=found["last_event"],
    )


def kept_back(view: View, effect: Effect) -> str:
    """Why safe mode keeps ``effect`` back (every order, and what is older than the restore); ``""`` if it does not."""
    mode = read_safe_mode(view)
    if mode is None:
        return ""
    if effect.effect_class is EffectClass.MONEY:
        return WORDS
    return OLD if isinstance(effect, StoredEffect) and effect.event_seq <= mode.last_event else ""
