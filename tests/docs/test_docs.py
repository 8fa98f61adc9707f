"""The documentation does what it says: its Python runs and prints what is written, its commands work, its links exist.

Conventions of the pages: a ``python`` block runs, all of a page in one namespace and in order; lines ``# -> ...`` are
the block's output (a block without any may print what it likes). In a ``console`` block every line ``$ retainer ...``
is run against a service and must end with 0; the rest is output, an excerpt. A block that begins with
``# file: NAME`` is a file there. Any other ``toml`` block is a valid configuration.
What needs a person or another machine is ``text``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/README.md")])
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# file: ([A-Za-z0-9_-]+\.[a-z]+)\n")
_LINK = re.compile(r"\[[^\]]+\]\(([^)#:]+)(?:#[^)]*)?\)")
_PICTURE = re.compile(r'<img src="([^":]+)"')
_THREAT = re.compile(r"`(test_threat_\w+)`")
_THREAT_ROW = re.compile(r"^\| (\d+) \|.*$", re.MULTILINE)
_TABLE_NAME = re.compile(r"^\| \[?`?([A-Za-z0-9._-]+)", re.MULTILINE)

_RUNNER = """
import contextlib, io, json, pathlib, sys
namespace = {"__name__": "__main__"}
for number, (line, code) in enumerate(json.loads(pathlib.Path(sys.argv[1]).read_text()), 1):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\\n" * (line - 1) + code, sys.argv[2], "exec"), namespace)
    wanted = [each.strip()[4:].strip() for each in code.splitlines() if each.strip().startswith("# ->")]
    said = [each.strip() for each in out.getvalue().splitlines()]
    if wanted and wanted != said:
        sys.exit(f"{sys.argv[2]}, block at line {line}: the page says {wanted}, it printed {said}")
"""


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """(line of its first line, text) of every block in ``language``."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        if match[2] == language:
            line = text.count("\n", 0, match.start(3)) + 1
            indent = match[1]
            found.append((line, "".join(row.removeprefix(indent) for row in match[3].splitlines(keepends=True))))
    return found


def files_of(page: Path) -> dict[str, str]:
    """Blocks that are files, by name."""
    found = {}
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if head := _FILE.match(match[3]):
            found[head[1]] = match[3][head.end() :]
    return found


def pages_with(language: str) -> list[Path]:
    """Pages that have such a block."""
    return [page for page in PAGES if blocks(page, language)]


def name_of(page: Path) -> str:
    """For the test's id."""
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A data folder of our own, no model, and a replay that has caught up and then hardly moves."""
    mine = {
        name: value for name, value in os.environ.items() if not name.startswith("RETAINER_") or name.endswith("CACHE")
    }
    return {
        **mine,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "RETAINER_DATA": str(tmp_path_factory.mktemp("docs") / "data"),
        "RETAINER_MODEL": "none",
        "RETAINER_TRADING__REPLAY__START": "2006-06-01",
        "RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": "3600",
        "PYTHONWARNINGS": "error",
    }


@pytest.fixture(scope="module")
def service(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """A running service on that folder; gives its environment."""
    process = subprocess.Popen(
        ["retainer", "up"],
        executable=str(Path(sys.executable).parent / "retainer"),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "retainer runs on" in process.stdout.readline()
        ends = time.monotonic() + 60
        while "live" not in run("retainer status", environment).stdout and time.monotonic() < ends:
            time.sleep(0.5)
        yield environment
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def run(command: str, environment: dict[str, str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A line of the page, as a shell would run it."""
    return subprocess.run(
        ["/bin/sh", "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=folder,
    )


@pytest.mark.parametrize("page", pages_with("python"), ids=name_of)
def test_every_python_block_runs_and_prints_what_the_page_says(
    page: Path, service: dict[str, str], tmp_path: Path
) -> None:
    script, code = tmp_path / "run.py", tmp_path / "blocks.json"
    script.write_text(_RUNNER)
    code.write_text(json.dumps(blocks(page, "python")))
    done = subprocess.run(
        [sys.executable, str(script), str(code), page.name],
        env={**service, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("page", pages_with("console"), ids=name_of)
def test_every_command_of_a_console_block_works(page: Path, service: dict[str, str], tmp_path: Path) -> None:
    for name, text in files_of(page).items():
        (tmp_path / name).write_text(text)
    commands = [
        row.removeprefix("$ ")
        for _, text in blocks(page, "console")
        for row in text.splitlines()
        if row.startswith("$ retainer ")
    ]
    assert commands
    failed = {}
    for command in commands:
        done = run(command, service, tmp_path)
        if done.returncode != 0:
            failed[command] = done.stderr or done.stdout
    assert not failed


@pytest.mark.parametrize("page", pages_with("toml"), ids=name_of)
def test_every_configuration_block_is_valid(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    for line, text in blocks(page, "toml"):
        tomllib.loads(text)
        if _FILE.match(text):
            continue
        file = tmp_path / f"{line}.toml"
        file.write_text(text)
        plain = {name: value for name, value in environment.items() if not name.startswith("RETAINER_TRADING")}
        done = run(
            f"{sys.executable} -c 'from retainer.app.config import load_settings; load_settings()'",
            {**plain, "RETAINER_CONFIG": str(file)},
        )
        assert done.returncode == 0, f"{name_of(page)}, line {line}: {done.stderr[-1500:]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [link for link in _LINK.findall(text) + _PICTURE.findall(text) if not (page.parent / link).exists()]
    assert not missing


def test_the_table_of_threats_names_every_test_of_a_threat_in_its_row() -> None:
    text = (ROOT / "docs/safety.md").read_text(encoding="utf-8")
    named = {int(row[1]): set(_THREAT.findall(row[0])) for row in _THREAT_ROW.finditer(text)}
    written: dict[int, set[str]] = {}
    for file in (ROOT / "tests").glob("*/test_*.py"):
        for name in re.findall(r"def (test_threat_\d\d_\w+)\(", file.read_text(encoding="utf-8")):
            written.setdefault(int(name[12:14]), set()).add(name)
    assert named == written
    assert sorted(written) == list(range(1, 21))


def test_every_direct_dependency_is_accounted_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[^A-Za-z0-9._-]", each)[0].lower() for each in wanted}
    listed = {name.lower() for name in _TABLE_NAME.findall((ROOT / "docs/dependencies.md").read_text(encoding="utf-8"))}
    assert names <= listed, f"not in docs/dependencies.md: {sorted(names - listed)}"
