"""Two real worker processes of a Dask cluster on one PostgreSQL database; one of them is killed in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import START, message
from tests.runtime.dask_cluster import dask_cluster, until
from tests.runtime.worker_app import AskingGuard, notes, slow_square

from retainer.core.errors import InvalidInputError
from retainer.runtime import effects
from retainer.runtime.auditing import settle
from retainer.runtime.executors import get_executor
from retainer.runtime.inbox import insert_event, last_seq
from retainer.runtime.postgres.store import PostgresStore
from retainer.runtime.schema import MIGRATIONS
from retainer.runtime.worker import LaneThread, find_entry

ENTRY = "tests.runtime.worker_app:lanes"


@dataclass
class Cluster:
    """A scheduler, a nanny with two workers, and a store beside them."""

    address: str
    folder: Path
    store: PostgresStore

    def one(self, sql: str, *params: Any) -> Any:
        row = self.store.view().one(sql, params)
        return None if row is None else next(iter(row.values()))

    def receive(self, text: str, number: int, chat: str) -> int:
        return self.store.write_now(lambda tx: insert_event(tx, message(text, number, chat=chat), START)).seq

    def approve(self, key: str) -> None:
        """The owner's yes, as the approval's spending does it."""

        def unit(tx: Any) -> None:
            assert effects.make_ready(tx, key, START)
            settle(tx, AskingGuard(), last_seq(tx), START)

        self.store.write_now(unit)


@pytest.fixture(scope="module")
def cluster(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder, url = tmp_path_factory.mktemp("far"), postgres.database()
    store = PostgresStore.open(url, MIGRATIONS, tick=0.05)
    environment = {
        **os.environ,
        "WORKER_URL": url,
        "WORKER_FOLDER": str(folder),
        "WORKER_HOLD": "0.5",
        "WORKER_IDLE": "30",
    }
    try:
        with dask_cluster(folder, environment, f"--entry={ENTRY}") as dask:
            dask.started(2, lambda: len(notes(folder, "workers")))
            yield Cluster(dask.address, folder, store)
    finally:
        store.close()


@pytest.mark.parametrize("moment", ["asked", "accepted"])
def test_a_worker_killed_during_a_sweep_and_an_order_loses_and_doubles_nothing(cluster: Cluster, moment: str) -> None:
    """Killed before the broker has accepted, or after it has and before we know."""
    number = {"asked": 1, "accepted": 2}[moment]
    key = f"e{cluster.receive('order', number, f'order-{moment}')}:order"
    steps = cluster.receive("steps 8", number, f"steps-{moment}")
    until(lambda: cluster.one("SELECT state FROM effect WHERE key = ?", key) == "asked")
    with get_executor(cluster.address) as pool:
        sweep = pool.map(slow_square, range(20))
        cluster.approve(key)
        happened = until(lambda: [w for w in notes(cluster.folder, "broker") if w[1:] == [moment, key]])
        os.kill(int(happened[0][0]), signal.SIGKILL)
        results = list(sweep)
    assert [square for _, square in results] == [n * n for n in range(20)]
    until(lambda: cluster.one("SELECT state FROM effect WHERE key = ?", key) == "done")
    accepted = [words for words in notes(cluster.folder, "broker") if words[1:] == ["accepted", key]]
    assert len(accepted) == 1
    assert cluster.one("SELECT ref FROM effect WHERE key = ?", key) == f"b-{key}"
    until(lambda: cluster.one("SELECT state FROM event WHERE seq = ?", steps) == "done")
    recorded = cluster.store.view().query("SELECT name FROM step WHERE event_seq = ? ORDER BY position", (steps,))
    assert [row["name"] for row in recorded] == [f"work:{n}" for n in range(8)]
    ran = [words[2] for words in notes(cluster.folder, "steps") if words[1] == str(steps)]
    assert len(ran) <= 9, "only the step in flight may run again"
    until(lambda: len(notes(cluster.folder, "workers")) >= 2 + number)  # Dask has started another one
    assert cluster.one("SELECT COUNT(*) AS n FROM event WHERE state <> 'done'") == 0


def test_lanes_are_shared_among_the_workers(cluster: Cluster) -> None:
    seqs = [cluster.receive("steps 2", 1, f"share-{n}") for n in range(100)]
    until(lambda: cluster.one("SELECT COUNT(*) AS n FROM event WHERE state <> 'done'") == 0)
    ran = [words for words in notes(cluster.folder, "steps") if int(words[1]) in seqs]
    assert len(ran) == 200
    assert len({words[0] for words in ran}) == 2


def test_an_entry_that_is_not_there_is_named() -> None:
    assert callable(find_entry("retainer.app.worker:lane_worker"))
    for name in ("retainer.nowhere:x", "retainer.app.worker:nothing", "nonsense"):
        with pytest.raises(InvalidInputError, match=name):
            find_entry(name)


def test_what_keeps_a_worker_from_starting_reaches_whoever_started_it() -> None:
    class Broken:
        async def __aenter__(self) -> None:
            raise ConnectionError("no database")

        async def __aexit__(self, *_: object) -> None:
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError, match="no database"):
        LaneThread(Broken).start()


def test_the_configured_worker_needs_a_database_that_can_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETAINER_DATA", str(tmp_path))
    with pytest.raises(InvalidInputError, match="served by one process"):
        find_entry("retainer.app.worker:lane_worker")()
