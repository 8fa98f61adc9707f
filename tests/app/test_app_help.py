"""Help is instant: nothing heavy is imported for it, for the version, or for a typing error."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest
from tests.app.running import RETAINER

HEAVY = {
    "pandas",
    "numpy",
    "talib",
    "sklearn",
    "matplotlib",
    "xllamacpp",
    "telegram",
    "pydantic",
    "structlog",
    "httpx2",
    "dateparser",
    "prompt_toolkit",
    "rich",
    "asyncio",
    "sqlite3",
}
"""The command-line library itself brings ``pydantic`` in as soon as it runs a command."""
PROBE = """
import atexit, json, sys
sys.argv = ["retainer", *sys.argv[1:]]
atexit.register(lambda: print("MODULES", json.dumps(sorted({name.partition(".")[0] for name in sys.modules}))))
from retainer.app.cli import main
main()
"""


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["phone", "--help"], ["version"], ["nonsense"]])
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False)
    loaded = set(json.loads(done.stdout.rpartition("MODULES ")[2]))
    assert not loaded & (HEAVY if arguments == ["--help"] else HEAVY - {"pydantic"})
    assert done.returncode == (2 if arguments == ["nonsense"] else 0)


def test_help_costs_less_than_a_third_of_a_second() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(RETAINER), "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 0.3


def test_help_names_every_command_with_a_sentence() -> None:
    done = subprocess.run([str(RETAINER), "--help"], capture_output=True, text=True, check=True)
    for command in ("up", "chat", "demo", "status", "log", "explain", "doctor", "stop", "pause", "resume", "phone"):
        line = next(text for text in done.stdout.splitlines() if text.strip().startswith(f"{command} "))
        assert len(line.split()) > 3
