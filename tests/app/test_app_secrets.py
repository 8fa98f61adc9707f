"""The bot's token is in no log and no output, whatever goes wrong and however much is logged."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.app.running import Service, chatting, until
from tests.bridges.fake_telegram import TOKEN, FakeTelegram, Fault

PARTS = (TOKEN, TOKEN.partition(":")[2], TOKEN.replace(":", "%3A"))


async def test_the_token_is_nowhere_at_debug_while_the_server_answers_fails_and_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with FakeTelegram() as server:
        server.faults += [Fault("getupdates", "drop_before"), Fault("getupdates", "502"), Fault("*", "drop_after")]
        env = {
            "RETAINER_LOG__LEVEL": "DEBUG",
            "RETAINER_SECRET_TELEGRAM": TOKEN,
            "RETAINER_TELEGRAM__BASE_URL": server.url,
            "RETAINER_TELEGRAM__POLL_SECONDS": "1",
            "RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": "3600",
        }
        with Service(folder, env) as service:
            await asyncio.to_thread(until, lambda: not server.faults and len(server.calls) > 4)
            await server.__aexit__(None, None, None)
            failed = log_of(folder).count("cannot_listen")
            await asyncio.to_thread(until, lambda: log_of(folder).count("cannot_listen") > failed)
            said = await asyncio.to_thread(_talk, service)
    assert "Telegram" in said
    log = log_of(folder)
    assert '"level": "debug"' in log
    for part in PARTS:
        assert part not in log
        assert part not in said
        assert part not in service.output.read_text()


def _talk(service: Service) -> str:
    """Everything commands print, one of them about the token itself."""
    with chatting(service) as chat:
        chat.say(f"my token is {TOKEN}", r"\n")
    return service.run("status").stdout + service.run("doctor").stdout + (service.folder / "service.json").read_text()


def log_of(folder: Path) -> str:
    """Everything that was logged."""
    return "".join(path.read_text() for path in (folder / "logs").glob("*"))
