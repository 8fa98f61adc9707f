"""What can be set about the runtime."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class StoreSettings(BaseModel):
    """Where the records are kept. Several processes can work on one PostgreSQL database: see docs/scaling.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr = SecretStr("")
    """Empty: one file in the data folder (SQLite). ``postgresql://user@host/database``: a PostgreSQL server, 14 or
    newer. With a password in it, better a handle such as ``secret:database`` whose secret is the whole address."""
    idle_seconds: float = Field(default=3.0, ge=1, le=60)
    """PostgreSQL only: after so many silent seconds a process counts as frozen and others take its work over."""

    @field_validator("url")
    @classmethod
    def _known_kind(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text and not text.startswith(("postgresql://", "postgres://", "secret:")):
            raise ValueError('it begins with "postgresql://" or "secret:", or is empty for a file in the data folder')
        return url


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
    crashes: int = Field(default=10, ge=1, le=100)
    """How often the whole service may end in the middle of an event before that event is parked and its sender told."""
    deliver_tries: int = Field(default=12, ge=1, le=1000)
    """How often a repeatable effect is sent when nobody knows whether it arrived, before it becomes *unknown*; tries
    that certainly did not leave do not count."""
    deliver_retry_seconds: float = Field(default=0.5, gt=0, le=60)
    """First pause before sending again; doubled up to 60 seconds. Effects that never left are tried for ever."""
    deliver_timeout: float = Field(default=120.0, gt=0)
    """Seconds after which a send counts as ambiguous."""
