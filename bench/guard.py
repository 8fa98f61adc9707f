"""What the guard costs and what gets past it: time of a check, of an audit line, everyday texts, a runaway strategy.

    .venv/bin/python bench/guard.py            # about a minute

Beside the check stands FIDES (``agent_framework.security``) where it is installed. Ends with 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.guard_texts import EVERYDAY, TABLE

from retainer import SafetyProtocols
from retainer.core.effects import Decision, Effect, EffectClass, EffectState, RepeatClass, Turn
from retainer.core.events import NewEvent
from retainer.core.labels import OWNER, TRUSTED, UNTRUSTED
from retainer.core.protocols import Tx
from retainer.runtime import effects
from retainer.runtime.inbox import insert_event
from retainer.runtime.schema import MIGRATIONS as RUNTIME
from retainer.runtime.sqlite import SqliteStore
from retainer.safety import audit, mandate, policy
from retainer.safety.guard import SafetyGuard
from retainer.safety.local import LocalStore
from retainer.safety.people import ensure_local_owner
from retainer.safety.schema import MIGRATIONS as SAFETY

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
    found = importlib.util.find_spec("agent_framework")
    print(f"{'FIDES, same calls':58}{'not installed' if found is None else 'installed':>22}")


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
    """A strategy that proposes without end, on a bar, inside its mandate, through the real guard over real rows."""
    store = SqliteStore.open(folder / "runaway.db", (*RUNTIME, *SAFETY))
    guard, sent, refused = SafetyGuard(), 0, ""

    def people(tx: Tx) -> None:
        owner = ensure_local_owner(tx, NOW)
        mandate.sign(
            tx,
            account="paper",
            strategy="trend",
            symbols=["AAPL"],
            equity=Decimal(100_000),
            order_cap=Decimal(1000),
            max_loss=Decimal(1000),
            expires_at=NOW + timedelta(days=30),
            by=owner,
            now=NOW,
        )

    store.write_now(people)
    event = NewEvent(
        source="feed:replay", external_id="1", agent="trading", lane="account:paper", kind="bar", occurred_at=NOW
    )
    seq = store.write_now(lambda tx: insert_event(tx, event, NOW).seq)
    view = store.view()
    for n in range(orders):
        # the time an order states creeps by a tenth of a millisecond each: 100,000 of them in ten seconds
        effect = order(n // 10)
        effect = replace(effect, name=f"o{n}")
        verdict = guard.check(view, effect, BAR, NOW)
        if verdict.decision is Decision.ALLOW:
            sent += 1
            store.write_now(
                lambda tx, effect=effect: effects.insert_effect(  # type: ignore[misc]
                    tx,
                    effect,
                    event_seq=seq,
                    lane="account:paper",
                    agent="trading",
                    state=EffectState.DONE,
                    repeat=RepeatClass.ENFORCED,
                    now=NOW,
                )
            )
            view = store.view()
        else:
            refused = verdict.reason
    show(f"orders sent of {orders:,} proposed", str(sent), "<= 5", holds=sent <= 5)
    print(f"    refused with: {refused}")
    store.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=100_000)
    options = parser.parse_args()
    check_cost()
    everyday()
    with tempfile.TemporaryDirectory() as folder:
        audit_cost(Path(folder))
        runaway(Path(folder), options.orders)
    print("MISSED: " + ", ".join(missed) if missed else "Every bound holds.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
