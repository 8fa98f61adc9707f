"""What one turn costs: received, guarded, journalled, durable, answered; with a model that answers at once.

    .venv/bin/python bench/turn_cost.py
    .venv/bin/python bench/turn_cost.py --peers /tmp/peers        # environments: bench/README.md

Every contestant runs in a process of its own, round by round in turn; CPU time of the process, all threads. Ends with
1 when this project is over its bound.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

PLACE = Path(__file__).with_name("turn_cost_contestants")
ROOT = PLACE.parents[1]
OURS = ("retainer_", "retainer_http")
PEERS = {"langgraph_": "langgraph", "pydantic_ai_": "pydantic_ai", "openai_agents_": "openai_agents"}
BOUNDS = {"plain": 3.0, "tool": 8.0}
"""Milliseconds of CPU for a turn of ``retainer_``."""
WARM = 20


class Contestant:
    """A worker process."""

    def __init__(self, name: str, python: Path, url: str) -> None:
        self.name = name
        self.rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in BOUNDS}
        self._process = subprocess.Popen(
            [str(python), str(PLACE / "worker.py"), name, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.versions: dict[str, str] = self._read()["versions"]

    def run(self, kind: str, count: int) -> dict[str, float]:
        """So many turns; milliseconds of CPU and of time for each."""
        assert self._process.stdin is not None
        print(kind, count, file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)

    def median(self, kind: str, what: str) -> float:
        """Over the rounds."""
        return statistics.median(each[what] for each in self.rounds[kind])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}.")
        return dict(json.loads(line))


def measure(contestants: list[Contestant], rounds: int, count: int) -> None:
    """Warm all up, then round by round in a fresh order."""
    for each in contestants:
        for kind in BOUNDS:
            each.run(kind, WARM)
    for _ in range(rounds):
        for kind in BOUNDS:
            for each in random.sample(contestants, len(contestants)):
                each.rounds[kind].append(each.run(kind, count))


def table(contestants: list[Contestant]) -> bool:
    """Print all; whether ours holds."""
    held = True
    print(f"{'contestant':<18}{'plain CPU':>10}{'wall':>8}{'tool CPU':>10}{'wall':>8}   ms per turn, median of rounds")
    for each in contestants:
        cells = [each.median(kind, what) for kind in BOUNDS for what in ("cpu_ms", "wall_ms")]
        words = ", ".join(f"{name} {version}" for name, version in each.versions.items())
        verdict = ""
        if each.name == OURS[0]:
            ok = all(each.median(kind, "cpu_ms") <= bound for kind, bound in BOUNDS.items())
            held &= ok
            limits = " and ".join(f"{bound:g}" for bound in BOUNDS.values())
            verdict = f"; bound {limits} ms CPU {'ok' if ok else 'BROKEN'}"
        print(
            f"{each.name.rstrip('_'):<18}"
            + "{:>10.2f}{:>8.2f}{:>10.2f}{:>8.2f}".format(*cells)
            + f"   {words}{verdict}"
        )
    return held


def main() -> int:
    """Command line; 0 when the bounds hold."""
    parser = argparse.ArgumentParser(description="CPU of a guarded, journalled, durable turn, beside other frameworks.")
    parser.add_argument("--peers", type=Path, help="folder with the environments langgraph, pydantic_ai, openai_agents")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turns", type=int, default=40, help="turns of each kind per round")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the contestants")
    options = parser.parse_args()
    random.seed(options.seed)
    command = [sys.executable, "-m", "bench.turn_cost_contestants.model_server"]
    contestants: list[Contestant] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        try:
            contestants += [Contestant(name, Path(sys.executable), url) for name in OURS]
            if options.peers is not None:
                for name, place in PEERS.items():
                    contestants.append(Contestant(name, options.peers / place / "bin" / "python", url))
            measure(contestants, options.rounds, options.turns)
        finally:
            for each in contestants:
                each.close()
            server.terminate()
    held = table(contestants)
    print("all bounds hold" if held else "A BOUND IS BROKEN")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
