"""Killed at random moments: nothing lost, nothing done twice; the far sides' own records judge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.runtime.far_judge import judge

KILLS = 30
CHILD = Path(__file__).with_name("crash_child.py")


@pytest.mark.parametrize("seed", [1, 2])
def test_thirty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, str(CHILD), str(tmp_path), str(KILLS), str(seed)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == [f"{KILLS} 0"], done.stderr[-2000:]
    assert judge(tmp_path, KILLS) > 20
