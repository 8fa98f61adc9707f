"""``retainer doctor``: what could keep the service from working, each finding with its fix."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from retainer.app.config import Settings, config_file, load_settings
from retainer.app.folder import DataFolder, read_json
from retainer.core.errors import RetainerError
from retainer.runtime.sqlite_session import storage_error

if TYPE_CHECKING:
    from retainer.models.server import ModelServer

Level = Literal["ok", "warn", "fail"]
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Level
    what: str
    detail: str
    fix: str = ""


def examine() -> list[Finding]:
    """Run all checks; none of them changes anything."""
    found = [_python(), _library()]
    try:
        settings = load_settings()
    except RetainerError as error:
        found.append(Finding("fail", "configuration", error.message, error.hint))
        return found
    path = config_file()
    found.append(Finding("ok", "configuration", str(path) if path.is_file() else "defaults (no file)"))
    folder = DataFolder(settings.data)
    checks: tuple[Callable[[Settings, DataFolder], Iterator[Finding]], ...] = (
        _folder,
        _database,
        _backups,
        _service,
        _secrets,
        _models,
        _samples,
    )
    for check in checks:
        try:
            found.extend(check(settings, folder))
        except (RetainerError, OSError, sqlite3.Error) as error:
            known = storage_error(error, str(folder.database)) if isinstance(error, sqlite3.Error) else error
            words, fix = (known.message, known.hint) if isinstance(known, RetainerError) else (str(error), "")
            found.append(Finding("fail", check.__name__.strip("_"), words, fix))
        except Exception as error:  # noqa: BLE001 - records that are not what we wrote break whatever reads them
            words = f"What is stored is not what was written there ({type(error).__name__}: {error})."
            fix = "Stop the service, then: retainer restore latest (it says what is lost)"
            found.append(Finding("fail", check.__name__.strip("_"), words, fix))
    if not folder.root.exists():
        found.append(Finding("ok", "next step", "Nothing has been started yet: retainer up"))
    return found


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= (3, 15):
        return Finding("warn", "Python", f"{version} is newer than what is tested.", "Use Python 3.11 to 3.14.")
    return Finding("ok", "Python", version)


def _library() -> Finding:
    """Ask the loader itself: it is what the local engine's library is loaded by."""
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL("libgomp.so.1")
        except OSError:
            return Finding(
                "fail",
                "libgomp",
                "The OpenMP library that the local model needs is missing.",
                "sudo apt-get install libgomp1 (Debian, Ubuntu) or: sudo dnf install libgomp (Fedora)",
            )
    return Finding("ok", "libgomp", "found")


def _folder(settings: Settings, folder: DataFolder) -> Iterator[Finding]:
    root = folder.root
    there = root if root.exists() else next(path for path in root.parents if path.exists())
    if not there.is_dir():
        yield Finding("fail", "data folder", f"{there} is not a folder.", "Set RETAINER_DATA to a folder of yours.")
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Finding(
            "fail", "data folder", f"{there} cannot be written.", "Mend its permissions or set RETAINER_DATA."
        )
    elif there != root:
        yield Finding("ok", "data folder", f"{root} will be made at the first start")
    elif root.stat().st_mode & 0o077:
        yield Finding("warn", "data folder", f"Others may read {root}.", f"chmod 700 {root}")
    else:
        yield Finding("ok", "data folder", str(root))
    parent = there
    free = shutil.disk_usage(parent).free
    yield Finding(
        "ok" if free > 2 * GIB else "warn" if free > GIB // 4 else "fail",
        "disk",
        f"{free / GIB:.1f} GiB free",
        "" if free > 2 * GIB else "Free some space: the model needs 1.2 GiB once, the database little.",
    )


def _database(settings: Settings, folder: DataFolder) -> Iterator[Finding]:
    from retainer.app.operations.damage import vanished
    from retainer.app.store import exists, open_view

    if not exists(settings) and vanished(settings) is None:
        yield Finding("ok", "database", "none yet")
        return
    from retainer.app.audit_commands import check
    from retainer.runtime.control import read_control

    with open_view(settings) as view:
        server = bool(settings.store.url.get_secret_value())
        row = None if server else view.one("PRAGMA integrity_check(1)")
        answer = next(iter(dict(row).values())) if row else "ok" if server else "no answer"
        if answer != "ok":
            yield Finding(
                "fail",
                "database",
                str(answer),
                "Stop the service, then: retainer restore latest (it says what is lost)",
            )
            return
        yield Finding("ok", "database", "the server answers" if server else f"{folder.database} is sound")
        control = read_control(view)
        yield Finding(
            "ok" if control.state == "running" else "warn", "trading", f"{control.state} {control.reason}".strip()
        )
        report, _ = check(settings)
        yield Finding(
            "ok" if report.ok else "fail",
            "audit",
            report.words,
            ""
            if report.ok
            else "`retainer audit verify` names each; compare them with a backup (retainer backup --list).",
        )
        unknown = view.one("SELECT COUNT(*) AS n FROM effect WHERE state = 'unknown'")
        if unknown and unknown["n"]:
            yield Finding("warn", "effects", f"{unknown['n']} of unknown outcome", "Look at them with `retainer log`.")
        dead = view.one("SELECT COUNT(*) AS n FROM event WHERE state IN ('dead', 'parked')")
        if dead and dead["n"]:
            yield Finding("warn", "events", f"{dead['n']} could not be handled", "`retainer explain EVENT` says why.")


def _backups(settings: Settings, folder: DataFolder) -> Iterator[Finding]:
    from retainer.app.operations.standing import findings

    if folder.root.exists():
        for level, what, detail, fix in findings(settings, folder):
            yield Finding(level, what, detail, fix)


def _service(settings: Settings, folder: DataFolder) -> Iterator[Finding]:
    from retainer.app.store import running_pid

    pid = running_pid(folder)
    if pid is None:
        yield Finding("ok", "service", "not running")
        return
    yield Finding("ok", "service", f"running, process {pid}")
    state = read_json(folder.service_file)
    for name, health in sorted(state.get("bridges", {}).items()):
        good = bool(health.get("ok")) or not health.get("set_up", True)
        yield Finding(
            "ok" if good else "fail", name, str(health.get("detail", "")), "" if good else "See logs/retainer.log."
        )
    if listeners := open_listeners(pid):
        yield Finding("fail", "listeners", ", ".join(listeners), "Only loopback addresses may be listened on.")
    else:
        yield Finding("ok", "listeners", "loopback only")


def open_listeners(pid: int) -> list[str]:
    """TCP addresses off loopback on which ``pid`` or its children listen (Linux; elsewhere empty)."""
    inodes: set[str] = set()
    for process in [pid, *_children(pid)]:
        for link in Path(f"/proc/{process}/fd").glob("*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{pid}/net/{table}")
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes and not _loopback(fields[1].split(":")[0]):
                found.append(fields[1])
    return found


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def _loopback(hexadecimal: str) -> bool:
    if len(hexadecimal) == 8:
        return hexadecimal.endswith("7F")
    return hexadecimal in {"00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def _secrets(settings: Settings, folder: DataFolder) -> Iterator[Finding]:
    if not folder.secrets.exists():
        return
    loose = [path.name for path in folder.secrets.iterdir() if path.is_file() and path.stat().st_mode & 0o077]
    yield Finding(
        "fail" if loose else "ok",
        "secrets",
        f"readable by others: {', '.join(loose)}" if loose else "readable by you alone",
        f"chmod 600 {folder.secrets}/*" if loose else "",
    )


def _models(settings: Settings, folder: DataFolder) -> Iterator[Finding]:
    from retainer.models.server import ModelServer

    server = ModelServer(settings.chosen_models())
    for role in ("chat", "trading"):
        state = server.state(role)
        broken = _damage(server, state.model) if role == "chat" and state.phase == "present" else ""
        level: Level = "ok" if state.usable else "fail" if state.phase == "failed" else "warn"
        yield Finding(
            "fail" if broken else level,
            f"model for {role}",
            broken or state.words,
            f"retainer fetch {state.model}" if broken else state.fix,
        )


def _damage(server: ModelServer, model: str) -> str:
    """Why the file of ``model`` is not what it should be; empty when it is. Reads the whole file."""
    from retainer.models.store import hash_file

    entry = server.catalogue.find(model)
    path = server.store.blobs / entry.sha256
    return "" if hash_file(path) == entry.sha256 else f"{entry.title}: the file {path} is damaged."


def _samples(settings: Settings, folder: DataFolder) -> Iterator[Finding]:
    from retainer.trading.samples import sample_path

    there = sample_path().is_file()
    yield Finding(
        "ok" if there else "warn",
        "sample bars",
        "fetched" if there else "not fetched",
        "" if there else "retainer fetch --for-tests, with a network once",
    )


def show_doctor(*, as_json: bool = False) -> int:
    """Print the report; 1 when something fails."""
    found = examine()
    if as_json:
        sys.stdout.write(json.dumps([asdict(item) for item in found], indent=1) + "\n")
    else:
        from rich.console import Console
        from rich.markup import escape

        console = Console(highlight=False)
        mark = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}
        for item in found:
            console.print(f"{mark[item.level]}  {item.what:<18} {escape(item.detail)}", soft_wrap=True)
            if item.fix:
                console.print(f"      [dim]-> {escape(item.fix)}[/]", soft_wrap=True)
    return 1 if any(item.level == "fail" for item in found) else 0
