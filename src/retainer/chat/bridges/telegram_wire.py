"""Telegram's wire shapes in our words: updates in, errors sorted by what is known about the request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from retainer.core.errors import NotSentError, RejectedError
from retainer.core.protocols import Button, IncomingMessage

CHANNEL = "telegram"
ALLOWED_UPDATES = ["message", "edited_message", "callback_query"]
MAX_UNITS = 4000
"""The server's limit is 4,096 UTF-16 units after entities are parsed; the rest is a margin."""
MAX_CAPTION_UNITS = 1000
COMMANDS = (
    ("status", "How things stand"),
    ("help", "What I can do"),
    ("stop", "No new order from now on"),
    ("pause", "No new entries"),
    ("resume", "Lift stop and pause"),
)
_NOT_DONE = re.compile(r"bad gateway|service unavailable|internal server error|\((?:500|502|503)\)", re.IGNORECASE)
_MEDIA = {
    "photo": "a picture",
    "voice": "a voice note",
    "audio": "a sound file",
    "video": "a video",
    "video_note": "a video note",
    "animation": "an animation",
    "document": "a file",
    "sticker": "a sticker",
    "location": "a place",
    "venue": "a place",
    "contact": "a contact",
    "poll": "a poll",
    "dice": "a die",
    "story": "a story",
    "paid_media": "paid media",
    "checklist": "a checklist",
    "game": "a game",
}


def to_incoming(update: Mapping[str, Any], bot_username: str, bot_id: int) -> IncomingMessage | None:
    """What a person said in ``update``, or ``None`` for what is no message to us (joins, other bots).

    What was acted on cannot be taken back by changing the message: a changed one comes as an attachment we do not read.

    In groups only what is addressed to the bot counts: its name in the text, a command, or an answer to its message.
    ``message_id`` begins with the bot's id, because another bot numbers its messages from one again. Raises
    ``KeyError``, ``TypeError`` or ``ValueError`` for an update that does not have the documented shape.
    """
    if "callback_query" in update:
        return _from_press(update["callback_query"], bot_id)
    edited = update.get("edited_message")
    message = update.get("message") or edited
    if message is None or message.get("from") is None or message["from"].get("is_bot"):
        return None
    if edited is not None and ("text" not in edited or edited["chat"].get("type") != "private"):
        return None  # a live location that moves, a group that talks among itself
    group = message["chat"].get("type") != "private"
    text = str(message.get("text") or message.get("caption") or "")
    if group:
        addressed = _addressed(message, text, bot_username, bot_id)
        if addressed is None:
            return None
        text = addressed
    attachment = next((words for key, words in _MEDIA.items() if key in message), "")
    if not attachment and "text" not in message:
        return None
    text, quoted = _own_and_quoted(message, text, bot_id)
    number = f"{bot_id}.{int(message['message_id'])}"
    if edited is not None:
        text, quoted, attachment = "", "", "changes to a message that was sent"
        number += f".edit-{int(message.get('edit_date') or 0)}"
    return IncomingMessage(
        channel=CHANNEL,
        sender_id=str(int(message["from"]["id"])),
        chat_id=str(int(message["chat"]["id"])),
        message_id=number,
        text=text,
        quoted=quoted,
        display_name=str(message["from"].get("first_name") or ""),
        occurred_at=datetime.fromtimestamp(int(message["date"]), UTC),
        group=group,
        attachment=attachment,
    )


def _from_press(query: Mapping[str, Any], bot_id: int) -> IncomingMessage | None:
    message = query.get("message")
    if message is None or "data" not in query:
        return None
    return IncomingMessage(
        channel=CHANNEL,
        sender_id=str(int(query["from"]["id"])),
        chat_id=str(int(message["chat"]["id"])),
        message_id=f"{bot_id}.press-{query['id']}",
        data=str(query["data"]),
        display_name=str(query["from"].get("first_name") or ""),
        occurred_at=datetime.now(UTC),
        group=message["chat"].get("type") != "private",
    )


def _addressed(message: Mapping[str, Any], text: str, username: str, bot_id: int) -> str | None:
    """The text without the bot's name when the message is meant for the bot, else ``None``."""
    answered = message.get("reply_to_message") or {}
    to_us = (answered.get("from") or {}).get("id") == bot_id
    mention = f"@{username}".lower()
    at = text.lower().find(mention) if username else -1
    if at >= 0:
        return (text[:at] + text[at + len(mention) :]).strip()
    return text if to_us else None


def _own_and_quoted(message: Mapping[str, Any], text: str, bot_id: int) -> tuple[str, str]:
    """The sender's own words, and words of others that came with them (forwarded or quoted)."""
    if message.get("forward_origin"):
        return "", text
    answered = message.get("reply_to_message") or {}
    if (answered.get("from") or {}).get("id") == bot_id:
        return text, ""
    chosen = (message.get("quote") or {}).get("text")
    return text, str(chosen or answered.get("text") or answered.get("caption") or "")


def keyboard(buttons: Sequence[Button]) -> Any:
    """An inline keyboard, up to three buttons a row, or ``None``."""
    if not buttons:
        return None
    from telegram import InlineKeyboardButton, InlineKeyboardMarkup

    keys = [InlineKeyboardButton(button.text, callback_data=button.data) for button in buttons]
    return InlineKeyboardMarkup([keys[at : at + 3] for at in range(0, len(keys), 3)])


def retry_after_of(error: BaseException) -> float | None:
    """Seconds that the server asked us to wait, or ``None``."""
    from telegram.error import RetryAfter

    if not isinstance(error, RetryAfter):
        return None
    wait = error._retry_after  # the public property warns on every use until its type changes
    return float(wait.total_seconds())


def may_have_happened(error: BaseException) -> bool:
    """Whether nobody can know if the server did it.

    Not so where no byte of the request was written, or where a gateway answered that it did not get through. A lost
    answer, and a gateway's time-out, leave it open.
    """
    import httpx

    cause = error.__cause__
    if isinstance(cause, httpx.HTTPError):
        unsent = httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.UnsupportedProtocol
        return not isinstance(cause, unsent)
    return _NOT_DONE.search(str(error)) is None


def sorted_error(error: BaseException, *, harmless: bool = False) -> BaseException:
    """The error in the runtime's terms: not sent, a definite no, or itself when nobody can know.

    ``harmless``: the request was an edit, which may be repeated as if it had never been sent. Messages never repeat
    the library's text for a refused token, which quotes the token.
    """
    from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken, NetworkError, RetryAfter

    if isinstance(error, RetryAfter):
        return NotSentError("Telegram asks us to slow down.", retry_after=retry_after_of(error))
    if isinstance(error, InvalidToken):
        return NotSentError(
            "Telegram does not accept the bot's token.", retry_after=60.0, hint="Run `retainer phone telegram` again."
        )
    if isinstance(error, Forbidden):
        return RejectedError("Telegram refuses to deliver to this chat.", hint="The person may have blocked the bot.")
    if isinstance(error, ChatMigrated):
        return RejectedError("This group was moved to a new one.", hint="Write to the bot in the new group.")
    if isinstance(error, BadRequest):
        return RejectedError(f"Telegram refused the message: {error.message}.")
    if isinstance(error, NetworkError) and (harmless or not may_have_happened(error)):
        return NotSentError("Telegram cannot be reached.", hint="Check the network connection.")
    return error


def is_bad_request(error: BaseException, *fragments: str) -> bool:
    """Whether the server refused with one of these phrases in its description."""
    from telegram.error import BadRequest

    return isinstance(error, BadRequest) and any(part in error.message.lower() for part in fragments)
