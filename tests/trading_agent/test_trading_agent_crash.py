"""Killed at any moment and started again, the account is what it would have been: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests.trading_agent.service_for_tests import START, cut, open_service, pure_loop

from retainer.runtime.control import State
from retainer.trading.bars import Bars, sessions
from retainer.trading.parity import same_decisions
from retainer.trading.replaying import replay

SESSIONS = 300
PROGRAM = Path(__file__).with_name("service_for_tests.py")


async def test_sigkill_in_the_middle_of_a_replay_changes_nothing(tmp_path: Path, market: Mapping[str, Bars]) -> None:
    path = tmp_path / "db.sqlite"
    moments = random.Random(7)
    seen = [0]
    for _ in range(4):
        await asyncio.to_thread(_run_and_kill, path, seen[-1] + moments.randint(1, 60))
        service = await open_service(path, market)
        seen.append(service.bars_seen())
        await service.close()
    assert seen == sorted(set(seen))
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


def _run_and_kill(path: Path, sessions: int) -> None:
    """Let the service run in a process of its own, and kill it once it has handled so many sessions."""
    child = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path), str(SESSIONS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()
        while child.poll() is None and _handled(path) < sessions:
            time.sleep(0.002)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()


def _handled(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as view:
        return int(view.execute("SELECT COUNT(*) FROM equity").fetchone()[0])


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


async def test_the_lane_replayed_gives_the_stored_state_bit_for_bit(tmp_path: Path, market: Mapping[str, Bars]) -> None:
    """Also across kills, owner's orders, a pause, a stop and a cancellation: every version has its recorded digest."""
    path = tmp_path / "db.sqlite"
    await asyncio.to_thread(_run_and_kill, path, 60)
    service = await open_service(path, market)
    try:
        await service.replay(125)
        await service.request("trading.order", side="buy", quantity="5", symbol="AAPL")
        await service.answer(service.card())
        await service.replay(128)
        await service.request("trading.order", side="sell", quantity="2", symbol="AAPL")
        await service.answer(service.card())
        await service.request("trading.cancel", symbol="AAPL")
        states: tuple[State, ...] = ("paused", "running", "stopped", "running")
        for state in states:
            await service.control(state)
            await service.replay(service.bars_seen() + 8)
        view = service.store.view()
        found = replay(view)
        assert found.difference == ""
        assert found.equal
        assert found.state.digest() == service.state.digest()
        assert found.bars == service.bars_seen() == 160
        assert [f.order_id for f in found.fills] == [
            r["order_id"] for r in view.query("SELECT * FROM fill ORDER BY id")
        ]
        decisions = same_decisions(view, service.agent.desk.strategy)
        assert decisions.compared > 100
        assert decisions.equal
    finally:
        await service.close()


async def test_a_replay_names_the_first_version_that_differs(tmp_path: Path, market: Mapping[str, Bars]) -> None:
    service = await open_service(tmp_path / "db.sqlite", market)
    try:
        await service.replay(60)
        row = service.store.view().one("SELECT MIN(version) AS v FROM account_step WHERE version > 40")
        assert row is not None
        changed = "UPDATE bar SET close = close + 1, high = high + 1 WHERE at IN (SELECT at FROM account_step WHERE {})"
        await service.store.write(lambda tx: tx.execute(changed.format("version = ?"), (row["v"],)))
        found = replay(service.store.view())
        assert not found.equal
        assert found.difference.startswith(f"Version {row['v']} ")
    finally:
        await service.close()
