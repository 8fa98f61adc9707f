"""Two small bots as people write them, on the same messages and killed at the same moments: what happens without a
journal.

*Confirm, then handle* is ``python-telegram-bot``'s ``Application``: it asks for the next updates, which confirms the
last ones, while their handlers still run. *Handle, then confirm* asks for the next updates when all are handled. Both
answer sums and place orders at a broker that takes as long as the Bot API server and writes down what it accepted.

Run as a program it is one of the bots: ``python crash_peers.py confirm-first URL TOKEN BROKER_FILE``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.crash_parts import BotServer  # noqa: E402  found by the path above
from bench.crash_traffic import Said  # noqa: E402

STYLES = {"confirm-first": "confirm, then handle", "handle-first": "handle, then confirm"}
LATENCY = 0.03
_SUM = re.compile(r"^(?:what is )?(\d+) \+ (\d+)\??$")
_ORDER = re.compile(r"^(buy|sell) (\d+) ([A-Z]+)$")


class Peer:
    """One of the bots with a Bot API server and a broker of its own."""

    def __init__(self, folder: Path, style: str) -> None:
        self.style = style
        place = folder / style
        place.mkdir()
        self.server = BotServer(place)
        self.server.answer_late(LATENCY)
        self.broker = place / "broker.jsonl"
        self.broker.touch()
        self._output = place / "bot.out"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the bot."""
        command = [sys.executable, __file__, self.style, self.server.url, self.server.token, str(self.broker)]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, "NO_PROXY": "127.0.0.1"}
            )

    def kill(self) -> None:
        """``kill -9``."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Leave nothing running."""
        if self._process is not None:
            self.kill()
        self.server.close()

    def judge(self, said: Sequence[Said]) -> dict[str, int]:
        """What its Bot API server and its broker wrote down, against what people asked for."""
        shown: Counter[tuple[int, str]] = Counter()
        for line in self.server.log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            shown[int(entry["chat"]), str(entry["text"])] += 1
        placed = Counter(json.loads(line)["order"] for line in self.broker.read_text().splitlines())
        answers = [(m.chat, _answer(m.key)) for m in said if m.kind == "sum"]
        answers += [(m.chat, f"Accepted: {m.key}") for m in said if m.kind == "order"]
        orders = [m.key for m in said if m.kind == "order"]
        return {
            "messages lost": sum(shown[answer] == 0 for answer in answers),
            "replies doubled": sum(max(0, shown[answer] - 1) for answer in answers),
            "orders lost": sum(placed[order] == 0 for order in orders),
            "orders doubled": sum(max(0, placed[order] - 1) for order in orders),
        }


def _answer(key: str) -> str:
    first, second = key.removesuffix(" =").split(" + ")
    return f"{key} {int(first) + int(second)}"


# --- the bots --------------------------------------------------------------------------------------------------------
async def _handle(bot: Any, update: Any, broker: Path) -> None:
    message = update.message
    if message is None or not message.text:
        return
    if found := _SUM.match(message.text):
        await bot.send_message(message.chat.id, f"{found[1]} + {found[2]} = {int(found[1]) + int(found[2])}")
    elif _ORDER.match(message.text):
        await asyncio.sleep(LATENCY / 2)
        with broker.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"order": message.text}) + "\n")
        await asyncio.sleep(LATENCY / 2)
        await bot.send_message(message.chat.id, f"Accepted: {message.text}")


def confirm_first(url: str, token: str, broker: Path) -> None:
    """The usual bot: the library's application with one handler."""
    from telegram import Update
    from telegram.ext import Application, ContextTypes, MessageHandler, filters

    async def on_message(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
        await _handle(context.bot, update, broker)

    application = Application.builder().token(token).base_url(f"{url}/bot").build()
    application.add_handler(MessageHandler(filters.TEXT, on_message))
    application.run_polling(timeout=5, drop_pending_updates=False)


async def handle_first(url: str, token: str, broker: Path) -> None:
    """The careful bot: what was handled is confirmed with the next request."""
    from telegram import Bot
    from telegram.error import TelegramError

    offset = 0
    async with Bot(token, base_url=f"{url}/bot") as bot:
        while True:
            try:
                updates = await bot.get_updates(offset=offset, timeout=5)
            except TelegramError:
                await asyncio.sleep(0.1)
                continue
            for update in updates:
                await _handle(bot, update, broker)
                offset = update.update_id + 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    _style, _url, _token, _broker = sys.argv[1:]
    if _style == "confirm-first":
        confirm_first(_url, _token, Path(_broker))
    else:
        asyncio.run(handle_first(_url, _token, Path(_broker)))
