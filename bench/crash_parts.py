"""What the crash harness starts, each a process of its own: the test suite's Bot API server, the far side that runs
errands, and the real service."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Literal

When = Literal["before", "after"]
ROOT = Path(__file__).resolve().parents[1]
FAR = Path(__file__).resolve().with_name("crash_far")
_OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_CODE = re.compile(r"\?start=([0-9A-Z]{8})")


class BotServer:
    """The Bot API server, and the side of the people on their phones."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "bot.jsonl"
        self.log.touch()
        command = [sys.executable, str(ROOT / "tests/bridges/fake_telegram.py"), "--port", "0", "--log", str(self.log)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.url, self.token = str(said["url"]), str(said["token"])
        self._offset = 0

    def say(self, chat: int, text: str) -> int:
        """A person writes; the message's id. When this returns, the server has taken it."""
        return int(self._post("say", {"text": text, "user": chat})["message_id"])

    def answer_late(self, seconds: float) -> None:
        """Let every answer of the server take as long as over a real network."""
        self._post("fault", {"method": "*", "kind": "late", "value": seconds, "times": 1_000_000})

    def kill_at(self, pid: int, when: When, pass_by: int) -> None:
        """Have the process ``pid`` killed before or after a request, when ``pass_by`` others have passed by."""
        self._post("fault", {"method": "*", "kind": f"kill_{when}", "value": pid, "pass_by": pass_by})

    def spare(self) -> None:
        """Kill nobody after all."""
        self._post("spare", {})

    @property
    def calls(self) -> int:
        """Requests so far."""
        return int(self._post("state", {})["calls"])

    def press(self, chat: int, message_id: int, data: str) -> None:
        """A person presses a button."""
        self._post("press", {"message_id": message_id, "data": data, "user": chat})

    def news(self) -> list[dict[str, Any]]:
        """Lines of the log that were not read yet."""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _post(self, what: str, body: Mapping[str, object]) -> dict[str, Any]:
        return _asked(f"{self.url}/control/{what}", body)


class FarSide:
    """The far side of the errands; see ``crash_far/far_side.py``. Its book is the judge."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.book = folder / "far.jsonl"
        self.book.touch()
        command = [sys.executable, str(FAR / "far_side.py"), str(self.book), "--seed", str(seed)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = str(json.loads(self._process.stdout.readline())["url"])

    def kill_at(self, pid: int, when: When, pass_by: int) -> None:
        """Have the process ``pid`` killed before or after a request, when ``pass_by`` others have passed by."""
        _asked(f"{self.url}/control", {"pid": pid, "when": when, "pass_by": pass_by})

    def spare(self) -> None:
        """Kill nobody after all."""
        _asked(f"{self.url}/control", {})

    @property
    def calls(self) -> int:
        """Requests so far."""
        return int(_asked(f"{self.url}/control")["requests"])

    @property
    def agent(self) -> str:
        """The lines of ``retainer.toml`` that give a service the agent which runs errands here."""
        return f'[agents.errands]\nentry = "errands:ErrandAgent"\npath = "{FAR}"\nsettings = {{ url = "{self.url}" }}\n'

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()


def _asked(url: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with _OPEN.open(urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=10) as answer:
            return dict(json.loads(answer.read()))
    except OSError as error:
        raise RuntimeError(f"{url} does not answer.") from error


class Service:
    """``retainer up`` on a folder of its own, without a chat model. ``configuration``: its ``retainer.toml``."""

    def __init__(self, folder: Path, bot_url: str, settings: Mapping[str, str], configuration: str = "") -> None:
        self.data = folder / "data"
        if configuration:
            self.data.mkdir(mode=0o700)
            (self.data / "retainer.toml").write_text(configuration, encoding="utf-8")
        self.database = self.data / "retainer.db"
        self.starts = 0
        self._output = folder / "service.out"
        self._process: subprocess.Popen[bytes] | None = None
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RETAINER_")}
        self._environment = {
            **kept,
            "RETAINER_DATA": str(self.data),
            "RETAINER_MODEL": "none",
            "RETAINER_TELEGRAM__BASE_URL": bot_url,
            "RETAINER_TELEGRAM__POLL_SECONDS": "5",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            **settings,
        }

    def start(self) -> None:
        """Start it; it may take a second or two until it answers."""
        self.starts += 1
        with self._output.open("ab") as output:
            self._process = self._run(["up"], stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def began(self) -> bool:
        """Whether the process that runs has said that it started."""
        log = self.data / "logs" / "retainer.log"
        return log.exists() and f'"pid": {self.pid}, "event": "service_started"' in log.read_text(errors="replace")

    def died(self) -> bool:
        """Whether somebody killed it; then it is gone. Raises ``RuntimeError`` when it ended by itself."""
        assert self._process is not None
        ended = self._process.poll()
        if ended is None:
            return False
        if ended != -signal.SIGKILL:
            raise RuntimeError(f"The service ended by itself ({ended}):\n{self.tail()}")
        self._process = None
        return True

    def kill(self) -> None:
        """``kill -9``. Raises ``RuntimeError`` when it had ended by itself."""
        assert self._process is not None
        ended = self._process.poll()
        if ended is not None:
            raise RuntimeError(f"The service ended by itself ({ended}):\n{self.tail()}")
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self, while_waiting: Callable[[], object] | None = None) -> int:
        """Ask it to end (SIGTERM); its exit status. ``while_waiting`` is called again and again until then."""
        assert self._process is not None
        self._process.terminate()
        try:
            ends = time.monotonic() + 20
            while while_waiting is not None and self._process.poll() is None and time.monotonic() < ends:
                while_waiting()
            return self._process.wait(20)
        finally:
            self.close()

    def close(self) -> None:
        """Leave nothing running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pair(self, server: BotServer, chat: int, patience: float = 30.0) -> None:
        """``retainer phone telegram`` on this machine, and its code sent from the phone ``chat``."""
        asking = self._run(
            ["phone", "telegram"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            self._answer_for(asking, server, chat, patience)
        finally:
            asking.kill()
            asking.communicate()

    def _answer_for(self, asking: subprocess.Popen[bytes], server: BotServer, chat: int, patience: float) -> None:
        assert asking.stdin is not None
        assert asking.stdout is not None
        asking.stdin.write(f"{server.token}\n".encode())
        asking.stdin.flush()
        shown = ""
        while (found := _CODE.search(shown)) is None:
            line = asking.stdout.readline().decode()
            shown += line
            if not line:
                raise RuntimeError(f"No code to pair with:\n{shown}\n{self.tail()}")
        server.say(chat, f"/start {found[1]}")
        try:
            status = asking.wait(patience)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"The phone was not paired in {patience:.0f} s:\n{shown}\n{self.tail()}") from error
        if status != 0:
            raise RuntimeError(f"The phone was not paired:\n{shown}{asking.stdout.read().decode()}")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command of the program beside the service, to its end."""
        command = [str(Path(sys.executable).with_name("retainer")), *words]
        return subprocess.run(
            command,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def await_prices(self, patience: float = 60.0) -> None:
        """Until the first bar is there; before it, every order is answered that there are no prices yet."""
        ends = time.monotonic() + patience
        while time.monotonic() < ends:
            with reading(self.database) as database:
                if database.execute("SELECT 1 FROM bar").fetchone() is not None:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"No prices in {patience:.0f} s:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what it printed and logged, for a person who looks for the reason."""
        paths = (self._output, self.data / "logs" / "retainer.log")
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in paths if path.exists())

    def _run(self, words: list[str], **streams: IO[bytes] | int) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).with_name("retainer")), *words]
        return subprocess.Popen(command, env=self._environment, **streams)  # type: ignore[call-overload,no-any-return]  # streams


@contextmanager
def reading(database: Path) -> Iterator[sqlite3.Connection]:
    """One consistent look at a database that the service may be using."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        yield connection


@contextmanager
def left_behind(database: Path) -> Iterator[sqlite3.Connection]:
    """The database as a killed service left it, read from a copy: recovering it stays the next start's work."""
    with tempfile.TemporaryDirectory() as place:
        for path in (database, database.with_name(database.name + "-wal")):
            if path.exists():
                shutil.copy(path, place)
        with closing(sqlite3.connect(Path(place) / database.name)) as connection:
            connection.row_factory = sqlite3.Row
            yield connection


def look(database: Path, windows: Counter[str]) -> None:
    """Count in ``windows`` what a kill has cut in two."""
    with left_behind(database) as left:
        states = Counter(row["state"] for row in left.execute("SELECT state FROM effect"))
        begun, waiting = left.execute(
            "SELECT COALESCE(SUM(attempts > 0), 0), COUNT(*) FROM event WHERE state = 'waiting'"
        ).fetchone()
    windows["a reply or order half sent"] += states["sending"] > 0
    windows["an effect stored, not sent"] += states["ready"] > 0
    windows["an event half handled"] += begun > 0
    windows["an event stored, not handled"] += waiting > begun
