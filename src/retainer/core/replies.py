"""Replies as effects: one tool per channel, so that each channel keeps its own repeat class."""

from __future__ import annotations

from retainer.core.effects import Effect, EffectClass
from retainer.core.labels import OWNER, Label
from retainer.core.protocols import OutgoingMessage


def split_address(address: str) -> tuple[str, str]:
    """``telegram:42`` -> (``telegram``, ``42``)."""
    channel, _, chat_id = address.partition(":")
    return channel, chat_id


def reply_effect(
    address: str,
    message: OutgoingMessage,
    *,
    name: str = "reply",
    label: Label = OWNER,
    edit: str | None = None,
) -> Effect:
    """The effect of saying ``message`` at ``address``.

    ``edit`` is the key of an earlier reply effect whose message is changed instead of sending a new one.
    """
    channel, chat_id = split_address(address)
    return Effect(
        name=name,
        tool=f"{channel}.reply",
        args={"chat_id": chat_id, "edit": edit, **message.to_args()},
        effect_class=EffectClass.COMMUNICATE,
        queue=address,
        label=label,
        summary=message.text,
    )
