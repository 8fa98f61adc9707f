"""Importing the hub and its bridges costs little: what is heavy is loaded when it is used."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("telegram", "httpx", "prompt_toolkit", "segno")


def test_heavy_packages_stay_out_of_start_up() -> None:
    modules = ["hub", "bridges.terminal", "bridges.terminal_ui", "bridges.telegram", "bridges.telegram_setup"]
    lines = "; ".join(f"import retainer.chat.{module}" for module in modules)
    code = f"import sys; {lines}; sys.stdout.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
