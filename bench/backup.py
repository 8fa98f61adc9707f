"""Backups under load and the way back: how long the writer stands still, and how soon a restored service answers.

    .venv/bin/python bench/backup.py [--mb 40] [--backups 3] [--seed 1]          # about a minute

A database of the wanted size with the real schema (messages and their audit chains) is written to all the time through
the service's own writer, one durable unit after another. Beside it backups are made as the service makes them: copy,
checks and manifest. Then the newest is restored into the same folder, the real service is started on it, and a
question is asked in its terminal. Ends with 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.operations.backups import Backup, make
from retainer.app.operations.drill import run_drill
from retainer.app.operations.restore import restore
from retainer.app.store import migrations
from retainer.core.events import NewEvent
from retainer.core.protocols import Tx
from retainer.runtime.inbox import end_event, insert_event
from retainer.runtime.sqlite import SqliteStore
from retainer.safety import audit
from retainer.safety.people import ensure_local_owner

WORST_STALL_MS = 250.0
TO_FIRST_ANSWER_S = 60.0
RETAINER = Path(sys.executable).with_name("retainer")
WORDS = [
    f"{head}{tail}" for head in ("ba", "ko", "mi", "ru", "sa", "te") for tail in ("n", "lo", "rik", "do", "ve", "x")
]


def unit(rng: random.Random, number: int, sender: str, now: datetime) -> Callable[[Tx], None]:
    """What one message leaves behind: a row, its text, an audit entry; handled."""
    text = " ".join(rng.choices(WORDS, k=60))

    def apply(tx: Tx) -> None:
        event = NewEvent(
            source="bench",
            external_id=f"{number}",
            agent="chat",
            lane=f"chat:bench:{number % 20}",
            kind="message",
            body={"text": text},
            sender=sender,
            occurred_at=now,
        )
        receipt = insert_event(tx, event, now)
        end_event(tx, receipt.seq, "done", now.timestamp())
        audit.append(tx, event.lane, "message", f"event:{receipt.seq}", {"length": len(text)}, now)

    return apply


class Load(threading.Thread):
    """Writes without a pause; remembers how long each unit took, and when."""

    def __init__(self, store: SqliteStore, rng: random.Random, number: int) -> None:
        super().__init__(daemon=True)
        self._store, self._rng, self._number = store, rng, number
        self._ends = threading.Event()
        self.took: list[float] = []

    def run(self) -> None:
        while not self._ends.is_set():
            self._number += 1
            work = unit(self._rng, self._number, "somebody", datetime.now(UTC))  # the owner may write 20 a minute
            began = time.perf_counter()
            self._store.write_now(work)
            self.took.append(time.perf_counter() - began)
            time.sleep(0.002)

    def during(self, what: Callable[[], Any]) -> tuple[Any, float, list[float]]:
        """Run ``what``; its result, its seconds, and the units written meanwhile (the one under way included)."""
        first, began = len(self.took), time.perf_counter()
        result = what()
        seconds = time.perf_counter() - began
        until = len(self.took) + 1
        while len(self.took) < until:
            time.sleep(0.001)
        return result, seconds, self.took[first:]

    def end(self) -> None:
        self._ends.set()
        self.join()


def fill(store: SqliteStore, rng: random.Random, path: Path, megabytes: float) -> int:
    """Until the file has the wanted size, with messages of the last months; returns their number."""
    number, began = 0, datetime.now(UTC) - timedelta(days=90)
    while path.stat().st_size < megabytes * 1e6:
        batch = [unit(rng, each, "owner", began + timedelta(minutes=each)) for each in range(number, number + 500)]
        number += 500

        def apply(tx: Tx, batch: list[Callable[[Tx], None]] = batch) -> None:
            for each in batch:
                each(tx)

        store.write_now(apply)
        store.checkpoint()
    return number


def first_answer(settings: Settings, backup: Backup) -> tuple[float, float]:
    """Seconds from the decision to restore until the service has answered; and of those, the restore itself."""
    began = time.perf_counter()
    restore(DataFolder(settings.data), backup, migrations(), now=datetime.now(UTC) + timedelta(seconds=1))
    restored = time.perf_counter() - began
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RETAINER_")},
        "RETAINER_DATA": str(settings.data),
        "RETAINER_MODEL": "none",
        "RETAINER_CACHE": os.environ.get("RETAINER_CACHE", ""),
    }
    output = settings.data.with_name("up.out")
    with output.open("wb") as out:
        service = subprocess.Popen([str(RETAINER), "up"], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        while "retainer runs on" not in output.read_text():
            if service.poll() is not None:
                raise SystemExit(f"The service ended: {output.read_text()}")
            time.sleep(0.02)
        asked = subprocess.run(
            [str(RETAINER), "chat", "--plain"], env=env, input="what is 20 + 22?\n", capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        if "42" not in asked.stdout:
            raise SystemExit(f"It did not answer: {asked.stdout} {asked.stderr}")
        return time.perf_counter() - began, restored
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(30)


def row(name: str, seconds: float, took: list[float]) -> str:
    """One line of the table."""
    ordered = sorted(took)
    p99 = ordered[int(len(ordered) * 0.99)] if ordered else 0.0
    return (
        f"{name:<26} {seconds:>7.2f} s   {len(took):>6} units   p50 {statistics.median(took) * 1e3:>6.1f} ms"
        f"   p99 {p99 * 1e3:>6.1f} ms   worst {max(took) * 1e3:>6.1f} ms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=40.0, help="size of the database, in MB (default 40)")
    parser.add_argument("--backups", type=int, default=3, help="how many backups are made under load (default 3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    root = Path(tempfile.mkdtemp(prefix="bench-backup-", dir=given.folder))
    settings = Settings(data=root / "data")
    folder = DataFolder(settings.data).make()
    store = SqliteStore.open(folder.database, migrations())
    worst: list[float] = []
    try:
        store.write_now(lambda tx: ensure_local_owner(tx, datetime.now(UTC)))
        number = fill(store, rng, folder.database, given.mb)
        print(f"database {folder.database.stat().st_size / 1e6:.1f} MB, {number} messages, {os.cpu_count()} cores")
        load = Load(store, rng, number)
        load.start()
        _, seconds, took = load.during(lambda: time.sleep(5))
        print(row("writer alone", seconds, took))
        alone = max(took)
        newest: Backup | None = None
        for count in range(given.backups):
            now = datetime.now(UTC) + timedelta(seconds=count)
            newest, seconds, took = load.during(partial(make, settings, why="bench", now=now))
            worst.append(max(took))
            print(row(f"backup {count + 1}, {newest.size / 1e6:.1f} MB", seconds, took))
        assert newest is not None
        drill, seconds, took = load.during(lambda: run_drill(newest, migrations(), now=datetime.now(UTC)))
        print(row(f"restore drill: {'passed' if drill.ok else 'FAILED'}", seconds, took))
        load.end()
        store.close()
        total, restored = first_answer(settings, newest)
        print(f"restore {restored:.2f} s, start and first answer {total - restored:.2f} s: {total:.2f} s in all")
    finally:
        store.close()
        shutil.rmtree(root, ignore_errors=True)
    stall = max(worst) * 1e3
    good = stall <= WORST_STALL_MS and total <= TO_FIRST_ANSWER_S and drill.ok
    print(
        f"\nworst stall of the writer during a backup {stall:.0f} ms (at most {WORST_STALL_MS:.0f};"
        f" {alone * 1e3:.0f} ms without one)\nrestore to first answer {total:.1f} s (at most {TO_FIRST_ANSWER_S:.0f})\n"
        f"{'every limit is kept' if good else 'MISSED'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
