"""``retainer backup``, ``restore`` and ``health``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from retainer.app.agents import agent_migrations, load_agents
from retainer.app.asking import agreed
from retainer.app.config import Settings
from retainer.app.folder import DataFolder, read_json
from retainer.app.operations.backups import MANIFEST, Backup, backup_folder, backups, find, in_server, make, unreadable
from retainer.app.operations.check import account_problems
from retainer.app.operations.drill import Drill, last_drill, run_drill
from retainer.app.operations.pulse import STALE_S
from retainer.app.operations.restore import Loss, loss, restore
from retainer.app.operations.retention import settle
from retainer.app.store import migrations, open_outside, running_pid
from retainer.core.clock import SystemClock
from retainer.core.effects import RepeatClass, StoredEffect
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Tx, View
from retainer.core.values import Json
from retainer.runtime.lock import FolderTakenError
from retainer.runtime.recovery import Pending, leave, pending
from retainer.runtime.safe_mode import SafeMode, read_safe_mode
from retainer.runtime.store import StorageError
from retainer.safety import audit
from retainer.safety.people import devices


def run_backup(settings: Settings, *, show: bool, drill: bool, as_json: bool) -> int:
    """Make a backup, try it out and let go of what need not be kept; or list; or drill. 1 when a drill fails."""
    if show:
        return _list(settings, as_json=as_json)
    if drill:
        return _drill(settings, as_json=as_json)
    now = SystemClock().now()
    backup = make(settings, why="manual", now=now)
    if not as_json:
        size, newest = backup.size / 1e6, backup.manifest.last_event
        _say(f"Backed up {size:.1f} MB, up to event {newest}, checked:", f"  {backup.path}")
    done = settle(settings, backup, _schema(settings), now=now)
    failed = done.drill if done.drill is not None and not done.drill.ok else None
    if as_json:
        removed = [gone.name for gone in done.gone]
        _print({**_row(backup, done.drill), "path": str(backup.path), "removed": removed})
    elif failed is not None:
        _say(*_drill_lines(failed), "No earlier backup was removed.")
    else:
        _say(*(f"  (removed {gone.name}, {_why_gone(gone, backup)})" for gone in done.gone))
    return 0 if failed is None else 1


def _why_gone(gone: Backup, made: Backup) -> str:
    same_day = gone.manifest.made_at.date() == made.manifest.made_at.date()
    return "replaced by this one" if same_day else "too old"


def _list(settings: Settings, *, as_json: bool) -> int:
    folder = backup_folder(settings)
    there, drill = backups(folder), last_drill(folder)
    if as_json:
        _print([_row(backup, drill) for backup in there])
        return 0
    if not there:
        _say(f"There is no backup in {folder} yet; make one with: retainer backup")
    for backup in there:
        drilled = (
            "" if drill is None or drill.backup != backup.name else f"   drill: {'passed' if drill.ok else 'FAILED'}"
        )
        _say(f"{backup.name:<30} {backup.size / 1e6:>7.1f} MB   up to event {backup.manifest.last_event:>7}{drilled}")
    _say(*(f"{name} is no backup: its {MANIFEST} cannot be read." for name in unreadable(folder)))
    return 0


def _drill(settings: Settings, *, as_json: bool) -> int:
    backup = find(backup_folder(settings), "latest")
    try:
        done = run_drill(backup, _schema(settings), now=SystemClock().now())
    except OSError as error:
        raise StorageError(
            f"The drill could not be written to {backup.path.parent}: {error.strerror or error}.",
            hint="Free some space or mend its permissions.",
        ) from error
    if as_json:
        _print(asdict(done))
    else:
        _say(*_drill_lines(done))
    return 0 if done.ok else 1


def _drill_lines(done: Drill) -> list[str]:
    return [f"{'Good' if done.ok else 'BAD'}: {done.words}", *(f"  {problem}" for problem in done.problems)]


def run_restore(settings: Settings, name: str | None, *, yes: bool) -> int:
    """Restore ``name`` after saying what will be missing; without a name, say how things stand."""
    folder = DataFolder(settings.data)
    if name is None:
        return _how_it_stands(settings, folder)
    if in_server(settings):
        raise InvalidInputError(
            "These records are in PostgreSQL, which is restored by its own tools.",
            hint="pg_restore, with every process on it ended; what was pending goes on then: see docs/operations.md",
        )
    backup = find(backup_folder(settings), name)
    pid = running_pid(folder)
    if pid is not None:
        raise FolderTakenError(folder.root, pid)
    _say(
        f"Restoring {backup.name}, made {backup.manifest.made_at:%d %B %Y %H:%M} UTC,"
        f" up to event {backup.manifest.last_event}."
    )
    _say(_missing(loss(folder, backup)))
    if not yes and not agreed("Put it in place of the present records?"):
        _say("Nothing was changed.")
        return 1
    done = restore(folder, backup, _schema(settings), now=SystemClock().now())
    if done.aside is not None:
        _say(f"Done. The former records are kept in {done.aside}.")
    else:
        _say("Done.")
    _say(
        "Safe mode: nothing is traded, and nothing that was pending is sent. New messages are answered.",
        "Start it (retainer up), look around (retainer status, retainer log), then: retainer restore --confirm",
    )
    return 0


def _missing(lost: Loss) -> str:
    if not lost.readable:
        return "The present database cannot be read; whatever came after the backup is missing afterwards."
    if not lost.events:
        return "Nothing has arrived since it was made."
    events = "1 event" if lost.events == 1 else f"{lost.events} events"
    return f"{events} arrived since, the last one {lost.newest}: that will be missing."


def _how_it_stands(settings: Settings, folder: DataFolder) -> int:
    if folder.database.exists():
        with open_outside(settings) as store, store.view() as view:
            mode = read_safe_mode(view)
            if mode is not None:
                _say(*_safe_mode_lines(view, mode))
                return 0
    _say("The records were not restored from a backup, or that is confirmed. To restore one: retainer restore NAME")
    return _list(settings, as_json=False)


def _safe_mode_lines(view: View, mode: SafeMode) -> list[str]:
    waits = pending(view, mode)
    lines = [f"Safe mode since {mode.since:%d %B %Y %H:%M} UTC: restored from {mode.backup}.", _waiting_words(waits)]
    lines += [f"  order: {_first_line(order)} ({order.state.value})" for order in waits.orders]
    lines.append("These phones may talk to it (one that was revoked since the backup is back):")
    lines += [f"  {device.channel} {device.stable_id} {device.scope} {device.name}" for device in devices(view)]
    lines.append("If all that is right: retainer restore --confirm    (with --send, pending messages go out too)")
    return lines


def _first_line(order: StoredEffect) -> str:
    return (order.summary or order.tool).partition("\n")[0].replace("*", "")


def _waiting_words(waits: Pending) -> str:
    return (
        f"Kept back: {len(waits.orders)} orders, {waits.messages} messages, {waits.events} events, "
        f"{waits.timers} reminders and timers that fell due."
    )


def run_confirm(settings: Settings, *, send: bool, yes: bool) -> int:
    """The owner's word that the restored records are right; the account is checked first. 1 when it does not hold."""
    with open_outside(settings) as store:
        with store.view() as view:
            mode = read_safe_mode(view)
            if mode is None:
                _say("There is nothing to confirm.")
                return 0
            _say(*_safe_mode_lines(view, mode)[:-1])
            problems = [
                words for row in view.query("SELECT id FROM account") for words in account_problems(view, row["id"])
            ]
            orders = ask_broker(view, pending(view, mode).orders)
        if problems:
            _say("Not confirmed: the account is not what its ledger says.", *(f"  {problem}" for problem in problems))
            return 1
        _say("The account equals its ledger, to the cent and to the share.")
        if not yes and not agreed("Go on from here?"):
            _say("Nothing was changed.")
            return 1
        now = SystemClock().now()

        def unit(tx: Tx) -> None:
            if leave(tx, now, send=send, orders=orders):
                data: dict[str, Json] = {"backup": mode.backup, "send": send}
                audit.append(tx, "control", "restore.confirmed", mode.backup, data, now)

        store.write_now(unit)
    _say("Confirmed. Trading may go on, within its mandate and limits.")
    return 0


def ask_broker(view: View, orders: tuple[StoredEffect, ...]) -> Mapping[str, Any]:
    """What the broker has of ``orders``, by effect key: its result, or ``None``.

    The paper broker's book is in the restored records themselves. An order of any other broker is left out: it becomes
    *unknown*, which counts as filled for the risk and blocks its symbol until its owner has looked.
    """
    found: dict[str, Any] = {}
    for order in orders:
        if order.tool == "paper.order" and order.repeat is RepeatClass.ENFORCED:
            rows = view.query("SELECT id FROM paper_order WHERE effect_key = ? ORDER BY seq", (order.key,))
            found[order.key] = {"state": "accepted", "orders": [row["id"] for row in rows]} if rows else None
    return found


def show_health(settings: Settings, *, as_json: bool) -> int:
    """0 when a service holds the folder and its pulse was felt lately. Reads two small files, nothing else."""
    folder = DataFolder(settings.data)
    pid, said = running_pid(folder), read_json(folder.service_file)
    try:
        age = time.time() - folder.service_file.stat().st_mtime
    except OSError:
        age = float("inf")
    storage = str(said.get("storage") or "")
    alive = pid is not None and age < STALE_S and not storage
    if pid is None:
        words = "not running"
    elif age == float("inf"):
        words = f"process {pid} is starting"
    elif storage:
        words = f"process {pid} runs; {storage}"
    elif not alive:
        words = f"process {pid} has shown no sign of life for {age:.0f} s"
    else:
        words = f"alive, process {pid}"
    if as_json:
        _print({"alive": alive, "pid": pid, "beat_age": None if age == float("inf") else round(age, 1), "words": words})
    else:
        _say(words)
    return 0 if alive else 1


# --- small things ----------------------------------------------------------------------------------------------------
def _schema(settings: Settings) -> Any:
    return migrations(agent_migrations(load_agents(settings)))


def _row(backup: Backup, drill: Drill | None) -> dict[str, Any]:
    manifest = backup.manifest
    drilled = drill is not None and drill.backup == backup.name
    return {
        "name": backup.name,
        "made_at": manifest.made_at.isoformat(),
        "why": manifest.why,
        "version": manifest.version,
        "last_event": manifest.last_event,
        "bytes": backup.size,
        "drill": (drill.ok if drill else None) if drilled else None,
    }


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _print(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")
