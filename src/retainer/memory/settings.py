"""How much is remembered into a prompt."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class MemorySettings(BaseModel):
    """Recall and history. The defaults suit a model of 1 to 3 billion parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recall: int = Field(default=4, ge=0, le=50)
    """How many past turns are recalled; more distract a small model."""
    floor: float = Field(default=0.25, ge=0.0, le=1.0)
    """Least share of the question's meaning (by rarity of its words) that a turn must cover to be recalled."""
    history_tokens: int = Field(default=1800, ge=100, le=1_000_000)
    """Length of the conversation shown to a model; beyond it the older half is dropped at once."""
    facts: int = Field(default=12, ge=0, le=100)
    """How many facts about the person are shown to a model."""
    open_files: int = Field(default=32, ge=1, le=1000)
    """People whose memory file is kept open."""
