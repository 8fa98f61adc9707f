"""Timers as rows: a timer fires by inserting its event and removing or advancing its row in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import structlog

from retainer.core.clock import Clock, from_epoch, to_epoch
from retainer.core.errors import InvalidInputError
from retainer.core.events import NewEvent
from retainer.core.labels import OWNER, Label
from retainer.core.protocols import Store, Tx, View
from retainer.core.values import Json
from retainer.runtime import bodies
from retainer.runtime.auditing import SettleWith, Woken
from retainer.runtime.inbox import insert_event, last_seq
from retainer.runtime.safe_mode import SILENT
from retainer.runtime.store import StorageError

Misfire = Literal["once", "skip"]
LATE: Final = 60.0
"""Seconds after which a ``skip`` timer counts as missed."""
_GATHER: Final = 0.02
"""Seconds in which wake-ups are gathered before the database is read."""
_LONGEST: Final = 1.0
"""Longest sleep, in seconds: the clock may be set, and a machine may wake up."""
_STEP: Final = 1.0
"""Seconds by which a clock has to go back to count as set."""

_AWAKE: Final = "event_seq > COALESCE((SELECT CAST(value AS BIGINT) FROM meta WHERE key = ?), -1)"
"""Not one of those that safe mode keeps silent; takes :data:`~retainer.runtime.safe_mode.SILENT`."""
_DUE: Final = f" WHERE t.next_at <= ? AND t.{_AWAKE} ORDER BY t.next_at, t.name LIMIT 200"
_NEXT: Final = f"SELECT MIN(next_at) AS next_at FROM timer WHERE {_AWAKE}"  # noqa: S608 - constant

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A timer to set. With ``cron`` (five fields, in ``zone``) it repeats; else it fires once at ``at``."""

    lane: str
    name: str
    """Unique within the lane; setting it again moves it."""
    agent: str
    at: datetime | None = None
    cron: str | None = None
    zone: str = "UTC"
    misfire: Misfire = "once"
    """After a sleep over several periods: fire ``once``, or ``skip`` what is over a minute late."""
    kind: str = "timer"
    body: Mapping[str, Json] = field(default_factory=dict)
    sender: str | None = None
    label: Label = OWNER
    cause: str | None = None
    reply_to: str | None = None
    event_seq: int = 0
    """The event that set it; part of the fired event's id, so a timer set anew fires anew."""


def next_time(cron: str, zone: str, after: datetime) -> datetime:
    """The next instant of ``cron`` in ``zone`` after ``after``. Raises :class:`InvalidInputError`.

    When clocks are set back, a schedule with hours named runs in the first of the two equal hours only; one for every
    hour or minute runs in both. When they are set forward, an hour that is left out counts as the one after it.
    """
    from zoneinfo import ZoneInfo

    from croniter import croniter

    try:
        local = after.astimezone(ZoneInfo(zone))
        if len(cron.split()) != 5:
            raise ValueError("five fields are needed")
        times = croniter(cron, local)
        found: datetime = times.get_next(datetime)
        while not cron.split()[1].startswith("*") and found.astimezone(UTC).astimezone(ZoneInfo(zone)).fold:
            found = times.get_next(datetime)
    except (ValueError, KeyError, OSError) as error:
        raise InvalidInputError(
            f"The schedule {cron!r} in {zone!r} does not work: {error}.",
            hint='Write five fields and a zone name, e.g. "0 9 * * 1-5" in "Europe/Berlin".',
        ) from error
    return found.astimezone(UTC)


def set_timer(tx: Tx, timer: Timer, now: datetime) -> datetime:
    """Set (or move) ``timer``; returns when it fires next."""
    if (timer.at is None) == (timer.cron is None):
        raise InvalidInputError(f"Timer {timer.name!r} needs either a time or a schedule.")
    at = timer.at if timer.cron is None else next_time(timer.cron, timer.zone, now)
    assert at is not None
    cancel_timer(tx, timer.lane, timer.name)
    tx.execute(
        "INSERT INTO timer (lane, name, agent, kind, next_at, cron, zone, misfire, body_id, sender, label, cause,"
        " reply_to, event_seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            timer.lane,
            timer.name,
            timer.agent,
            timer.kind,
            to_epoch(at),
            timer.cron,
            timer.zone,
            timer.misfire,
            bodies.put(tx, dict(timer.body)),
            timer.sender,
            timer.label.encode(),
            timer.cause,
            timer.reply_to,
            timer.event_seq,
        ),
    )
    return at


def cancel_timer(tx: Tx, lane: str, name: str) -> bool:
    """Remove a timer; ``False`` if there is none."""
    row = tx.one("SELECT body_id FROM timer WHERE lane = ? AND name = ?", (lane, name))
    if row is None:
        return False
    bodies.erase(tx, row["body_id"])
    tx.execute("DELETE FROM timer WHERE lane = ? AND name = ?", (lane, name))
    return True


def pending_timers(view: View, lane: str | None = None) -> list[Timer]:
    """Timers that will fire, soonest first, ``at`` being the next time."""
    rows = view.query(
        "SELECT t.*, b.bytes AS body_json FROM timer t LEFT JOIN body b ON b.id = t.body_id"
        " WHERE CAST(? AS TEXT) IS NULL OR t.lane = ? ORDER BY t.next_at, t.name",
        (lane, lane),
    )
    return [_to_timer(row) for row in rows]


def _to_timer(row: Mapping[str, Any]) -> Timer:
    return Timer(
        lane=row["lane"],
        name=row["name"],
        agent=row["agent"],
        at=from_epoch(row["next_at"]),
        cron=row["cron"],
        zone=row["zone"] or "UTC",
        misfire=row["misfire"],
        kind=row["kind"],
        body=bodies.decode(row["body_json"]) or {},
        sender=row["sender"],
        label=Label.decode(row["label"]),
        cause=row["cause"],
        reply_to=row["reply_to"],
        event_seq=row["event_seq"],
    )


def fire_due(tx: Tx, now: datetime) -> int:
    """Fire what is due, each timer once however late it is. Returns how many events were inserted."""
    rows = tx.query(
        "SELECT t.*, b.bytes AS body_json FROM timer t LEFT JOIN body b ON b.id = t.body_id" + _DUE,  # noqa: S608 - constant
        (to_epoch(now), SILENT),
    )
    fired = 0
    for timer in map(_to_timer, rows):
        assert timer.at is not None
        late = (now - timer.at).total_seconds()
        if timer.misfire == "once" or late <= LATE:
            insert_event(tx, _event(timer, timer.at), now)
            fired += 1
        if timer.cron is None:
            cancel_timer(tx, timer.lane, timer.name)
        else:
            tx.execute(
                "UPDATE timer SET next_at = ? WHERE lane = ? AND name = ?",
                (to_epoch(next_time(timer.cron, timer.zone, now)), timer.lane, timer.name),
            )
    return fired


def plan_again(tx: Tx, now: datetime) -> None:
    """The clock was set back: what it was ahead does not keep a schedule waiting. No period fires a second time."""
    for lane, name, at in _too_late(tx, now):
        tx.execute("UPDATE timer SET next_at = ? WHERE lane = ? AND name = ?", (at, lane, name))


def _too_late(view: View, now: datetime) -> list[tuple[str, str, float]]:
    """Schedules whose next time lies behind the one that ``now`` gives; lane, name and that time."""
    rows = view.query("SELECT lane, name, cron, zone, next_at FROM timer WHERE cron IS NOT NULL")
    planned = [(row, to_epoch(next_time(row["cron"], row["zone"] or "UTC", now))) for row in rows]
    return [(row["lane"], row["name"], at) for row, at in planned if at < row["next_at"]]


def _event(timer: Timer, at: datetime) -> NewEvent:
    return NewEvent(
        source="timer",
        external_id=f"{timer.lane}/{timer.name}@{at.isoformat()}#{timer.event_seq}",
        agent=timer.agent,
        lane=timer.lane,
        kind=timer.kind,
        body={"name": timer.name, **timer.body},
        sender=timer.sender,
        label=timer.label,
        cause=timer.cause,
        reply_to=timer.reply_to,
        occurred_at=at,
    )


class TimerLoop:
    """Watches the soonest timer. Compares the clock once a second, reads the database only when told to or due."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settle: SettleWith,
        woken: Callable[[Woken], None],
        trouble: Callable[[StorageError], None] = lambda _error: None,
    ) -> None:
        self._store = store
        self._trouble = trouble
        self._clock = clock
        self._settle = settle
        self._woken = woken
        self._wake = asyncio.Event()
        self._seen: datetime | None = None
        """What the clock said last; ``None``: nothing yet, it may have been set while nobody looked."""

    def wake(self) -> None:
        """A timer may have been set or moved."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._follow_clock()
                row = self._store.view().one(_NEXT, (SILENT,))
                next_at = row["next_at"] if row else None
                if next_at is not None and next_at <= to_epoch(self._clock.now()):
                    await self._fire()
                    continue
            except StorageError as error:
                log.warning("timers_wait", error=error.message)
                self._trouble(error)
                next_at = None
            await self._sleep(next_at)

    async def _follow_clock(self) -> None:
        now = self._clock.now()
        changed = self._seen is None or self._set_back(now)
        if changed and _too_late(self._store.view(), now):
            await self._store.write(lambda tx: plan_again(tx, now))
        self._seen = now

    def _set_back(self, now: datetime) -> bool:
        return self._seen is not None and (self._seen - now).total_seconds() > _STEP

    async def _fire(self) -> None:
        def unit(tx: Tx) -> Woken:
            mark, now = last_seq(tx), self._clock.now()
            fire_due(tx, now)
            return self._settle(tx, mark, now)

        self._woken(await self._store.write(unit))

    async def _sleep(self, next_at: float | None) -> None:
        while not self._wake.is_set() and not self._set_back(self._clock.now()):
            self._seen = self._clock.now()
            left = _LONGEST if next_at is None else min(_LONGEST, next_at - to_epoch(self._clock.now()))
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                continue
        await asyncio.sleep(_GATHER)
