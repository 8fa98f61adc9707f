"""The tour as a newcomer sees it, and an independent check of every figure in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(240)
def test_the_demo_ends_by_itself_and_every_figure_in_it_is_true(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    env = {**os.environ, "RETAINER_MODEL": "none"}
    tour = subprocess.run(
        [sys.executable, "-m", "retainer.app.cli", "demo", "--folder", str(folder)],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert tour.returncode == 0, tour.stdout[-3000:] + tour.stderr[-2000:]
    for part in ("Paired", "Accepted: buy 5 AAPL", "Filled: bought 5 AAPL", "already", "Stopped", "Resumed"):
        assert part in tour.stdout
    check = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "check_demo.py"), str(folder)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert check.returncode == 0, check.stdout
    assert int(check.stdout.split(" figures")[0].split()[-1]) > 80
