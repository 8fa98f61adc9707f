"""Power failures: the disk as it was at some instant, its last writes torn, opened again elsewhere.

The working service is frozen (SIGSTOP), its database and write-ahead log are copied together with the far sides'
records, and it goes on later. In the copy, what was not yet synced to disk when it froze is spoiled: a disk may have
kept any of it. Then a new service finishes what it finds there. The moments (``MOMENTS``):

``write``       at random. The log behind the last commit is cut at any byte, zeroed or scrambled.
``checkpoint``  while the service moves the log into the main file: any of these pages, whole or in part, are there. The
                log is as it was: it is synced before.
``beside``      as ``write``, and another process (a command that ends) had begun to move the log up to some commit.
``restart``     the log has just been begun anew over its old bytes. Its header, or its first frames, are torn; behind
                them lie frames of the log before it.

``python power.py FOLDER`` is the working service.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.runtime.crash_child import FAR, serve
from tests.runtime.far_judge import judge, rows
from tests.runtime.wal_file import Instant, half_written, look, look_at_work, read_index, strangers

MOMENTS = ("write", "checkpoint", "beside", "restart")
TEARS = ("none", "cut", "zeroed", "scrambled")
_INDEXES = ("left", "gone", "scrambled")
DATABASE = "retainer.db"
PATIENCE = 30
"""Seconds until a moment comes by."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One copy, finished and judged."""

    moment: str
    messages: int = 0
    """Confirmed upstream at that instant."""
    unsynced: int = 0
    """Bytes of the log that were written, and may or may not have reached the disk."""
    tear: str = "none"
    """What became of these; if there were none, of a frame that the disk had begun to receive."""
    pages: int = 0
    """Pages that a checkpoint was writing into the main file."""
    whole: int = 0
    """How many of these are there."""
    part: int = 0
    """How many are there in part."""
    first: bool = False
    """The log was begun anew, and nothing was committed into it."""


def prepare(folder: Path) -> None:
    """Empty far sides."""
    folder.mkdir(parents=True)
    database = sqlite3.connect(folder / "far.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.executescript(FAR)
    database.close()


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start it."""
    return subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.DEVNULL)


def copies(folder: Path, count: int, seed: int) -> list[Failure]:
    """Let it work in ``folder``, fail ``count`` times, at each moment in turn; finish and judge every copy."""
    chance, failures = random.Random(seed), list[Failure]()
    live = folder / "live"
    prepare(live)
    service = start(live)
    try:
        while not rows(live / "far.db", "SELECT COUNT(*) FROM upstream")[0][0]:
            assert service.poll() is None
            time.sleep(0.01)
        until = time.monotonic() + PATIENCE
        while len(failures) < count:
            moment = MOMENTS[(seed + len(failures)) % len(MOMENTS)]
            assert time.monotonic() < until, f"no {moment} comes by"
            before = _await(live, moment, chance, until)
            assert service.poll() is None, "the service ended"
            service.send_signal(signal.SIGSTOP)
            _await_stopped(service.pid)
            copy = folder / f"copy{len(failures)}"
            shutil.copytree(live, copy)
            now = look(copy / DATABASE)
            now.check()
            if _is(moment, before, now):
                failures.append(_finish(copy, spoil(copy / DATABASE, before, now, moment, chance)))
                until = time.monotonic() + PATIENCE
            shutil.rmtree(copy)
            service.send_signal(signal.SIGCONT)
    finally:
        service.kill()  # ends a frozen one too
        service.wait()
    return failures


def _await(live: Path, moment: str, chance: random.Random, until: float) -> Instant:
    """Wait for ``moment``; returns the database as it was some time before, while no checkpoint was under way."""
    path = live / DATABASE
    enough = 100 if moment == "restart" else 0  # frames, so that it is known what they are written over
    while (before := look_at_work(path)) is None or before.index.frames < enough:
        assert time.monotonic() < until, f"no {moment} comes by"
        time.sleep(0.001)
    if moment in ("write", "beside"):
        time.sleep(chance.uniform(0.01, 0.1))
        return before
    while time.monotonic() < until:
        try:
            index = read_index(path)
        except ValueError:  # it is being written just now
            continue
        if index.salts != before.index.salts or (moment == "checkpoint" and index.checkpoint):
            time.sleep(chance.uniform(0, 0.001))
            break
        time.sleep(0.0002)
    return before


def _await_stopped(pid: int) -> None:
    """Each thread stops for itself; one that waits for the disk does so later."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            while (thread / "stat").read_text().rpartition(")")[2].split()[0] != "T":
                time.sleep(0.001)


def _is(moment: str, before: Instant, now: Instant) -> bool:
    """Whether it was caught, and it is known what lay on the disk before."""
    if moment == "checkpoint":
        same = (now.index.salts, now.index.written) == (before.index.salts, before.index.written)
        return same and now.index.checkpoint
    if moment == "restart" and now.index.generation != before.index.generation + 1:
        return False
    return not now.index.checkpoint and (moment != "beside" or bool(now.commits()))


def spoil(path: Path, before: Instant, now: Instant, moment: str, chance: random.Random) -> Failure:
    """Leave in the files at ``path``, which are as ``now``, what a disk may have kept."""
    failure = Failure(moment, first=now.index.frames == 0)
    if moment in ("checkpoint", "beside"):
        caught = moment == "checkpoint"
        pages = now.pages(now.index.begun if caught else chance.choice(now.commits()))
        if caught:
            assert not [*strangers(now.main, before.main, pages)], "a checkpoint writes these pages and no others"
        main, whole, part = half_written(before.main if caught else now.main, pages, chance)
        path.write_bytes(main)
        failure = replace(failure, pages=len(pages), whole=whole, part=part)
    if moment != "checkpoint":  # the writer is busy with it, and writes nothing into the log
        log, unsynced, tear = _torn(before, now, chance)
        Path(f"{path}-wal").write_bytes(log)
        failure = replace(failure, unsynced=unsynced, tear=tear)
    index = Path(f"{path}-shm")  # it is never synced, and never trusted by the first who opens the database
    match chance.choice(_INDEXES):
        case "gone":
            index.unlink()
        case "scrambled":
            index.write_bytes(chance.randbytes(index.stat().st_size))
    return failure


def _torn(before: Instant, now: Instant, chance: random.Random) -> tuple[bytes, int, str]:
    """The log without some of what was not synced yet; how many bytes that were, and what became of them."""
    first, last = now.unsynced()
    tear, data = chance.choice(TEARS), now.log
    written = last - first
    if tear == "none":
        return data, written, tear
    old = before.log if now.index.generation == before.index.generation + 1 else b""
    if not written:
        begun = chance.randbytes(chance.randrange(1, 9000))
        old, last = data, first + len(begun)
        data = data[:first] + begun + data[last:]
    kept = chance.randrange(first, last + 1)
    match tear:
        case "cut":  # where the log had grown, it ends here; where it was begun anew, its old bytes are there
            rest = old[kept:last]
            rest += bytes(last - kept - len(rest) if len(data) > last else 0)
        case "zeroed":
            rest = bytes(last - kept)
        case _:
            rest = chance.randbytes(last - kept)
    return data[:kept] + rest + data[last:], written, tear


def _finish(copy: Path, failure: Failure) -> Failure:
    messages = rows(copy / "far.db", "SELECT COUNT(*) FROM upstream")[0][0]
    aside = copy / "aside"  # who looks at it moves the log away: the new service finds it as the failure left it
    aside.mkdir()
    for file in copy.glob(f"{DATABASE}*"):
        shutil.copy(file, aside)
    assert rows(aside / DATABASE, "PRAGMA integrity_check") == [("ok",)], failure
    stored = rows(aside / DATABASE, "SELECT COUNT(*) FROM event WHERE kind = 'message'")[0][0]
    assert stored >= messages, f"{stored} messages of {messages} confirmed ones ({failure})"
    (copy / "finish").touch()
    assert (status := start(copy).wait(60)) == 0, f"the new service ended with {status} ({failure})"
    assert judge(copy, 1) >= messages, f"confirmed messages are missing ({failure})"
    return replace(failure, messages=messages)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
