"""The real program in processes of its own: started, talked to and ended as a person would."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from retainer.app.config import load_settings
from retainer.app.store import open_view
from retainer.trading.answers import ledger_rows

RETAINER = Path(sys.executable).with_name("retainer")
REPOSITORY = Path(__file__).parents[2]
PATIENCE = 40.0
"""Seconds that anything may take on a machine that does other things too."""
QUICK: Mapping[str, str] = {
    "RETAINER_MODEL": "none",
    "RETAINER_SAFETY__MESSAGES_PER_MINUTE": "600",
    "RETAINER_TRADING__REPLAY__START": "2006-08-01",
    "RETAINER_TRADING__REPLAY__LIVE_FROM": "2007-01-16",
    "RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": "0.7",
}
"""Half a year of catching up, then three sessions in two seconds; no model; people who type as fast as a test."""


def environment(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """That of a person who has set nothing but what is named here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RETAINER_")}
    if "RETAINER_CACHE" in os.environ:
        kept["RETAINER_CACHE"] = os.environ["RETAINER_CACHE"]
    return {**kept, **QUICK, "RETAINER_DATA": str(folder), **(more or {})}


def retainer(
    folder: Path, *arguments: str, said: str | bytes = "", env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    given = said.encode() if isinstance(said, str) else said
    done = subprocess.run(
        [str(RETAINER), *arguments],
        input=given,
        capture_output=True,
        env=environment(folder, env),
        timeout=PATIENCE,
        check=False,
        **options,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def until(what: Callable[[], Any], patience: float = PATIENCE, pause: float = 0.05) -> Any:
    """The first true value of ``what``."""
    ends = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < ends, f"waited {patience:.0f} s in vain"
        time.sleep(pause)
    return found


class Service:
    """``retainer up`` without a terminal."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None, **options: Any) -> None:
        """``options`` go to the process, and to those of the commands beside it."""
        self.folder = folder
        self.env = dict(env or {})
        self.options = options
        self.process: subprocess.Popen[str] | None = None
        self.opened = 0.0
        """Seconds from the start of the process until it said how to reach it."""

    # --- life --------------------------------------------------------------------------------------------------------
    def start(self) -> Service:
        """Start, and wait until it says how to reach it."""
        began = time.monotonic()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        output = self.output.open("a")
        self.process = subprocess.Popen(
            [str(RETAINER), "up"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(self.folder, self.env),
            text=True,
            **self.options,
        )
        output.close()
        process = self.process
        until(lambda: f"(process {process.pid})" in self.output.read_text() or process.poll() is not None, pause=0.01)
        assert process.poll() is None, self.output.read_text()
        self.opened = time.monotonic() - began
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end(signal.SIGTERM)

    # --- looking -----------------------------------------------------------------------------------------------------
    @property
    def output(self) -> Path:
        """Everything it printed."""
        return self.folder.with_name(self.folder.name + ".out")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def run(self, *arguments: str, said: str | bytes = "", **options: Any) -> subprocess.CompletedProcess[str]:
        """One command beside it."""
        return retainer(self.folder, *arguments, said=said, env=self.env, **self.options, **options)

    def json(self, *arguments: str) -> Any:
        """One command with ``--json``."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Mapping[str, Any]]:
        """Rows of its database."""
        with open_view(load_settings(data=self.folder)) as view:
            return list(view.query(sql, params))

    def positions(self) -> dict[str, int]:
        """Shares by symbol, as the ledger has them."""
        with open_view(load_settings(data=self.folder)) as view:
            found: Any = ledger_rows(view, "paper")["positions"]
            return dict(found)

    def clock(self) -> str:
        """Close of the account's last bar, ``""`` before the first."""
        rows = self.query("SELECT MAX(external_id) AS id FROM event WHERE kind = 'bar' AND state = 'done'")
        return str(rows[0]["id"] or "").partition("@")[2]

    def caught_up(self) -> None:
        """Wait until the replay is where its slow pace begins."""
        until(lambda: self.clock() >= "2007-01-16")

    def next_bar(self) -> None:
        """Wait until one more bar was handled."""
        now = self.clock()
        until(lambda: self.clock() > now)

    def family(self) -> list[psutil.Process]:
        """It and its children."""
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]


class Chat:
    """``retainer chat --plain`` that stays open: lines in, replies out."""

    def __init__(self, service: Service) -> None:
        self._process = subprocess.Popen(
            [str(RETAINER), "chat", "--plain"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(service.folder, service.env),
            text=True,
            **service.options,
        )
        self._read = ""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()

    def say(self, line: str, answer: str) -> re.Match[str]:
        """Say ``line``; the match of ``answer`` in what comes back after it."""
        with self._more:
            self._read = ""
        self.write(line)
        return self.expect(answer)

    def write(self, line: str) -> None:
        """Say ``line`` and wait for nothing."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def expect(self, answer: str) -> re.Match[str]:
        """Wait for ``answer``; what stands before and in it is consumed."""
        pattern = re.compile(answer, re.DOTALL)
        ends = time.monotonic() + PATIENCE
        with self._more:
            while not (match := pattern.search(self._read)):
                left = ends - time.monotonic()
                assert left > 0, f"expected {answer!r}, read:\n{self._read}"
                self._more.wait(left)
            self._read = self._read[match.end() :]
            return match

    def close(self) -> int:
        """End of input; returns its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def _follow(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for text in stream:
                with self._more:
                    self._read += text
                    self._more.notify_all()


@contextmanager
def chatting(service: Service) -> Iterator[Chat]:
    """A chat that is closed at the end."""
    chat = Chat(service)
    try:
        yield chat
    finally:
        chat.close()
