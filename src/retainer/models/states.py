"""Where a role stands, in words for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retainer.models.progress import Progress

Phase = Literal["none", "absent", "fetching", "loading", "present", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class RoleState:
    """One look at a role."""

    role: str
    phase: Phase
    """``none``: none wanted; ``absent``: to be fetched; ``present``: there, started on first use; ``ready``: serves."""
    model: str = ""
    """Id of the model that serves or is meant to."""
    detail: str = ""
    """Why, for ``failed`` and ``none``."""
    fix: str = ""
    """What to do about it; empty when nothing is wrong."""
    progress: Progress | None = None

    @property
    def usable(self) -> bool:
        """Whether a question would be answered now or after loading."""
        return self.phase in {"present", "loading", "ready"}

    @property
    def words(self) -> str:
        """``qwen...: fetching 43 % of 1.12 GB, 12.3 MB/s, 52 s left``; ``none: ...``."""
        said = {
            "none": "none wanted",
            "absent": "not fetched yet",
            "fetching": self.progress.words() if self.progress else "fetching",
            "loading": "loading",
            "present": "there, not started",
            "ready": "ready",
            "failed": "failed",
        }[self.phase]
        text = f"{self.model}: {said}" if self.model else said
        return f"{text}: {self.detail}" if self.detail else text
