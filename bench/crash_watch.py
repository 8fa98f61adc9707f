"""Kills a service at one of its commits, seen from outside in the index of SQLite's write-ahead log.

``python crash_watch.py DATABASE PID COMMITS before|after`` prints ``ready`` and waits until so many transactions more
have been committed; then it sends SIGKILL at once (``after``), or as soon as the next one holds the lock for writing
(``before`` it is committed). It reads a counter and asks for a lock's state; the service cannot tell that it is there.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
from pathlib import Path

_CHANGE = 8
"""Where the index's header counts committed transactions (``iChange``)."""
_WRITE_LOCK = 120
"""The byte of the index that is locked while a transaction writes."""
_FLOCK = "hhqqi0q"
_NOT_YET = b"\0\0\0\0"


def commits(database: Path) -> int:
    """Transactions that the service on ``database`` has committed since it began its log; a difference counts."""
    index = database.with_name(database.name + "-shm")
    with index.open("rb") as file:
        return _count(file.fileno())


def _count(index: int) -> int:
    found = os.pread(index, 4, _CHANGE)
    return int.from_bytes(found if len(found) == 4 else _NOT_YET, sys.byteorder)


def _writing(index: int) -> bool:
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _WRITE_LOCK, 1, 0)
    return bool(struct.unpack(_FLOCK, fcntl.fcntl(index, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK)


def main(database: Path, pid: int, wanted: int, when: str) -> None:
    """Watch, and kill once."""
    index = os.open(database.with_name(database.name + "-shm"), os.O_RDWR)
    last, passed = _count(index), 0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while passed < wanted:
        now = _count(index)
        if now not in {last, 0}:  # a start sets it to 0 while it recovers the log
            passed += 1
        last = now
    while when == "before" and not _writing(index):
        continue
    os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
