"""What the guard costs and what gets past it: time of a check, of an audit line, everyday texts, a runaway strategy.

    .venv/bin/python bench/guard.py                            # about two minutes
    .venv/bin/python bench/guard.py --peers /tmp/peers         # FIDES beside it: bench/README.md

Ends with 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import guard_runaway
from bench.guard_texts import EVERYDAY, TABLE

from retainer import SafetyProtocols
from retainer.core.effects import Effect, EffectClass, Turn
from retainer.core.labels import OWNER, TRUSTED, UNTRUSTED
from retainer.safety import audit, policy
from retainer.safety.local import LocalStore

NOW = datetime(2026, 11, 2, 15, 0, tzinfo=UTC)
BAR = Turn(label=TRUSTED, agent="trading", kind="bar", source="feed:replay")
missed: list[str] = []


def show(what: str, figure: str, bound: str, *, holds: bool) -> None:
    """One line of the table."""
    print(f"{what:58}{figure:>22}   {bound}{'' if holds else '   MISSED'}")
    if not holds:
        missed.append(what)


def timed(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """p50 and p99 of one call, in microseconds of this thread's own CPU and of the wall."""
    wall = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        call()
        wall.append(time.perf_counter_ns() - started)
    wall.sort()
    return statistics.median(wall) / 1000, wall[int(rounds * 0.99)] / 1000


def order(n: int = 0, **args: str) -> Effect:
    """A strategy's order, ``n`` milliseconds after the first."""
    at = (NOW + timedelta(milliseconds=n)).isoformat()
    base = {"account": "paper", "strategy": "trend", "symbol": "AAPL", "side": "buy", "quantity": "1", "notional": "1"}
    return Effect(
        name=f"o{n}",
        tool="paper.order",
        args={**base, "at": at, **args},
        effect_class=EffectClass.MONEY,
        queue="account:paper",
    )


def check_cost() -> None:
    """The pure check over a mix of calls, and the public face over a turn's."""
    person = policy.Facts(person=True, scope="trade")
    turn = Turn(label=OWNER, sender="owner", channel="telegram", reply_to="telegram:42", kind="message")
    tainted = replace(turn, label=UNTRUSTED)
    note = Effect(name="n", tool="notes.add", args={"text": "milk"}, effect_class=EffectClass.WRITE_OWN, queue="n")
    reply = replace(note, effect_class=EffectClass.COMMUNICATE, queue="telegram:42")
    mix = [(note, turn), (note, tainted), (reply, tainted), (order(), BAR), (order(), turn)]

    def all_of_them() -> None:
        for effect, each in mix:
            policy.check(effect, each, person)

    p50, p99 = timed(all_of_them, 20_000)
    show(
        "check, one call",
        f"{p50 / len(mix):.2f} us, p99 {p99 / len(mix):.1f}",
        "p50 <= 5 us",
        holds=p50 / len(mix) <= 5,
    )
    guard = SafetyProtocols(tools=TABLE)
    turn_ = guard.begin("what did I spend?", "owner", "terminal")
    p50, p99 = timed(lambda: _fresh(turn_).check("ledger.read", {}), 20_000)
    show("public face, check of a reading call", f"{p50:.2f} us, p99 {p99:.1f}", "p50 <= 5 us", holds=p50 <= 5)
    p50, p99 = timed(lambda: turn_.check("mail.send", {"to": "eve@example.org", "text": "hello"}), 5_000)
    show("public face, check of an effect that asks", f"{p50:.2f} us, p99 {p99:.1f}", "(no bound)", holds=True)


def fides(peers: Path) -> None:
    """The peer's check of the same five calls, in an environment of its own."""
    script = Path(__file__).with_name("guard_peers") / "fides.py"
    said = subprocess.run([str(peers / "fides/bin/python"), str(script)], capture_output=True, text=True, check=True)
    found = json.loads(said.stdout)
    for what, words in (("mix", "the same five calls"), ("allows", "calls it allows"), ("asks", "calls it asks about")):
        name = f"    FIDES {found['version']}, {words}"
        print(f"{name:58}{found[what]['p50']:>10.0f} us, p99 {found[what]['p99']:.0f}")


def _fresh(turn: Any) -> Any:  # the budget of a turn is not what is measured
    turn._calls = 0
    return turn


def audit_cost(folder: Path) -> None:
    """One durable line: chain, insert, commit and fsync; beside it a bare insert committed as durably."""
    store = LocalStore(folder / "audit.db")
    numbers = iter(range(1_000_000))

    def append() -> None:
        n = next(numbers)
        store.write_now(lambda tx: audit.append(tx, "account:paper", "effect.done", f"e{n}:order", {"n": n}, NOW))

    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE line (n INTEGER PRIMARY KEY, data TEXT)")
    alone, _ = min(timed(lambda: bare.execute("INSERT INTO line (data) VALUES ('x')"), 80) for _ in range(8))
    p50, p99 = min(timed(append, 80) for _ in range(8))  # the best of eight: other programs use the disk as well
    show("audit append, durable", f"{p50 / 1000:.2f} ms, p99 {p99 / 1000:.1f}", "p50 <= 1 ms", holds=p50 <= 1000)
    print(f"{'    a bare durable insert in the same minute':58}{alone / 1000:>19.2f} ms")
    bare.close()
    store.close()


def everyday() -> None:
    """Texts that need no question: how many asked one."""
    asked = []
    for text, plan in EVERYDAY:
        guard = SafetyProtocols(tools=TABLE)
        guard.begin(text, "owner", "terminal")
        guard.plan([(tool, args) for tool, args, _ in plan])
        for tool, args, result in plan:
            if guard.check(tool, args).decision != "allow":
                asked.append(text)
                break
            guard.record(tool, args, result)
    share = 100 * len(asked) / len(EVERYDAY)
    show(
        f"{len(EVERYDAY)} everyday texts, asked without need",
        f"{len(asked)} ({share:.1f} %)",
        "<= 10 %",
        holds=share <= 10,
    )
    for text in asked:
        print(f"    asked: {text}")


def runaway(folder: Path, orders: int) -> None:
    """A strategy without measure through the real lane; then with risk wide open, so that the guard stands alone."""
    for what, count, limits in (
        ("as shipped", orders, None),
        ("risk wide open", max(1, orders // 100), guard_runaway.WIDE),
    ):
        found = guard_runaway.measure(folder, count, limits)
        show(f"runaway, {what}: sent of {found.proposed:,} proposed", str(found.sent), "<= 5", holds=found.sent <= 5)
        for part, reasons in (("risk", found.by_risk), ("guard", found.by_guard)):
            for reason, number in sorted(reasons.items(), key=lambda each: -each[1]):
                print(f"    {part} refused {number:>7,}: {reason}")
        print(f"    waiting for a yes: {found.asked}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--peers", type=Path, help="folder with an environment fides")
    options = parser.parse_args()
    check_cost()
    if options.peers is not None:
        fides(options.peers)
    everyday()
    with tempfile.TemporaryDirectory() as folder:
        audit_cost(Path(folder))
        runaway(Path(folder), options.orders)
    print("MISSED: " + ", ".join(missed) if missed else "Every bound holds.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
