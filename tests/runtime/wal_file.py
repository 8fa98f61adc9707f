"""SQLite's write-ahead log and its index as they lie in their files: what is on disk, and what a checkpoint writes.

The formats are described at https://sqlite.org/walformat.html and https://sqlite.org/fileformat2.html#walformat.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HEADER = 32
"""Bytes at the start of the log: it names the generation (its salts)."""
FRAME_HEADER = 24
"""Bytes before the page in each frame."""
SECTOR = 512
"""What a disk writes whole or not at all."""
_INDEX_HEADER = 48
_COUNTS = 96
"""Where the index says how far checkpoints came."""


@dataclass(frozen=True, slots=True)
class Index:
    """What the file ``-shm`` says.

    With ``synchronous=FULL`` (which the tests of the store hold it to) SQLite moves each of these on only behind the
    sync of what it counts, so that they tell what is on disk, also where the log was begun anew over its old bytes.
    """

    salts: bytes
    """The generation of the log; the frames of older ones do not count."""
    page: int
    """Bytes of a page."""
    frames: int
    """Committed and synced."""
    checksum: tuple[int, int]
    """Of the last of these."""
    written: int
    """Frames whose pages are synced in the main file."""
    begun: int
    """Frames whose pages some checkpoint has begun to write there."""

    @property
    def generation(self) -> int:
        """One more each time that the log begins anew."""
        return int.from_bytes(self.salts[:4], "big")

    @property
    def checkpoint(self) -> bool:
        """Whether the main file is being written."""
        return self.begun > self.written

    def behind(self, frame: int) -> int:
        """The offset in the log behind ``frame``; frames count from 1."""
        return HEADER + frame * (FRAME_HEADER + self.page)


def read_index(path: Path) -> Index:
    """The index of the database at ``path``. Raises :class:`ValueError` while it is being set up."""
    with Path(f"{path}-shm").open("rb", buffering=0) as file:
        data = file.read(_COUNTS + 40)
    if len(data) < _COUNTS + 40:
        raise ValueError("it has no index yet")
    for start in (0, _INDEX_HEADER):  # there are two, written one behind the other: one of them is whole
        header = data[start : start + _INDEX_HEADER]
        if _sums(header[:40]) == struct.unpack_from("=2I", header, 40):
            break
    else:
        raise ValueError("its index is not whole")
    page, frames = struct.unpack_from("=HI", header, 14)
    written, begun = (struct.unpack_from("=I", data, _COUNTS + at)[0] for at in (0, 32))
    if max(written, begun) > frames:  # the log begins anew, and these are set back in a moment
        written = begun = 0
    return Index(header[32:40], page, frames, struct.unpack_from("=2I", header, 24), written, max(written, begun))


def _sums(data: bytes) -> tuple[int, int]:
    first = second = 0
    for one, other in struct.iter_unpack("=2I", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second


@dataclass(frozen=True, slots=True)
class Instant:
    """A database at one instant."""

    index: Index
    main: bytes
    log: bytes

    def check(self) -> None:
        """Assert that index and log agree: the last frame that is said to be synced is there, and ends a commit."""
        if self.index.frames:
            header = self._frame(self.index.frames)
            assert header[1] > 0, "a commit ends here"
            assert header[3:] == self.index.checksum, "the index speaks of this frame"
            assert self._ours(self.index.frames), "and of this generation"

    def _frame(self, frame: int) -> tuple[int, int, bytes, int, int]:
        """Page, pages of the database if it ends a commit, salts and checksum."""
        found: tuple[int, int, bytes, int, int] = struct.unpack_from(">II8sII", self.log, self.index.behind(frame - 1))
        return found

    def _ours(self, frame: int) -> bool:
        start = self.index.behind(frame - 1)
        return self.log[start + 8 : start + 16] == self.index.salts

    def commits(self) -> list[int]:
        """The frames that end a commit whose pages may not be in the main file yet."""
        return [frame for frame in range(self.index.written + 1, self.index.frames + 1) if self._frame(frame)[1]]

    def pages(self, last: int) -> dict[int, bytes]:
        """What a checkpoint of everything up to frame ``last``, which ends a commit, writes into the main file."""
        size, found = self._frame(last)[1], dict[int, bytes]()
        for frame in range(self.index.written + 1, last + 1):
            number = self._frame(frame)[0]
            if number <= size:
                found[number] = self.log[self.index.behind(frame) - self.index.page : self.index.behind(frame)]
        return found

    def unsynced(self) -> tuple[int, int]:
        """From where to where the log was being written."""
        start = self.index.behind(self.index.frames)
        if self.index.frames == 0 and not self._ours(1):  # the header is synced before the first frame is written
            return 0, HEADER if self.log[16:24] == self.index.salts else 0
        last = self.index.frames
        while self._ours(last + 1):
            last += 1
        return start, min(self.index.behind(last), len(self.log))


def look(path: Path) -> Instant:
    """The database at ``path``, which nobody changes meanwhile."""
    return Instant(read_index(path), path.read_bytes(), Path(f"{path}-wal").read_bytes())


def look_at_work(path: Path) -> Instant | None:
    """The database at ``path``, which is at work; ``None`` if a checkpoint was writing it meanwhile.

    The log only grows as long as it is of one generation: what it had at the beginning is read as it was.
    """
    try:
        found, index = look(path), read_index(path)
    except ValueError:
        return None
    was = found.index
    calm = not was.checkpoint and (was.salts, was.written, was.begun) == (index.salts, index.written, index.begun)
    return found if calm else None


def half_written(main: bytes, pages: Mapping[int, bytes], chance: random.Random) -> tuple[bytes, int, int]:
    """``main`` with a random share of ``pages`` in it, some of them in part; and how many are whole and in part.

    Nothing orders these writes until the sync at the end of the checkpoint: the disk may have done any of them.
    """
    data, share, whole, part = bytearray(main), chance.random(), 0, 0
    for number, page in pages.items():
        if chance.random() >= share:
            continue
        start, stop = 0, len(page)
        if chance.random() < 0.3:
            cut = SECTOR * chance.randrange(1, len(page) // SECTOR)
            start, stop = chance.choice(((0, cut), (cut, stop)))
        at = (number - 1) * len(page) + start
        data.extend(bytes(max(0, at - len(data))))
        data[at : at + stop - start] = page[start:stop]
        whole, part = (whole, part + 1) if stop - start < len(page) else (whole + 1, part)
    return bytes(data), whole, part


def strangers(main: bytes, before: bytes, pages: Mapping[int, bytes]) -> Iterator[int]:
    """Pages of ``main`` that are neither as before nor as a checkpoint of ``pages`` leaves them."""
    size = len(next(iter(pages.values())))
    for number in range(1, len(main) // size + 1):
        here = slice((number - 1) * size, number * size)
        if main[here] not in (before[here], pages.get(number), bytes(size)):
            yield number
