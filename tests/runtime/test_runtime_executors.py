"""One interface for heavy work, wherever it runs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor

import pytest

from retainer.core.errors import InvalidInputError
from retainer.runtime.executors import NoExecutorError, cores, get_executor


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Dask scheduler with two workers in this process."""
    from distributed import LocalCluster

    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp://"
    ) as made:
        yield made.scheduler_address


@pytest.fixture(params=["threads", "processes", "dask"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    where = request.getfixturevalue("cluster") if request.param == "dask" else request.param
    with get_executor(where, workers=2) as pool:
        yield pool


def test_results_come_in_the_order_of_the_arguments(executor: Executor) -> None:
    assert list(executor.map(divmod, [7, 8, 9, 10, 11], [2, 3, 4, 5, 6])) == [(3, 1), (2, 2), (2, 1), (2, 0), (1, 5)]
    assert list(executor.map(abs, range(-7, 0), chunksize=3)) == [7, 6, 5, 4, 3, 2, 1]


def test_a_failure_reaches_whoever_asked(executor: Executor) -> None:
    assert executor.submit(int, "7").result(60) == 7
    with pytest.raises(ValueError, match="seven"):
        executor.submit(int, "seven").result(60)


def test_equal_calls_are_separate_calls(executor: Executor) -> None:
    drawn = [executor.submit(os.urandom, 8) for _ in range(4)]
    assert len({future.result(60) for future in drawn}) == 4


def test_threads_share_this_process_and_processes_do_not() -> None:
    with get_executor("threads", workers=1) as pool:
        assert pool.submit(os.getpid).result(60) == os.getpid()
        assert pool.submit(threading.get_ident).result(60) != threading.get_ident()
    with get_executor("processes", workers=1) as pool:
        assert pool.submit(os.getpid).result(60) != os.getpid()


def test_an_ended_executor_takes_nothing_more(cluster: str) -> None:
    with get_executor(cluster) as pool:
        assert pool.submit(abs, -1).result(60) == 1
    with pytest.raises(RuntimeError):
        pool.submit(abs, -1)


async def test_it_can_be_awaited_on(executor: Executor) -> None:
    found = await asyncio.get_running_loop().run_in_executor(executor, abs, -3)
    assert found == 3


def test_what_cannot_run_work_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"no executor 'gpu'\. Write \"threads\""):
        get_executor("gpu")
    with pytest.raises(InvalidInputError, match="at least one"):
        get_executor("threads", workers=0)
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retainer.runtime.executors._CONNECT_SECONDS", 0.3)
    with pytest.raises(NoExecutorError, match=r"tcp://127\.0\.0\.1:1 does not answer"):
        get_executor("tcp://127.0.0.1:1")
