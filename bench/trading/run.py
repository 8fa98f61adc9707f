"""Speed of the trading engine beside four others, at the same work, with the same fills.

    python bench/trading/run.py --peers /tmp/peers/bin/python --nautilus /tmp/peers-nautilus/bin/python

Make the two environments from ``requirements.txt`` and ``requirements-nautilus.txt`` (Python 3.12); without them only
this engine is measured. Every contestant runs in a process of its own. First the fills and the final equity are
compared: a difference that no named setting reproduces ends the run with exit code 1 before any time is printed. Then
the table of CPU seconds is printed, the limits are checked (exit code 1), and cost against bars, symbols and sets is
drawn. The slow peers do a part of the largest tasks, which is scaled and marked with a star.

The clock of every contestant starts when its bars lie checked in its own form, and stops when fills are counted and the
final equity is known: signals, orders, fills and the account are in it. ``retainer, frame`` starts at pandas frames.
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
MOST_SLOPE = 1.18
"""Exponent of cost against size: ten times the work takes at most 10**1.18 = 15 times the time."""
PEERS = ("vectorbt", "backtesting", "backtrader", "nautilus")
SETTINGS = {"backtesting": ["start"], "nautilus": ["to_cents"]}
"""How a peer differs, by the setting (of ``ours.py``) that reproduces it; tried when the plain run differs."""
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


def ours(task: str, fill: str, count: int = 0, combos: int = 0, *more: str, repeats: int = 15) -> dict[str, Any]:
    """This engine's result."""
    command = [*OURS, task, fill, "--repeats", str(repeats), *more]
    command += ["--count", str(count)] if count else []
    command += ["--combos", str(combos)] if combos else []
    return call(command)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """The same number of fills and the same equity, to a hundredth of a cent per account of 100 million dollars."""
    return bool(one["fills"] == other["fills"] and abs(one["equity"] - other["equity"]) <= 1e-12 * abs(other["equity"]))


def compare(entry: Entry, peer: str, count: int, combos: int) -> bool:
    """Whether our fills and equity are the peer's, plainly or under its named setting; the words say which."""
    plain = ours(entry.task, entry.fill, count, combos, repeats=1)
    if same(plain, entry.found):
        entry.words = "equal"
        return True
    for setting in SETTINGS.get(peer, []):
        found = ours(entry.task, entry.fill, count, combos, "--setting", setting, repeats=1)
        if same(found, entry.found):
            entry.words = f"equal with {setting}"
            return True
    entry.words = f"DIFFERENT: {plain['fills']} fills, {plain['equity']:.6f} against " + (
        f"{entry.found['fills']}, {entry.found['equity']:.6f}"
    )
    return False


def contest(pythons: dict[str, str], tasks: list[str]) -> tuple[list[Entry], bool]:
    """Run everybody at every task and compare."""
    entries, fine = [], True
    for task in tasks:
        entries.append(Entry("retainer", task, "open", ours(task, "open")))
        entries.append(Entry("retainer, frame", task, "open", ours(task, "open", 0, 0, "--frame")))
        for peer, python in pythons.items():
            fill = "close" if peer == "nautilus" else "open"
            count, combos = PARTS.get((task, peer), (0, 1_000 if task == "sweep" else 0))
            found = call([python, str(HERE / f"peer_{peer}.py"), task, fill, str(count), str(combos)])
            entry = Entry(peer, task, fill, found)
            part = count or combos
            entry.scale = WHOLE[task] / part if (task, peer) in PARTS else 1.0
            fine &= compare(entry, peer, count, combos)
            entries.append(entry)
            print(
                f"  {task:<10}{peer:<12}{entry.found['fills']:>8} fills {entry.found['equity']:>20,.4f}  {entry.words}",
                flush=True,
            )
    return entries, fine


def live_bar() -> float:
    """Microseconds of one bar through the plain kernels: fill and propose on lists, as live."""
    count = 20_000
    found = call([*OURS, "minute", "open", "--count", str(count), "--plain", "--repeats", "3"])
    return float(found["cpu_s"]) / count * 1e6


def growth(path: Path) -> bool:
    """Cost against bars, symbols and sets, drawn; whether it is linear: ten times the work, at most 15 times the time.

    The slope is the exponent of the line through the three largest sizes of the log-log plot: 1 is linear. Smaller
    sizes have the cost of beginning a run in them.
    """
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = call([sys.executable, str(HERE / "growth.py")])
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    linear = True
    for axis, (name, points) in zip(axes, found["series"].items(), strict=True):
        sizes, costs = (np.array(values) for values in zip(*points, strict=True))
        slope, offset = np.polyfit(np.log10(sizes[-3:]), np.log10(costs[-3:]), 1)
        axis.loglog(sizes, costs * 1e3, "o", label="measured")
        axis.loglog(sizes, 10**offset * sizes**slope * 1e3, label=f"slope {slope:.2f} (three largest)")
        axis.loglog(sizes, costs[-1] * sizes / sizes[-1] * 1e3, "--", color="grey", label="slope 1: linear")
        axis.set(xlabel=f"{name} ({found['rest'][name]})", ylabel="CPU, ms", title=f"cost against {name}")
        axis.grid(which="both", alpha=0.2)
        axis.legend()
        linear &= slope <= MOST_SLOPE
        shown = "  ".join(f"{size:,}: {cost * 1e3:.2f} ms" for size, cost in points)
        print(f"cost against {name:<8}{shown}  slope {slope:.2f}")
    figure.savefig(path, dpi=110)
    print(f"drawn in {path.name}")
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
    print(f"\nCPU seconds, warm (* scaled from a part)\n{'':<16}" + "".join(f"{task:>12}" for task in tasks))
    for engine in dict.fromkeys(entry.engine for entry in entries):
        cells = {entry.task: entry for entry in entries if entry.engine == engine}
        row = (f"{cells[t].cpu:.4g}{'*' if cells[t].scale != 1 else ''}" if t in cells else "-" for t in tasks)
        print(f"{engine:<16}" + "".join(f"{text:>12}" for text in row))
    bar = live_bar()
    print(f"live bar through the plain kernels: {bar:.1f} us (limit {BAR_LIMIT_US:g})")
    missed = [e.task for e in entries if e.engine == "retainer" and e.task in LIMITS and e.cpu > LIMITS[e.task]]
    missed += ["live bar"] if bar > BAR_LIMIT_US else []
    missed += [] if growth(args.picture) else ["linear growth"]
    print(f"limits missed: {', '.join(missed)}" if missed else "all limits kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
