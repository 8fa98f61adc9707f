"""Configuration of the safety room. Limits can be set in the configuration file only; no message or tool reaches it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from retainer.safety.limits import Limits


class SafetySettings(BaseModel):
    """Rates, sizes and waiting times of the guard."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages_per_minute: int = Field(default=20, ge=1, le=600)
    """Messages of one person that are handled per minute."""
    message_characters: int = Field(default=32_000, ge=100, le=1_000_000)
    """Longest message that is read; longer ones are refused with a sentence."""
    effects_per_hour: int = Field(default=60, ge=1, le=10_000)
    """Effects per agent that are neither replies, reads nor orders."""
    effects_per_event: int = Field(default=50, ge=1, le=1000)
    """Effects that one event (a message, a bar) may lead to; replies and reads do not count."""
    tool_calls_per_event: int = Field(default=30, ge=1, le=1000)
    """Tool calls, reading ones included, that one message may lead to."""
    approvals_per_hour: int = Field(default=6, ge=1, le=100)
    """Approval requests that no clean message of a person led to."""
    own_approvals_per_hour: int = Field(default=200, ge=1, le=1000)
    """Approval requests for what a person asked for in so many words."""
    orders_per_minute: int = Field(default=5, ge=1, le=1000)
    """A strategy's own orders per account and minute (of the account's clock on paper)."""
    orders_per_day: int = Field(default=50, ge=1, le=1000)
    """A strategy's own orders per account and day."""
    approved_orders_per_minute: int = Field(default=20, ge=1, le=1000)
    """Orders per account and minute that a person approved."""
    approved_orders_per_day: int = Field(default=200, ge=1, le=1000)
    """Orders per account and day that a person approved."""
    model_calls_per_hour: int = Field(default=600, ge=1, le=1_000_000)
    """Calls of the language model within an hour, for everybody together; a message takes one to three."""
    model_calls_per_person: int = Field(default=300, ge=1, le=1_000_000)
    """Calls of the language model within an hour that one person's messages may lead to."""
    model_tokens_per_hour: int = Field(default=2_000_000, ge=1_000, le=10_000_000_000)
    """Tokens that the language model reads and writes within an hour, for everybody together."""
    model_tokens_per_day: int = Field(default=10_000_000, ge=1_000, le=100_000_000_000)
    """Tokens that the language model reads and writes within 24 hours, for everybody together."""
    tap_seconds: int = Field(default=300, ge=10, le=3600)
    """How long an approval request waits, unless it is for a live order."""
    live_seconds: int = Field(default=120, ge=10, le=600)
    """How long an approval request for a live order waits."""

    def limits(self) -> Limits:
        """As the guard takes them."""
        return Limits(**self.model_dump())
