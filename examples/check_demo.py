"""Recompute every figure about money that ``retainer demo`` printed, from the ledger and the raw bars alone.

    python examples/check_demo.py FOLDER          # the folder that the demo names at its end

Reads ``FOLDER/demo.json`` (the dialogue), asks ``retainer ledger --json`` for the account, and reads the raw bars from
the fetched file; it imports nothing of retainer's arithmetic. Every dollar and every percentage in the bot's messages
must be recomputed to the cent; one that no rule here knows is a failure too. Ends with 1 when anything differs.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

CENT = Decimal("0.01")
MONEY = r"([+-]?\$[\d,]+\.\d\d)"
DAY = r"(\d{1,2} \w+ \d{4})"
FIGURE = re.compile(r"[+-]?\$[\d,.]*\d|[+-]?\d[\d,.]* ?%")
SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")


def dollars(text: str) -> Decimal:
    """``+$1,234.50`` as a number."""
    return Decimal(text.replace("$", "").replace(",", "").replace("+", ""))


def cents(value: Decimal) -> Decimal:
    """Rounded to the cent."""
    return value.quantize(CENT, ROUND_HALF_EVEN)


def date(words: str) -> str:
    """``12 January 2007`` as ``2007-01-12``."""
    return datetime.strptime(words, "%d %B %Y").date().isoformat()  # noqa: DTZ007 - a calendar day, not an instant


@dataclass
class Facts:
    """The ledger and the raw bars, and what follows from them."""

    ledger: dict[str, Any]
    close: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    factor: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    days: dict[str, list[str]] = field(default_factory=dict)

    def read_bars(self, path: Path) -> None:
        """The file as its publisher made it: raw close and adjusted close, day by day."""
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                key = (row["Ticker"], row["Date"])
                self.close[key] = Decimal(row["Close"])
                self.factor[key] = Decimal(row["Adj Close"]) / Decimal(row["Close"])
                self.days.setdefault(row["Ticker"], []).append(row["Date"])

    def entries(self, upto: str, after: str = "") -> list[dict[str, Any]]:
        """Ledger lines of the days after ``after`` up to ``upto``."""
        return [e for e in self.ledger["entries"] if after < e["at"][:10] <= upto]

    def cash(self, day: str) -> Decimal:
        return sum((Decimal(e["amount"]) for e in self.entries(day)), Decimal(0))

    def shares(self, symbol: str, day: str) -> int:
        return sum(e["quantity"] for e in self.entries(day) if e["symbol"] == symbol)

    def worth(self, day: str) -> Decimal:
        held = (self.shares(s, day) * self.close[s, day] for s in SYMBOLS if self.shares(s, day))
        return cents(self.cash(day) + sum(held, Decimal(0)))

    def cost(self, symbol: str, day: str) -> Decimal:
        """What the shares still held were bought for: money paid, less what sells took out of it."""
        lines = [e for e in self.entries(day) if e["symbol"] == symbol and e["kind"] == "fill"]
        return sum((Decimal(e["realised"]) - Decimal(e["amount"]) for e in lines), Decimal(0))

    def average(self, symbol: str, day: str, length: int) -> Decimal:
        """Mean of the last closes, adjusted to the prices of ``day``."""
        upto = self.days[symbol].index(day) + 1
        window = self.days[symbol][upto - length : upto]
        now = self.factor[symbol, day]
        return sum((self.close[symbol, d] * self.factor[symbol, d] / now for d in window), Decimal(0)) / length

    def hold(self, start: str, end: str) -> Decimal:
        """Gain of the same money in each symbol, bought and kept, dividends included; in percent."""
        ratios = [
            self.close[s, end] * self.factor[s, end] / (self.close[s, start] * self.factor[s, start]) for s in SYMBOLS
        ]
        return (sum(ratios, Decimal(0)) / len(ratios) - 1) * 100


class Checker:
    """Rules for the sentences about money. Each rule gets the match and returns pairs of (said, recomputed)."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.day = ""
        self.start = ""
        self.figures = 0
        self.wrong: list[str] = []
        perf, card = self._performance, self._card
        self.rules: list[tuple[re.Pattern[str], Callable[[re.Match[str]], Sequence[tuple[Any, Any]]]]] = [
            (re.compile(pattern), rule)
            for pattern, rule in (
                (rf"^This \w+: {MONEY} \(([+-][\d.]+) %\)\.$", perf),
                (rf"^From {MONEY} at the close of {DAY} to {MONEY} at the close of {DAY}\.$", self._span),
                (
                    rf"^Realised {MONEY}, open positions {MONEY}, dividends {MONEY}, fees {MONEY}; (no|\d+) trades?\.$",
                    self._parts,
                ),
                (r"^Buying and holding .* instead: ([+-][\d.]+) %\.$", self._hold),
                (
                    rf"^I bought (\d+) (\w+) on {DAY} at {MONEY}, decided at the close of {DAY} \({MONEY}\)\.$",
                    self._bought,
                ),
                (
                    rf"^Signal of [\w-]+ at the close of {DAY}: 20-day average ([\d.]+) rose above 100-day ([\d.]+)\.$",
                    self._signal,
                ),
                (r"^Wish: target weight (20) % of equity\.$", lambda m: [(m[1], "20")]),
                (
                    r"^Risk manager: Passed: at most (30) % of the account per order, (40) % per symbol, (100) % in",
                    lambda m: [(m.groups(), ("30", "40", "100"))],
                ),
                (rf"^Price {MONEY}, the close of {DAY}$", card),
                (rf"^(?:Cost|Proceeds) about {MONEY}$", self._value),
                (rf"^Cash {MONEY}, after it about {MONEY}$", self._after),
                (
                    rf"^Risk manager: Within limits: {MONEY} is ([\d.]+)% of the account \(30 % allowed per order\)",
                    self._share,
                ),
                (rf"^Filled: (bought|sold) ([\d,]+) (\w+) at {MONEY} on {DAY}, {MONEY} in all\.(.*)$", self._filled),
                (rf"^Cash {MONEY}\.$", lambda m: [(dollars(m[1]), self.facts.cash(self.day))]),
                (rf"^([\d,]+) (\w+) at {MONEY} = {MONEY}, cost {MONEY} \({MONEY}\)$", self._position),
                (rf"^Cash {MONEY}; the account is worth {MONEY}\.$", self._whole),
                (rf"^Account paper: worth {MONEY} at the close of {DAY}; cash {MONEY},", self._account),
                (rf"^([\d,]+) (\w+) at {MONEY}: about {MONEY}$", self._leg),
                (rf"^Proceeds about {MONEY}; cash {MONEY}, after it about {MONEY}$", self._proceeds),
            )
        ]

    def message(self, text: str) -> None:
        """Check all lines of one message."""
        dates = re.findall(rf"(?:close of|on) {DAY}", text)
        if dates:
            self.day = date(dates[-1])
        span = re.search(rf"From .* close of {DAY} to .* close of {DAY}\.", text)
        if span:
            self.start, self.day = date(span[1]), date(span[2])
        self.order = re.search(r"^(Buy|Sell) (\d+) (\w+) \(paper account\)$", text, re.M)
        for line in text.splitlines():
            self._line(line.strip())

    def _line(self, line: str) -> None:
        if not FIGURE.search(line):
            return
        for pattern, rule in self.rules:
            found = pattern.search(line)
            if found:
                for said, true in rule(found):
                    self.figures += 1
                    if said != true:
                        self.wrong.append(f"{line!r}: said {said}, recomputed {true}")
                return
        self.wrong.append(f"{line!r}: no rule recomputes this figure")

    # --- rules -------------------------------------------------------------------------------------------------------
    def _performance(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        start, end = self.facts.worth(self.start), self.facts.worth(self.day)
        return [(dollars(m[1]), end - start), (Decimal(m[2]), cents((end / start - 1) * 100))]

    def _span(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        return [(dollars(m[1]), self.facts.worth(date(m[2]))), (dollars(m[3]), self.facts.worth(date(m[4])))]

    def _parts(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        lines = self.facts.entries(self.day, after=self.start)
        realised = sum((Decimal(e["realised"]) for e in lines), Decimal(0))
        dividends, fees = (
            sum((Decimal(e["amount"]) for e in lines if e["kind"] == kind), Decimal(0)) for kind in ("dividend", "fee")
        )
        total = self.facts.worth(self.day) - self.facts.worth(self.start)
        fills = sum(e["kind"] == "fill" for e in lines)
        return [
            (dollars(m[1]), realised),
            (dollars(m[2]), total - realised - dividends - fees),
            (dollars(m[3]), dividends),
            (dollars(m[4]), -fees),
            (0 if m[5] == "no" else int(m[5]), fills),
        ]

    def _hold(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        return [(Decimal(m[1]), cents(self.facts.hold(self.start, self.day)))]

    def _bought(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        at, symbol = date(m[3]), m[2]
        fills = [(e["quantity"], Decimal(e["price"])) for e in self.facts.entries(at) if e["symbol"] == symbol]
        decided = date(m[5])
        return [
            ((int(m[1]), dollars(m[4])), fills[-1]),
            (dollars(m[6]), self.facts.close[symbol, decided]),
            (self.facts.days[symbol].index(at), self.facts.days[symbol].index(decided) + 1),
        ]

    def _signal(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        day = date(m[1])
        return [(Decimal(m[n]), cents(self.facts.average("IBM", day, length))) for n, length in ((2, 20), (3, 100))]

    def _price(self) -> tuple[str, int, Decimal]:
        if self.order is None:
            raise ValueError("a card without an order")
        side, quantity, symbol = self.order[1], int(self.order[2]), self.order[3]
        return side, quantity, cents(quantity * self.facts.close[symbol, self.day])

    def _card(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        symbol = self.order[3] if self.order else ""
        return [(dollars(m[1]), self.facts.close[symbol, date(m[2])])]

    def _value(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        return [(dollars(m[1]), self._price()[2])]

    def _after(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        side, _, value = self._price()
        cash = self.facts.cash(self.day)
        return [(dollars(m[1]), cash), (dollars(m[2]), cash - value if side == "Buy" else cash + value)]

    def _share(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        value = self._price()[2]
        share = (value / self.facts.worth(self.day) * 100).quantize(Decimal("0.1"))
        return [(dollars(m[1]), value), (Decimal(m[2]), share)]

    def _filled(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        day, quantity = date(m[5]), int(m[2].replace(",", ""))
        signed = quantity if m[1] == "bought" else -quantity
        line = next(
            (e for e in self.facts.entries(day) if (e["at"][:10], e["symbol"], e["quantity"]) == (day, m[3], signed)),
            None,
        )
        if line is None:
            return [(m[0], "a fill in the ledger")]
        pairs: list[tuple[Any, Any]] = [
            (dollars(m[4]), Decimal(line["price"])),
            (dollars(m[6]), abs(Decimal(line["amount"]))),
        ]
        realised = re.search(rf"Realised {MONEY}", m[7])
        if realised:
            pairs.append((dollars(realised[1]), Decimal(line["realised"])))
        held = re.search(r"now hold (no|[\d,]+) ", m[7])
        if held:
            said = 0 if held[1] == "no" else int(held[1].replace(",", ""))
            pairs.append((said, self.facts.shares(m[3], day)))
        return pairs

    def _position(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        symbol, quantity = m[2], int(m[1].replace(",", ""))
        close = self.facts.close[symbol, self.day]
        cost = self.facts.cost(symbol, self.day)
        return [
            (quantity, self.facts.shares(symbol, self.day)),
            (dollars(m[3]), close),
            (dollars(m[4]), cents(quantity * close)),
            (dollars(m[5]), cost),
            (dollars(m[6]), cents(quantity * close) - cost),
        ]

    def _whole(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        return [(dollars(m[1]), self.facts.cash(self.day)), (dollars(m[2]), self.facts.worth(self.day))]

    def _account(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        day = date(m[2])
        return [(dollars(m[1]), self.facts.worth(day)), (dollars(m[3]), self.facts.cash(day))]

    def _leg(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        quantity, close = int(m[1].replace(",", "")), self.facts.close[m[2], self.day]
        return [
            (quantity, self.facts.shares(m[2], self.day)),
            (dollars(m[3]), close),
            (dollars(m[4]), cents(quantity * close)),
        ]

    def _proceeds(self, m: re.Match[str]) -> list[tuple[Any, Any]]:
        cash, worth = self.facts.cash(self.day), self.facts.worth(self.day)
        return [(dollars(m[1]), worth - cash), (dollars(m[2]), cash), (dollars(m[3]), worth)]


def bars_file() -> Path:
    """Where the fetched bars are: ``RETAINER_CACHE``, or the user's cache folder."""
    given = os.environ.get("RETAINER_CACHE")
    if given:
        return Path(given) / "data" / "stocks-2000-2013.csv.gz"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/retainer/data/stocks-2000-2013.csv.gz"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "retainer" / "data" / "stocks-2000-2013.csv.gz"


def main() -> int:
    """Check one demo; prints what differs."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: check_demo.py FOLDER\n")
        return 2
    folder = Path(sys.argv[1]).absolute()
    command = [str(Path(sys.executable).with_name("retainer")), "ledger", "--json"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, env={**os.environ, "RETAINER_DATA": str(folder)}, capture_output=True, text=True, check=True
    )
    facts = Facts(json.loads(done.stdout))
    facts.read_bars(bars_file())
    checker = Checker(facts)
    messages = [m["text"] for m in json.loads((folder / "demo.json").read_text()) if m["who"] == "retainer"]
    for text in messages:
        checker.message(text)
    for line in checker.wrong:
        print(f"WRONG  {line}")
    print(f"{len(messages)} messages, {checker.figures} figures recomputed, {len(checker.wrong)} wrong.")
    return 1 if checker.wrong or not checker.figures else 0


if __name__ == "__main__":
    sys.exit(main())
