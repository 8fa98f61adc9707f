"""What can be wrong with a machine and its files: a clear error that names the fix, exit code 2, nothing lost."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog
from tests.app.running import Service, chatting, environment, retainer, until
from tests.app.servers import Rude, serving

from retainer.app.cli import main
from retainer.app.doctor import Finding, examine
from retainer.models.catalogue import packaged_catalogue
from retainer.models.store import ModelStore

UP_ONCE = {"RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": "3600"}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with half a year in it, of a service that has ended."""
    folder = tmp_path_factory.mktemp("ended") / "data"
    with Service(folder, UP_ONCE) as service:
        until(lambda: service.clock() >= "2007-01-12")
    return folder


@pytest.fixture
def folder(ended: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    shutil.copytree(ended, tmp_path / "data")
    return tmp_path / "data"


@contextmanager
def in_this_process(folder: Path, env: Mapping[str, str] | None) -> Iterator[None]:
    """The surroundings that a command would have; much quicker than a process for each."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RETAINER_")]:
            patch.delenv(name)
        for name, value in environment(folder, env).items():
            patch.setenv(name, value)
        try:
            yield
        finally:
            structlog.reset_defaults()


def doctor(folder: Path, env: Mapping[str, str] | None = None) -> dict[str, Finding]:
    """Findings by what they are about; the worst of each."""
    order = {"ok": 0, "warn": 1, "fail": 2}
    with in_this_process(folder, env):
        return {finding.what: finding for finding in sorted(examine(), key=lambda finding: order[finding.level])}


def refused(folder: Path, *command: str, env: Mapping[str, str] | None = None) -> str:
    """What ``command`` says on its way out with 2."""
    if command[0] == "up":
        done = retainer(folder, *command, env=env)
        code, out, said = done.returncode, done.stdout, done.stderr
    else:
        code, out, said = spoken(folder, command, env)
    assert code == 2, out + said
    assert out == ""
    assert said.startswith("retainer: ")
    assert "\n  -> " in said
    assert "Traceback" not in said
    return said


def spoken(folder: Path, command: Sequence[str], env: Mapping[str, str] | None) -> tuple[Any, str, str]:
    """Exit code, standard output and standard error of the command, run here."""
    with (
        in_this_process(folder, env),
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as error,
    ):
        patch.setattr("sys.argv", ["retainer", *command])
        with pytest.raises(SystemExit) as left:
            main()
    return left.value.code, out.getvalue(), error.getvalue()


# --- the database ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["head", "middle", "cut"])
def test_a_damaged_database_is_left_as_it_is_and_the_way_out_is_named(folder: Path, where: str) -> None:
    database = folder / "retainer.db"
    whole = bytearray(database.read_bytes())
    if where == "cut":
        spoilt = bytes(whole[: len(whole) // 2 + 100])
    else:
        at = 0 if where == "head" else len(whole) // 2
        whole[at : at + 12_288] = os.urandom(12_288)
        spoilt = bytes(whole)
    database.write_bytes(spoilt)
    words = refused(folder, "up")
    assert "is damaged" in words
    assert "Nothing was changed. Put a backup" in words
    assert database.read_bytes() == spoilt
    finding = doctor(folder)["database"]
    assert finding.level == "fail"
    assert finding.fix


def test_a_database_of_a_newer_version_is_not_touched(folder: Path) -> None:
    with sqlite3.connect(folder / "retainer.db") as connection:
        connection.execute("INSERT INTO migration (name, applied_at) VALUES ('runtime/999', 1)")
    connection.close()
    for command in ("up", "status", "stop"):
        assert "newer version" in refused(folder, command)
    assert doctor(folder)["database"].level == "fail"


def test_damaged_memories_are_made_again_from_the_database(folder: Path) -> None:
    with Service(folder, UP_ONCE) as service, chatting(service) as chat:
        chat.say("my name is Ana", r"\n")
        chat.say("what do you know about me", "Ana")
    (memory,) = (folder / "memory").glob("*.db")
    memory.write_bytes(os.urandom(5000))
    with Service(folder, UP_ONCE) as service, chatting(service) as chat:
        chat.say("what do you know about me", "Ana")


# --- the folder ------------------------------------------------------------------------------------------------------
def test_a_folder_that_cannot_be_is_named_with_the_variable_to_set(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("I am not a folder")
    for path in (file, file / "below"):
        assert "RETAINER_DATA" in refused(path, "up")
        assert doctor(path)["data folder"].level == "fail"
    assert "not a folder" in refused(file, "status")
    assert file.read_text() == "I am not a folder"


@pytest.mark.parametrize("name", ["logs", "memory", "secrets", "pictures"])
def test_a_file_in_the_place_of_one_of_its_folders_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    file = tmp_path / "data" / name
    file.write_text("I am not a folder")
    said = refused(tmp_path / "data", "up")
    assert f"retainer: {file} is in the place of a folder." in said
    assert "Move it away" in said
    assert file.read_text() == "I am not a folder"
    assert doctor(tmp_path / "data")


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    log = tmp_path / "data" / "logs" / "retainer.log"
    log.mkdir(parents=True)
    said = refused(tmp_path / "data", "up")
    assert f"retainer: The log {log} cannot be written: Is a directory." in said
    assert "Move away what is there" in said


def test_commands_on_an_empty_folder_say_what_to_do_first(tmp_path: Path) -> None:
    for command in (["status"], ["log"], ["chat", "--plain"], ["stop"], ["explain", "1"], ["ledger"]):
        assert "retainer up" in refused(tmp_path / "nothing", *command)
    assert not (tmp_path / "nothing").exists()


def test_what_is_asked_for_and_not_there_is_named(folder: Path) -> None:
    assert "There is no event 99999" in refused(folder, "explain", "99999")
    assert "There is no account live" in refused(folder, "ledger", "--account", "live")
    assert "not paired" in refused(folder, "phone", "revoke", "telegram", "5")
    assert "default" in refused(folder, "up", env={"RETAINER_MODEL": "gpt-9"})


def test_a_full_disk_refuses_what_it_cannot_keep_and_everything_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: it can be given and taken without rights."""
    full = (16_384, resource.RLIM_INFINITY)
    roomy = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with Service(tmp_path / "data", {"RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": "0.3"}) as service:
        service.caught_up()
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, full)
        until(lambda: "StorageError" in service.output.read_text())
        at = service.clock()
        limited = partial(resource.setrlimit, resource.RLIMIT_FSIZE, full)
        done = service.run("chat", "--plain", said="buy 5 AAPL\n", preexec_fn=limited)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Check its free space" in done.stderr
        assert service.clock() == at
        assert service.process is not None
        assert service.process.poll() is None
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, roomy)
        until(lambda: service.clock() > at)
        with chatting(service) as chat:
            chat.say("status", "Trading: running")
        figures = service.json("status")
        assert (figures["dead"], figures["parked"]) == (0, 0)
    days = [row["external_id"] for row in service.query("SELECT external_id FROM event WHERE kind = 'bar'")]
    assert len(days) == len(set(days))


# --- the configuration of further agents -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('entry = "nowhere:Agent"', "cannot be loaded"),
        ('entry = "nowhere"', "module:Class"),
        ('entry = "x:Y"\npath = "missing"', "is not a folder"),
        ('entry = "retainer.trading.agent:TradingBotAgent"\nsettings = { colour = "red" }', "do not fit"),
    ],
)
def test_an_agent_that_cannot_be_had_is_named(tmp_path: Path, entry: str, words: str) -> None:
    (tmp_path / "retainer.toml").write_text(f"[agents.butler]\n{entry}\n")
    said = refused(tmp_path, "up")
    assert "agents.butler" in said
    assert words in said


@pytest.mark.parametrize(
    ("tool", "repeat", "words"),
    [
        ("paper.order", "RepeatClass.NONE", "not its own"),
        ("butler.tea", "None", "does not say what repeating it does"),
    ],
)
def test_an_agent_whose_adapters_cannot_be_trusted_with_a_crash_is_named(
    tmp_path: Path, tool: str, repeat: str, words: str
) -> None:
    (tmp_path / "butler.py").write_text(f"""
from types import SimpleNamespace
from retainer.core.effects import RepeatClass

class Butler:
    name = "butler"
    def adapters(self):
        return {{"{tool}": SimpleNamespace(repeat={repeat})}}
""")
    (tmp_path / "retainer.toml").write_text('[agents.butler]\nentry = "butler:Butler"\npath = "."\n')
    said = refused(tmp_path, "up")
    assert "agents.butler" in said
    assert tool in said
    assert words in said


# --- market data and ideas -------------------------------------------------------------------------------------------
_ROWS = 12


def _bars(**changes: Any) -> str:
    """A CSV table of twelve sessions; ``column=(row, value)`` spoils a value."""
    columns: dict[str, list[str]] = {
        "date": [f"2012-03-{day:02}" for day in (5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 19, 20)],
        **{name: [price] * _ROWS for name, price in (("open", "50"), ("high", "51"), ("low", "49"), ("close", "50"))},
        "volume": ["1000"] * _ROWS,
    }
    for name, (row, value) in changes.items():
        columns[name][row] = value
    lines = [",".join(columns), *(",".join(values) for values in zip(*columns.values(), strict=True))]
    return "\n".join(lines) + "\n"


def _idea(buy: str, more: str = "", sell: str = "close < 1") -> str:
    return f'symbols = ["GOOD"]\nbuy_when = "{buy}"\nsell_when = "{sell}"\n{more}'


_FILES: Mapping[str, str | bytes] = {
    "nan.csv": _bars(close=(3, "nan")),
    "infinite.csv": _bars(open=(4, "inf")),
    "zero.csv": _bars(low=(5, "0")),
    "negative.csv": _bars(close=(6, "-3")),
    "word.csv": _bars(high=(7, "dear")),
    "crossed.csv": _bars(high=(8, "48")),
    "huge.csv": _bars(high=(8, "1e300")),
    "volume.csv": _bars(volume=(2, "-1")),
    "volumes.csv": _bars(volume=(2, "1e300")),
    "late.csv": _bars(date=(4, "2012-03-07")),
    "early.csv": _bars(date=(4, "2012-01-07")),
    "never.csv": _bars(date=(11, "9999-12-31")),
    "when.csv": _bars(date=(1, "soon")),
    "naive.csv": _bars().replace(",50,51", " 10:00,50,51"),
    "mixed.csv": _bars().replace(",50,51", " 10:00,50,51").replace("08 10:00", "08 10:00Z"),
    "zones.csv": _bars().replace(",50,51", " 10:00+01:00,50,51").replace("14 10:00+01:00", "14 10:00+02:00"),
    "empty.csv": "",
    "header.csv": _bars().splitlines()[0] + "\n",
    "narrow.csv": _bars().replace("close", "clothes"),
    "ragged.csv": _bars() + "2012-03-21,50,51,49,50,1000,7,8\n",
    "binary.csv": b"\xff\xfe\x00\x01",
    "good.parquet": b"PAR1 and no more",
    "plain.csv": _bars(),
    "factors.csv": "date,factor\n2012-03-05,nan\n",
    "unknown.toml": _idea("WISDOM(3) > 1"),
    "negative.toml": _idea("SMA(-3) > 1"),
    "long.toml": _idea("SMA(5000) > 1"),
    "half.toml": _idea("RSI(2) <"),
    "share.toml": _idea("close > 1", "[size]\nweight = -1"),
    "loss.toml": _idea("close > 1", "[stops]\nloss = nan"),
    "field.toml": _idea("close > 1", "leverage = 3"),
    "broken.toml": "symbols = = 3",
    "list.json": "[1]",
    "deep.json": "[" * 100_000,
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the bars of GOOD, and files that are wrong beside it."""
    desk = tmp_path_factory.mktemp("desk")
    for name, content in _FILES.items():
        (desk / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    code, _, said = spoken(desk / "data", ("data", "import", str(desk / "plain.csv"), "--symbol", "GOOD"), None)
    assert code == 0, said
    return desk


_SET = ("sma-cross", "-s", "GOOD", "--set", "fast=2", "--set", "slow=4")
_GRID = ("sma-cross", "-s", "GOOD", "--grid")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("data", "import", "nan.csv"), "row 3: close nan is not a finite number"),
        (("data", "import", "infinite.csv"), "row 4: open inf is not a finite number"),
        (("data", "import", "zero.csv"), "row 5: low 0.0 is not above zero"),
        (("data", "import", "negative.csv"), "row 6: close -3.0 is not above zero"),
        (("data", "import", "word.csv"), "row 7: high 'dear' is not a number"),
        (("data", "import", "crossed.csv"), "row 8: high 48.0 is below another price"),
        (("data", "import", "huge.csv"), "row 8: high 1e+300 is more than any share costs"),
        (("data", "import", "volume.csv"), "row 2: volume -1.0 is negative"),
        (("data", "import", "volumes.csv"), "row 2: volume 1e+300 is more than was ever traded"),
        (("data", "import", "late.csv"), "row 4: time 2012-03-07T21:00:00 is earlier"),
        (("data", "import", "early.csv"), "row 4: time 2012-01-07T21:00:00 is earlier"),
        (("data", "import", "never.csv"), "row 11: time "),
        (("data", "import", "when.csv"), "row 1: time 'soon' is not a date"),
        (("data", "import", "naive.csv"), "row 0: 2012-03-05T10:00:00 is a time without a zone"),
        (("data", "import", "mixed.csv"), "row 3: time 2012-03-08 10:00Z is of another zone"),
        (("data", "import", "zones.csv"), "row 7: time 2012-03-14 10:00+02:00 is of another zone"),
        (("data", "import", "empty.csv"), "is empty"),
        (("data", "import", "header.csv"), "no rows"),
        (("data", "import", "narrow.csv"), "lacks the column close"),
        (("data", "import", "ragged.csv"), "line 14"),
        (("data", "import", "binary.csv"), "cannot be read as text"),
        (("data", "import", "good.parquet"), "not a Parquet file"),
        (("data", "import", "none.csv"), "There is no file"),
        (("data", "import", "plain.csv", "nan.csv"), "row 3: close nan"),
        (("data", "import", "plain.csv", "--symbol", "GOOD"), "in the store already"),
        (("data", "import", "plain.csv", "--zone", "Mars/Phobos"), "'Mars/Phobos' is not a time zone"),
        (("data", "import", "plain.csv", "--interval", "7min"), "'7min' is not an interval"),
        (("data", "import", "plain.csv", "--stamped", "middle"), "neither open nor close"),
        (("data", "import", "plain.csv", "--calendar", "NOWHERE"), "'NOWHERE' is no exchange calendar"),
        (("data", "import", "plain.csv", "--symbol", "a b"), "not a ticker symbol"),
        (("data", "import", "plain.csv", "--factors", "factors.csv"), "row 0 (2012-03-05): nan"),
        (("data", "remove", "BAD"), "no BAD 1d"),
        (("strategies", "wisdom"), "There is no strategy 'wisdom'"),
        (("backtest", "unknown.toml"), "buy_when: TA-Lib knows no WISDOM"),
        (("backtest", "negative.toml"), "buy_when: SMA(-3)"),
        (("backtest", "long.toml"), "too few bars for a first decision (12)"),
        (("backtest", "half.toml"), "buy_when: something is missing at column 9"),
        (("backtest", "share.toml"), "size.weight"),
        (("backtest", "loss.toml"), "stops.loss"),
        (("backtest", "field.toml"), "leverage: there is no such field"),
        (("backtest", "broken.toml"), "is not TOML"),
        (("backtest", "list.json"), "holds list, not fields"),
        (("backtest", "deep.json"), "is not JSON"),
        (("backtest", "none.toml"), "There is no file"),
        (("backtest", "buy GOOD when WISDOM(3) is under 10"), "I do not understand"),
        (("backtest", "sma-cross", "-s", "BAD"), "no 1d bars of BAD"),
        (("backtest", *_SET, "--start", "soon"), "--start 'soon' is not a date"),
        (("backtest", *_SET, "--start", "0001-01-01"), "--start 0001-01-01 is in no year"),
        (("backtest", *_SET, "--end", "9999-12-31"), "--end 9999-12-31 is in no year"),
        (("backtest", *_SET, "--start", "2050-01-03"), "not two bars in that span"),
        (("backtest", *_SET, "--set", "fast=nan"), "nan is not a finite number"),
        (("backtest", *_SET, "--set", "fast=2.5"), "fast is 2.5, not a whole number"),
        (("backtest", *_SET, "--set", "fast=9"), "fast (9) must be smaller than slow (4)"),
        (("backtest", *_SET, "--set", "pace=9"), "no parameter pace"),
        (("backtest", *_SET, "--interval", "7min"), "'7min' is not an interval"),
        (("backtest", *_SET, "--cash", "nan"), "--cash"),
        (("backtest", *_SET, "--volume-share", "nan"), "--volume-share"),
        (("sweep", *_GRID, "fast=nan,3"), "nan is not a finite number"),
        (("sweep", *_GRID, "fast=5:1"), "has no values"),
        (("sweep", *_GRID, "fast=9", "--grid", "slow=4"), "fits together"),
        (("sweep", *_GRID, "pace=2,3"), "no parameter pace"),
        (("sweep", *_GRID, "fast=2,3", "--objective", "luck"), "no objective luck"),
        (("sweep", *_GRID, "fast=2,3"), "too few bars for a first decision (12)"),
        (("walkforward", *_GRID, "fast=2,3", "--start", "0001-01-01"), "is in no year"),
        (("walkforward", *_GRID, "fast=2,3"), "12 bars are too few to train on 750"),
        (("walkforward", *_GRID, "fast=2,3", "--train", "1"), "--train"),
        (("walkforward", "wisdom", "-s", "GOOD"), "There is no strategy 'wisdom'"),
    ],
)
def test_bars_and_ideas_that_cannot_be_are_named_and_leave_the_folder_as_it_was(
    desk: Path, monkeypatch: pytest.MonkeyPatch, command: Sequence[str], words: str
) -> None:
    monkeypatch.chdir(desk)
    pictures = ("--png", "picture.png") if command[0] in {"backtest", "walkforward"} else ()
    before = digests(desk)
    code, out, said = spoken(desk / "data", (*command, *pictures), None)
    assert (code, out) == (2, "")
    assert words in said
    assert "Traceback" not in said
    assert digests(desk) == before


def digests(folder: Path) -> dict[str, str]:
    """Every file below ``folder`` with its SHA-256."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- the model -------------------------------------------------------------------------------------------------------
def tiny_model(tmp_path: Path) -> dict[str, str]:
    """A model of 2 MB that comes from a file, in a cache of its own."""
    content = os.urandom(2_000_000)
    (tmp_path / "tiny.gguf").write_bytes(content)
    (tmp_path / "more.toml").write_text(f"""
[[model]]
id = "tiny"
kind = "chat"
title = "Tiny"
licence = "CC0"
bytes = {len(content)}
sha256 = "{hashlib.sha256(content).hexdigest()}"
min_ram_mib = 1
context = 512
source = [{{ kind = "file", path = "{tmp_path / "tiny.gguf"}" }}]
""")
    return {
        "RETAINER_MODEL": "tiny",
        "RETAINER_MODELS__CATALOGUE": str(tmp_path / "more.toml"),
        "RETAINER_CACHE": str(tmp_path / "cache"),
    }


def test_doctor_finds_a_damaged_model_file_and_fetch_mends_it(tmp_path: Path) -> None:
    env = tiny_model(tmp_path)
    assert retainer(tmp_path / "data", "fetch", "tiny", env=env).returncode == 0
    assert doctor(tmp_path / "data", env)["model for chat"].level == "ok"
    (blob,) = [path for path in (tmp_path / "cache" / "models" / "blobs").iterdir() if path.stat().st_size > 1000]
    times = blob.stat()
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"a flipped bit")
    os.utime(blob, ns=(times.st_atime_ns, times.st_mtime_ns))
    finding = doctor(tmp_path / "data", env)["model for chat"]
    assert finding.level == "fail"
    assert "damaged" in finding.detail
    assert finding.fix == "retainer fetch tiny"
    assert retainer(tmp_path / "data", *finding.fix.split()[1:], env=env).returncode == 0
    assert doctor(tmp_path / "data", env)["model for chat"].level == "ok"


def test_a_missing_libgomp_is_named_and_everything_else_works(tmp_path: Path) -> None:
    """An empty file of its name, found first by the loader, is as good as none."""
    (tmp_path / "libgomp.so.1").write_bytes(b"")
    env = {"RETAINER_MODEL": "small", "LD_LIBRARY_PATH": str(tmp_path), "RETAINER_MODELS__OFFLINE": "true"}
    done = retainer(tmp_path / "data", "doctor", "--json", env=env)
    assert done.returncode == 1
    finding = next(finding for finding in json.loads(done.stdout) if finding["what"] == "libgomp")
    assert finding["level"] == "fail"
    assert "apt-get install libgomp1" in finding["fix"]
    with Service(tmp_path / "data", {**UP_ONCE, **env}) as service:
        said = until(lambda: "libgomp" in (found := service.run("status").stdout) and found)
        assert "apt-get install libgomp1" in said
        with chatting(service) as chat:
            chat.say("help", "Stop and go")


def test_taken_ports_do_not_matter_and_the_model_listens_on_loopback_only(tmp_path: Path) -> None:
    """Something rude answers where an Ollama would be; the local engine takes any port that is free."""
    small = packaged_catalogue().find("small")
    if not ModelStore().seems_present(small):
        pytest.fail("The small model is not there: make install fetches it.")
    (tmp_path / "more.toml").write_text(_as_default(small.model_dump(mode="json")))
    with serving(Rude) as url:
        env = {
            **UP_ONCE,
            "RETAINER_MODEL": "default",
            "RETAINER_MODELS__OLLAMA": url,
            "RETAINER_MODELS__CATALOGUE": str(tmp_path / "more.toml"),
        }
        with Service(tmp_path / "data", env) as service:
            until(lambda: "ready" in str(service.json("status")["model"]), pause=0.2)
            listeners = [
                connection.laddr.ip
                for process in service.family()
                for connection in process.net_connections()
                if connection.status == psutil.CONN_LISTEN
            ]
            assert listeners == ["127.0.0.1"]
            assert doctor(service.folder, env)["listeners"].level == "ok"
            own = psutil.Process(service.pid).memory_info().rss
            assert own < 220e6, f"{own / 1e6:.0f} MB without the child"
            family = service.family()
        psutil.wait_procs(family, timeout=10)
        assert not [process for process in family if process.is_running()]


def _as_default(entry: dict[str, Any]) -> str:
    """The entry as a catalogue in which it is the default."""
    plain = {name: value for name, value in entry.items() if name != "source"} | {"alias": "default"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    sources = [", ".join(f"{key} = {json.dumps(value)}" for key, value in source.items()) for source in entry["source"]]
    return "[[model]]\n" + "\n".join(lines) + f"\nsource = [{', '.join(f'{{ {one} }}' for one in sources)}]\n"
