"""Shared set-up of the bridges' tests."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bridges.fake_telegram import FakeTelegram


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeTelegram]:
    """A Bot API server with its log in ``tmp_path / "bot.jsonl"``."""
    async with FakeTelegram(log=tmp_path / "bot.jsonl") as running:
        yield running
