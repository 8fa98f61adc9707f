"""``retainer phone ...``: connect a bot, pair a phone, list and revoke."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.logs import setup_logging
from retainer.app.store import exists, migrations, open_outside, open_store, open_view, running_pid
from retainer.chat.bridges.telegram_setup import TelegramSetup, read_token
from retainer.core.clock import SystemClock
from retainer.core.errors import NotFoundError
from retainer.safety.people import devices, ensure_local_owner, rank, revoke
from retainer.safety.secrets import Secrets


def pair_telegram(settings: Settings, scope: str) -> int:
    """Ask for the bot's token, show its name and a code to scan, wait for the phone."""
    rank(scope)
    folder = DataFolder(settings.data).make()
    setup_logging(folder.logs, settings.log)
    _first_database(settings, folder)

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    with open_outside(settings) as store:
        setup = TelegramSetup(store, SystemClock(), Secrets(folder.secrets), settings.telegram)
        token = read_token(sys.stdin, say)
        running = running_pid(folder) is not None
        asyncio.run(setup.run(token, say, service_running=running, scope=scope))
    return 0


def _first_database(settings: Settings, folder: DataFolder) -> None:
    """A phone may be paired before the first start."""
    if not exists(settings):
        from retainer.app.agents import agent_migrations, load_agents

        store = open_store(settings, migrations(agent_migrations(load_agents(settings))))
        store.write_now(lambda tx: ensure_local_owner(tx, SystemClock().now()))
        store.close()


def show_phones(settings: Settings, *, as_json: bool) -> int:
    """Everybody who is paired."""
    with open_view(settings) as view:
        found = devices(view)
    if as_json:
        sys.stdout.write(json.dumps([asdict(device) for device in found], indent=1) + "\n")
        return 0
    for device in found:
        sys.stdout.write(f"{device.channel:<10} {device.stable_id:<16} {device.scope:<8} {device.name}\n")
    return 0


def revoke_phone(settings: Settings, channel: str, stable_id: str) -> int:
    """Unpair; raises :class:`NotFoundError` when it is not paired."""
    now = SystemClock().now()
    with open_outside(settings) as store:
        count = store.write_now(lambda tx: revoke(tx, now, channel=channel, stable_id=stable_id))
    if not count:
        raise NotFoundError(f"{channel} {stable_id} is not paired.", hint="`retainer phone list` shows who is.")
    sys.stdout.write(f"{channel} {stable_id} is no longer paired.\n")
    return 0
