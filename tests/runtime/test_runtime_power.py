"""The power fails: what was acknowledged is on the disk, and nothing is done beyond what its class allows."""

from __future__ import annotations

from pathlib import Path

from tests.runtime.power import copies

COPIES = 5


def test_copies_of_torn_disks_open_and_go_on(tmp_path: Path) -> None:
    failures = copies(tmp_path, COPIES, seed=1)
    assert len(failures) == COPIES
    assert len({failure.messages for failure in failures}) > 1, "it worked on between the failures"
