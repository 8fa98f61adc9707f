"""Events as rows: receiving them once, claiming the next of a lane, ending them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.errors import NotFoundError
from retainer.core.events import Event, NewEvent, Receipt
from retainer.core.labels import Label
from retainer.core.protocols import Row, Tx, View
from retainer.runtime import bodies

MOST_HOPS: Final = 16
"""Handlings of agents that may follow one another from one cause; a question and its answer take two or three."""
_COLUMNS = """SELECT e.*, b.bytes AS body_json FROM event e LEFT JOIN body b ON b.id = e.body_id"""
_HEAD = f"{_COLUMNS} WHERE e.lane = ? AND e.state = 'waiting' AND e.aside = ? ORDER BY e.urgent DESC, e.seq LIMIT 1"


def insert_event(tx: Tx, new: NewEvent, now: datetime) -> Receipt:
    """Store ``new`` unless its (source, external id) is known. Any process may do this; the service notices."""
    known = tx.one("SELECT seq FROM event WHERE source = ? AND external_id = ?", (new.source, new.external_id))
    if known is not None:
        return Receipt(known["seq"], False)
    body_id = bodies.put(tx, dict(new.body))
    seq = tx.insert(
        "INSERT INTO event (source, external_id, agent, lane, kind, body_id, sender, label, cause, reply_to,"
        " occurred_at, received_at, urgent, hops, state, attempts, failures, not_before)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting', 0, 0, 0)",
        (
            new.source,
            new.external_id,
            new.agent,
            new.lane,
            new.kind,
            body_id,
            new.sender,
            new.label.encode(),
            new.cause,
            new.reply_to,
            to_epoch(new.occurred_at),
            to_epoch(now),
            int(new.urgent),
            new.hops,
        ),
    )
    return Receipt(seq, True)


def to_event(row: Row) -> Event:
    """An event from its row with ``body_json`` joined. The body of an erased event is empty."""
    return Event(
        source=row["source"],
        external_id=row["external_id"],
        agent=row["agent"],
        lane=row["lane"],
        kind=row["kind"],
        body=bodies.decode(row["body_json"]) or {},
        sender=row["sender"],
        label=Label.decode(row["label"]),
        cause=row["cause"],
        reply_to=row["reply_to"],
        occurred_at=from_epoch(row["occurred_at"]),
        urgent=bool(row["urgent"]),
        hops=row["hops"],
        seq=row["seq"],
        attempts=max(1, row["attempts"]),
    )


def load_event(view: View, seq: int) -> Event:
    """The event ``seq``. Raises :class:`NotFoundError`."""
    row = view.one(f"{_COLUMNS} WHERE e.seq = ?", (seq,))
    if row is None:
        raise NotFoundError(f"There is no event {seq}.", hint="`retainer log` lists the latest.")
    return to_event(row)


def select_events(view: View, where: str, params: tuple[object, ...] = (), *, limit: int = 1000) -> list[Event]:
    """Events whose row ``e`` satisfies ``where`` (constant SQL of ours, values in ``params``), by ``seq``."""
    rows = view.query(f"{_COLUMNS} WHERE {where} ORDER BY e.seq LIMIT ?", (*params, limit))
    return [to_event(row) for row in rows]


def next_of_lane(tx: Tx, lane: str, now: float, *, aside: bool = False, run: str = "") -> tuple[Row | None, float]:
    """Claim the next waiting event of ``lane``, or of those in it that stepped ``aside``: urgent ones first, then the
    oldest.

    Returns the row and 0, ``(None, seconds)`` when the next one is backing off, ``(None, -1)`` when none waits. The
    claim counts the attempt and fixes ``begun_at``, the event's recorded *now*. ``run`` names this run of the service;
    an event that another run left in the middle counts one death more.
    """
    head = tx.one(_HEAD, (lane, int(aside)))
    if head is None:
        return None, -1.0
    begun = head["begun_at"]
    if head["not_before"] > now and (begun is None or begun <= now):  # else the clock was set back: it waits no longer
        return None, float(head["not_before"] - now)
    claimed = {
        "attempts": head["attempts"] + 1,
        "begun_at": now if head["begun_at"] is None else head["begun_at"],
        "deaths": head["deaths"] + int(head["running"] not in {"", run}),
        "running": run,
    }
    tx.execute(
        "UPDATE event SET attempts = ?, begun_at = ?, deaths = ?, running = ? WHERE seq = ?",
        (*claimed.values(), head["seq"]),
    )
    return {**head, **claimed}, 0.0


def step_aside(tx: Tx, seq: int) -> None:
    """Take a waiting event out of its lane's way; the handling that found this out does not count as an attempt."""
    tx.execute(
        "UPDATE event SET aside = 1, attempts = attempts - 1, running = '' WHERE seq = ? AND state = 'waiting'", (seq,)
    )


def end_event(tx: Tx, seq: int, state: str, now: float, error: str | None = None) -> bool:
    """Move a waiting event to ``done``, ``dead`` or ``parked``; ``False`` if it was not waiting any more."""
    error_id = None if error is None else bodies.put(tx, error)
    changed = tx.execute(
        "UPDATE event SET state = ?, done_at = ?, error_id = COALESCE(?, error_id) WHERE seq = ? AND state = 'waiting'",
        (state, now, error_id, seq),
    )
    return changed > 0


def retry_event(tx: Tx, seq: int, not_before: float, error: str) -> None:
    """Count a failure of the handler and let the event wait until ``not_before``."""
    tx.execute(
        "UPDATE event SET failures = failures + 1, not_before = ?, error_id = ?, running = ''"
        " WHERE seq = ? AND state = 'waiting'",
        (not_before, bodies.put(tx, error), seq),
    )


def requeue(tx: Tx, seq: int) -> bool:
    """Give a dead or parked event another set of tries (an owner's decision); ``False`` if it is neither.

    What the runtime said in the handler's place gets out of the way, so that the answer can be sent this time.
    """
    tx.execute(
        "UPDATE effect SET key = key || '~' || id, name = name || '~' || id WHERE event_seq = ? AND own = 1", (seq,)
    )
    changed = tx.execute(
        "UPDATE event SET state = 'waiting', failures = 0, not_before = 0, done_at = NULL, running = '', deaths = 0"
        " WHERE seq = ? AND state IN ('dead', 'parked')",
        (seq,),
    )
    return changed > 0


def set_running(tx: Tx, seq: int, run: str) -> None:
    """Note that ``run`` is handling a waiting event; an empty one, that nobody is."""
    tx.execute("UPDATE event SET running = ? WHERE seq = ? AND state = 'waiting'", (run, seq))


def leave_unfinished(tx: Tx, run: str) -> int:
    """This run ends in order: what it was handling was not what ended it. Returns how many events that are."""
    return tx.execute("UPDATE event SET running = '' WHERE running = ? AND state = 'waiting'", (run,))


def last_seq(view: View) -> int:
    """The greatest ``seq`` given so far, 0 if none."""
    row = view.one("SELECT MAX(seq) AS seq FROM event")
    return int(row["seq"] or 0) if row else 0
