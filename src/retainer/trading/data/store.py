"""The local store of bars: one file per symbol and interval, written in one step, verified when read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

import numpy as np

from retainer.core.errors import InvalidInputError, NotFoundError, RetainerError
from retainer.trading.bars import PRICE_FIELDS, Bars, check_symbol
from retainer.trading.data.checking import check_interval
from retainer.trading.units import ns_to_datetime

FORMAT: Final = 1
_COLUMNS: Final = ("close_time", *PRICE_FIELDS, "volume", "factor")
Mode = Literal["new", "append", "replace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the store says of one series."""

    symbol: str
    interval: str
    rows: int
    first: str
    """Close of the first bar, ISO, UTC."""
    last: str
    digest: str
    """SHA-256 of the arrays."""
    source: str = ""
    """Where it came from, for people."""
    saved_at: str = ""
    notes: tuple[str, ...] = field(default=())
    """What was noticed when it came in, e.g. sessions without a bar."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


class BarStore:
    """Bars under a folder, by symbol and interval (``1min`` ... ``1d``).

    A file is written beside its place and then moved there, so a reader sees the old series or the new one, never a
    part. Each read compares the digest of what it found with the one that was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder

    def save(
        self,
        bars: Bars,
        interval: str = "1d",
        *,
        mode: Mode = "new",
        source: str = "",
        notes: Sequence[str] = (),
        now: datetime | None = None,
    ) -> Entry:
        """Keep ``bars``. ``new`` refuses when the series is there, ``append`` adds later bars, ``replace`` swaps it.

        Appended bars may repeat stored ones; one that differs is refused, naming its time: history was revised, and
        what was tested on the old one should not change silently. Returns the entry; nothing is written on an error.
        """
        check_interval(interval)
        path = self._path(bars.symbol, interval)
        if mode == "new" and path.exists():
            raise InvalidInputError(
                f"{bars.symbol} {interval} is in the store already.",
                hint="Add later bars with append, or swap the series with replace.",
            )
        if mode == "append" and path.exists():
            bars = joined(self.load(bars.symbol, interval), bars)
        entry = Entry(
            symbol=bars.symbol,
            interval=interval,
            rows=len(bars),
            first=ns_to_datetime(int(bars.close_time[0])).isoformat(),
            last=ns_to_datetime(int(bars.close_time[-1])).isoformat(),
            digest=digest_of(bars),
            source=source,
            saved_at=(now or datetime.now(UTC)).isoformat(timespec="seconds"),
            notes=tuple(notes),
        )
        self._write(path, bars, entry)
        return entry

    def load(self, symbol: str, interval: str = "1d") -> Bars:
        """The series. Raises :class:`NotFoundError`, or :class:`InvalidInputError` when the file is damaged."""
        path = self._path(check_symbol(symbol), check_interval(interval))
        if not path.exists():
            raise NotFoundError(f"The store has no {symbol} {interval}.", hint=self._have())
        entry, arrays = _read(path, _COLUMNS)
        bars = Bars(symbol=symbol, **arrays)
        if digest_of(bars) != entry.digest:
            raise _damaged(path)
        return bars

    def market(self, symbols: Iterable[str], interval: str = "1d") -> dict[str, Bars]:
        """Several series by symbol."""
        return {symbol: self.load(symbol, interval) for symbol in symbols}

    def has(self, symbol: str, interval: str = "1d") -> bool:
        """Whether there is a file of that series, sound or not."""
        return self._path(check_symbol(symbol), check_interval(interval)).exists()

    def entries(self) -> list[Entry]:
        """What is there, by symbol and interval. Damaged files are left out; :meth:`verify` names them."""
        found = []
        for path in sorted(self.folder.glob("*.npz")):
            try:
                found.append(_read(path, ())[0])
            except InvalidInputError:
                continue
        return found

    def verify(self) -> list[str]:
        """One sentence for each file that is damaged; empty when all is well."""
        trouble = []
        for path in sorted(self.folder.glob("*.npz")):
            symbol, _, interval = unquote(path.stem).rpartition("@")
            try:
                self.load(symbol, interval)
            except RetainerError as error:
                trouble.append(error.message)
        return trouble

    def remove(self, symbol: str, interval: str = "1d") -> None:
        """Delete a series. Raises :class:`NotFoundError` when it is not there."""
        path = self._path(check_symbol(symbol), check_interval(interval))
        if not path.exists():
            raise NotFoundError(f"The store has no {symbol} {interval}.", hint=self._have())
        path.unlink()

    def _path(self, symbol: str, interval: str) -> Path:
        return self.folder / f"{quote(f'{symbol}@{interval}', safe='@')}.npz"

    def _have(self) -> str:
        names = ", ".join(f"{entry.symbol} {entry.interval}" for entry in self.entries())
        return f"It has {names}." if names else "It is empty: retainer data import FILE"

    def _write(self, path: Path, bars: Bars, entry: Entry) -> None:
        meta = json.dumps({"format": FORMAT, **entry.to_json()}).encode()
        arrays = {name: getattr(bars, name) for name in _COLUMNS}
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as draft:
                try:
                    np.savez(draft, allow_pickle=False, meta=np.frombuffer(meta, dtype=np.uint8), **arrays)
                    draft.flush()
                    os.fsync(draft.fileno())
                    os.replace(draft.name, path)
                except BaseException:
                    Path(draft.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise RetainerError(
                f"{bars.symbol} could not be written to {self.folder}: {error.strerror or error}.",
                hint="Free space or mend the folder's permissions; what was there before is still there.",
            ) from error


def joined(old: Bars, new: Bars) -> Bars:
    """``old`` and the later bars of ``new``. Raises :class:`InvalidInputError` where they contradict each other."""
    last = int(old.close_time[-1])
    for row in np.flatnonzero(new.close_time <= last):
        at = int(new.close_time[row])
        mine = old.index_of(at)
        same = mine is not None and all(
            getattr(old, n)[mine] == getattr(new, n)[row] for n in (*PRICE_FIELDS, "volume")
        )
        if not same:
            what = "is not among the stored bars" if mine is None else "differs from the stored bar"
            raise InvalidInputError(
                f"{new.symbol}, row {row}: the bar of {ns_to_datetime(at).isoformat()} {what}: history was revised.",
                hint="Look at both, then swap the series with replace.",
            )
    later = new.since(last + 1)
    if later is None:
        return old
    return Bars(symbol=old.symbol, **{n: np.concatenate([getattr(old, n), getattr(later, n)]) for n in _COLUMNS})


def digest_of(bars: Bars) -> str:
    """SHA-256 of a series: equal bars, equal digests."""
    total = hashlib.sha256(bars.symbol.encode())
    for name in _COLUMNS:
        total.update(np.ascontiguousarray(getattr(bars, name)).data)
    return total.hexdigest()


def _read(path: Path, columns: Sequence[str]) -> tuple[Entry, dict[str, Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            meta = json.loads(bytes(kept["meta"]))
            arrays = {name: kept[name] for name in columns}
        if meta.pop("format") != FORMAT:
            raise InvalidInputError(f"{path} was written by another version of retainer.", hint="Import it again.")
        return Entry(**{**meta, "notes": tuple(meta["notes"])}), arrays
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise _damaged(path) from error


def _damaged(path: Path) -> InvalidInputError:
    return InvalidInputError(f"{path} is damaged.", hint="Import that series again with replace.")
