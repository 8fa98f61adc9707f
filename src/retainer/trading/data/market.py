"""Bars by symbol from where they are: the local store first, then the sample bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retainer.core.errors import NotFoundError
from retainer.trading.bars import Bars
from retainer.trading.data.store import BarStore
from retainer.trading.samples import SYMBOLS, load_samples


@dataclass(frozen=True, slots=True)
class Loaded:
    """A market and where it came from."""

    bars: dict[str, Bars]
    notes: tuple[str, ...]
    """What to know about the data: sources, sessions without a bar."""


def load_market(symbols: Sequence[str], interval: str = "1d", folder: Path | None = None) -> Loaded:
    """The bars of ``symbols`` from the store under ``folder``, else, for daily bars, from the sample bars.

    Raises :class:`NotFoundError` naming the symbol that is in neither.
    """
    store = BarStore(folder) if folder is not None else None
    entries = {e.symbol: e for e in store.entries() if e.interval == interval} if store else {}
    found: dict[str, Bars] = {}
    notes: list[str] = []
    for symbol in dict.fromkeys(symbols):
        if store is not None and store.has(symbol, interval):  # a damaged file is an error, never passed over
            found[symbol] = store.load(symbol, interval)
            notes += [f"{symbol}: {note}" for note in entries[symbol].notes]
        elif interval == "1d" and symbol in SYMBOLS:
            found.update(load_samples((symbol,)))
        else:
            have = sorted({*entries, *(SYMBOLS if interval == "1d" else ())})
            raise NotFoundError(
                f"There are no {interval} bars of {symbol}.",
                hint=f"There are {', '.join(have) or 'none at all'}; add more with: retainer data import FILE",
            )
    if samples := [symbol for symbol in found if symbol not in entries]:
        notes.append(f"{', '.join(samples)}: sample bars, 2000 to 2013, from the package bokeh_sampledata")
    return Loaded(found, tuple(notes))
