"""What can be set about backups and monitoring."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class BackupSettings(BaseModel):
    """Backups of the data folder, made by the running service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    """Whether the service makes a backup by itself every night."""
    at: str = Field(default="03:15", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """Time of day, in the zone of ``chat.timezone``. A night that was slept through is made up for."""
    folder: Path | None = None
    """Where backups are kept: ``backups`` in the data folder unless another one is named, best on another disk."""
    daily: int = Field(default=7, ge=1, le=366)
    """Of how many days the newest backup is kept."""
    weekly: int = Field(default=4, ge=0, le=520)
    """Of how many further weeks."""
    monthly: int = Field(default=0, ge=0, le=600)
    """Of how many further months."""
    secrets: bool = True
    """Whether the files of ``secrets`` are in the backup; without them a new machine needs its token again."""
    drill: bool = True
    """Whether every backup is restored into a temporary place and checked before it displaces an older one."""


class MonitorSettings(BaseModel):
    """The pages for a monitoring system: ``/live``, ``/ready`` and ``/metrics``, on loopback."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int = Field(default=0, ge=0, le=65535)
    """TCP port on 127.0.0.1; ``0`` opens none."""
    lag_seconds: float = Field(default=1.0, gt=0)
    """A loop or a writer that stands still for longer counts as not alive."""
