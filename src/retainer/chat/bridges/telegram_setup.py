"""Connecting a phone: paste the token, see the bot's name, scan the code, done.

The running service needs no restart: its bridge looks for the stored token every other second. Where none runs, the
set-up listens itself until the phone is paired.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from retainer.chat.bridges.settings import TelegramSettings
from retainer.chat.bridges.telegram import TelegramBridge, prepare_libraries
from retainer.chat.bridges.telegram_wire import CHANNEL, COMMANDS, sorted_error
from retainer.chat.bridges.terminal_remote import LOOK, MailboxHandle
from retainer.chat.bridges.tokens import extract_token, stored_token
from retainer.chat.hub import PhoneBridge
from retainer.core.clock import Clock
from retainer.core.errors import InvalidInputError, NotSentError, RetainerError
from retainer.core.protocols import Store
from retainer.safety.pairing import CODE_LIFE
from retainer.safety.people import Device, devices, issue_code
from retainer.safety.secrets import Secrets

if TYPE_CHECKING:
    from telegram import Bot

BUZZ = "It works. Say `help` to see what I can do, or just ask: how did the bot do this month?"


@dataclass(frozen=True, slots=True)
class BotName:
    """Who the token belongs to."""

    id: int
    username: str
    title: str


class TelegramSetup:
    """The steps of `retainer phone telegram`, each usable alone."""

    def __init__(self, store: Store, clock: Clock, secrets: Secrets, settings: TelegramSettings) -> None:
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._settings = settings

    async def run(
        self, token: str, say: Callable[[str], None], *, service_running: bool, scope: str = "admin"
    ) -> Device:
        """Everything after the token was read; returns the paired device.

        ``say`` prints to the person at the machine. Raises :class:`InvalidInputError` for a token that Telegram refuses
        (nothing is stored then) and :class:`RetainerError` when no phone came in time.
        """
        bot = await self.check(token)
        self._secrets.store(self._settings.token, token)
        say(f"This is {bot.title} (@{bot.username}).")
        await self.set_commands(token)
        issued = self._clock.now()
        code = await self._store.write(lambda tx: issue_code(tx, CHANNEL, scope, issued))
        say(invitation(bot.username, code))
        async with contextlib.AsyncExitStack() as stack:
            if not service_running:
                await stack.enter_async_context(self._listening())
            device = await self.wait_for_phone(issued.timestamp())
        hub = PhoneBridge(MailboxHandle(self._store, self._clock))
        await hub.asend_response(device.address, BUZZ)
        later = "" if service_running else " The test message comes as soon as `retainer up` runs."
        say(f"Paired with {device.name}'s phone.{later}")
        return device

    async def check(self, token: str) -> BotName:
        """The bot behind ``token``. Raises :class:`InvalidInputError` when Telegram refuses it."""
        from telegram.error import InvalidToken

        async with self._bot(token) as bot:
            try:
                me = await bot.get_me()
            except InvalidToken:
                raise InvalidInputError(
                    "Telegram does not accept this token.", hint="Ask @BotFather for it again with /token."
                ) from None
            except Exception as error:  # noqa: BLE001 - the library's text may quote the token
                raise _as_ours(error) from None
        return BotName(me.id, me.username or "", me.first_name)

    async def set_commands(self, token: str) -> None:
        """Show the commands in Telegram's menu."""
        from telegram import BotCommand

        async with self._bot(token) as bot:
            try:
                await bot.set_my_commands([BotCommand(name, words) for name, words in COMMANDS])
            except Exception as error:  # noqa: BLE001 - the library's text may quote the token
                raise _as_ours(error) from None

    async def wait_for_phone(self, since: float, patience: float = CODE_LIFE.total_seconds()) -> Device:
        """The device that was paired after ``since`` (epoch seconds). Raises :class:`RetainerError` when none came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while True:  # another process pairs it, so nothing here can be told
                    for device in devices(self._store.view()):
                        if device.channel == CHANNEL and device.paired_at >= since:
                            return device
                    await asyncio.sleep(LOOK)
        raise RetainerError("No phone was paired in time; the code is void now.", hint="Run this command again.")

    @contextlib.asynccontextmanager
    async def _bot(self, token: str) -> AsyncIterator[Bot]:
        from telegram import Bot
        from telegram.request import HTTPXRequest

        prepare_libraries()
        request = HTTPXRequest(connection_pool_size=2, read_timeout=15.0, connect_timeout=10.0)
        bot = Bot(
            token, base_url=f"{self._settings.base_url.rstrip('/')}/bot", request=request, get_updates_request=request
        )
        try:
            yield bot
        finally:
            await request.shutdown()

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        hub = PhoneBridge(MailboxHandle(self._store, self._clock))
        hub.add(TelegramBridge(stored_token(self._secrets, self._settings.token), self._settings, clock=self._clock))
        await hub.start()
        try:
            yield
        finally:
            await hub.stop()


def _as_ours(error: Exception) -> RetainerError:
    found = sorted_error(error)
    if isinstance(found, RetainerError):
        return found
    return NotSentError("Telegram does not answer.", hint="Check the network connection and try again.")


def invitation(username: str, code: str) -> str:
    """The deep link with its one-time code, as a picture for the phone's camera and as text."""
    link = f"https://t.me/{username}?start={code}"
    how = "Scan this with your phone, or open the link, and press Start"
    return f"{how}:\n\n{qr(link)}\n{link}\n\nIt works once and for 10 minutes."


def qr(text: str) -> str:
    """A QR code drawn with half blocks, for dark and light terminals alike."""
    import segno

    out = io.StringIO()
    segno.make(text, error="m").terminal(out=out, border=2, compact=True)
    return out.getvalue()


def read_token(stream: TextIO, say: Callable[[str], None]) -> str:
    """The token in whatever is pasted, several lines included; on a terminal nothing of it is shown.

    Raises :class:`InvalidInputError` when an empty line or the end of input comes before one.
    """
    say("Paste the bot's token, or the whole message from @BotFather (nothing will be shown), then press Enter:")
    pasted = ""
    with _unseen(stream):
        while line := stream.readline():
            if not line.strip() and pasted:
                break
            pasted += line
            with contextlib.suppress(InvalidInputError):
                return extract_token(pasted)
            if not line.strip():
                break
    return extract_token(pasted)


@contextlib.contextmanager
def _unseen(stream: TextIO) -> Iterator[None]:
    """No echo while reading from a terminal; what else was pasted is thrown away at the end, not left to the shell."""
    if not stream.isatty():
        yield
        return
    import termios

    number = stream.fileno()
    before = termios.tcgetattr(number)
    silent = termios.tcgetattr(number)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(number, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(number, termios.TCSAFLUSH, before)
