"""The bars an account has seen, as arrays for the strategy: a cache of the ``bar`` table, never a second truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from retainer.core.protocols import View
from retainer.trading.bars import PRICE_FIELDS, Bar, Bars
from retainer.trading.records import read_bars

_COLUMNS = ("close_time", "volume", *PRICE_FIELDS, "factor")


class History:
    """Bars by symbol from the account's recorded first bar on.

    The cache is used only when it ends exactly where the stored account stands; otherwise (start, crash, a close that
    failed) it is read again. So the strategy always sees what the account really lived through.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self._bars: dict[str, Bars] = {}
        self._at = 0

    def with_bars(self, view: View, stored_at: int, bars: Mapping[str, Bar]) -> dict[str, Bars]:
        """Everything up to ``stored_at`` (ns, the stored account's time) and the new bar set."""
        if self._at != stored_at:
            self._bars, self._at = _read(view, self._account), stored_at
        return {symbol: _appended(self._bars.get(symbol), bars.get(symbol)) for symbol in sorted({*self._bars, *bars})}

    def keep(self, market: Mapping[str, Bars], at: int) -> None:
        """``market`` is being written with an account that will stand at ``at``."""
        self._bars, self._at = dict(market), at


def _read(view: View, account: str) -> dict[str, Bars]:
    rows: dict[str, list[Bar]] = {}
    for bar in read_bars(view, account):
        rows.setdefault(bar.symbol, []).append(bar)
    return {symbol: Bars.from_bars(found) for symbol, found in rows.items()}


def _appended(bars: Bars | None, bar: Bar | None) -> Bars:
    if bar is None:
        assert bars is not None  # a symbol is in at least one of the two
        return bars
    last = Bars.from_bars([bar])
    if bars is None:
        return last
    joined = {name: np.concatenate([getattr(bars, name), getattr(last, name)]) for name in _COLUMNS}
    return Bars(symbol=bar.symbol, **joined)
