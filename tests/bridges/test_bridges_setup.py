"""``retainer phone telegram``: from a pasted message to a paired phone."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import stat
import threading
from pathlib import Path

import pytest
from tests.bridges.fake_telegram import TOKEN, FakeTelegram
from tests.bridges.house import MIGRATIONS, house

from retainer.chat.bridges.settings import TelegramSettings
from retainer.chat.bridges.telegram import TelegramBridge
from retainer.chat.bridges.telegram_setup import BUZZ, TelegramSetup, read_token
from retainer.chat.bridges.tokens import stored_token
from retainer.core.clock import SystemClock
from retainer.core.errors import InvalidInputError, RetainerError
from retainer.runtime.sqlite import SqliteStore
from retainer.safety.people import ensure_local_owner, identify
from retainer.safety.redact import Redactor
from retainer.safety.secrets import Secrets

FATHER = f"Done! Congratulations on your new bot.\nUse this token:\n{TOKEN}\nKeep your token secure.\n"


def settings(server: FakeTelegram) -> TelegramSettings:
    return TelegramSettings(base_url=server.url, poll_seconds=1)


def secrets_in(folder: Path) -> Secrets:
    return Secrets(folder / "secrets", env={}, redactor=Redactor())


class Screen:
    """What the person at the machine sees."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, text: str) -> None:
        self.text += text + "\n"

    async def link_code(self) -> str:
        """The code in the deep link, once it is shown."""
        async with asyncio.timeout(10):
            while "?start=" not in self.text:
                await asyncio.sleep(0.01)
        return self.text.split("?start=")[1].split()[0]


async def test_a_phone_is_paired_while_the_service_runs(server: FakeTelegram, tmp_path: Path) -> None:
    secrets, screen = secrets_in(tmp_path), Screen()
    async with house(tmp_path, paired=False) as h:
        token = stored_token(secrets, "secret:telegram")
        bridge = TelegramBridge(token, settings(server), clock=SystemClock(), lock_folder=tmp_path, pause=0.05)
        h.hub.add(bridge)
        for tool, adapter in h.hub.adapters().items():
            h.runtime.add_adapter(tool, adapter)
        await h.hub.start()
        await asyncio.sleep(0.05)
        assert "retainer phone telegram" in str(bridge.health()["detail"])
        other = SqliteStore.open(tmp_path / "retainer.db", MIGRATIONS, owner=False)
        setup = TelegramSetup(other, SystemClock(), secrets, settings(server))
        running = asyncio.create_task(setup.run(TOKEN, screen, service_running=True))
        code = await screen.link_code()
        await server.say("/start GUESSED1", user=666)
        await server.say(f"/start {code}", user=77)
        device = await running
        other.close()
        assert (device.channel, device.stable_id, device.scope) == ("telegram", "77", "admin")
        await server.wait_text("Paired.", chat=77)
        await server.wait_text(BUZZ, chat=77)
        assert server.texts(666) == []
        assert "Test bot (@retainer_test_bot)" in screen.text
        assert "▄" in screen.text or "█" in screen.text
        assert [command["command"] for command in server.commands][:2] == ["status", "help"]
        mode = (tmp_path / "secrets" / "telegram").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
        assert TOKEN not in screen.text


async def test_without_a_service_the_set_up_listens_itself(server: FakeTelegram, tmp_path: Path) -> None:
    secrets, screen = secrets_in(tmp_path), Screen()
    store = SqliteStore.open(tmp_path / "retainer.db", MIGRATIONS)
    setup = TelegramSetup(store, SystemClock(), secrets, settings(server))
    await store.write(lambda tx: ensure_local_owner(tx, SystemClock().now()))
    running = asyncio.create_task(setup.run(TOKEN, screen, service_running=False))
    await server.say(f"/start {await screen.link_code()}", user=77)
    await running
    assert identify(store.view(), "telegram", "77") is not None
    store.close()
    async with house(tmp_path, url=server.url, token=TOKEN):
        await server.wait_text(BUZZ, chat=77)


async def test_a_refused_token_is_not_stored(server: FakeTelegram, tmp_path: Path) -> None:
    secrets = secrets_in(tmp_path)
    store = SqliteStore.open(tmp_path / "retainer.db", MIGRATIONS)
    setup = TelegramSetup(store, SystemClock(), secrets, settings(server))
    wrong = TOKEN[:-1] + "x"
    with pytest.raises(InvalidInputError) as refused:
        await setup.run(wrong, Screen(), service_running=True)
    assert wrong not in str(refused.value)
    assert secrets.names() == []
    with pytest.raises(RetainerError, match="Telegram"):
        await TelegramSetup(store, SystemClock(), secrets, TelegramSettings(base_url="http://127.0.0.1:9")).check(TOKEN)
    store.close()


def test_the_whole_message_can_be_piped() -> None:
    assert read_token(io.StringIO(FATHER), Screen()) == TOKEN
    with pytest.raises(InvalidInputError):
        read_token(io.StringIO("\n"), Screen())


def test_on_a_terminal_the_paste_is_not_shown() -> None:
    ours, theirs = pty.openpty()
    with open(theirs, encoding="utf-8") as stream:
        typing = threading.Timer(0.2, lambda: os.write(ours, FATHER.encode()))
        typing.start()
        assert read_token(stream, Screen()) == TOKEN
        typing.join()
    os.set_blocking(ours, False)
    try:
        echoed = os.read(ours, 10_000)
    except OSError:
        echoed = b""
    os.close(ours)
    assert TOKEN.encode() not in echoed


def test_the_stored_token_is_followed(tmp_path: Path) -> None:
    secrets = secrets_in(tmp_path)
    token = stored_token(secrets, "secret:telegram")
    assert token() is None
    secrets.store("secret:telegram", TOKEN)
    assert token() == TOKEN
    (tmp_path / "secrets" / "telegram").chmod(0o644)
    with pytest.raises(InvalidInputError):
        token()
    secrets.remove("secret:telegram")
    assert token() is None
