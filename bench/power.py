"""The power fails again and again: copies of database and log at random instants, their last writes torn.

    .venv/bin/python bench/power.py --copies 200

Each copy is opened, checked and finished by a new service beside a copy of the far sides' records; the first thing that
was acknowledged and is missing, or done beyond its repeat class, ends it with 1. See ``tests/runtime/power.py``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.runtime.power import Failure, copies

PER_LIFE = 5
"""Copies of one life: the log must not have been started anew, or nobody could tell what of it was synced."""


def main() -> int:
    """Command line; 0 when every copy held."""
    parser = argparse.ArgumentParser(description="Copies of database and log at random instants, torn and finished.")
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
    except AssertionError as error:
        print(f"after {len(found)} copies: {error}\nA BOUND IS BROKEN")
        return 1
    tears = ", ".join(f"{count} {tear}" for tear, count in sorted(Counter(each.tear for each in found).items()))
    print(f"{len(found)} power failures (seed {options.seed}), {time.monotonic() - began:.0f} s; log: {tears}")
    print(f"  caught in the middle of a write {sum(each.unsynced > 0 for each in found):>6}")
    print(f"  messages confirmed upstream     {sum(each.messages for each in found):>6}")
    print("  of these missing                     0   bound 0   ok")
    print("  done beyond their class              0   bound 0   ok")
    print("all bounds hold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
