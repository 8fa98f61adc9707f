"""``retainer data``: bars into the store, out of it, and looked at."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from retainer.app.backtesting.showing import print_json, print_table
from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bars
from retainer.trading.data.adjusting import read_factors
from retainer.trading.data.gaps import find_gaps
from retainer.trading.data.reading import Reading, Series, Stamp, read_csv, read_parquet
from retainer.trading.data.store import BarStore, Mode, digest_of, joined


@dataclass(frozen=True, slots=True)
class Import:
    """What to take in, and how it is written."""

    files: Sequence[Path]
    symbol: str | None
    zone: str | None
    stamped: str
    interval: str | None
    factors: Path | None
    calendar: str
    append: bool
    replace: bool


def market_folder(settings: Settings) -> Path:
    """Where bars are kept: in the data folder, so that a copy of it has them too."""
    return DataFolder(settings.data).market


def run_import(settings: Settings, wish: Import, *, as_json: bool) -> int:
    """Read all files first; only when every one is sound is anything written."""
    if wish.append and wish.replace:
        raise InvalidInputError("--append and --replace exclude each other.", hint="Choose one.")
    if wish.stamped not in {"open", "close"}:
        raise InvalidInputError(f"--stamped {wish.stamped} is neither open nor close.")
    mode: Mode = "append" if wish.append else "replace" if wish.replace else "new"
    store = BarStore(market_folder(settings))
    ready: dict[tuple[str, str], _Ready] = {}
    for path in wish.files:
        for series in _read(path, wish).values():
            key = series.bars.symbol, series.interval
            if key in ready:
                raise InvalidInputError(
                    f"{path.name} and {ready[key].source} both hold {key[0]} {key[1]}; nothing was taken over.",
                    hint="Import one of them, then the other with --append.",
                )
            bars = _placed(store, series, mode)
            ready[key] = _Ready(bars, series.interval, path.name, _notes(bars, series.interval, wish.calendar))
    how: Mode = "new" if mode == "new" else "replace"
    entries = [store.save(r.bars, r.interval, mode=how, source=r.source, notes=r.notes) for r in ready.values()]
    if as_json:
        print_json([entry.to_json() for entry in entries])
        return 0
    for entry in entries:
        sys.stdout.write(
            f"{entry.symbol} {entry.interval}: {entry.rows:,} bars, {entry.first[:10]} to {entry.last[:10]}\n"
        )
        for note in entry.notes:
            sys.stdout.write(f"  note: {note}\n")
    return 0


def _read(path: Path, wish: Import) -> dict[str, Series]:
    factors = None
    if wish.factors is not None:
        factors = read_factors(wish.factors, wish.symbol or path.name.split(".")[0].upper())
    how = Reading(
        symbol=wish.symbol,
        zone=wish.zone,
        stamped=cast("Stamp", wish.stamped),
        interval=wish.interval,
        factors=factors,
    )
    return read_parquet(path, how) if path.suffix.lower() in {".parquet", ".pq"} else read_csv(path, how)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A series that may go in, as it will stand in the store."""

    bars: Bars
    interval: str
    source: str
    notes: tuple[str, ...]


def _notes(bars: Bars, interval: str, calendar: str) -> tuple[str, ...]:
    return () if calendar == "none" else find_gaps(bars, interval, calendar).words


def _placed(store: BarStore, series: Series, mode: Mode) -> Bars:
    """The series as it will stand. What ``save`` would refuse is found here, before the first series is written."""
    symbol, interval = series.bars.symbol, series.interval
    if mode == "replace" or not store.has(symbol, interval):
        return series.bars
    if mode == "new":
        raise InvalidInputError(
            f"{symbol} {interval} is in the store already; nothing was taken over.",
            hint="Add later bars with --append, or swap the series with --replace.",
        )
    return joined(store.load(symbol, interval), series.bars)


def show_data(settings: Settings, *, as_json: bool) -> int:
    """The list."""
    entries = BarStore(market_folder(settings)).entries()
    if as_json:
        print_json([entry.to_json() for entry in entries])
        return 0
    if not entries:
        sys.stdout.write(
            "Nothing is kept here yet: retainer data import FILE\n"
            "Tests of strategies use the sample bars of AAPL, GOOG, IBM and MSFT until then.\n"
        )
        return 0
    head = ["symbol", "bar", "bars", "first", "last", "from", "notes"]
    rows = [
        (e.symbol, e.interval, f"{e.rows:,}", e.first[:10], e.last[:10], e.source, "; ".join(e.notes)) for e in entries
    ]
    print_table(head, rows, left=("bar", "first", "last", "from", "notes"))
    return 0


def check_data(settings: Settings, calendar: str, *, as_json: bool) -> int:
    """Every file against its digest, every series against the calendar."""
    store = BarStore(market_folder(settings))
    trouble = store.verify()
    found: list[dict[str, Any]] = []
    for entry in store.entries():
        try:
            bars = store.load(entry.symbol, entry.interval)
        except InvalidInputError:
            continue  # named by verify
        notes = _notes(bars, entry.interval, calendar)
        found.append({"symbol": entry.symbol, "interval": entry.interval, "digest": digest_of(bars), "notes": notes})
    if as_json:
        print_json({"series": found, "damaged": trouble})
        return 1 if trouble else 0
    for each in found:
        sys.stdout.write(f"{each['symbol']} {each['interval']}: {'; '.join(each['notes']) or 'whole'}\n")
    for sentence in trouble:
        sys.stdout.write(f"{sentence}\n")
    if not found and not trouble:
        sys.stdout.write("Nothing is kept here yet.\n")
    return 1 if trouble else 0


def remove_data(settings: Settings, symbol: str, interval: str) -> int:
    """One series away."""
    name = symbol.strip().upper()
    BarStore(market_folder(settings)).remove(name, interval)
    sys.stdout.write(f"{name} {interval} is removed.\n")
    return 0
