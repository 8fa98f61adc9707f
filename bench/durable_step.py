"""What a durable step costs beside the least that durability takes: one row, one writer thread, one commit for all.

Both write to the same disk in turn, batch by batch, so that its moods hit both. A step of ours is called by a handler,
guarded, audited where something changed, stored with its salted digest, and durable when it returns. Exits with 1 when
the median step costs more than the limit. DBOS on SQLite does the same when it can be installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import queue
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import structlog  # noqa: E402  found by the path above, like those that follow
from tests.runtime.conftest import Scripted, TrivialGuard, message  # noqa: E402

from retainer.core.clock import SystemClock  # noqa: E402
from retainer.core.events import Event  # noqa: E402
from retainer.core.protocols import Context  # noqa: E402
from retainer.runtime.runtime import Runtime  # noqa: E402
from retainer.runtime.schema import MIGRATIONS  # noqa: E402
from retainer.runtime.sqlite import SqliteStore  # noqa: E402

LIMIT = 1.5
PER_FLOW = 25


class Bare:
    """A table of results, a writer thread, a commit for whatever waits. ``synchronous=FULL``, like ours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[tuple[tuple[Any, ...], Any, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._runs = 0

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE journal (run, seq, name, result, PRIMARY KEY (run, seq))")
        while (first := self._queue.get()) is not None:
            batch = [first]
            while not self._queue.empty() and len(batch) < 256 and (more := self._queue.get()) is not None:
                batch.append(more)
            connection.execute("BEGIN IMMEDIATE")
            for row, _, _ in batch:
                connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?)", row)
            connection.execute("COMMIT")
            for _, loop, future in batch:
                loop.call_soon_threadsafe(future.set_result, None)
        connection.close()

    async def flow(self, count: int) -> list[float]:
        """Seconds of each step of one flow."""
        self._runs += 1
        run, loop, took = self._runs, asyncio.get_running_loop(), []
        for number in range(count):
            began = time.perf_counter()
            future = loop.create_future()
            self._queue.put(((run, number, f"s{number}", json.dumps(number)), loop, future))
            await future
            took.append(time.perf_counter() - began)
        return took

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()


class Ours:
    """The runtime on SQLite; a flow is the handling of one event in a lane of its own."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteStore.open(path, MIGRATIONS)
        self._runtime = Runtime(self._store, SystemClock(), TrivialGuard())
        self._runtime.add_agent(Scripted("chat", self._handle))
        self._done: dict[str, asyncio.Future[list[float]]] = {}
        self._runs = 0

    async def start(self) -> None:
        await self._runtime.start()

    async def _handle(self, ctx: Context, event: Event) -> None:
        took = []
        for number in range(int(str(event.body["text"]))):

            async def work(number: int = number) -> int:
                return number

            began = time.perf_counter()
            await ctx.step(f"s{number}", work)
            took.append(time.perf_counter() - began)
        self._done[event.lane].set_result(took)

    async def flow(self, count: int) -> list[float]:
        """Seconds of each step of one flow."""
        self._runs += 1
        event = message(str(count), chat=f"c{self._runs}")
        done = self._done[event.lane] = asyncio.get_running_loop().create_future()
        await self._runtime.receive(event)
        took: list[float] = await done
        await self._runtime.idle()
        return took

    async def close(self) -> None:
        await self._runtime.stop(1.0)
        self._store.close()


async def measure(folder: Path, rounds: int, flows: int) -> dict[str, dict[str, list[float]]]:
    """Steps one after another, steps of many flows at once, and CPU, of both in turn."""
    bare, ours = Bare(folder / "bare.db"), Ours(folder / "ours.db")
    await ours.start()
    found: dict[str, dict[str, list[float]]] = {n: {"step": [], "rate": [], "cpu": []} for n in ("bare", "ours")}
    contestants: list[tuple[str, Callable[[int], Any]]] = [("bare", bare.flow), ("ours", ours.flow)]
    for _, flow in contestants:
        await flow(PER_FLOW)
    for turn in range(rounds):
        for name, flow in contestants if turn % 2 else contestants[::-1]:
            cpu = time.process_time()
            found[name]["step"] += await flow(PER_FLOW)
            found[name]["cpu"].append((time.process_time() - cpu) / PER_FLOW)
            began = time.perf_counter()
            await asyncio.gather(*(flow(PER_FLOW) for _ in range(flows)))
            found[name]["rate"].append(flows * PER_FLOW / (time.perf_counter() - began))
    await ours.close()
    bare.close()
    return found


def dbos(folder: Path, steps: int, flows: int) -> dict[str, Any] | str:
    """The same of DBOS, or why not."""
    home = Path(tempfile.gettempdir()) / "retainer-bench-steps"
    python, wanted = home / "bin" / "python", HERE / "durable_step_peers" / "requirements.txt"
    try:
        if not (home / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True, timeout=120)
            install = [str(python), "-m", "pip", "install", "-q", "-r", str(wanted)]
            subprocess.run(install, check=True, capture_output=True, timeout=300)
            (home / "ready").touch()
        command = [
            str(python),
            str(HERE / "durable_step_peers" / "dbos_steps.py"),
            str(folder / "dbos.db"),
            str(steps),
            str(flows),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return f"did not start: {type(error).__name__}"


def main() -> int:
    """Run it and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help=f"batches of {PER_FLOW} steps each (default 20)")
    parser.add_argument("--flows", type=int, default=16, help="flows at once for the rate (default 16)")
    parser.add_argument("--no-peers", action="store_true", help="leave DBOS out")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(dir=HERE, prefix="out-") as name:  # the disk the code is on, not memory
        found = asyncio.run(measure(Path(name), options.rounds, options.flows))
        peer = "left out" if options.no_peers else dbos(Path(name), 200, options.flows)
    bare, ours = found["bare"], found["ours"]
    ratio = statistics.median(ours["step"]) / statistics.median(bare["step"])
    print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}\n")
    print(f"| contestant | step, median ms | CPU ms a step | steps/s, {options.flows} flows | times the bare step |")
    print("|---|---|---|---|---|")
    for label, each in (("bare group-committed writer", bare), ("retainer, ctx.step", ours)):
        times = statistics.median(each["step"]) / statistics.median(bare["step"])
        step, cpu, rate = (statistics.median(each[key]) for key in ("step", "cpu", "rate"))
        print(f"| {label} | {step * 1e3:.2f} | {cpu * 1e3:.2f} | {rate:.0f} | {times:.2f} |")
    if isinstance(peer, str):
        print(f"| DBOS 3.4.0 on SQLite | {peer} | | | |")
    else:
        middle = statistics.median(peer["steps"])
        print(
            f"| DBOS 3.4.0 on SQLite | {middle * 1e3:.2f} | | {peer['rate']:.0f}"
            f" | {middle / statistics.median(bare['step']):.2f} |"
        )
    print(
        f"\nA step costs {ratio:.2f} times the bare one; the limit is {LIMIT}: {'ok' if ratio <= LIMIT else 'MISSED'}"
    )
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
