"""Killed at any moment and started again, the account is what it would have been: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.trading_agent.service_for_tests import START, cut, open_service, pure_loop

from retainer.trading.bars import Bars, sessions

SESSIONS = 300
PROGRAM = Path(__file__).with_name("service_for_tests.py")


async def test_sigkill_in_the_middle_of_a_replay_changes_nothing(tmp_path: Path, market: Mapping[str, Bars]) -> None:
    path = tmp_path / "db.sqlite"
    moments = random.Random(7)
    seen: list[int] = []
    for _ in range(4):
        await asyncio.to_thread(_run_and_kill, path, moments.uniform(0.15, 0.6))
        service = await open_service(path, market)
        seen.append(service.bars_seen())
        await service.close()
    assert seen == sorted(seen)
    assert seen[0] < SESSIONS
    assert seen[-1] > 0
    service = await open_service(path, market)
    try:
        await service.replay(SESSIONS)
        bars = cut(market, START, SESSIONS)
        expected = pure_loop(bars, [int(at) for at in sessions(bars)], service.agent)
        assert replace(service.state, version=0).digest() == expected.state.digest()
        view = service.store.view()
        assert [r["order_id"] for r in view.query("SELECT order_id FROM fill ORDER BY id")] == [
            f.order_id for f in expected.fills
        ]
        assert service.bars_seen() == SESSIONS
        doubled = "SELECT id FROM paper_order GROUP BY id HAVING COUNT(*) > 1"
        assert view.query(doubled) == []
    finally:
        await service.close()


def _run_and_kill(path: Path, seconds: float) -> None:
    child = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path), str(SESSIONS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()


async def test_an_approved_order_survives_a_kill_and_is_placed_once(tmp_path: Path, market: Mapping[str, Bars]) -> None:
    path = tmp_path / "db.sqlite"
    first = await open_service(path, market)
    await first.replay(50)
    await first.request("trading.order", side="buy", quantity="5", symbol="AAPL")
    card = first.card()
    await first.runtime.stop(grace=0)
    now = first.runtime.clock.now()
    answered = await first.store.write(lambda tx: first.guard.approvals.answer(tx, card, True, first.owner, None, now))
    assert answered.result == "approved"
    first.store.close()
    second = await open_service(path, market)
    try:
        await second.runtime.idle()
        assert [o.quantity for o in second.state.orders] == [5]
        await second.replay(52)
        assert second.state.quantity("AAPL") == 5
        again = await second.answer(card)
        assert again.result == "already"
        assert second.state.quantity("AAPL") == 5
    finally:
        await second.close()
