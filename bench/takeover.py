"""Two workers on one PostgreSQL database; one is killed, or frozen and woken. How soon does the other go on?

A private server is made for the run, with fsync on. One lane takes slow steps without end, another one sends orders.
The far side's own book and a trigger on every table that matters are the judges; exits with 1 when a limit is missed.
DBOS does the same on the same server when it can be installed (into a folder of its own under the temporary folder).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import psycopg  # noqa: E402  found by the path above, like those that follow
from tests.runtime.conftest import START, message  # noqa: E402
from tests.runtime.postgres_server import PostgresServer  # noqa: E402

from retainer.runtime.inbox import insert_event  # noqa: E402
from retainer.runtime.postgres.store import PostgresStore  # noqa: E402
from retainer.runtime.schema import MIGRATIONS  # noqa: E402

KILLED, FROZEN = 1.0, 4.0
"""Seconds until the other worker's first step."""
WATCH = 12.0
"""Seconds for which DBOS's second worker is given a chance."""
_TABLES = ("event", "step", "effect", "body", "timer", "control")
_TRIGGER = """
CREATE TABLE wrote (at DOUBLE PRECISION, who TEXT, what TEXT);
CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO wrote VALUES (extract(epoch FROM clock_timestamp()), current_setting('application_name'), TG_TABLE_NAME);
  RETURN NULL; END $$;
"""


def until(what: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value of ``what``."""
    ends = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > ends:
            raise TimeoutError("waited in vain")
        time.sleep(0.002)
    return found


@dataclass
class Bench:
    """The database, the far side's folder, and the two workers."""

    url: str
    folder: Path
    store: PostgresStore
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    made: int = 0
    orders: int = 0

    def read(self, file: str) -> list[tuple[float, str, str]]:
        path = self.folder / file
        lines = path.read_text().splitlines() if path.exists() else []
        parts = [line.split(" ", 2) for line in lines]
        return [(float(p[0]), p[1], p[2] if len(p) > 2 else "") for p in parts]

    def start(self) -> None:
        """Bring the number of workers to two."""
        while len(self.workers) < 2:
            self.made += 1
            name = f"w{self.made}"
            command = [sys.executable, str(HERE / "takeover_worker.py"), self.url, str(self.folder), name]
            with (self.folder / f"{name}.out").open("wb") as out:
                self.workers[name] = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        for name in self.workers:
            until(lambda name=name: any(who == name for _, who, _ in self.read("up")))  # type: ignore[misc]

    def receive(self, text: str, chat: str, number: int = 0) -> int:
        return self.store.write_now(lambda tx: insert_event(tx, message(text, number, chat=chat), START)).seq

    def order(self) -> None:
        """One more order in the lane of orders."""
        self.orders += 1
        self.receive("order", "orders", self.orders)

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait()


@dataclass
class Trial:
    """One takeover."""

    seconds: float
    orders_seconds: float
    rows: int = 0
    sends: int = 0
    begun: int = 0


def trial(bench: Bench, number: int, rng: random.Random, *, frozen: bool) -> Trial:
    """Hit the worker that has the lane of steps; see when the other one goes on with it."""
    bench.start()
    walk = bench.receive("walk 4000", f"walk{number}")

    def steps(since: float = 0.0) -> list[tuple[float, str]]:
        return [(at, who) for at, who, what in bench.read("steps") if what.startswith(f"{walk} ") and at > since]

    until(lambda: len(steps()) > 3)
    for _ in range(rng.randint(5, 25)):
        bench.order()
    time.sleep(rng.random() * 0.05)
    victim = steps()[-1][1]
    hit = time.time()
    bench.workers[victim].send_signal(signal.SIGSTOP if frozen else signal.SIGKILL)
    for _ in range(5):
        bench.order()
    first = until(lambda: next((at for at, who in steps(hit) if who != victim), None))
    sent = until(lambda: next((at for at, who, _ in bench.read("sent") if at > hit and who != victim), None))
    found = Trial(first - hit, sent - hit)
    if frozen:
        time.sleep(rng.uniform(0.2, 1.0))
        woken = time.time()
        bench.workers[victim].send_signal(signal.SIGCONT)
        resumed = until(
            lambda: next((at for at, who, _ in bench.read("resumed") if who == victim and at > woken), None)
        )
        view = bench.store.view()
        wrote = view.one(
            "SELECT COUNT(*) AS n FROM wrote WHERE who = ? AND at > ? AND at <= ?", (victim, woken, resumed)
        )
        assert wrote is not None
        found.rows = wrote["n"]
        found.begun = sum(who == victim and at <= resumed for at, who in steps(woken))
        found.sends = sum(who == victim and woken < at <= resumed for at, who, _ in bench.read("sent"))
    end = bench.workers.pop(victim)
    if frozen:
        end.kill()
    end.wait()
    # The lane has done its duty: its event must not compete with the next one's.
    bench.store.write_now(lambda tx: tx.execute("UPDATE event SET state = 'parked' WHERE seq = ?", (walk,)))
    for worker in bench.workers.values():
        worker.kill()
        worker.wait()
    bench.workers.clear()
    return found


@contextmanager
def bench_on(server: PostgresServer, folder: Path) -> Iterator[Bench]:
    """A fresh database with its judges."""
    url = server.database()
    store = PostgresStore.open(url, MIGRATIONS)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TRIGGER)
        for table in _TABLES:
            connection.execute(
                f"CREATE TRIGGER note_{table} AFTER INSERT OR UPDATE OR DELETE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION note_write()"
            )
    bench = Bench(url, folder, store)
    try:
        yield bench
    finally:
        bench.stop()
        store.close()


def dbos_python() -> Path | str:
    """An interpreter with DBOS, or why there is none."""
    home = Path(tempfile.gettempdir()) / "retainer-bench-takeover"
    python = home / "bin" / "python"
    wanted = HERE / "takeover_peers" / "requirements.txt"
    if not (home / "ready").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True, timeout=120)
            subprocess.run(
                [python, "-m", "pip", "install", "-q", "-r", wanted], check=True, capture_output=True, timeout=300
            )
            (home / "ready").touch()
        except (OSError, subprocess.SubprocessError) as error:
            return f"not installed: {type(error).__name__}"
    return python


def dbos(server: PostgresServer, folder: Path) -> str:
    """What DBOS's second worker does when the first one is killed."""
    python = dbos_python()
    if isinstance(python, str):
        return python
    url = server.database()
    bench = Bench(url, folder, None)  # type: ignore[arg-type]  # only its files are read
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for name, more in (("B", []), ("A", ["start"])):
            command = [str(python), str(HERE / "takeover_peers" / "dbos_worker.py"), url, name, str(folder), *more]
            with (folder / f"dbos-{name}.out").open("wb") as out:
                workers.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT))
            until(lambda name=name: any(who == name for _, who, _ in bench.read("dbos-up")), 60)  # type: ignore[misc]
        until(lambda: len(bench.read("dbos")) > 5, 60)
        hit = time.time()
        workers[1].kill()
        workers[1].wait()
        while time.time() < hit + WATCH:
            other = [at for at, who, _ in bench.read("dbos") if who == "B"]
            if other:
                return f"went on after {other[0] - hit:.2f} s"
            time.sleep(0.05)
        return f"nothing resumed in {WATCH:.0f} s ({len(bench.read('dbos'))} of 500 steps done)"
    except TimeoutError:
        return "did not start"
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def main() -> int:
    """Run it and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5, help="of each kind (default 5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-peers", action="store_true", help="leave DBOS out")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name, PostgresServer(fsync=True) as server:
        folder = Path(name)
        with bench_on(server, folder) as bench:
            killed = [trial(bench, n, rng, frozen=False) for n in range(options.trials)]
            frozen = [trial(bench, 1000 + n, rng, frozen=True) for n in range(options.trials)]
            bench.start()
            until(lambda: not _open_orders(bench), 60)
            arrived = Counter(what for _, _, what in bench.read("sent"))
            rerun = Counter(what for _, _, what in bench.read("steps"))
            shown = bench.store.view().one("SHOW server_version")
        peer = "left out" if options.no_peers else dbos(server, folder)
    doubled, lost = sum(n - 1 for n in arrived.values()), bench.orders - len(arrived)
    again = sum(n - 1 for n in rerun.values())
    figures: list[tuple[str, str, str, bool]] = [
        _seconds("killed: first step of the other, worst", [t.seconds for t in killed], KILLED),
        _seconds("killed: first order of the other, worst", [t.orders_seconds for t in killed], KILLED),
        _seconds("frozen: first step of the other, worst", [t.seconds for t in frozen], FROZEN),
        _seconds("frozen: first order of the other, worst", [t.orders_seconds for t in frozen], FROZEN),
        _count("frozen: rows written on waking", sum(t.rows for t in frozen), 0),
        _count("frozen: effects sent on waking", sum(t.sends for t in frozen), 0),
        _count("frozen: steps begun on waking", sum(t.begun for t in frozen), 0),
        _count(f"orders lost, of {bench.orders}", lost, 0),
        _count("orders doubled", doubled, 0),
        _count("steps run again (the one in flight)", again, 2 * options.trials),
    ]
    server_version = next(iter(shown.values())) if shown else "?"
    print(f"PostgreSQL {server_version}, psycopg {version('psycopg')}, {os.cpu_count()} cores, {options.trials} trials")
    print("\n| what | measured | limit | |\n|---|---|---|---|")
    for what, measured, limit, good in figures:
        print(f"| {what} | {measured} | {limit} | {'ok' if good else 'MISSED'} |")
    print(f"| DBOS 3.4.0, first worker killed | {peer} | | |")
    return 0 if all(good for *_, good in figures) else 1


def _open_orders(bench: Bench) -> int:
    row = bench.store.view().one(
        "SELECT (SELECT COUNT(*) FROM event WHERE state = 'waiting')"
        " + (SELECT COUNT(*) FROM effect WHERE state IN ('ready', 'sending')) AS n"
    )
    return int(row["n"]) if row else 0


def _seconds(what: str, values: list[float], limit: float) -> tuple[str, str, str, bool]:
    middle = sorted(values)[len(values) // 2]
    return what, f"{max(values):.2f} s (median {middle:.2f})", f"<= {limit:.0f} s", max(values) <= limit


def _count(what: str, value: int, limit: int) -> tuple[str, str, str, bool]:
    return what, str(value), f"<= {limit}", value <= limit


if __name__ == "__main__":
    sys.exit(main())
