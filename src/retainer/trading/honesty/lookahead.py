"""Looks into the future, found by evaluating a strategy again on histories that end earlier.

A value that belongs to bar t may use bars up to t. So when the bars after a cut are taken away, everything up to the
cut must stay as it was: indicators, targets and stops, on every row. Cuts are set where decisions change (there a leak
pays), in the warm-up (there back-filling shows), and evenly over the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from retainer.core.errors import RetainerError
from retainer.trading.bars import Bars, Floats, Ints, Market, sessions
from retainer.trading.evaluation import Wanted, evaluate
from retainer.trading.honesty.findings import Finding
from retainer.trading.strategy import Strategy

CUTS = 16
_SHORT = (0.015, 0.03, 0.06, 0.12)
"""Shares of the history that end early: what is fitted to all of it changes most when there is little of it."""
_NOISE = 1e-9
"""Relative difference that sums of another length may have; a leak is never as small."""


def lookahead(
    strategy: Strategy, market: Market, *, cuts: int = CUTS, seed: int = 0, whole: Mapping[str, Wanted] | None = None
) -> tuple[Finding, ...]:
    """Where the strategy's past changes when later bars are added; empty for a clean one.

    ``whole``: what :func:`~retainer.trading.evaluation.evaluate` gave for the whole market, when it is known already.
    One finding per symbol and array, the earliest row found.
    """
    own = {symbol: market[symbol] for symbol in strategy.symbols if symbol in market}
    known = whole if whole is not None else evaluate(strategy, own)
    found: dict[tuple[str, str], Finding] = {}
    for at in cut_times(own, known, cuts, seed):
        for finding in _changes(strategy, own, known, at):
            key = (finding.symbol, finding.what)
            if key not in found or finding.row < found[key].row:
                found[key] = finding
    return tuple(sorted(found.values(), key=lambda finding: (finding.what != "target", finding.symbol, finding.what)))


def cut_times(market: Market, whole: Mapping[str, Wanted], cuts: int, seed: int) -> list[int]:
    """Close times after which the bars are taken away: reproducible for a seed."""
    axis = sessions(market)
    if axis.size < 2:
        return []
    rng = np.random.default_rng(seed)
    first = min(
        int(np.searchsorted(axis, market[s].close_time[min(w.first, len(market[s]) - 1)])) for s, w in whole.items()
    )
    early = {0, first // 2, max(0, first - 1), first}
    changes = [_change_times(market[s], w) for s, w in whole.items()]
    rows = np.searchsorted(axis, changes[0] if len(changes) == 1 else np.unique(np.concatenate(changes)))
    picked = (
        set(rows.tolist()) if rows.size <= cuts // 2 else {int(rows[i]) for i in _spread(rows.size, cuts // 2, rng)}
    )
    after = axis.size - first
    rest = {first + int(after * share) for share in _SHORT} | {first + row for row in _spread(after, cuts // 4, rng)}
    chosen = (early | picked | rest | {axis.size - 2}) - {axis.size - 1}
    return [int(axis[row]) for row in sorted(chosen) if 0 <= row < axis.size]


def _change_times(bars: Bars, wanted: Wanted) -> Ints:
    """Closes at which the target became another one: a decision that looks ahead is betrayed by a cut right there."""
    targets = np.nan_to_num(wanted.targets, nan=-9.0)
    changed: Ints = bars.close_time[1:][targets[1:] != targets[:-1]]
    return changed


def _spread(count: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """One place in each of ``wanted`` equal parts of ``count``."""
    edges = np.linspace(0, count, min(wanted, count) + 1).astype(np.int64)
    return [int(rng.integers(low, high)) for low, high in pairwise(edges.tolist()) if high > low]


def _changes(strategy: Strategy, market: Market, whole: Mapping[str, Wanted], at: int) -> Iterator[Finding]:
    shorter = {symbol: part for symbol, bars in market.items() if (part := bars.until(at)) is not None}
    try:
        again = evaluate(strategy, shorter)
    except RetainerError as error:
        late = [s for s, bars in shorter.items() if len(bars) > whole[s].first]
        if late:
            when = shorter[late[0]].closed_at(len(shorter[late[0]]) - 1)
            words = f"With the bars up to {when:%Y-%m-%d} alone the strategy fails: {error}"
            yield Finding(
                kind="unchecked", words=words, symbol=late[0], what="evaluation", row=len(shorter[late[0]]) - 1
            )
        return
    for symbol, bars in shorter.items():
        for what, then, later in _pairs(again[symbol], whole[symbol], len(bars)):
            row = first_difference(then, later)
            if row is not None:
                yield Finding(
                    kind="future",
                    words=_words(bars, what, row, then[row], later[row]),
                    symbol=symbol,
                    what=what,
                    row=row,
                )


def _pairs(then: Wanted, later: Wanted, count: int) -> Iterator[tuple[str, Floats, Floats]]:
    yield "target", then.targets, later.targets[:count]
    for name, values in later.indicators.items():
        yield f"indicator {name}", then.indicators.get(name, np.full(count, np.nan)), values[:count]
    for name in ("loss", "profit", "trailing"):
        one, other = getattr(then, name), getattr(later, name)
        if one is not None and other is not None:
            yield f"{name} stop", one, other[:count]


def first_difference(one: Floats, other: Floats, *, noise: float = _NOISE) -> int | None:
    """First row where two arrays differ by more than rounding (relative to the values); ``None`` when nowhere."""
    if one is other or np.array_equal(one.view(np.int64), other.view(np.int64)):
        return None
    with np.errstate(invalid="ignore"):
        same = (np.abs(one - other) <= noise * np.maximum(np.abs(one), np.abs(other))) | (one == other)
    same |= np.isnan(one) & np.isnan(other)
    return None if same.all() else int(np.argmin(same))


def _words(bars: Bars, what: str, row: int, then: float, later: float) -> str:
    last = bars.closed_at(len(bars) - 1)
    return (
        f"{bars.symbol}: the {what} of {bars.closed_at(row):%Y-%m-%d} is {_value(then)} with the bars up to "
        f"{last:%Y-%m-%d} and {_value(later)} with later ones."
    )


def _value(value: float) -> str:
    return "not known" if np.isnan(value) else f"{value:.6g}"
