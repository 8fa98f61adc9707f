"""One contestant in a process of its own: ``worker.py NAME URL``; reads ``plain 50``, writes its figures as JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


async def main(name: str, url: str) -> None:
    """Until standard input ends."""
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints is no answer
    contestant = importlib.import_module(f"bench.turn_cost_contestants.{name}")
    with tempfile.TemporaryDirectory() as folder:
        turns = await contestant.turns(url, Path(folder))
        print(json.dumps({"versions": contestant.VERSIONS}), file=say, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            kind, count = line.split()
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(int(count)):
                await turns[kind]()
            figures = {
                "cpu_ms": (time.process_time() - cpu) * 1e3 / int(count),
                "wall_ms": (time.perf_counter() - wall) * 1e3 / int(count),
            }
            print(json.dumps(figures), file=say, flush=True)
        if "close" in turns:
            await turns["close"]()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
