"""A service that dies at one chosen point, and far sides that keep their own records, one for every repeat class.

A point is a call of the outside world or a commit, before or after it: ``commit:7:after`` dies right after the seventh
commit. ``python crash_points.py record FOLDER`` runs undisturbed and prints every point; ``python crash_points.py sweep
FOLDER POINT...`` dies at each of them in a folder of its own, starts again, lets it finish, and prints a line of JSON
about each. Nothing here judges.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.runtime.crash_child import FAR, Guard

from retainer.core.capabilities import Capability
from retainer.core.clock import SystemClock
from retainer.core.effects import Effect, EffectClass, Permit, RepeatClass, StoredEffect
from retainer.core.events import Event, NewEvent
from retainer.core.protocols import Context, OutgoingMessage
from retainer.core.replies import reply_effect
from retainer.core.values import Json
from retainer.runtime.runtime import Runtime
from retainer.runtime.schema import MIGRATIONS
from retainer.runtime.settings import RuntimeSettings
from retainer.runtime.sqlite import SqliteStore
from retainer.runtime.sqlite_session import SqliteSession

MESSAGES = 2


class Points:
    """Counts what passes, and dies at the chosen one."""

    def __init__(self, chosen: str) -> None:
        self.chosen = chosen
        self.passed: list[str] = []
        self._counts: dict[str, int] = {}

    def enter(self, name: str) -> str:
        """Number this call and pass the point before it."""
        self._counts[name] = self._counts.get(name, 0) + 1
        numbered = f"{name}:{self._counts[name]}"
        self._pass(f"{numbered}:before")
        return numbered

    def leave(self, numbered: str) -> None:
        """Pass the point after it."""
        self._pass(f"{numbered}:after")

    def _pass(self, point: str) -> None:
        self.passed.append(point)
        if point == self.chosen:
            os.kill(os.getpid(), signal.SIGKILL)


class Far:
    """One far side; each call commits on its own."""

    def __init__(self, path: Path, points: Points, name: str, repeat: RepeatClass) -> None:
        self.repeat = repeat
        self._points = points
        self._name = name
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._db.execute("PRAGMA synchronous=OFF")

    def run(self, sql: str, *params: Any, call: str = "") -> list[Any]:
        numbered = self._points.enter(f"{self._name}{call}")
        rows = self._db.execute(sql, params).fetchall()
        self._points.leave(numbered)
        return rows


class Enforced(Far):
    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        self.run(
            "INSERT OR IGNORE INTO shown (key, lane, text) VALUES (?, ?, ?)",
            effect.key,
            effect.lane,
            effect.args["text"],
        )
        return None


class Lookup(Far):
    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        self.run("INSERT INTO orders VALUES (?, ?)", effect.key, effect.args["text"])
        return {"accepted": effect.key}

    async def lookup(self, effect: StoredEffect) -> Json:
        found = self.run("SELECT 1 FROM orders WHERE key = ?", effect.key, call=".lookup")
        return {"accepted": effect.key} if found else None


class Editable(Far):
    async def open(self, effect: StoredEffect, permit: Permit) -> str:
        [row] = self.run("INSERT INTO bubbles (text) VALUES ('...') RETURNING id", call=".open")
        return str(row[0])

    async def update(self, effect: StoredEffect, args: Any) -> None:
        """No deltas here."""

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        self.run("UPDATE bubbles SET text = ? WHERE id = ?", effect.args["text"], effect.ref)
        return {"ref": effect.ref}


class Never(Far):
    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        self.run("INSERT INTO sms VALUES (?)", effect.args["text"])
        return None


class Clerk:
    """Opens a placeholder, thinks, orders within the turn, then has all four far sides told."""

    name = "chat"

    def __init__(self, points: Points) -> None:
        self._points = points

    def capabilities(self) -> tuple[Capability, ...]:
        return ()

    async def handle(self, ctx: Context, event: Event) -> None:
        if event.kind != "message":
            return
        text = str(event.body["text"])
        reply = reply_effect("phone:1", OutgoingMessage(text=text))
        await ctx.open(reply)

        async def think() -> str:
            self._points.leave(self._points.enter("think"))
            return text

        await ctx.step("think", think)
        await ctx.call(_order("now", text, "broker:called"))
        ctx.send(reply)
        ctx.send(reply_effect("terminal:1", OutgoingMessage(text=text), name="show"))
        ctx.send(reply_effect("sms:1", OutgoingMessage(text=text), name="text"))
        ctx.send(_order("later", text, "broker:queued"))


def _order(name: str, text: str, queue: str) -> Effect:
    return Effect(name=name, tool="order", args={"text": text}, effect_class=EffectClass.MONEY, queue=queue)


async def serve(folder: Path, points: Points) -> None:
    """Take what upstream has not been confirmed, finish everything."""
    far = folder / "far.db"
    store = SqliteStore.open(folder / "retainer.db", MIGRATIONS, tick=0.02)
    commit = SqliteSession.commit

    def counted(session: SqliteSession) -> None:
        numbered = points.enter("commit")
        commit(session)
        points.leave(numbered)

    SqliteSession.commit = counted  # type: ignore[method-assign,assignment]  # the point is to stand around every commit
    settings = RuntimeSettings(deliver_retry_seconds=0.01, retry_seconds=0.01)
    runtime = Runtime(store, SystemClock(), Guard(), settings=settings)
    runtime.add_agent(Clerk(points))
    runtime.add_adapter("order", Lookup(far, points, "lookup", RepeatClass.LOOKUP))
    runtime.add_adapter("terminal.reply", Enforced(far, points, "enforced", RepeatClass.ENFORCED))
    runtime.add_adapter("phone.reply", Editable(far, points, "editable", RepeatClass.EDITABLE))
    runtime.add_adapter("sms.reply", Never(far, points, "none", RepeatClass.NONE))
    upstream = Far(far, points, "confirm", RepeatClass.NONE)
    await runtime.start()
    offset = upstream._db.execute("SELECT COUNT(*) FROM upstream").fetchone()[0]
    for number in range(offset, MESSAGES):
        event = NewEvent(
            source="upstream",
            external_id=str(number),
            agent="chat",
            lane="chat:1",
            kind="message",
            body={"text": f"message {number}"},
            occurred_at=datetime.now(UTC),
        )
        await runtime.receive(event)
        upstream.run("INSERT INTO upstream VALUES (?)", number)
        await runtime.idle()
    await runtime.idle()
    await runtime.stop()
    store.close()


def once(folder: Path, chosen: str) -> int:
    """Run in a process of its own; its wait status."""
    child = os.fork()
    if child == 0:
        points = Points(chosen)
        try:
            asyncio.run(serve(folder, points))
        except BaseException as error:  # noqa: BLE001 - the parent is told
            sys.stderr.write(f"{chosen}: {error!r}\n")
            os._exit(1)
        (folder / "points.json").write_text(json.dumps(points.passed))
        os._exit(0)
    return os.waitpid(child, 0)[1]


def prepare(folder: Path) -> None:
    """Empty far sides."""
    folder.mkdir(parents=True)
    database = sqlite3.connect(folder / "far.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.executescript(FAR)
    database.close()


def outcome(folder: Path) -> dict[str, Any]:
    """What the far sides and our own records say."""
    far, ours = sqlite3.connect(folder / "far.db"), sqlite3.connect(folder / "retainer.db")
    found = {
        "orders": [row[0] for row in far.execute("SELECT text FROM orders ORDER BY text")],
        "shown": [row[0] for row in far.execute("SELECT text FROM shown ORDER BY n")],
        "bubbles": [row[0] for row in far.execute("SELECT text FROM bubbles ORDER BY id")],
        "sms": [row[0] for row in far.execute("SELECT text FROM sms")],
        "states": dict(ours.execute("SELECT key, state FROM effect").fetchall()),
        "events": [row[0] for row in ours.execute("SELECT state FROM event WHERE kind = 'message'")],
        "integrity": ours.execute("PRAGMA integrity_check").fetchone()[0],
    }
    far.close()
    ours.close()
    return found


def main(what: str, folder: Path, points: list[str]) -> None:
    """See the module."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if what == "record":
        prepare(folder)
        assert once(folder, "") == 0
        print((folder / "points.json").read_text())
        return
    for number, point in enumerate(points):
        place = folder / str(number)
        prepare(place)
        died = once(place, point)
        finished = once(place, "")
        line = {"point": point, "died": os.WIFSIGNALED(died), "finished": finished == 0, **outcome(place)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
