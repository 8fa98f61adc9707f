"""``kill -9`` twice during 20 messages: the Bot API server's log says whether anything was lost or said twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from tests.bridges.fake_telegram import TOKEN, FakeTelegram, final_texts

MESSAGES = 20
HOUSE = Path(__file__).with_name("house.py")


def start(folder: Path, url: str) -> subprocess.Popen[bytes]:
    """The service as a process of its own."""
    paths = os.pathsep.join([str(HOUSE.parents[2]), str(HOUSE.parents[2] / "src")])
    with (folder / "service.err").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, str(HOUSE), str(folder), url, TOKEN],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=errors,
            stderr=errors,
        )


def said_more_than(server: FakeTelegram, count: int) -> bool:
    return len(server.texts()) > count


async def kill(service: subprocess.Popen[bytes]) -> None:
    service.send_signal(signal.SIGKILL)
    await asyncio.to_thread(service.wait)


async def drip(server: FakeTelegram) -> None:
    for number in range(MESSAGES):
        await server.say(f"m{number:02}")
        await asyncio.sleep(0.08)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_killed_twice_nothing_is_lost_twice_or_out_of_order(
    server: FakeTelegram, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    service = start(tmp_path, server.url)
    try:
        await server.wait_for(lambda: bool(server.called("getUpdates")), 30)
        feed = asyncio.create_task(drip(server))
        for _ in range(2):
            before = len(server.texts())
            await server.wait_for(partial(said_more_than, server, before), 30)
            await asyncio.sleep(chance.uniform(0.0, 0.35))
            await kill(service)
            service = start(tmp_path, server.url)
            await asyncio.sleep(0.1)
        await feed
        await server.wait_text(f"re m{MESSAGES - 1:02}", seconds=60)
        await asyncio.sleep(0.5)
    finally:
        await kill(service)
    said = [text for _, text in final_texts(tmp_path / "bot.jsonl") if text != "…"]
    wanted = [f"re m{number:02}" for number in range(MESSAGES)]
    assert [text for text in wanted if text not in said] == [], "lost"
    assert [text for text, count in Counter(said).items() if count > 1] == [], "said twice"
    assert said == wanted
