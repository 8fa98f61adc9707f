"""What can be configured about the bridges."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TelegramSettings(BaseModel):
    """The Telegram bridge. It starts by itself as soon as a bot token is there (``retainer phone telegram``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    """``false`` keeps the bridge off even when a token is stored."""
    base_url: str = Field(default="https://api.telegram.org", pattern=r"^https?://[^\s?#]+$")
    """Address of the Bot API server; another one for a self-hosted server or for tests."""
    token: str = Field(default="secret:telegram", pattern=r"^secret:[a-z][a-z0-9_-]*$")
    """Handle of the bot token; the token itself never stands in a configuration file."""
    poll_seconds: int = Field(default=25, ge=0, le=50)
    """How long one request for news may wait at the server, in seconds."""
    edit_seconds: float = Field(default=1.0, ge=0.0, le=60.0)
    """Least time between two edits that show a growing reply, in seconds."""
