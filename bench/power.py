"""The power fails again and again: copies of database and log, whatever was not synced yet torn.

    .venv/bin/python bench/power.py --copies 200

A quarter of them each in the middle of a write, in the middle of a checkpoint of the service or of another process, and
where the log is begun anew. Each copy is opened, checked and finished by a new service beside a copy of the far sides'
records; the first thing that was acknowledged and is missing, or done beyond its repeat class, ends it with 1. See
``tests/runtime/power.py``.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.runtime.power import Failure, copies

PER_LIFE = 10
"""Copies of one life: the longer it is, the longer it takes to judge one."""


def main() -> int:
    """Command line; 0 when every copy held."""
    parser = argparse.ArgumentParser(description="Copies of database and log, torn and finished.")
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    found: list[Failure] = []
    try:
        for life in range(-(-options.copies // PER_LIFE)):
            with tempfile.TemporaryDirectory(prefix="retainer-power-") as folder:
                wanted = min(PER_LIFE, options.copies - len(found))
                found += copies(Path(folder), wanted, options.seed + life)
    except (AssertionError, sqlite3.DatabaseError) as error:
        print(f"after {len(found)} copies: {error}\nA BOUND IS BROKEN")
        return 1
    print(f"{len(found)} power failures (seed {options.seed}), {time.monotonic() - began:.0f} s")
    print(f"  moments: {_counted(each.moment for each in found)}")
    print(f"  log: {_counted(each.tear for each in found if each.moment != 'checkpoint')}")
    restarts = [each for each in found if each.moment == "restart"]
    print(f"  caught in the middle of a write {sum(each.unsynced > 0 for each in found):>6}")
    print(f"  before a new log's first commit {sum(each.first for each in restarts):>6}")
    pages = (sum(each.pages for each in found), sum(each.whole for each in found), sum(each.part for each in found))
    print(f"  pages on their way to the file  {pages[0]:>6}   {pages[1]} arrived whole, {pages[2]} in part")
    print(f"  messages confirmed upstream     {sum(each.messages for each in found):>6}")
    print("  of these missing                     0   bound 0   ok")
    print("  done beyond their class              0   bound 0   ok")
    print("all bounds hold")
    return 0


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(Counter(words).items()))


if __name__ == "__main__":
    sys.exit(main())
