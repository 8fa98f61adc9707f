"""The interactive chat, typed at through a pseudo-terminal."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

SCRIPT = Path(__file__).with_name("chat_on_terminal.py")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][0-9A-B]|\x1b[=>]")


class Terminal:
    """Answers like a real terminal when it is asked where the cursor is."""

    def __init__(self, child: pexpect.spawn[str]) -> None:
        self._child = child

    def write(self, text: str) -> None:
        for _ in range(text.count("\x1b[6n")):
            os.write(self._child.child_fd, b"\x1b[5;1R")

    def flush(self) -> None:
        """Nothing is held back."""


def spawn(folder: Path, columns: int = 80, slow: float = 0.0) -> pexpect.spawn[str]:
    paths = os.pathsep.join([str(SCRIPT.parents[2]), str(SCRIPT.parents[2] / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    command = [str(SCRIPT), str(folder), str(slow)]
    child = pexpect.spawn(
        sys.executable, command, env=environment, encoding="utf-8", timeout=30, dimensions=(30, columns)
    )
    child.logfile_read = Terminal(child)
    return child


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[pexpect.spawn[str]]:
    child = spawn(tmp_path)
    child.expect("Welcome")
    child.expect("you")
    yield child
    child.close(force=True)


def type_line(child: pexpect.spawn[str], text: str) -> None:
    child.send(text)
    time.sleep(0.05)
    child.send("\r")


def leave(child: pexpect.spawn[str]) -> None:
    child.sendcontrol("d")
    child.expect("left cleanly")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_conversation_with_a_status_line(chat: pexpect.spawn[str]) -> None:
    chat.expect("running")
    chat.expect("43%")
    type_line(chat, "hello")
    chat.expect("re hello")
    leave(chat)


def test_a_card_is_answered_with_a_number(chat: pexpect.spawn[str]) -> None:
    type_line(chat, "card")
    chat.expect("Your decision")
    chat.expect("Approve")
    type_line(chat, "1")
    chat.expect("Approved")
    leave(chat)


def test_stop_works_while_a_reply_streams(chat: pexpect.spawn[str]) -> None:
    type_line(chat, "slow")
    chat.expect("and so on and so on")
    began = time.monotonic()
    type_line(chat, "stop")
    chat.expect(r"slow \(stopped\)|did stop")
    assert time.monotonic() - began < 2.0
    chat.expect("stopped")
    leave(chat)


def test_ctrl_c_clears_the_line_then_leaves(chat: pexpect.spawn[str]) -> None:
    chat.send("half a thought")
    chat.expect("thought")
    chat.sendcontrol("c")
    type_line(chat, "whole")
    chat.expect("re whole")
    chat.sendcontrol("c")
    chat.expect("left cleanly")


def test_what_is_typed_while_a_line_is_being_taken_is_not_lost(tmp_path: Path) -> None:
    child = spawn(tmp_path, slow=1.0)
    child.expect("Welcome")
    child.expect("you")
    type_line(child, "hello")
    time.sleep(0.3)
    leave(child)


def test_a_narrow_terminal_is_no_trouble(tmp_path: Path) -> None:
    child = spawn(tmp_path, columns=24)
    child.expect("Welcome")
    child.expect("you")
    type_line(child, "card")
    child.expect("Approve")
    leave(child)
    assert "Traceback" not in _ANSI.sub("", str(child.before))


def test_history_comes_back_after_a_restart(tmp_path: Path) -> None:
    child = spawn(tmp_path)
    child.expect("you")
    type_line(child, "remember this")
    child.expect("re remember this")
    leave(child)
    child = spawn(tmp_path)
    child.expect("you")
    child.send("\x1b[A")
    child.expect("remember this")
    child.send("\r")
    child.expect("re remember this")
    leave(child)


@pytest.mark.parametrize("word", ["quit", "Exit", "/quit"])
def test_a_person_leaves_in_words(tmp_path: Path, word: str) -> None:
    child = spawn(tmp_path, slow=0.5)
    child.expect("Welcome")
    child.expect("you")
    type_line(child, "hello")
    type_line(child, word)
    child.expect("left cleanly")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    child = spawn(tmp_path)
    child.expect("you")
    child.send("\x1b[A")
    child.expect("hello")  # what was typed before was taken, and the word to leave was not said to anybody
    child.send("\r")
    child.expect("re hello")
    leave(child)
