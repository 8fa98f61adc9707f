"""A Dask cluster on this machine: a scheduler, and a nanny with two workers that handle lanes beside Dask's tasks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


@dataclass(frozen=True)
class DaskCluster:
    """Where its scheduler is, and what its workers print."""

    address: str
    output: Path
    nanny: subprocess.Popen[bytes]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The workers' log lines of this name."""
        found = (line for line in self.output.read_text().splitlines() if line.startswith("{"))
        return [line for line in map(json.loads, found) if line["event"] == event]

    def started(self, workers: int, count: Callable[[], int]) -> None:
        """Wait until ``count`` says that so many workers have begun to handle lanes."""
        until(lambda: count() >= workers or self.nanny.poll() is not None)
        assert self.nanny.poll() is None, self.output.read_text()


def until(what: Callable[[], Any], pause: float = 0.05) -> Any:
    """The first true value of ``what``."""
    ends = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(pause)
    return found


@contextmanager
def dask_cluster(folder: Path, environment: Mapping[str, str], *options: str) -> Iterator[DaskCluster]:
    """``options`` go to the workers' preload."""
    env = {**environment, "PYTHONPATH": str(ROOT)}
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file"]
    found, output = folder / "scheduler.json", folder / "worker.out"
    processes = [_dask([*scheduler, str(found)], env, folder / "scheduler.out")]
    try:
        address = json.loads(until(lambda: found.exists() and found.read_text()))["address"]
        worker = ["worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
        where = ["--host", "127.0.0.1", "--local-directory", str(folder)]
        processes.append(_dask([*worker, *where, "--preload", "retainer.runtime.worker", *options], env, output))
        yield DaskCluster(address, output, processes[1])
    finally:
        for process in reversed(processes):
            _end(process)


def _dask(arguments: list[str], environment: dict[str, str], output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as out:
        command = [sys.executable, "-m", "dask", *arguments]
        return subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT)


def _end(process: subprocess.Popen[bytes]) -> None:
    family = [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        if child.is_running():
            child.kill()
