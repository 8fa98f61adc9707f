"""The Telegram bridge: the Bot API by long polling, nothing confirmed before it is durable here."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import structlog

from retainer.chat.bridges.attention import Courtesies
from retainer.chat.bridges.delivery import MessageGoneError
from retainer.chat.bridges.poller_lock import one_poller
from retainer.chat.bridges.settings import TelegramSettings
from retainer.chat.bridges.telegram_lost import candidates
from retainer.chat.bridges.telegram_wire import (
    ALLOWED_UPDATES,
    CHANNEL,
    MAX_CAPTION_UNITS,
    MAX_UNITS,
    is_bad_request,
    keyboard,
    retry_after_of,
    sorted_error,
    to_incoming,
)
from retainer.chat.bridges.text import split_text, to_html, units
from retainer.core.clock import Clock, to_epoch
from retainer.core.effects import Permit, RepeatClass, StoredEffect
from retainer.core.errors import NotSentError, RefusedError, RetainerError
from retainer.core.protocols import OutgoingMessage, Receive, View
from retainer.core.values import Json

if TYPE_CHECKING:
    from telegram import Bot
    from telegram.request import HTTPXRequest

PLACEHOLDER = "…"
CONFLICT_GRACE = 40.0
"""Seconds in which another poller is taken for our own last run, whose poll lingers at the server."""
_NOT_OURS = ("message to edit not found", "message can't be edited", "no text in the message")
"""How the server refuses to edit what is not there, was written by a person, or is a picture."""
_log = structlog.get_logger(__name__)


class TelegramBridge:
    """One bot. ``token`` is asked again and again, so a token stored later is picked up without a restart."""

    channel = CHANNEL
    repeat = RepeatClass.EDITABLE
    max_units: int | None = MAX_UNITS

    def __init__(
        self,
        token: Callable[[], str | None],
        settings: TelegramSettings,
        *,
        clock: Clock,
        lock_folder: Path | None = None,
        pause: float = 1.0,
    ) -> None:
        """``pause``: seconds between looks for a token, and the first step of every back-off."""
        self._token = token
        self._settings = settings
        self._clock = clock
        self._lock_folder = lock_folder
        self._pause = pause
        self._bot: Bot | None = None
        self._username = ""
        self._bot_id = 0
        self._detail = "not started"
        self._set_up = False
        self._last_contact: float | None = None
        self._conflict_since: float | None = None
        self._edited: dict[str, float] = {}
        self._quiet_until: dict[str, float] = {}
        self._glimpses: dict[str, asyncio.Future[None]] = {}
        self._courtesies = Courtesies()

    # --- listening ---------------------------------------------------------------------------------------------------
    async def run(self, receive: Receive) -> None:
        """Listen until cancelled; waits for a token, and starts over when it changes."""
        while True:
            token = self._current()
            if token is None:
                await asyncio.sleep(2 * self._pause)
                continue
            try:
                with one_poller(token, self._lock_folder):
                    await self._serve(token, receive)
            except RefusedError as error:
                self._detail = error.message
                await asyncio.sleep(5 * self._pause)

    def _current(self) -> str | None:
        """The token that holds now; without one, ``health`` says why."""
        self._set_up = False
        if not self._settings.enabled:
            self._detail = "switched off"
            return None
        try:
            token = self._token()
        except RetainerError as error:
            self._detail, self._set_up = str(error), True
            return None
        if token is None:
            self._detail = "no bot yet: run `retainer phone telegram`"
        self._set_up = token is not None
        return token

    async def _serve(self, token: str, receive: Receive) -> None:
        bot, poll, request = self._connect(token)
        self._detail = "connecting"
        offset: int | None = None
        failures = 0
        try:
            while self._current() == token:
                try:
                    if not self._username:
                        await self._introduce(bot)
                    updates = await self._news(poll, token, offset)
                    self._contact()
                    for update in updates:
                        await self._take(update, receive)
                        offset = int(update["update_id"]) + 1
                    failures = 0
                except Exception as error:  # noqa: BLE001 - whatever fails, the bridge must go on listening
                    failures += 1
                    await asyncio.sleep(await self._wait_after(error, failures, bot))
        finally:
            self._bot, self._username = None, ""
            await self._courtesies.close()
            for glimpse in (glimpses := list(self._glimpses.values())):
                glimpse.cancel()
            await asyncio.gather(*glimpses, return_exceptions=True)
            await poll.shutdown()
            await request.shutdown()

    def _connect(self, token: str) -> tuple[Bot, HTTPXRequest, HTTPXRequest]:
        from telegram import Bot
        from telegram.request import HTTPXRequest

        prepare_libraries()
        wait = self._settings.poll_seconds
        poll = HTTPXRequest(connection_pool_size=1, read_timeout=wait + 10.0, connect_timeout=10.0, pool_timeout=5.0)
        request = HTTPXRequest(connection_pool_size=8, read_timeout=15.0, connect_timeout=10.0, pool_timeout=10.0)
        base = self._settings.base_url.rstrip("/")
        bot = Bot(token, base_url=f"{base}/bot", request=request, get_updates_request=poll)
        self._bot = bot
        return bot, poll, request

    async def _introduce(self, bot: Bot) -> None:
        me = await bot.get_me()
        self._bot_id, self._username = me.id, me.username or me.first_name

    async def _news(self, poll: HTTPXRequest, token: str, offset: int | None) -> list[Mapping[str, Any]]:
        """One long poll. Asking with ``offset`` is what confirms everything before it."""
        asked = {"timeout": self._settings.poll_seconds, "allowed_updates": '["' + '","'.join(ALLOWED_UPDATES) + '"]'}
        if offset is not None:
            asked["offset"] = offset
        url = f"{self._settings.base_url.rstrip('/')}/bot{token}/getUpdates?{urlencode(asked)}"
        result: Any = await poll.post(url)
        return list(result)

    async def _take(self, update: Mapping[str, Any], receive: Receive) -> None:
        try:
            message = to_incoming(update, self._username, self._bot_id)
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("telegram.update_not_understood", kind=type(error).__name__)
            return
        if message is not None:
            await receive(message)
        if "callback_query" in update:
            self._courtesies.spawn(self._answer_press(str(update["callback_query"].get("id", ""))))

    async def _answer_press(self, query_id: str) -> None:
        """Stop the button's spinner; what the press meant is answered by a message."""
        if self._bot is not None:
            await self._bot.answer_callback_query(query_id)

    async def _wait_after(self, error: Exception, failures: int, bot: Bot) -> float:
        """Note what went wrong and return the seconds to wait before listening again."""
        from telegram.error import Conflict, InvalidToken

        backoff: float = min(self._pause * 2 ** min(failures - 1, 6), 30.0)
        if isinstance(error, Conflict):
            return await self._conflict(error, bot)
        asked: float | None = retry_after_of(error)
        if asked is not None:
            self._detail = f"asked to wait {asked:.0f} s"
            return asked
        if isinstance(error, InvalidToken):
            self._detail = "the bot's token is refused: run `retainer phone telegram` again"
            return max(backoff, 5 * self._pause)
        self._detail = f"cannot listen ({type(error).__name__}), trying again"
        _log.warning("telegram.cannot_listen", kind=type(error).__name__, failures=failures)
        return backoff

    async def _conflict(self, error: Exception, bot: Bot) -> float:
        now = to_epoch(self._clock.now())
        if "webhook" in str(error).lower():
            self._detail = "removing a webhook that was set for this bot"
            try:
                await bot.delete_webhook()
            except Exception as failed:  # noqa: BLE001 - tried again on the next round
                _log.warning("telegram.webhook_stays", kind=type(failed).__name__)
            return self._pause
        self._conflict_since = self._conflict_since or now
        lasting = now - self._conflict_since > CONFLICT_GRACE
        self._detail = (
            "another program listens with this bot's token; stop it or make a new bot"
            if lasting
            else "waiting for the previous connection to end"
        )
        return 3 * self._pause

    def _contact(self) -> None:
        self._last_contact = to_epoch(self._clock.now())
        self._conflict_since = None
        self._detail = f"listening as @{self._username}"

    # --- speaking ----------------------------------------------------------------------------------------------------
    async def send(
        self, chat_id: str, message: OutgoingMessage, ref: str | None, key: str, permit: Permit
    ) -> str | None:
        """Deliver, or make the message ``ref`` say this. Raises by :func:`sorted_error`, and
        :class:`MessageGoneError` when the person deleted ``ref``.
        """
        bot = self._allowed(key, permit)
        try:
            if message.picture is not None:
                return await self._send_picture(bot, chat_id, message, ref)
            if ref is None:
                return await self._post(bot, chat_id, message)
            return await self._edit(bot, chat_id, ref, message)
        except Exception as error:  # noqa: BLE001 - every failure is sorted into the runtime's terms
            raise sorted_error(error, harmless=ref is not None and message.picture is None) from None

    async def open(self, chat_id: str, key: str, permit: Permit) -> str:
        """The placeholder that the reply will replace."""
        bot = self._allowed(key, permit)
        try:
            return await self._post(bot, chat_id, OutgoingMessage(text=PLACEHOLDER))
        except Exception as error:  # noqa: BLE001 - every failure is sorted into the runtime's terms
            raise sorted_error(error) from None

    async def find_lost(
        self, view: View, effect: StoredEffect, chat_id: str, taken: frozenset[str], permit: Permit
    ) -> str | None:
        """The placeholder that an earlier run showed for ``effect`` without writing down its number; see
        :mod:`~retainer.chat.bridges.telegram_lost`.
        """
        bot = self._allowed(effect.key, permit)
        for number in candidates(view, effect, chat_id, taken):
            try:
                await bot.edit_message_text(PLACEHOLDER, chat_id=int(chat_id), message_id=number)
            except Exception as error:  # noqa: BLE001 - every failure is sorted into the runtime's terms
                if is_bad_request(error, "message is not modified"):
                    return str(number)
                if not is_bad_request(error, *_NOT_OURS):
                    raise sorted_error(error, harmless=True) from None
            else:
                _log.warning("telegram.unknown_message_taken", key=effect.key)
                return str(number)
        return None

    async def update(self, chat_id: str, ref: str, text: str) -> None:
        """Show a growing reply, at most once per ``edit_seconds``; what comes too early is left out.

        The edit runs in the background, so the reply does not wait for it; :meth:`send` waits for it to be over.
        """
        now = asyncio.get_running_loop().time()
        early = now - self._edited.get(ref, -1e9) < self._settings.edit_seconds
        if self._bot is None or not text.strip() or early or now < self._quiet_until.get(chat_id, 0.0):
            return
        if ref in self._glimpses:
            return
        self._edited[ref] = now
        self._glimpses[ref] = asyncio.ensure_future(self._glimpse(self._bot, chat_id, ref, text))

    async def _glimpse(self, bot: Bot, chat_id: str, ref: str, text: str) -> None:
        try:
            shown = split_text(text, MAX_UNITS)[0]
            await bot.edit_message_text(shown, chat_id=int(chat_id), message_id=int(ref))
        except Exception as error:  # noqa: BLE001 - a lost glimpse is harmless: the whole reply follows
            self._note_quiet(chat_id, error)
        finally:
            self._glimpses.pop(ref, None)

    async def attend(self, chat_id: str) -> None:
        """*Typing*, for five seconds or until our next message. Left out while the server asks us to slow down."""
        if self._bot is None:
            raise NotSentError("Telegram is not connected.", hint=self._detail)
        if asyncio.get_running_loop().time() < self._quiet_until.get(chat_id, 0.0):
            return
        try:
            await self._bot.send_chat_action(int(chat_id), "typing")
        except Exception as error:
            self._note_quiet(chat_id, error)
            raise

    def _note_quiet(self, chat_id: str, error: Exception) -> None:
        """Courtesies leave a chat alone for as long as the server asked."""
        wait = retry_after_of(error)
        if wait is not None:
            self._quiet_until[chat_id] = asyncio.get_running_loop().time() + wait

    def health(self) -> Mapping[str, Json]:
        """``ok`` while the last completed poll is recent enough that nobody has been unheard for a minute."""
        age = None if self._last_contact is None else to_epoch(self._clock.now()) - self._last_contact
        ok = self._bot is not None and age is not None and age <= self._settings.poll_seconds + 30
        found: dict[str, Json] = {"detail": self._detail, "last_contact": self._last_contact, "name": self._username}
        return {"ok": ok, "set_up": self._set_up, **found}

    def _allowed(self, key: str, permit: Permit) -> Bot:
        if permit.key != key:
            raise RefusedError("A message without the guard's permit is not sent.")
        if self._bot is None:
            raise NotSentError("Telegram is not connected.", retry_after=2 * self._pause, hint=self._detail)
        return self._bot

    async def _post(self, bot: Bot, chat_id: str, message: OutgoingMessage) -> str:
        markup = keyboard(message.buttons)
        try:
            sent = await bot.send_message(
                int(chat_id), to_html(message.text), parse_mode="HTML", reply_markup=markup, **_no_preview()
            )
        except Exception as error:
            if not is_bad_request(error, "parse entities"):
                raise
            sent = await bot.send_message(int(chat_id), message.text, reply_markup=markup, **_no_preview())
        return str(sent.message_id)

    async def _edit(self, bot: Bot, chat_id: str, ref: str, message: OutgoingMessage) -> str:
        if ref in self._glimpses:
            await asyncio.wait([self._glimpses[ref]])
        self._edited.pop(ref, None)
        target = {"chat_id": int(chat_id), "message_id": int(ref), "reply_markup": keyboard(message.buttons)}
        try:
            try:
                await bot.edit_message_text(to_html(message.text), parse_mode="HTML", **target, **_no_preview())
            except Exception as error:
                if not is_bad_request(error, "parse entities"):
                    raise
                await bot.edit_message_text(message.text, **target, **_no_preview())
        except Exception as error:
            if is_bad_request(error, "message is not modified"):
                return ref
            if is_bad_request(error, "message to edit not found", "message can't be edited"):
                raise MessageGoneError("The message is not there any more.") from None
            raise
        return ref

    async def _send_picture(self, bot: Bot, chat_id: str, message: OutgoingMessage, ref: str | None) -> str:
        """A picture with the text as its caption, or under the text where that is too long or already stands."""
        text = message.text
        if ref is not None and text:
            await self._edit(bot, chat_id, ref, OutgoingMessage(text=text))
            text = ""
        elif units(text) > MAX_CAPTION_UNITS:
            await self._post(bot, chat_id, OutgoingMessage(text=text))
            text = ""
        picture = Path(message.picture or "")
        if not await asyncio.to_thread(picture.is_file):
            return await self._post(bot, chat_id, OutgoingMessage(text=text or "(The picture is no longer there.)"))
        sent = await bot.send_photo(
            int(chat_id), picture, caption=text or None, reply_markup=keyboard(message.buttons), write_timeout=60.0
        )
        return str(sent.message_id)


def _no_preview() -> dict[str, Any]:
    from telegram import LinkPreviewOptions

    return {"link_preview_options": LinkPreviewOptions(is_disabled=True)}


def prepare_libraries() -> None:
    """Keep the libraries' request lines (addresses hold the token, bodies hold texts) out of every log.

    ``PTB_TIMEDELTA`` is python-telegram-bot's switch for its coming type of waiting times; without it every request to
    slow down raises a deprecation warning.
    """
    os.environ.setdefault("PTB_TIMEDELTA", "1")
    from retainer.safety.redact import RedactingFilter

    for name, level in (("httpx", logging.WARNING), ("httpcore", logging.WARNING), ("telegram", logging.CRITICAL)):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, level))
        if not any(isinstance(each, RedactingFilter) for each in logger.filters):
            logger.addFilter(RedactingFilter())
