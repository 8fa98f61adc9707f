"""A small service around the trading agent: real runtime, real guard, real sample bars, replies kept in a list."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.trading_agent.service_for_tests import Service, open_service

from retainer.trading.bars import Bars
from retainer.trading.samples import load_samples


@pytest.fixture(scope="session")
def market() -> Mapping[str, Bars]:
    return load_samples()


@pytest.fixture
async def service(tmp_path: Path, market: Mapping[str, Bars]) -> AsyncIterator[Service]:
    opened = await open_service(tmp_path / "db.sqlite", market)
    yield opened
    await opened.close()
