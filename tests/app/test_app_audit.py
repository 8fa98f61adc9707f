"""The audit's anchors: told to the owner once a day, kept in a file that only grows, and what they reveal."""

from __future__ import annotations

import asyncio
import errno
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retainer.app.anchoring import append_line, read_anchors
from retainer.app.audit_commands import parse_anchor, run_anchor, run_verify
from retainer.app.config import Settings, load_settings
from retainer.app.doctor import Finding, examine
from retainer.app.service import Service
from retainer.app.store import open_outside, open_view
from retainer.core.clock import ManualClock
from retainer.core.errors import InvalidInputError, RetainerError
from retainer.core.protocols import Tx
from retainer.core.values import canonical
from retainer.runtime.store import DamagedError
from retainer.safety import audit
from retainer.safety.audit import Anchor

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
            await pass_time(service, clock, lambda day=day: len(read_anchors(path).made) >= day, minutes=1)  # type: ignore[misc]  # bound default
        messages = await told(service)
    assert len(messages) == 2
    lines = read_anchors(path).made
    assert [line.count for line in lines] == [1, 2]
    for text, line in zip(messages, lines, strict=True):
        assert f"Anchor {line.count}:{line.head}\n" in text
    assert run_verify(settings, [f"{line.count}:{line.head}" for line in lines], as_json=False) == 0


async def test_a_day_on_which_it_was_down_is_made_up_for_once(tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)
    path = settings.data / "anchors.jsonl"
    async with Service(settings, clock=clock, feeds=()):
        pass
    clock.advance(days=3)
    async with Service(settings, clock=clock, feeds=()) as service:
        async with asyncio.timeout(60):
            while not read_anchors(path).made:
                await asyncio.sleep(0.02)
        assert len(await told(service)) == 1
    assert len(read_anchors(path).made) == 1


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
    """A folder with an anchor, in its file and told."""
    settings = settings_in(tmp_path)
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        for n in range(5):
            at = START + timedelta(minutes=n)
            await service.store.write(lambda tx, n=n, at=at: audit.append(tx, "work", "done", f"e{n}", {"n": n}, at))  # type: ignore[misc]  # bound default
    assert run_anchor(settings) == 0
    anchor = capsys.readouterr().out.splitlines()[0]
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
    assert run_verify(settings, [], as_json=False) == 1
    assert words in capsys.readouterr().out
    (settings.data / "anchors.jsonl").unlink()  # as if the forger had found that too
    assert run_verify(settings, [anchor], as_json=False) == 1
    assert words in capsys.readouterr().out
    with open_view(settings) as view:
        assert audit.verify(view).ok is not alone, "without an anchor only what breaks a hash shows"


def doctor(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Finding:
    """What it says of the audit, and that it goes on to the end."""
    monkeypatch.setenv("RETAINER_DATA", str(settings.data))
    monkeypatch.setenv("RETAINER_MODEL", "none")
    found = examine()
    assert found[-1].what == "sample bars"
    return next(
        finding for finding in found if finding.what in {"audit", "database"} and "is sound" not in finding.detail
    )


async def test_doctor_asks_the_anchors_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = await anchored(tmp_path, capsys)
    assert doctor(settings, monkeypatch).level == "ok"
    change(settings, lambda tx: tx.execute("DELETE FROM audit WHERE lane = 'work' AND n > 2"))
    found = doctor(settings, monkeypatch)
    assert found.level == "fail"
    assert "in work: cut: 2 entries where the anchor counts 5" in found.detail


async def test_a_row_that_nobody_of_ours_wrote_is_named_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the service's own chains is spoilt at its end, where the next entry joins."""
    settings, anchor = await anchored(tmp_path, capsys)
    for spoilt, words in (
        ("data = x'fffe', hash = x'00'", "work, entry 5: changed: entry 5"),
        ("hash = CAST(x'ff' AS TEXT)", "work, entry 5: changed: entry 5"),
        ("n = 'abc'", "work, entry 0: inserted: no chain has an entry 'abc'"),
    ):
        with closing(sqlite3.connect(settings.data / "retainer.db")) as connection, connection:
            connection.execute(
                f"UPDATE audit SET {spoilt} WHERE n = (SELECT MAX(n) FROM audit a WHERE a.lane = audit.lane)"
            )
        async with Service(settings, clock=ManualClock(START), feeds=()) as service:
            await service.hub.asend_response("terminal:local", f"After {spoilt}.")
            assert f"After {spoilt}." in await told(service)
        capsys.readouterr()
        assert run_verify(settings, [anchor], as_json=False) == 1
        assert words in capsys.readouterr().out
        assert doctor(settings, monkeypatch).level == "fail"
        assert run_anchor(settings) == 0


# --- the file of anchors ---------------------------------------------------------------------------------------------
async def test_anchors_that_were_deleted_from_their_file_are_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, _ = await anchored(tmp_path, capsys)
    path = settings.data / "anchors.jsonl"
    one = path.read_bytes()
    path.unlink()
    for words in ("1 of the 1 anchors", "1 of the 2 anchors", "1 of the 3 anchors"):
        capsys.readouterr()
        assert run_verify(settings, [], as_json=False) == 1
        assert f"deleted: {words} are missing in their file" in capsys.readouterr().out
        assert run_anchor(settings) == 0
    path.write_bytes(one)
    capsys.readouterr()
    assert run_verify(settings, [], as_json=False) == 1
    assert "deleted: 3 of the 4 anchors" in capsys.readouterr().out


async def test_an_anchor_that_the_service_was_cut_off_from_writing_down_is_written_down_later_and_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)
    path = settings.data / "anchors.jsonl"
    begun = asyncio.Event()

    async def hang(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr("retainer.app.anchoring.AnchorFile.execute", hang)
        async with Service(settings, clock=clock, feeds=()) as service:
            await pass_time(service, clock, begun.is_set, minutes=10)
    assert not path.exists()
    assert run_verify(settings, [], as_json=False) == 0
    async with Service(settings, clock=clock, feeds=()) as service:
        await told(service)
    assert len(read_anchors(path).made) == 1
    assert run_verify(settings, [], as_json=False) == 0
    path.unlink()
    assert run_verify(settings, [], as_json=False) == 1


async def test_an_anchor_that_a_full_disk_did_not_take_is_told_and_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)

    def full(*_: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("retainer.app.anchoring.append_line", full)
        async with Service(settings, clock=clock, feeds=()) as service:
            await pass_time(service, clock, lambda: bool(audit.made(service.store.view())), minutes=10)
            assert "Anchor 1:" in (await told(service))[0]
    assert run_verify(settings, [], as_json=False) == 0
    assert run_anchor(settings) == 0
    assert run_verify(settings, [], as_json=False) == 0
    for spoilt in ("'x'", "'{\"count\":[1]}'", "x'ff'", "CAST(x'ff' AS TEXT)"):
        change(settings, lambda tx, spoilt=spoilt: tx.execute(f"UPDATE body SET bytes = {spoilt}"))  # type: ignore[misc]  # bound default
        assert run_verify(settings, [], as_json=False) == 1


async def test_an_anchor_that_a_command_was_cut_off_from_writing_down_is_not_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = await anchored(tmp_path, capsys)

    def cut_off(path: Path, anchor: Anchor, now: datetime, *, begun: bool = False) -> bool:
        if not begun:
            raise KeyboardInterrupt
        return append_line(path, anchor, now, begun=True)

    with monkeypatch.context() as patch:
        patch.setattr("retainer.app.audit_commands.append_line", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_anchor(settings)
    assert run_verify(settings, [], as_json=False) == 0
    assert run_anchor(settings) == 0
    assert run_verify(settings, [], as_json=False) == 0


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"{}", b"[1]", b'{"count": 1e999, "head": "x"}', b'{"count": 1, "head": 5}', b"[" * 100_000, b'"x"'],
)
async def test_a_line_of_the_file_that_is_no_anchor_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    settings, anchor = await anchored(tmp_path, capsys)
    path = settings.data / "anchors.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    assert run_anchor(settings) == 0
    capsys.readouterr()
    assert run_verify(settings, [anchor], as_json=False) == 1
    assert "changed: line 3 of anchors.jsonl is no anchor" in capsys.readouterr().out
    assert doctor(settings, monkeypatch).level == "fail"


async def test_a_file_of_anchors_that_cannot_be_read_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, anchor = await anchored(tmp_path, capsys)
    (settings.data / "anchors.jsonl").unlink()
    (settings.data / "anchors.jsonl").mkdir()
    assert run_verify(settings, [anchor], as_json=False) == 1
    assert "unreadable: anchors.jsonl: Is a directory" in capsys.readouterr().out
    assert doctor(settings, monkeypatch).level == "fail"
    with pytest.raises(RetainerError, match=r"anchors\.jsonl cannot be written: Is a directory"):
        run_anchor(settings)
    with open_view(settings) as view:
        assert len(audit.made(view)) == 1


async def test_an_anchor_of_the_records_counts_where_its_line_of_the_file_says_less(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, _ = await anchored(tmp_path, capsys)
    path = settings.data / "anchors.jsonl"
    path.write_text(path.read_text().replace('"count"', '"begun"'))
    assert run_verify(settings, [], as_json=False) == 0
    change(settings, lambda tx: rewrite(tx, "work", lambda n: True))
    assert run_verify(settings, [], as_json=False) == 1
    assert "rewritten: entry 5" in capsys.readouterr().out


@pytest.mark.parametrize("taken", ["DROP TABLE audit", "DROP TABLE body", "ALTER TABLE audit DROP COLUMN data"])
async def test_records_without_a_table_or_a_column_are_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    settings, anchor = await anchored(tmp_path, capsys)
    change(settings, lambda tx: tx.execute(taken))
    assert run_verify(settings, [anchor], as_json=False) == 1
    assert "unreadable: the records: no such" in capsys.readouterr().out
    assert run_verify(settings, [], as_json=True) == 1
    assert doctor(settings, monkeypatch).level == "fail"


async def test_a_database_that_lost_its_end_is_a_sentence_wherever_the_cut_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite reads zeros where the last page ends early: rows of nothing, or damage that shows only among the rows."""
    settings, _ = await anchored(tmp_path, capsys)
    change(settings, lambda tx: [audit.append(tx, "work", "done", f"f{n}", {"n": n}, START) for n in range(300)])
    database = settings.data / "retainer.db"
    whole = database.read_bytes()
    for cut in (50, 100, 1000, 4000, 4096, 40_960, len(whole) // 2):
        database.write_bytes(whole[:-cut])
        assert doctor(settings, monkeypatch).level == "fail"
        with suppress(DamagedError):
            assert run_verify(settings, [], as_json=False) == 1


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
    first, second = Anchor(1, "a" * 64), Anchor(2, "b" * 64)
    assert append_line(path, first, START)
    before = path.read_bytes()
    assert not append_line(path, first, START)
    for cut in range(len(before) - 1):
        path.write_bytes(before + before[:cut])
        assert read_anchors(path).made == [first, *[first] * (cut == len(before) - 1)]
        assert read_anchors(path).spoilt == []
    assert append_line(path, second, START)
    assert path.read_bytes().startswith(before)
    assert read_anchors(path).made[-1] == second


@pytest.mark.parametrize("text", ["", "12", "0:" + "a" * 64, "x:" + "a" * 64, "3:abc", "3:" + "g" * 64])
def test_what_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is no anchor"):
        parse_anchor(text)
