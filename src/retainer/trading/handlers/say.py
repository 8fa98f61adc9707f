"""Replies of the trading agent."""

from __future__ import annotations

from retainer.core.labels import TRUSTED, Label
from retainer.core.protocols import Context, OutgoingMessage
from retainer.core.replies import reply_effect


def say(ctx: Context, address: str | None, text: str, *, name: str = "reply", label: Label = TRUSTED) -> None:
    """Say ``text`` at ``address`` after the close; without an address nobody is told."""
    if address:
        ctx.send(reply_effect(address, OutgoingMessage(text=text), name=name, label=label))
