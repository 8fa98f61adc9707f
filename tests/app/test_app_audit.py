"""The audit's anchors: told to the owner once a day, kept in a file that only grows, and what they reveal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retainer.app.anchoring import append_line, read_lines
from retainer.app.audit_commands import parse_anchor, run_anchor, run_verify
from retainer.app.config import Settings, load_settings
from retainer.app.service import Service
from retainer.app.store import open_outside
from retainer.core.clock import ManualClock
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Tx
from retainer.core.values import canonical
from retainer.safety import audit

START = datetime(2026, 3, 2, 7, 30, tzinfo=UTC)


def settings_in(folder: Path) -> Settings:
    return load_settings(
        data=folder / "data", model="none", telegram={"enabled": False}, chat={"timezone": "Europe/Berlin"}
    )


async def told(service: Service) -> list[str]:
    await asyncio.wait_for(service.runtime.idle(), 60)
    rows = service.store.view().query(
        "SELECT b.bytes FROM effect e JOIN body b ON b.id = e.args_id"
        " WHERE e.tool = 'terminal.reply' AND e.state = 'done' ORDER BY e.id"
    )
    return [json.loads(row["bytes"])["text"] for row in rows]


async def pass_time(service: Service, clock: ManualClock, until: Callable[[], bool], **step: float) -> None:
    """Move the clock on until ``until`` holds."""
    async with asyncio.timeout(60):
        while not until():
            clock.advance(**step)
            service.runtime.wake()
            await asyncio.sleep(0.05)


async def test_the_owner_is_told_once_a_day_and_the_file_grows_by_a_line(tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)
    path = settings.data / "anchors.jsonl"
    async with Service(settings, clock=clock, feeds=()) as service:
        for day in (1, 2):
            clock.advance(days=1)
            service.runtime.wake()
            await pass_time(service, clock, lambda day=day: len(read_lines(path)) >= day, minutes=1)  # type: ignore[misc]  # bound default
        messages = await told(service)
    assert len(messages) == 2
    lines = read_lines(path)
    assert [count for count, _ in lines] == [1, 2]
    for text, (count, head) in zip(messages, lines, strict=True):
        assert f"Anchor {count}:{head}\n" in text
    assert run_verify(settings, [f"{count}:{head}" for count, head in lines], as_json=False) == 0


async def test_a_day_on_which_it_was_down_is_made_up_for_once(tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)
    path = settings.data / "anchors.jsonl"
    async with Service(settings, clock=clock, feeds=()):
        pass
    clock.advance(days=3)
    async with Service(settings, clock=clock, feeds=()) as service:
        async with asyncio.timeout(60):
            while not read_lines(path):
                await asyncio.sleep(0.02)
        assert len(await told(service)) == 1
    assert len(read_lines(path)) == 1


# --- what it reveals -------------------------------------------------------------------------------------------------
def change(settings: Settings, unit: Callable[[Tx], object]) -> None:
    with open_outside(settings) as store:
        store.write_now(unit)


def rewrite(tx: Tx, lane: str, keep: Callable[[int], bool]) -> None:
    """A forger with the whole program at hand: the chain made anew, every hash right."""
    rows = tx.query("SELECT * FROM audit WHERE lane = ? ORDER BY n", (lane,))
    tx.execute("DELETE FROM audit WHERE lane = ?", (lane,))
    for row in rows:
        if keep(row["n"]):
            audit.append(tx, lane, row["kind"], row["ref"], json.loads(row["data"]), START)


async def anchored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Settings, str]:
    """A folder with an anchor, which is told; the file beside it is gone, as if the forger had found that too."""
    settings = settings_in(tmp_path)
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        for n in range(5):
            at = START + timedelta(minutes=n)
            await service.store.write(lambda tx, n=n, at=at: audit.append(tx, "work", "done", f"e{n}", {"n": n}, at))  # type: ignore[misc]  # bound default
    assert run_anchor(settings) == 0
    anchor = capsys.readouterr().out.splitlines()[0]
    (settings.data / "anchors.jsonl").unlink()
    return settings, anchor


FORGERIES: dict[str, tuple[Callable[[Tx], object], str, bool]] = {
    "changed": (
        lambda tx: tx.execute(
            "UPDATE audit SET data = ? WHERE lane = 'work' AND n = 3", (canonical({"n": 9}).decode(),)
        ),
        "changed: entry 3",
        True,
    ),
    "removed": (lambda tx: tx.execute("DELETE FROM audit WHERE lane = 'work' AND n = 2"), "removed: entry 2", True),
    "cut": (lambda tx: tx.execute("DELETE FROM audit WHERE lane = 'work' AND n = 5"), "cut: 4 entries", False),
    "a chain gone": (lambda tx: tx.execute("DELETE FROM audit WHERE lane = 'work'"), "cut: 0 entries", False),
    "rewritten": (lambda tx: rewrite(tx, "work", lambda n: n != 2), "cut: 4 entries", False),
    "rewritten, as long": (lambda tx: rewrite(tx, "work", lambda n: True), "rewritten: entry 5", False),
    "the anchors rewritten": (lambda tx: rewrite(tx, audit.ANCHORS, lambda n: True), "rewritten: entry 1", False),
    "the anchors gone": (lambda tx: tx.execute("DELETE FROM audit WHERE lane = 'anchors'"), "cut: 0 entries", False),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_each_forgery_is_found_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], forgery: str
) -> None:
    settings, anchor = await anchored(tmp_path, capsys)
    assert run_verify(settings, [anchor], as_json=False) == 0
    unit, words, alone = FORGERIES[forgery]
    change(settings, unit)
    capsys.readouterr()
    assert run_verify(settings, [anchor], as_json=False) == 1
    assert words in capsys.readouterr().out
    assert (run_verify(settings, [], as_json=True) == 1) is alone, "without an anchor only what breaks a hash shows"


async def test_anchors_that_were_deleted_from_their_file_are_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, _ = await anchored(tmp_path, capsys)
    assert run_verify(settings, [], as_json=False) == 0, "the newest may still be on its way there"
    for _ in range(2):
        assert run_anchor(settings) == 0
    capsys.readouterr()
    assert run_verify(settings, [], as_json=False) == 1
    assert "deleted: 1 of the 3 anchors are missing in their file" in capsys.readouterr().out
    (settings.data / "anchors.jsonl").unlink()
    assert run_verify(settings, [], as_json=False) == 1
    assert "deleted: 2 of the 3 anchors" in capsys.readouterr().out


async def test_words_changed_beside_the_chain_are_noticed_and_erased_ones_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever changes what an approved order said leaves every hash of the chain right."""
    settings = settings_in(tmp_path)
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        await service.hub.asend_response("terminal:local", "The order was for five.")
        await told(service)
    assert run_verify(settings, [], as_json=False) == 0
    change(settings, lambda tx: tx.execute("UPDATE body SET bytes = REPLACE(bytes, 'for five', 'for 5,000')"))
    capsys.readouterr()
    assert run_verify(settings, [], as_json=False) == 1
    assert "other words: what entry 1 decided on" in capsys.readouterr().out
    change(settings, lambda tx: tx.execute("DELETE FROM body WHERE bytes LIKE '%5,000%'"))
    assert run_verify(settings, [], as_json=False) == 0


def test_the_file_is_never_rewritten_and_a_torn_line_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    assert append_line(path, 1, "a" * 64, START)
    before = path.read_bytes()
    assert not append_line(path, 1, "a" * 64, START)
    path.write_bytes(before + b'{"at": "2026-0')
    assert read_lines(path) == [(1, "a" * 64)]
    assert append_line(path, 2, "b" * 64, START)
    assert path.read_bytes().startswith(before)
    assert read_lines(path) == [(1, "a" * 64), (2, "b" * 64)]


@pytest.mark.parametrize("text", ["", "12", "x:" + "a" * 64, "3:abc", "3:" + "g" * 64])
def test_what_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is no anchor"):
        parse_anchor(text)
