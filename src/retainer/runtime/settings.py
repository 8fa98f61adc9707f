"""What can be set about the runtime."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RuntimeSettings(BaseModel):
    """Everything has a default that works."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lanes: int = Field(default=32, ge=1, le=1024)
    """Lanes handled at the same time; the ``control`` lane is never made to wait."""
    deliveries: int = Field(default=16, ge=1, le=1024)
    """Queues delivered at the same time."""
    tries: int = Field(default=3, ge=1, le=20)
    """How often a failing handler is run before its event is declared dead."""
    retry_seconds: float = Field(default=0.5, gt=0, le=60)
    """Pause before the second try; doubled for each further one."""
    deliver_tries: int = Field(default=12, ge=1, le=1000)
    """How often a repeatable effect is sent when nobody knows whether it arrived, before it becomes *unknown*."""
    deliver_retry_seconds: float = Field(default=0.5, gt=0, le=60)
    """First pause before sending again; doubled up to 60 seconds. Effects that never left are tried for ever."""
    deliver_timeout: float = Field(default=120.0, gt=0)
    """Seconds after which a send counts as ambiguous."""
