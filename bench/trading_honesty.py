"""Honesty by default: what it costs, and whether it finds what it must.

Three tables: CPU time of a backtest of 2,500 daily bars with every check on (limit 15 ms, warm, for every classic);
every planted way of cheating, found or not, over several symbols and seeds (limit: all); false alarms on the honest
classics (limit: none). Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.trading_leaks import LEAKS, Leak

from retainer.trading.backtest import backtest
from retainer.trading.bars import Bars
from retainer.trading.engine import EngineSettings
from retainer.trading.honesty import Checks, TrialStore, lookahead, origin
from retainer.trading.kernel import build
from retainer.trading.samples import load_samples
from retainer.trading.strategies import CATALOGUE, make_strategy

LIMIT_MS = 15.0
BARS = 2_500


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 1 when a limit is missed."""
    options = _options(argv)
    warnings.simplefilter("error")
    market = {symbol: bars.upto(min(BARS, len(bars))) for symbol, bars in load_samples().items()}
    missed = [*cost(market["IBM"], options.repeats), *leaks(market, options.seeds), *alarms(market, options.seeds)]
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21, help="timed backtests per strategy (default 21)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds for the places where histories are cut (default 3)")
    return parser.parse_args(argv)


def cost(bars: Bars, repeats: int) -> list[str]:
    """CPU time of one backtest with everything on: checks, benchmark, costs, trials in a file, intervals, figures."""
    compiled = build.numba_installed()
    print(f"CPU ms of a backtest of {len(bars):,} daily bars, every check on, {'compiled' if compiled else 'plain'}")
    print(f"{'strategy':<20}{'median':>9}{'least':>9}{'trades':>9}")
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as folder, TrialStore(Path(folder) / "trials.db") as trials:
        for name in CATALOGUE:
            strategy = make_strategy(name, symbols=(bars.symbol,))
            times: list[float] = []
            trades = 0
            for _ in range(repeats + 2):
                started = time.process_time()
                result = backtest(strategy, {bars.symbol: bars}, trials=trials, compiled=compiled)
                result.sentence()
                times.append((time.process_time() - started) * 1e3)
                trades = len(result.trades)
            warm = times[2:]
            median = float(np.median(warm))
            print(f"{name:<20}{median:>9.1f}{min(warm):>9.1f}{trades:>9}")
            if median > LIMIT_MS:
                missed.append(f"{name} took {median:.1f} ms, the limit is {LIMIT_MS:g} ms")
    return missed


def leaks(market: dict[str, Bars], seeds: int) -> list[str]:
    """Every way of cheating on every long history and seed."""
    symbols = [symbol for symbol, bars in market.items() if len(bars) == BARS]
    print(f"\nplanted leaks, {len(symbols)} symbols x {seeds} seeds each")
    print(f"{'leak':<52}{'found':>8}  first finding")
    missed: list[str] = []
    for leak in LEAKS:
        found, kinds = 0, ""
        for symbol in symbols:
            for seed in range(seeds):
                said = findings(leak, market[symbol], seed)
                found += bool(said)
                kinds = kinds or ", ".join(sorted(set(said)))
        total = len(symbols) * seeds
        print(f"{leak.name:<52}{found:>4}/{total:<3}  {kinds}")
        if found < total:
            missed.append(f"{leak.name} was found {found} times of {total}")
    print(f"{len(LEAKS)} kinds, {len(LEAKS) - len(missed)} always found")
    return missed


def findings(leak: Leak, bars: Bars, seed: int) -> list[str]:
    """Kinds of what a backtest of the leak reports, notes left out."""
    result = backtest(leak.strategy(bars.symbol, bars), {bars.symbol: bars}, leak.settings, checks=Checks(seed=seed))
    return [finding.kind for finding in result.honesty.findings if not finding.note]


def alarms(market: dict[str, Bars], seeds: int) -> list[str]:
    """The honest classics, each symbol alone and all together: any finding is a false alarm."""
    print("\nfalse alarms on the classics")
    missed: list[str] = []
    runs = 0
    for name in CATALOGUE:
        for symbols in [(symbol,) for symbol in market] + [tuple(market)]:
            strategy = make_strategy(name, symbols=symbols)
            for seed in range(seeds):
                runs += 1
                said = (*lookahead(strategy, market, cuts=32, seed=seed), *origin(strategy, market, seed=seed))
                missed += [f"{name} on {', '.join(symbols)}: {finding.words}" for finding in said]
    print(f"{len(CATALOGUE)} strategies, {runs} runs, {len(missed)} alarms (settings: {EngineSettings().fill_on})")
    return missed


if __name__ == "__main__":
    raise SystemExit(main())
