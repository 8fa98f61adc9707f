"""Power failures: the disk as it was at some instant, its last writes torn, opened again elsewhere.

The working service is frozen (SIGSTOP), its database and write-ahead log are copied together with the far sides'
records, and it goes on later. In the copy, what was not yet synced to disk when it froze (the log behind the end of
the last commit that was acknowledged) is cut at a random byte, zeroed or scrambled: a disk may have kept any of it.
Then a new service finishes what it finds there.

``python power.py FOLDER`` is the working service.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.runtime.crash_child import FAR, serve
from tests.runtime.far_judge import judge, rows

from retainer.runtime.sqlite_session import SqliteSession

TEARS = ("none", "cut", "zeroed", "scrambled")
LOG_LIMIT = 4_000_000
"""The write-ahead log begins anew at 1,000 pages of 4 KB; then its size says nothing of what is on disk."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One copy, finished and judged."""

    messages: int
    """Confirmed upstream at that instant."""
    unsynced: int
    """Bytes of the log that may or may not have reached the disk."""
    tear: str


def work(folder: Path) -> None:
    """The service; notes after every commit how much of the log is on disk."""
    log = folder / "retainer.db-wal"
    commit = SqliteSession.commit
    with (folder / "synced").open("a", buffering=1) as synced:

        def noted(session: SqliteSession) -> None:
            commit(session)
            synced.write(f"{log.stat().st_size}\n")

        SqliteSession.commit = noted  # type: ignore[method-assign,assignment]  # the point is to stand behind every commit
        asyncio.run(serve(folder))


def prepare(folder: Path) -> None:
    """Empty far sides."""
    import sqlite3

    folder.mkdir(parents=True)
    database = sqlite3.connect(folder / "far.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.executescript(FAR)
    database.close()


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start it."""
    return subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.DEVNULL)


def copies(folder: Path, count: int, seed: int) -> list[Failure]:
    """Let it work in ``folder``, fail ``count`` times, finish and judge every copy."""
    chance, failures = random.Random(seed), list[Failure]()
    live = folder / "live"
    service = _begin(live)
    try:
        while len(failures) < count:
            time.sleep(chance.uniform(0.01, 0.1))
            service.send_signal(signal.SIGSTOP)
            _await_stopped(service.pid)
            if (live / "retainer.db-wal").stat().st_size >= LOG_LIMIT:
                service.kill()
                service.wait()
                shutil.rmtree(live)
                service = _begin(live)
                continue
            copy = folder / f"copy{len(failures)}"
            shutil.copytree(live, copy)
            failures.append(_finish(copy, chance))
            shutil.rmtree(copy)
            service.send_signal(signal.SIGCONT)
    finally:
        service.kill()  # ends a frozen one too
        service.wait()
    return failures


def _begin(live: Path) -> subprocess.Popen[bytes]:
    """A service with a fresh folder, at work."""
    prepare(live)
    service = start(live)
    while not (live / "synced").exists() or (live / "synced").stat().st_size < 200:
        assert service.poll() is None
        time.sleep(0.01)
    return service


def _await_stopped(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)


def _finish(copy: Path, chance: random.Random) -> Failure:
    unsynced, tear = _tear(copy, chance)
    messages = rows(copy / "far.db", "SELECT COUNT(*) FROM upstream")[0][0]
    assert rows(copy / "retainer.db", "PRAGMA integrity_check") == [("ok",)]
    stored = rows(copy / "retainer.db", "SELECT COUNT(*) FROM event WHERE kind = 'message'")[0][0]
    assert stored >= messages, f"{stored} messages of {messages} confirmed ones ({tear})"
    (copy / "finish").touch()
    assert (status := start(copy).wait(60)) == 0, f"the new service ended with {status} ({tear})"
    assert judge(copy, 1) >= messages, f"confirmed messages are missing ({tear})"
    return Failure(messages, unsynced, tear)


def _tear(copy: Path, chance: random.Random) -> tuple[int, str]:
    """Spoil what was not synced yet. The log only grows here: it is not let near the size at which it begins anew."""
    log = copy / "retainer.db-wal"
    (copy / "retainer.db-shm").unlink(missing_ok=True)
    synced = int((copy / "synced").read_text().rpartition("\n")[0].split()[-1])
    size = log.stat().st_size
    assert synced <= size < LOG_LIMIT, f"{synced} bytes synced of a log of {size}: it was started anew"
    tear = chance.choice(TEARS)
    if tear == "none":
        return size - synced, tear
    data = log.read_bytes()
    if size == synced:  # nothing was under way: a frame that the disk had begun to receive
        data += chance.randbytes(chance.randrange(1, 9000))
    kept = chance.randrange(synced, len(data) + 1)
    rest = {"cut": b"", "zeroed": bytes(len(data) - kept), "scrambled": chance.randbytes(len(data) - kept)}[tear]
    log.write_bytes(data[:kept] + rest)
    return len(data) - synced, tear


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    work(Path(sys.argv[1]))
