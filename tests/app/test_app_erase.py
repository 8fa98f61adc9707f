"""Erasing: what was said leaves every file, backups too, while everything else stays and the audit still verifies."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from retainer.app import erasing
from retainer.app.config import Settings, load_settings
from retainer.app.erase_command import run_erase
from retainer.app.operations import backups
from retainer.app.service import Service
from retainer.app.store import open_view
from retainer.core.clock import ManualClock
from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.core.events import NewEvent
from retainer.core.protocols import IncomingMessage
from retainer.memory.erasing import Wish, spellings
from retainer.runtime.inbox import insert_event
from retainer.runtime.store import StorageError
from retainer.safety import audit
from retainer.safety.people import add_device

START = datetime(2026, 3, 2, 10, tzinfo=UTC)
SECRET = "my doctor is called Brzpkdmztmvf Ünal"
WORD = "Brzpkdmztmvf"
ERASER = Path(__file__).with_name("erase_child.py")
POINTS = 24
OTHER = "I live in Bergen by the harbour"


def settings_in(folder: Path) -> Settings:
    return load_settings(data=folder / "data", model="none", telegram={"enabled": False})


async def say(service: Service, *texts: str, chat: str = "local") -> None:
    """Say it at the terminal and wait for the answers."""
    for number, text in enumerate(texts):
        message = IncomingMessage(
            channel="terminal",
            sender_id=chat,
            chat_id=chat,
            message_id=f"{chat}:{text[:10]}:{number}",
            text=text,
            occurred_at=service.clock.now(),
        )
        await service.hub.receive(message)
        await asyncio.wait_for(service.runtime.idle(), 60)


def holding(folder: Path, word: str) -> list[str]:
    """Files with ``word`` in them, in either width, unpacked where packed."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
            if any(word.encode(coding) in data for coding in ("utf-8", "utf-16-le", "utf-16-be")):
                found.append(path.relative_to(folder).as_posix())
    return found


def eraser(wish: Wish, points: Mapping[Path, int]) -> str:
    """Real processes that erase in each folder and die at its point; what they said."""
    given = json.dumps({"conversations": wish.conversations, "texts": wish.texts})
    done = subprocess.run(
        [sys.executable, ERASER, given, *(f"{place / 'data'}={point}" for place, point in points.items())],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


def verified(settings: Settings) -> bool:
    with open_view(settings) as view:
        return audit.verify(view).ok


def stored_texts(settings: Settings) -> list[str]:
    with open_view(settings) as view:
        return [row["bytes"] for row in view.query("SELECT bytes FROM body")]


async def test_words_leave_every_file_and_backup_while_the_service_runs(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    data = settings.data
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        await say(service, f"remember that {SECRET}", OTHER, "what do you know about me?")
        await asyncio.to_thread(backups.make, settings, why="manual", now=START)
        (data / "logs" / "old.log").write_text(f"before {json.dumps({'text': SECRET})} after\n")
        (data / "logs" / "old.log.1.gz").write_bytes(gzip.compress(f"x {SECRET} y".encode()))
        (data / "exports").mkdir(exist_ok=True)
        (data / "replaced-20260301T000000Z").mkdir()
        shutil.copyfile(
            backups.backups(data / "backups")[0].database, data / "replaced-20260301T000000Z" / "retainer.db"
        )
        (data / "exports" / "wide.txt").write_bytes(SECRET.encode("utf-16-le"))
        assert len(holding(data, WORD)) > 6
        receipt = await asyncio.to_thread(erasing.erase, settings, Wish(texts=(SECRET,)), clock=service.clock)
        assert (receipt.left, receipt.texts >= 2, receipt.turns >= 1) == ((), True, True)
        assert receipt.backups == ("20260302T100000Z-manual", "replaced-20260301T000000Z")
        assert holding(data, WORD) == []
        assert holding(data, "Bergen by the harbour") != []
        await say(service, "2 + 2")
        assert any('"2 + 2 = 4"' in text for text in stored_texts(settings))
        assert service.memory.about().count("Bergen") == 1
    assert holding(data, WORD) == []
    assert (data / "logs" / "old.log").read_text().endswith(" after\n")
    assert verified(settings)
    [backup] = backups.backups(data / "backups")
    assert backups.verify(backup) == []


@pytest.mark.parametrize(
    "named",
    [
        unicodedata.normalize("NFD", SECRET),
        SECRET.upper(),
        SECRET.replace(" ", "  "),
        "doctor is\tcalled BRZPKDMZTMVF U\u0308nal",
    ],
    ids=["composed otherwise", "capitals", "wide", "all of it"],
)
async def test_words_are_found_in_any_spelling_of_theirs(
    tmp_path: Path, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    data = settings.data
    spread = SECRET.replace(" is called ", "  is\ncalled ")
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        said = (SECRET, spread, unicodedata.normalize("NFD", SECRET))
        await say(service, *(f"remember that {each}" for each in said), OTHER)
        await asyncio.to_thread(backups.make, settings, why="manual", now=START)
    lines = [SECRET, spread, json.dumps(spread), json.dumps(SECRET.lower()), quote(SECRET).lower(), quote_plus(SECRET)]
    (data / "logs" / "old.log").write_text("\n".join(lines))
    (data / "logs" / "wide.log").write_bytes(spread.encode("utf-16-le"))
    receipt = erasing.erase(settings, Wish(texts=(named,)), clock=ManualClock(START))
    assert (receipt.left, receipt.texts >= 3, receipt.turns >= 3) == ((), True, True)
    for word in (WORD, WORD.lower()):
        assert holding(data, word) == []
    assert holding(data, "Bergen by the harbour")
    assert run_erase(settings, **{**CHOICES, "texts": [named]}) == 0
    assert "No text like that was found in the records." in capsys.readouterr().out


async def test_a_name_that_is_also_a_word_of_the_records_themselves_erases_no_more_than_itself(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        await say(service, OTHER, "my neighbour is called Lane", "and lane is nice")
    log = settings.data / "logs" / "old.log"
    log.write_text('{"lane": "LANE came", "n": 1}')
    receipt = erasing.erase(settings, Wish(texts=("Lane",)), clock=ManualClock(START))
    assert receipt.left == ()
    assert log.read_text() == '{"lane": "**** came", "n": 1}'
    said = " ".join(stored_texts(settings))
    assert "Bergen" in said
    assert "Lane" not in said
    assert "lane is nice" not in said


@pytest.mark.parametrize("named", ["schema", "retainer.db", "manual", "events", "head", "buttons", "weekly", "2345"])
async def test_a_word_that_only_our_own_files_hold_erases_nothing(tmp_path: Path, named: str) -> None:
    settings = settings_in(tmp_path)
    data = settings.data
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        await say(service, OTHER)
        (data / "retainer.toml").write_text("# weekly walks\n[backup]\nweekly = 9\n")
        (data / "anchors.jsonl").write_text('{"head": "1234567890"}\n')
        (data / "secrets" / "token").write_text("12345:abc")
        (data / "market").mkdir()
        (data / "market" / "bars.json").write_text('{"source": "weekly 12345"}')
    backup = backups.make(settings, why="manual", now=START)
    before = stored_texts(settings)
    receipt = erasing.erase(settings, Wish(texts=(named,)), clock=ManualClock(START))
    assert receipt.left == (
        (str(backup.path / "files/retainer.toml"), str(data / "retainer.toml")) if named == "weekly" else ()
    )
    assert stored_texts(settings) == before
    assert backups.backups(data / "backups")[0].name == backup.name
    assert backups.verify(backups.backups(data / "backups")[0]) == []
    assert json.loads((data / "recorded.json").read_text())["events"]
    assert (data / "anchors.jsonl").read_text() == '{"head": "1234567890"}\n'
    assert (data / "secrets" / "token").read_text() == "12345:abc"
    assert (data / "market" / "bars.json").read_text() == '{"source": "weekly 12345"}'
    assert "weekly = 9" in (data / "retainer.toml").read_text()


async def test_a_personality_and_comments_are_cleaned_and_a_setting_is_named(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    data = settings.data
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        await say(service, OTHER)
    (data / "retainer.toml").write_text(f"# {WORD} said so\n[backup]\ndaily = 9\n")
    (data / "personality.toml").write_text(f'tone = "As {WORD} likes it."\n')
    assert erasing.erase(settings, Wish(texts=(WORD,)), clock=ManualClock(START)).left == ()
    assert holding(data, WORD) == []
    (data / "retainer.toml").write_text(f'[chat]\npersonality = "{WORD}.toml"\n')
    receipt = erasing.erase(settings, Wish(texts=(WORD,)), clock=ManualClock(START))
    assert receipt.left == (str(data / "retainer.toml"),)


class Full:
    """A connection to a disk on which nothing fits any more."""

    def execute(self, sql: str) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    def close(self) -> None:
        pass


async def test_a_full_disk_is_told_at_once_and_erasing_again_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        await say(service, f"remember that {SECRET}")

    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(erasing, "connect", lambda database: Full())
        with pytest.raises(StorageError, match="full") as caught:
            erasing.erase(settings, Wish(texts=(WORD,)), clock=ManualClock(START))
    assert time.monotonic() - began < erasing.PATIENCE_S / 2
    assert "erase again" in caught.value.hint
    assert erasing.erase(settings, Wish(texts=(WORD,)), clock=ManualClock(START)).left == ()
    assert holding(settings.data, WORD) == []


@pytest.mark.parametrize(
    ("named", "written"),
    [
        ("stra\u00dfe 5", "STRASSE 5"),
        ("strasse 5", "Stra\u00dfe\u00a05"),
        ("a & b", "A &amp; B"),
        ("\u00fcbel", "%c3%9cbel"),
        ("\u00fcbel", "&#xFC;bel"),
        ("\u00fcbel", "\\u00DCbel"),
        ('say "no"', 'say \\\\\\"no\\\\\\"'),
        ("a.b*c", "A.B*C"),
    ],
)
def test_a_spelling_is_recognised_however_it_is_written(named: str, written: str) -> None:
    assert spellings(named).fullmatch(written.encode())
    assert not spellings(named).search(b"stra e 5, a  b, ubel, say no, aXbbc")


def test_looking_for_spellings_takes_time_in_step_with_the_text() -> None:
    began = time.process_time()
    for piece in (b" ", b"a", b"a ", b"\\", b"\\n", b"a\\n", b"%20", b"a+", b"s"):
        spellings("a a a sss a").search(piece * (200_000 // len(piece)))
    assert time.process_time() - began < 3


async def test_a_short_name_that_is_named_leaves_the_reasons_and_the_list_of_people_too(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        await service.store.write(lambda tx: add_device(tx, "terminal", "kjorn", "chat", START, name="Kjørn"))
        await say(service, "my neighbour is called Kjørn")
        await say(service, "stop", chat="kjorn")
        with open_view(settings) as view:
            reason = view.one("SELECT reason FROM control ORDER BY id DESC LIMIT 1")
            assert reason == {"reason": "Kjørn said stop on terminal"}
        receipt = await asyncio.to_thread(erasing.erase, settings, Wish(texts=("Kjørn",)), clock=service.clock)
        assert receipt.left == ()
    assert holding(settings.data, "Kjørn") == []
    assert verified(settings)


async def test_a_conversation_and_a_person_are_erased_with_all_that_came_of_them(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    clock = ManualClock(START)
    async with Service(settings, clock=clock, feeds=()) as service:
        await service.store.write(lambda tx: add_device(tx, "terminal", "anna", "chat", START, name="Anna Example"))
        await say(service, f"remember that {SECRET}", chat="anna")
        await say(service, "remind me tomorrow at 9 to call Vprfzvdgrrzk about the lease", chat="anna")
        await say(service, OTHER)
    with open_view(settings) as view:
        [anna] = [row["id"] for row in view.query("SELECT id FROM person WHERE name = 'Anna Example'")]
        entries = audit.verify(view).entries
    assert holding(settings.data, WORD)
    receipt = erasing.erase(settings, Wish(persons=(anna,)), clock=clock)
    assert receipt.left == ()
    assert holding(settings.data, WORD) + holding(settings.data, "Vprfzvdgrrzk") == []
    with open_view(settings) as view:
        assert view.query("SELECT name FROM timer WHERE name LIKE 'reminder:%'") == []
        report = audit.verify(view)
        assert report.ok
        assert report.entries == entries + 1
        assert audit.entries(view, "safety", limit=1)[0].kind == "erased"
    assert holding(settings.data, "Bergen by the harbour")
    assert erasing.erase(settings, Wish(conversations=("terminal:local",)), clock=clock).left == ()
    assert holding(settings.data, "Bergen by the harbour") == []
    async with Service(settings, clock=clock, feeds=()) as service:
        await say(service, "what do you know about me?", "3 + 4")
        assert service.memory.facts() == []
    assert any('"3 + 4 = 7"' in text for text in stored_texts(settings))
    assert verified(settings)


async def test_what_was_said_before_a_day_goes_and_what_came_later_stays(tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)
    async with Service(settings, clock=clock, feeds=()) as service:
        await say(service, f"remember that {SECRET}")
        clock.advance(days=3)
        await say(service, OTHER)
    assert erasing.erase(settings, Wish(before=datetime(2026, 3, 4, tzinfo=UTC)), clock=clock).left == ()
    assert holding(settings.data, WORD) == []
    assert holding(settings.data, "Bergen by the harbour")


async def test_the_same_words_said_by_two_stay_with_the_other(tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)
    async with Service(settings, clock=clock, feeds=()) as service:
        await service.store.write(lambda tx: add_device(tx, "terminal", "anna", "chat", START, name="Anna Example"))
        await say(service, OTHER, chat="anna")
        await say(service, OTHER)
    receipt = erasing.erase(settings, Wish(conversations=("terminal:anna",)), clock=clock)
    assert receipt.left == ()
    assert receipt.shared >= 1
    with open_view(settings) as view:
        rows = view.query(
            "SELECT e.lane FROM event e JOIN body b ON b.id = e.body_id WHERE instr(b.bytes, 'Bergen') > 0"
        )
    assert {row["lane"] for row in rows} == {"chat:terminal:local"}


async def test_what_waits_is_never_done_after_its_words_were_erased(tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)
    async with Service(settings, clock=clock, feeds=()) as service:
        await say(service, f"remember that {SECRET}")
        await service.runtime.stop()
        waiting = NewEvent(
            source="terminal",
            external_id="late",
            agent="chat",
            lane="chat:terminal:local",
            kind="message",
            body={"text": f"and again: {SECRET}", "channel": "terminal", "chat_id": "local"},
            sender="owner",
            reply_to="terminal:local",
            occurred_at=START,
        )
        seq = (await service.store.write(lambda tx: insert_event(tx, waiting, START))).seq
    assert erasing.erase(settings, Wish(texts=(SECRET,)), clock=clock).left == ()
    async with Service(settings, clock=clock, feeds=()) as service:
        await asyncio.wait_for(service.runtime.idle(), 60)
        row = service.store.view().one("SELECT state, attempts FROM event WHERE seq = ?", (seq,))
        assert row == {"state": "done", "attempts": 0}


async def test_an_export_keeps_no_fact_and_no_short_text_of_an_erased_conversation(tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)
    async with Service(settings, clock=clock, feeds=()) as service:
        await service.store.write(lambda tx: add_device(tx, "terminal", "desk", "chat", START, person_id="owner"))
        await say(service, "my doctor is called Zebedee Quuxon", "pin is 4711", "I like tea")
        await say(service, OTHER, "export my data", chat="desk")
    [export] = (settings.data / "exports").iterdir()
    (export.parent / f"{export.name}.gz").write_bytes(gzip.compress(export.read_bytes()))
    with (settings.data / "logs" / "note").open("w") as note:
        note.write("Your doctor: Zebedee Quuxon.")
    assert erasing.erase(settings, Wish(conversations=("terminal:local",)), clock=clock).left == ()
    assert [holding(settings.data, word) for word in ("Zebedee", "is 4711", "You like tea")] == [[]] * 3
    lines = [json.loads(line) for line in export.read_text().splitlines()]
    assert {line["conversation"] for line in lines if line["type"] == "message"} == {"terminal:desk"}
    assert [line["words"] for line in lines if line["type"] == "fact"] == ["You live in Bergen by the harbour."]
    assert erasing.erase(settings, Wish(texts=("Bergen",)), clock=clock).left == ()
    assert holding(settings.data, "Bergen") == []


async def test_a_conversation_with_a_card_that_expired_is_erased_the_first_time(tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)
    async with Service(settings, clock=clock) as service:
        handled = "SELECT seq FROM event WHERE state = 'done' AND external_id LIKE ?"
        await until(lambda: service.store.view().one(handled, ("paper@%",)) is not None)
        await say(service, "buy 5 AAPL")
        clock.advance(minutes=6)
        await until(lambda: service.store.view().one(handled, ("control/expire:%",)) is not None)
    assert erasing.erase(settings, Wish(conversations=("terminal:local",)), clock=clock).left == ()
    assert verified(settings)


async def test_the_records_stay_while_a_file_that_only_they_can_search_cannot_be_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        await say(service, f"remember that {SECRET}")
    packed = settings.data / "logs" / "old.log.1.gz"
    packed.write_bytes(gzip.compress(f"x remember that {SECRET} y".encode()))
    blocked = packed.with_name(f"{packed.name}.new")
    blocked.mkdir()
    choice = {**CHOICES, "conversations": ["terminal:local"]}
    for _ in range(2):
        assert run_erase(settings, **choice) == 1
        said = capsys.readouterr().out
        assert f"Still readable in: {packed}\n" in said
        assert "retainer.db" not in said
    blocked.rmdir()
    assert run_erase(settings, **choice) == 0
    assert holding(settings.data, WORD) == []


async def test_a_disk_of_backups_keeps_what_is_not_ours_and_a_copy_on_it_is_named(tmp_path: Path) -> None:
    """The folder of backups may be a whole disk: only backups are changed on it."""
    disk = tmp_path / "disk"
    settings = load_settings(
        data=tmp_path / "data", model="none", telegram={"enabled": False}, backup={"folder": str(disk)}
    )
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        await say(service, f"remember that {SECRET}")
        made = await asyncio.to_thread(backups.make, settings, why="manual", now=START)
    copy, killed = disk / "copied by hand", disk / ".drill-1"
    for place in (copy, killed):
        place.mkdir()
        shutil.copyfile(made.database, place / "retainer.db")
    letters = [disk / "letter.txt", disk / "photos" / "letter.txt", copy / "keys.txt"]
    letters[1].parent.mkdir()
    for letter in letters[:2]:
        letter.write_text(f"Dear {SECRET}")
    letters[2].write_text("not to be lost")
    receipt = erasing.erase(settings, Wish(texts=(SECRET,)))
    assert receipt.left == (str(copy / "retainer.db"),)
    assert [letter.read_text() for letter in letters] == [f"Dear {SECRET}"] * 2 + ["not to be lost"]
    assert not holding(made.path, WORD)
    assert not killed.exists()


async def test_copies_of_upgrades_are_rewritten_where_backups_go_to_another_disk(tmp_path: Path) -> None:
    settings = load_settings(
        data=tmp_path / "data", model="none", telegram={"enabled": False}, backup={"folder": str(tmp_path / "disk")}
    )
    async with Service(settings, clock=ManualClock(START), feeds=()) as service:
        await say(service, f"remember that {SECRET}")
        made = await asyncio.to_thread(backups.make, settings, why="manual", now=START)
    copy = settings.data / "backups" / "retainer-20261101T000000Z-before-safety-004.db"
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(made.database, copy)
    receipt = erasing.erase(settings, Wish(texts=(SECRET,)))
    assert receipt.left == ()
    assert set(receipt.backups) == {made.name, copy.name}
    assert not holding(tmp_path, WORD)


async def test_a_backup_whose_rewriting_was_killed_is_rewritten_and_not_lost(tmp_path: Path) -> None:
    settings, clock = settings_in(tmp_path), ManualClock(START)
    async with Service(settings, clock=clock, feeds=()) as service:
        await say(service, f"remember that {SECRET}")
        backup = await asyncio.to_thread(backups.make, settings, why="manual", now=START)
    shutil.copyfile(backup.database, backup.path / ".retainer.db.work")
    shutil.copyfile(backup.database, backup.path / ".retainer.db.fresh")
    (backup.path / "manifest.json.new").write_text("{")
    assert erasing.erase(settings, Wish(texts=(SECRET,)), clock=clock).left == ()
    assert holding(settings.data, WORD) == []
    assert [backups.verify(each) for each in backups.backups(settings.data / "backups")] == [[]]


@pytest.mark.parametrize(
    ("wish", "gone"),
    [(Wish(conversations=("terminal:local",)), (WORD, "is 4711")), (Wish(texts=("Brzpkd",)), (WORD,))],
    ids=["conversation", "text"],
)
async def test_an_erasure_that_was_killed_at_any_write_is_completed_by_the_next(
    tmp_path: Path, wish: Wish, gone: tuple[str, ...]
) -> None:
    settings, clock = settings_in(tmp_path / "base"), ManualClock(START)
    async with Service(settings, clock=clock, feeds=()) as service:
        await say(service, f"remember that {SECRET}", "pin is 4711", "export my data")
        await asyncio.to_thread(backups.make, settings, why="manual", now=START)
    data = settings.data
    (data / "logs" / "old.log").write_text(f"x remember that {SECRET} y")
    (data / "logs" / "old.log.1.gz").write_bytes(gzip.compress(f"You asked me to remember: {SECRET}".encode()))
    aside = data / "replaced-20260301T000000Z"
    shutil.copytree(backups.backups(data / "backups")[0].path, aside, ignore=shutil.ignore_patterns("manifest.json"))
    shutil.copytree(data / "memory", aside / "memory")
    places = [tmp_path / f"{number}" for number in range(POINTS + 1)]
    for place in places:
        shutil.copytree(data, place / "data")
    writes = int(eraser(wish, {places[0]: 0}))
    points = {place: 1 + writes * number // POINTS for number, place in enumerate(places[1:])}
    assert eraser(wish, points) == ""
    for place, point in points.items():
        copy = settings_in(place)
        assert erasing.erase(copy, wish, clock=clock).left == (), f"killed at write {point} of {writes}"
        assert [holding(place, word) for word in gone] == [[]] * len(gone), f"killed at write {point} of {writes}"
        assert verified(copy)
        [backup] = backups.backups(place / "data" / "backups")
        assert backups.verify(backup) == []


CHOICES: Mapping[str, Any] = {
    "persons": (),
    "texts": (),
    "text_file": None,
    "conversations": (),
    "before": None,
    "yes": True,
}


@pytest.mark.parametrize(
    ("choice", "error", "words"),
    [
        ({}, InvalidInputError, "Say what to erase"),
        ({"texts": ["abc"]}, InvalidInputError, "too short"),
        ({"texts": ["account"]}, InvalidInputError, "a word of the records themselves"),
        ({"texts": ["text"]}, InvalidInputError, "a word of the records themselves"),
        ({"texts": ["\udcff\udcfe\udcfa\udcfb"]}, InvalidInputError, "is no text"),
        ({"persons": ["\udcff"]}, InvalidInputError, "is no text"),
        ({"conversations": ["\udcff"]}, InvalidInputError, "is no text"),
        ({"before": "tomorrow-ish"}, InvalidInputError, "is no date"),
        ({"before": "0001-01-01T00:00+14:00"}, InvalidInputError, "is no date"),
        ({"before": "9999-12-31T23:59-12:00"}, InvalidInputError, "is no date"),
        ({"persons": ["nobody"]}, NotFoundError, "Nobody goes by"),
        ({"text_file": Path("/does/not/exist")}, InvalidInputError, "cannot be read"),
    ],
)
async def test_an_unclear_wish_is_explained(
    tmp_path: Path, choice: dict[str, Any], error: type[Exception], words: str
) -> None:
    settings = settings_in(tmp_path)
    async with Service(settings, clock=ManualClock(START), feeds=()):
        with pytest.raises(error, match=words):
            run_erase(settings, **{**CHOICES, **choice})
