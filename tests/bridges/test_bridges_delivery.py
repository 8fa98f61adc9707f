"""The last step before a message leaves: the chat that was checked, the call that was permitted, no secret in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from retainer.chat.bridges.delivery import ReplyAdapter
from retainer.core.effects import EffectState, Permit, RepeatClass, StoredEffect
from retainer.core.errors import RefusedError, RejectedError
from retainer.core.protocols import OutgoingMessage
from retainer.core.replies import reply_effect
from retainer.safety.redact import default_redactor


class Phone:
    """A bridge that keeps what it was given."""

    repeat = RepeatClass.ENFORCED

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    async def send(self, chat_id: str, message: OutgoingMessage, _ref: str | None, _key: str, _permit: Permit) -> str:
        self.sent.append((chat_id, message.text))
        return "m1"


def stored(text: str, chat_id: str = "42") -> StoredEffect:
    effect = reply_effect("phone:42", OutgoingMessage(text=text))
    return StoredEffect(
        name=effect.name,
        tool=effect.tool,
        args={**effect.args, "chat_id": chat_id},
        effect_class=effect.effect_class,
        queue=effect.queue,
        key="e1:reply",
        event_seq=1,
        lane="chat:phone:42",
        agent="chat",
        state=EffectState.SENDING,
        repeat=RepeatClass.ENFORCED,
        created_at=datetime(2026, 1, 5, tzinfo=UTC),
    )


def adapter(phone: Phone) -> ReplyAdapter:
    return ReplyAdapter(cast("Any", phone), cast("Any", None))


def permit(effect: StoredEffect) -> Permit:
    return Permit(effect.key, effect.digest)


async def test_a_message_goes_to_the_chat_that_was_checked_and_to_no_other() -> None:
    phone = Phone()
    good, other = stored("hello"), stored("hello", chat_id="666")
    await adapter(phone).execute(good, permit(good))
    for attempt in (adapter(phone).execute, adapter(phone).open, adapter(phone).reopen):
        with pytest.raises(RejectedError, match="another chat"):
            await attempt(other, permit(other))
        with pytest.raises(RefusedError, match="permit"):
            await attempt(replace(good, args={**good.args, "text": "else"}), permit(good))
    assert phone.sent == [("42", "hello")]


async def test_a_known_secret_leaves_with_no_reply() -> None:
    default_redactor().register("hunter2-of-the-broker")
    phone = Phone()
    effect = stored("the password is hunter2-of-the-broker, and 1234567890 is a number")
    await adapter(phone).execute(effect, permit(effect))
    assert phone.sent == [("42", "the password is [secret], and 1234567890 is a number")]
