"""``retainer demo``: the tour, scripted, on a real Telegram bridge against the test suite's Bot API server.

The service, the pairing and every answer are the real ones; only the far side of the wire is the test server. The
dialogue is printed as it happens and kept in ``demo.json`` of the demo's data folder, where ``examples/check_demo.py``
recomputes every figure from the ledger and the raw bars.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from retainer.app.config import default_data_folder
from retainer.app.folder import read_json
from retainer.core.errors import NotFoundError, RetainerError

ME = 42
"""The phone's user id at the test server."""
SECONDS_PER_BAR = "6"
MODEL_WAIT_S = 900.0
_CODE = re.compile(r"\?start=([\w-]+)")


class DemoError(RetainerError):
    """A step of the tour did not come out as it should."""


@dataclass
class Phone:
    """The far side: what a person holds in their hand."""

    url: str
    log: Path
    transcript: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _seen: dict[int, str] = field(default_factory=dict)
    _unmatched: list[str] = field(default_factory=list)

    def control(self, what: str, **body: Any) -> dict[str, Any]:
        """One call to the test server's control side."""
        method = "GET" if what == "state" else "POST"
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.url}/control/{what}", data=data, method=method, headers=headers)  # noqa: S310 - loopback
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
        return found

    def note(self, who: str, text: str) -> None:
        """Print a line of the dialogue and keep it."""
        self.transcript.append({"t": round(time.monotonic() - self.began, 2), "who": who, "text": text})
        lines = text.splitlines() or [""]
        sys.stdout.write(f"{who:>8}  {lines[0]}\n" + "".join(f"{'':>8}  {line}\n" for line in lines[1:]))
        sys.stdout.flush()

    def say(self, text: str, user: int = ME) -> None:
        """Write to the bot."""
        self._unmatched.clear()
        self.note("you" if user == ME else "stranger", text)
        self.control("say", text=text, user=user)

    def messages(self) -> dict[int, dict[str, Any]]:
        """All messages of the bot in this chat, by id."""
        return {m["message_id"]: m for m in self.control("state")["messages"] if m["chat"]["id"] == ME}

    def press(self, label: str) -> None:
        """Press a button of the newest card that has it."""
        for message in sorted(self.messages().values(), key=lambda m: -m["message_id"]):
            for row in (message.get("reply_markup") or {}).get("inline_keyboard", []):
                for button in row:
                    if button["text"] == label:
                        self.note("you", f"[{label}]")
                        self.control("press", message_id=message["message_id"], data=button["callback_data"], user=ME)
                        return
        raise DemoError(f"There is no button {label} to press.")

    def press_data(self, data: str, message_id: int) -> None:
        """Press a button that is no longer shown (a late finger)."""
        self.note("you", "[Approve] once more")
        self.control("press", message_id=message_id, data=data, user=ME)

    def newest_card(self) -> tuple[int, str]:
        """Message id and data of the Approve button of the newest card."""
        for message in sorted(self.messages().values(), key=lambda m: -m["message_id"]):
            for row in (message.get("reply_markup") or {}).get("inline_keyboard", []):
                for button in row:
                    if button["text"] == "Approve":
                        return message["message_id"], button["callback_data"]
        raise DemoError("There is no card to approve.")

    def wait_for_growing(self, seconds: float) -> None:
        """Wait until the newest message shows more than its placeholder: the reply is being written."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            newest = max(self.messages().items(), default=(0, {"text": "…"}))
            if newest[0] not in self._seen and len(str(newest[1].get("text"))) > 20:
                self.note("retainer", str(newest[1]["text"]) + " (still writing)")
                return
            time.sleep(0.1)

    def hear(self, wanted: str, seconds: float = 60.0, quiet: float = 1.2) -> str:
        """Print what the bot says until a finished text matches ``wanted``; returns that text.

        What was said since the last :meth:`say` and matched nothing yet counts too: answers may overtake each other.
        """
        pattern = re.compile(wanted, re.S | re.I)
        for text in self._unmatched:
            if pattern.search(text):
                self._unmatched.remove(text)
                return text
        ends = time.monotonic() + seconds
        changed: dict[int, tuple[str, float]] = {}
        while time.monotonic() < ends:
            now = time.monotonic()
            for number, message in self.messages().items():
                text = str(message.get("text") or message.get("caption") or "")
                if text not in {"…", self._seen.get(number)} and changed.get(number, ("", 0.0))[0] != text:
                    changed[number] = (text, now)
            for number, (text, since) in sorted(changed.items()):
                if now - since >= quiet:
                    self._seen[number] = text
                    del changed[number]
                    self.note("retainer", text)
                    if pattern.search(text):
                        return text
                    self._unmatched.append(text)
            time.sleep(0.1)
        raise DemoError(f"Nothing like {wanted!r} was said within {seconds:.0f} seconds.")


def run_demo(folder: Path | None = None) -> int:
    """Run the tour; 0 when every step came out right. Ends by itself."""
    server_file = _test_server()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    root = (folder or default_data_folder() / "demo").absolute()
    if folder is None and root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as stack:
        url, token = stack.enter_context(_server(server_file, root / "bot.jsonl"))
        env = {
            **os.environ,
            "RETAINER_DATA": str(root),
            "RETAINER_TELEGRAM__BASE_URL": url,
            "RETAINER_TELEGRAM__EDIT_SECONDS": "0.5",
            "RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": SECONDS_PER_BAR,
        }
        tour = Tour(Phone(url, root / "bot.jsonl"), root, env, token)
        try:
            tour.run()
        except (DemoError, OSError) as error:
            sys.stdout.write(f"\nThe demo failed: {error}\nLog: {root / 'logs' / 'retainer.log'}\n")
            return 1
        finally:
            tour.end()
            (root / "demo.json").write_text(json.dumps(tour.phone.transcript, indent=1))
    sys.stdout.write(
        f"\nDone in {time.monotonic() - tour.phone.began:.0f} seconds. Everything is in {root}.\n"
        f"Check its figures: python examples/check_demo.py {root}\n"
    )
    return 0


class Tour:
    """The script of the tour."""

    def __init__(self, phone: Phone, root: Path, env: Mapping[str, str], token: str) -> None:
        self.phone = phone
        self._root = root
        self._env = dict(env)
        self._token = token
        self._service: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """All of it, in order."""
        self._chapter("Start the service; its chat is open at once")
        self._start()
        self._wait_for_model()
        steps: tuple[Callable[[], None], ...] = (
            self._pair,
            self._talk,
            self._money,
            self._order,
            self._rejected,
            self._stop,
            self._killed,
            self._sell,
            self._look,
        )
        for step in steps:
            step()

    def end(self) -> None:
        """End the service in order."""
        if self._service is not None and self._service.poll() is None:
            self._service.send_signal(signal.SIGTERM)
            try:
                self._service.wait(20)
            except subprocess.TimeoutExpired:
                self._service.kill()
        self._service = None

    # --- chapters ----------------------------------------------------------------------------------------------------
    def _pair(self) -> None:
        self._chapter("Pair a phone: paste the token, scan the code")
        process = subprocess.Popen(
            [sys.executable, "-m", "retainer.app.cli", "phone", "telegram"],
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if process.stdin is None or process.stdout is None:
            raise DemoError("The pairing command has no pipes.")
        process.stdin.write(f"Done! Use this token to access the HTTP API:\n{self._token}\n\n")
        process.stdin.close()
        try:
            for line in process.stdout:
                sys.stdout.write(f"{'':>8}  {line}")
                found = _CODE.search(line)
                if found:
                    self.phone.say(f"/start {found[1]}")
            if process.wait(60):
                raise DemoError("Pairing failed.")
        finally:
            process.kill()
            process.wait()
        self.phone.hear("Paired")
        self.phone.hear("It works")
        self.phone.say("Hello, who is there?", user=666)
        time.sleep(1.0)
        if any(m["chat"]["id"] == 666 for m in self.phone.control("state")["messages"]):
            raise DemoError("The stranger was answered.")
        self.phone.note("", "(strangers are met with silence)")

    def _talk(self) -> None:
        self._chapter("Talk; be remembered")
        self.phone.say("My name is Sam and I live in Oslo.")
        self.phone.hear(r"\w+", 60)
        self.phone.say("hi, how are you today?")
        self.phone.hear(r"\w+", 90)
        self.phone.say("what time is it?")
        self.phone.hear("It is", 10)

    def _money(self) -> None:
        self._chapter("Ask about the money")
        self.phone.say("how did the bot do this month?")
        self.phone.hear(r"\$", 10)
        self.phone.say("how did the bot do this year?")
        self.phone.hear(r"\$", 10)
        self.phone.say("why did you buy IBM?")
        self.phone.hear("sma-trend", 10)
        self.phone.say("what do you own?")
        self.phone.hear("worth", 10)

    def _order(self) -> None:
        self._chapter("Buy something: card, yes, accepted, filled by the market's rules")
        self.phone.say("buy 5 AAPL")
        self.phone.hear("Risk manager", 10)
        card = self.phone.newest_card()
        self.phone.press("Approve")
        self.phone.hear("Accepted", 15)
        self.phone.press_data(card[1], card[0])
        self.phone.hear("already", 10)
        self.phone.hear(r"Filled.*AAPL", 40)

    def _rejected(self) -> None:
        self._chapter("Say no; answer with a code that does not exist")
        self.phone.say("sell 2 MSFT")
        self.phone.hear("Risk manager", 10)
        self.phone.press("Reject")
        self.phone.hear("Reject", 10)
        self.phone.hear("Not placed", 10)
        self.phone.say("approve zzzzzzzz")
        self.phone.hear("no request", 10)

    def _stop(self) -> None:
        self._chapter("Stop, in the middle of a reply")
        self.phone.say("Please tell me a long story about a lighthouse keeper and the sea.")
        self.phone.wait_for_growing(30.0 if self._env.get("RETAINER_MODEL") != "none" else 0.0)
        began = time.monotonic()
        self.phone.say("stop")
        self.phone.hear("Stopped", 10, quiet=0.0)
        self.phone.note("", f"(stopped {time.monotonic() - began:.2f} s after it was said)")
        self.phone.say("buy 3 IBM")
        self.phone.hear("Trading is stopped", 10)

    def _killed(self) -> None:
        self._chapter("kill -9 the service, and start it again")
        if self._service is not None:
            self._service.kill()
            self._service.wait()
        self._start()
        self.phone.say("status")
        self.phone.hear("STOPPED", 40)
        self.phone.say("what do you know about me?")
        self.phone.hear("Sam", 20)
        self.phone.say("resume")
        self.phone.hear("Resumed", 15)

    def _sell(self) -> None:
        self._chapter("Sell everything")
        self.phone.say("sell everything")
        self.phone.hear("Risk manager", 10)
        self.phone.press("Approve")
        self.phone.hear("Accepted", 15)
        self.phone.hear("Filled|Sold", 40)
        self.phone.say("what do you own?")
        self.phone.hear("worth|nothing|cash", 10)
        self.phone.say("how did the bot do this month?")
        self.phone.hear(r"\$", 10)

    def _look(self) -> None:
        self._chapter("Read what happened")
        for command in (["status"], ["log", "-n", "6"], ["doctor"]):
            sys.stdout.write(f"{'':>8}  $ retainer {' '.join(command)}\n")
            done = subprocess.run(  # noqa: S603 - our own command
                [sys.executable, "-m", "retainer.app.cli", *command],
                env=self._env,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            sys.stdout.write("".join(f"{'':>10}{line}\n" for line in done.stdout.splitlines()))
            if done.returncode:
                raise DemoError(f"retainer {command[0]} ended with {done.returncode}: {done.stderr}")

    # --- service -----------------------------------------------------------------------------------------------------
    def _start(self) -> None:
        with (self._root / "service.out").open("ab") as out:
            self._service = subprocess.Popen(
                [sys.executable, "-m", "retainer.app.cli", "up"],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        ends = time.monotonic() + 40.0
        while not read_json(self._root / "service.json"):
            if self._service.poll() is not None or time.monotonic() > ends:
                raise DemoError(f"The service did not start: {(self._root / 'service.out').read_text()[-500:]}")
            time.sleep(0.2)

    def _wait_for_model(self) -> None:
        """The tour waits for the model, so that its five minutes do not depend on the network."""
        if self._env.get("RETAINER_MODEL") == "none":
            return
        ends = time.monotonic() + MODEL_WAIT_S
        said = ""
        while time.monotonic() < ends:
            words = str(read_json(self._root / "service.json").get("model", ""))
            if words != said:
                said = words
                sys.stdout.write(f"{'':>8}  model: {words}\n")
                sys.stdout.flush()
            if words.endswith("ready"):
                self.phone.began = time.monotonic()
                return
            time.sleep(1.0)
        raise DemoError(f"The model did not get ready: {said}")

    def _chapter(self, title: str) -> None:
        sys.stdout.write(f"\n== {title}\n")
        sys.stdout.flush()


def _test_server() -> Path:
    """The Bot API server of the test suite, in a clone of the project."""
    for root in (Path(__file__).resolve().parents[3], Path.cwd()):
        path = root / "tests" / "bridges" / "fake_telegram.py"
        if path.is_file():
            return path
    raise NotFoundError(
        "The test suite's Bot API server is not here.", hint="Run the demo in a clone of the project: make demo"
    )


@contextlib.contextmanager
def _server(file: Path, log: Path) -> Iterator[tuple[str, str]]:
    process = subprocess.Popen(  # noqa: S603 - our own test server
        [sys.executable, str(file), "--port", "0", "--log", str(log)], stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        said = json.loads(line)
        yield said["url"], said["token"]
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout:
            process.stdout.close()
