"""How the chat agent talks."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ChatSettings(BaseModel):
    """The defaults suit a model of 1 to 3 billion parameters on two cores."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timezone: str = ""
    """IANA name (``Europe/Oslo``) of the zone in which people's times are meant; empty: this machine's."""
    personality: str = "personality.toml"
    """File in the data folder that says who the assistant is; the packaged one is used while it does not exist."""
    reply_tokens: int = Field(default=320, ge=16, le=8192)
    """Longest answer of the model, in tokens."""
    history_tokens: int = Field(default=1200, ge=100, le=1_000_000)
    """How much of the conversation the model sees; beyond it the older half is dropped at once."""
    candidates: int = Field(default=3, ge=0, le=10)
    """How many capabilities the model chooses among; 0: it only talks."""
    model_wait: float = Field(default=90.0, ge=0.0, le=3600.0)
    """How long a message waits for a model that is being loaded, in seconds, before it is told to ask later. While
    the model is being downloaded nothing waits: that is said at once."""
    router_floor: float = Field(default=0.3, ge=0.0, le=1.0)
    """Least similarity at which a capability is a candidate."""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name:
            try:
                ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError(f"{name!r} is not a time zone; use a name such as Europe/Oslo") from error
        return name

    def zone(self) -> ZoneInfo:
        """The zone people's times are meant in."""
        if self.timezone:
            return ZoneInfo(self.timezone)
        from tzlocal import get_localzone_name

        try:
            return ZoneInfo(get_localzone_name() or "UTC")
        except ZoneInfoNotFoundError:
            return ZoneInfo("UTC")
