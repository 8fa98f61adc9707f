"""``retainer up`` in a terminal: a prompt at once, replies that grow, stop in the middle of one, a clean way out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pexpect
from tests.app.running import RETAINER, Service, environment, retainer
from tests.app.servers import SlowModel, serving
from tests.bridges.test_bridges_terminal_ui import Terminal


@contextmanager
def terminal(folder: Path, *command: str, env: Mapping[str, str] | None = None) -> Iterator[pexpect.spawn[str]]:
    """The program on a pseudo-terminal."""
    surroundings = {**environment(folder, env), "TERM": "xterm-256color"}
    surroundings.pop("NO_COLOR", None)
    child: pexpect.spawn[str] = pexpect.spawn(
        str(RETAINER), list(command), env=surroundings, encoding="utf-8", timeout=30, dimensions=(40, 100)
    )
    child.logfile_read = Terminal(child)
    try:
        yield child
    finally:
        child.close(force=True)


def type_line(child: pexpect.spawn[str], text: str) -> None:
    child.send(text)
    time.sleep(0.05)
    child.send("\r")


def leave(child: pexpect.spawn[str]) -> None:
    """Ctrl-D, and the program ends well."""
    child.sendcontrol("d")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_the_prompt_is_there_at_once_and_ctrl_d_leaves_cleanly(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    began = time.monotonic()
    with terminal(folder, "up") as child:
        child.expect("you.* ›")
        assert time.monotonic() - began < 5
        child.expect("running")
        type_line(child, "buy 5 AAPL")
        child.expect(["Your decision", "before the first bar", "no price"])
        type_line(child, "help")
        child.expect("Stop and go")
        leave(child)
        assert "Traceback" not in str(child.before)
    assert "Service: not running" in retainer(folder, "status").stdout
    assert not (folder / "service.json").exists()


def test_a_reply_grows_and_stop_cuts_it_and_stops_trading_within_a_second(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with serving(SlowModel) as url:
        env = {"RETAINER_MODEL": "default", "RETAINER_MODELS__BASE_URL": f"{url}/v1", "RETAINER_MODELS__OFFLINE": "1"}
        with terminal(folder, "up", env=env) as child:
            child.expect("you.* ›")
            child.expect("ready")
            began = time.monotonic()
            type_line(child, "tell me a long story about the sea")
            child.expect("Alpha")
            assert time.monotonic() - began < 5
            child.expect("india")
            said = time.monotonic()
            type_line(child, "stop")
            child.expect("(?i)stopped")
            took = time.monotonic() - said
            assert took < 1.5, f"{took:.2f} s, of which 0.05 s are typing and 0.25 s the pace of the screen"
            leave(child)
    assert "STOPPED" in retainer(folder, "status").stdout


def test_a_terminal_beside_the_service_sees_cards_and_leaves_without_ending_it(service: Service) -> None:
    service.caught_up()
    with terminal(service.folder, "chat", env=service.env) as child:
        child.expect("you.* ›")
        type_line(child, "buy 2 IBM")
        child.expect("Your decision")
        child.expect("Approve")
        type_line(child, "2")
        child.expect("(?i)rejected|not placed")
        leave(child)
    service.next_bar()
