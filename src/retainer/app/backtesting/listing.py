"""``retainer strategies``: what can be tested, with parameters, ranges and sources."""

from __future__ import annotations

import sys
from textwrap import fill
from typing import Any

from retainer.app.backtesting.showing import print_json, print_table
from retainer.trading.rules import Rule
from retainer.trading.strategies import CATALOGUE, strategy_class


def show_strategies(name: str | None, *, as_json: bool) -> int:
    """The list, or one strategy in detail. Raises :class:`NotFoundError` for a name that is not there."""
    if name is not None:
        kind = strategy_class(name)
        if as_json:
            print_json(_described(name, kind))
        else:
            _detail(name, kind)
        return 0
    if as_json:
        print_json([_described(each, kind) for each, kind in CATALOGUE.items()])
        return 0
    for each, kind in CATALOGUE.items():
        known = ", ".join(f"{p.name} {p.default:g} ({p.range.low:g} to {p.range.high:g})" for p in kind.parameters())
        sys.stdout.write(f"{each}\n")
        for line in (kind.about(), known and f"Parameters: {known}", f"Source: {kind.source()}"):
            if line:
                sys.stdout.write(fill(line, 100, initial_indent="    ", subsequent_indent="      ") + "\n")
    sys.stdout.write(
        "\nOne in detail: retainer strategies sma-cross\n"
        "Test one:      retainer backtest sma-cross --symbols IBM\n"
        "Your own:      retainer backtest my.toml\n"
        'In words:      retainer backtest "buy IBM when RSI(2) is under 10, sell when RSI is over 70"\n'
    )
    return 0


def _detail(name: str, kind: type[Rule]) -> None:
    sys.stdout.write(f"{name}\n{fill(kind.about(), 100)}\n\n")
    if known := kind.parameters():
        rows = [(p.name, f"{p.default:g}", f"{p.range.low:g} to {p.range.high:g}", p.range.about) for p in known]
        print_table(["parameter", "default", "range", "what it is"], rows, left=("what it is",))
    else:
        sys.stdout.write("It has no parameters.\n")
    sys.stdout.write(f"\nSource: {kind.source() or 'not named'}\n\nretainer backtest {name} --symbols IBM")
    sys.stdout.write(f" --set {known[0].name}={known[0].default:g}\n" if known else "\n")


def _described(name: str, kind: type[Rule]) -> dict[str, Any]:
    return {
        "name": name,
        "about": kind.about(),
        "source": kind.source(),
        "parameters": [
            {
                "name": known.name,
                "default": known.default,
                "low": known.range.low,
                "high": known.range.high,
                "whole": known.whole,
                "about": known.range.about,
            }
            for known in kind.parameters()
        ],
    }
