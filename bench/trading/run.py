"""Speed of the trading engine beside four others, at the same work, with the same fills.

    python bench/trading/run.py --peers /tmp/peers/bin/python --nautilus /tmp/peers-nautilus/bin/python

Make the two environments from ``requirements.txt`` and ``requirements-nautilus.txt`` (Python 3.12); without them only
this engine is measured. Every contestant runs in a process of its own. First the fills and the final equity are
compared: a difference that no named rule reproduces ends the run with exit code 1 before any time is printed. Then the
table of CPU seconds is printed, the limits are checked (exit code 1), and cost against bars, symbols and sets is drawn.
The slow peers do a part of the largest tasks, which is scaled and marked with a star.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OURS = [sys.executable, str(HERE / "ours.py")]
LIMITS = {"minute": 0.06, "portfolio": 0.01, "sweep": 0.15}
BAR_LIMIT_US = 20.0
PEERS = ("vectorbt", "backtesting", "backtrader", "nautilus")
RULES = {
    ("backtesting", "open"): ["skip-first"],
    ("backtesting", "close"): ["skip-first", "skip-last"],
    ("backtrader", "close"): ["skip-last"],
    ("nautilus", "close"): ["cents"],
}
"""How a peer differs, by the rule of ``ours.py`` that reproduces it; tried when the plain run differs."""
ROUNDING = 0.05
"""Dollars over a whole run: where every fill is rounded to the cent, exact halves of a cent can fall either way."""
PARTS = {
    ("minute", "backtrader"): (100_000, 0),
    ("minute", "nautilus"): (50_000, 0),
    ("sweep", "backtesting"): (0, 30),
    ("sweep", "backtrader"): (0, 20),
    ("sweep", "nautilus"): (0, 20),
}
WHOLE = {"minute": 1_000_000, "sweep": 1_000}


@dataclass
class Entry:
    """One contestant at one task."""

    engine: str
    task: str
    fill: str
    found: dict[str, Any] = field(default_factory=dict)
    words: str = ""
    scale: float = 1.0

    @property
    def cpu(self) -> float:
        """CPU seconds for the whole task."""
        return float(self.found["cpu_s"]) * self.scale


def call(command: list[str], *, limit: int = 1_800) -> dict[str, Any]:
    """The result line of a contestant. Ends the run when there is none."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False, cwd=HERE)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"{' '.join(command)} gave no result:\n{done.stderr[-1500:]}")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def ours(task: str, fill: str, count: int = 0, combos: int = 0, *rules: str, repeats: int = 7) -> dict[str, Any]:
    """This engine's result."""
    command = [*OURS, task, fill, "--repeats", str(repeats)]
    command += ["--count", str(count)] if count else []
    command += ["--combos", str(combos)] if combos else []
    return call(command + [part for rule in rules for part in ("--rule", rule)])


def same(one: dict[str, Any], other: dict[str, Any], cents: float = 0.0) -> bool:
    """The same number of fills and the same equity, to a hundredth of a cent per account of 100 million dollars."""
    return bool(
        one["fills"] == other["fills"] and abs(one["equity"] - other["equity"]) <= 1e-12 * abs(other["equity"]) + cents
    )


def compare(entry: Entry, peer: str, count: int, combos: int) -> bool:
    """Whether our fills and equity are the peer's, plainly or under its named rule; the words say which."""
    plain = ours(entry.task, entry.fill, count, combos, repeats=1)
    if same(plain, entry.found):
        entry.words = "equal"
        return True
    rules = RULES.get((peer, entry.fill), [])
    ruled = ours(entry.task, entry.fill, count, combos, *rules, repeats=1)
    entry.words = f"equal with {' + '.join(rules) or 'nothing'}"
    if same(ruled, entry.found):
        return True
    if "cents" in rules and same(ruled, entry.found, ROUNDING):
        entry.words += f", to {abs(ruled['equity'] - entry.found['equity']):.2f} dollars in all"
        return True
    entry.words = f"DIFFERENT: {ruled['fills']} fills, {ruled['equity']:.6f} against " + (
        f"{entry.found['fills']}, {entry.found['equity']:.6f}"
    )
    return False


def contest(pythons: dict[str, str], tasks: list[str]) -> tuple[list[Entry], bool]:
    """Run everybody at every task and compare."""
    entries, fine = [], True
    for task in tasks:
        mine = Entry("retainer", task, "open", ours(task, "open"), "-")
        entries.append(mine)
        for peer, python in pythons.items():
            fill = "close" if peer == "nautilus" else "open"
            count, combos = PARTS.get((task, peer), (0, 1_000 if task == "sweep" else 0))
            found = call([python, str(HERE / f"peer_{peer}.py"), task, fill, str(count), str(combos)])
            entry = Entry(peer, task, fill, found)
            part = count or combos
            entry.scale = WHOLE[task] / part if (task, peer) in PARTS else 1.0
            fine &= compare(entry, peer, count, combos)
            entries.append(entry)
            print(f"  {task:<10}{peer:<12}{entry.found['fills']:>8} fills  {entry.words}", flush=True)
    return entries, fine


def live_bar() -> float:
    """Microseconds of one bar through the plain kernels: fill and propose on lists, as live."""
    count = 20_000
    found = call([*OURS, "minute", "open", "--count", str(count), "--plain", "--repeats", "3"])
    return float(found["cpu_s"]) / count * 1e6


def growth(path: Path) -> bool:
    """Cost against bars, symbols and sets, drawn; whether ten times the work costs at most fifteen times the time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = call([sys.executable, str(HERE / "growth.py")])
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4), layout="constrained")
    linear = True
    for axis, (name, points) in zip(axes, found["series"].items(), strict=True):
        sizes, costs = zip(*points, strict=True)
        axis.loglog(sizes, costs, marker="o", label="measured")
        axis.loglog(sizes, [costs[-1] * size / sizes[-1] for size in sizes], "--", color="grey", label="linear")
        axis.set(xlabel=name, ylabel="CPU seconds", title=f"cost against {name}")
        axis.legend()
        growth_here = (costs[-1] / costs[-2]) / (sizes[-1] / sizes[-2])
        linear &= growth_here <= 1.5
        print(f"cost against {name:<8}" + "  ".join(f"{size:,}: {cost * 1e3:.2f} ms" for size, cost in points))
    figure.savefig(path, dpi=110)
    print(f"drawn in {path}")
    return linear


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="Python with vectorbt, backtesting and backtrader")
    parser.add_argument("--nautilus", help="Python with nautilus_trader")
    parser.add_argument("--tasks", default="daily,minute,portfolio,sweep")
    parser.add_argument("--picture", type=Path, default=HERE / "growth.png")
    args = parser.parse_args()
    pythons = dict.fromkeys(PEERS[:3], args.peers) if args.peers else {}
    pythons |= {"nautilus": args.nautilus} if args.nautilus else {}
    tasks = args.tasks.split(",")
    print("fills and equity:")
    entries, fine = contest(pythons, tasks)
    if not fine:
        print("Fills or equity differ: no times are shown.")
        return 1
    print(f"\nCPU seconds, warm (* scaled from a part)\n{'':<12}" + "".join(f"{task:>12}" for task in tasks))
    for engine in dict.fromkeys(entry.engine for entry in entries):
        cells = {entry.task: entry for entry in entries if entry.engine == engine}
        row = (f"{cells[t].cpu:.4g}{'*' if cells[t].scale != 1 else ''}" if t in cells else "-" for t in tasks)
        print(f"{engine:<12}" + "".join(f"{text:>12}" for text in row))
    bar = live_bar()
    print(f"live bar through the plain kernels: {bar:.1f} us (limit {BAR_LIMIT_US:g})")
    missed = [e.task for e in entries if e.engine == "retainer" and e.task in LIMITS and e.cpu > LIMITS[e.task]]
    missed += ["live bar"] if bar > BAR_LIMIT_US else []
    missed += [] if growth(args.picture) else ["linear growth"]
    print(f"limits missed: {', '.join(missed)}" if missed else "all limits kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
