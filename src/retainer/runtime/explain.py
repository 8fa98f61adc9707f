"""Reading the records: what happened, why, and what stands where. Works from any process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retainer.core.clock import from_epoch
from retainer.core.effects import StoredEffect
from retainer.core.errors import NotFoundError
from retainer.core.protocols import View
from retainer.core.values import Json
from retainer.runtime import bodies, effects
from retainer.runtime.control import Control, read_control
from retainer.runtime.inbox import load_event
from retainer.runtime.journal import COMMIT, steps_of

_OPEN = ("asked", "ready", "sending", "unknown")


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is going on."""

    waiting: Mapping[str, int]
    """Waiting events by lane."""
    effects: Mapping[str, int]
    """Unfinished effects by state: asked, ready, sending, unknown."""
    dead: int
    parked: int
    timers: int
    events: int
    """All events ever received."""
    control: Control
    active: tuple[str, ...] = ()
    """Lanes with a running handler; known inside the service only."""


def depth(view: View, active: tuple[str, ...] = ()) -> Depth:
    """The figures for ``status``."""
    lanes = view.query("SELECT lane, COUNT(*) AS n FROM event WHERE state = 'waiting' GROUP BY lane ORDER BY lane")
    states = view.query(
        "SELECT state, COUNT(*) AS n FROM effect WHERE state IN ('asked', 'ready', 'sending', 'unknown') GROUP BY state"
    )
    broken = view.query("SELECT state, COUNT(*) AS n FROM event WHERE state IN ('dead', 'parked') GROUP BY state")
    ended = {row["state"]: int(row["n"]) for row in broken}
    counted = {row["state"]: int(row["n"]) for row in states}
    return Depth(
        waiting={row["lane"]: int(row["n"]) for row in lanes},
        effects={state: counted.get(state, 0) for state in _OPEN},
        dead=ended.get("dead", 0),
        parked=ended.get("parked", 0),
        timers=_one(view, "SELECT COUNT(*) AS n FROM timer"),
        events=_one(view, "SELECT MAX(seq) AS n FROM event"),
        control=read_control(view),
        active=active,
    )


def _one(view: View, sql: str) -> int:
    row = view.one(sql)
    return int(row["n"] or 0) if row else 0


def explain(view: View, seq: int) -> dict[str, Json]:
    """Everything recorded about event ``seq``, as JSON. Raises :class:`NotFoundError`."""
    event = load_event(view, seq)
    row = view.one(
        "SELECT state, attempts, failures, received_at, begun_at, done_at, error_id FROM event WHERE seq = ?", (seq,)
    )
    if row is None:
        raise NotFoundError(f"There is no event {seq}.")
    made = effects.of_event(view, seq)
    return {
        "event": {
            "seq": event.seq,
            "source": event.source,
            "external_id": event.external_id,
            "agent": event.agent,
            "lane": event.lane,
            "kind": event.kind,
            "sender": event.sender,
            "label": event.label.encode(),
            "cause": event.cause,
            "reply_to": event.reply_to,
            "body": event.body,
            "occurred_at": event.occurred_at.isoformat(),
            "received_at": _iso(row["received_at"]),
            "begun_at": _iso(row["begun_at"]),
            "done_at": _iso(row["done_at"]),
            "state": row["state"],
            "attempts": row["attempts"],
            "failures": row["failures"],
            "error": bodies.get(view, row["error_id"]),
        },
        "steps": [
            {
                "name": step.name,
                "at": step.at.isoformat(),
                "label": step.label.encode() if step.label else None,
                "value": step.value,
            }
            for step in steps_of(view, seq)
            if not step.name.startswith(COMMIT)
        ],
        "commitments": [s.name.removeprefix(COMMIT) for s in steps_of(view, seq) if s.name.startswith(COMMIT)],
        "effects": [effect_json(effect) for effect in made],
        "causes": _caused_by(view, event.cause),
        "caused": _caused(view, [event.name, *(effect.key for effect in made)]),
    }


def effect_json(effect: StoredEffect) -> dict[str, Json]:
    """An effect for people and programs."""
    return {
        "key": effect.key,
        "tool": effect.tool,
        "class": effect.effect_class.value,
        "state": effect.state.value,
        "repeat": effect.repeat.value,
        "args": dict(effect.args),
        "summary": effect.summary,
        "label": effect.label.encode(),
        "queue": effect.queue,
        "ref": effect.ref,
        "result": effect.result,
        "reason": effect.reason,
        "attempts": effect.attempts,
        "reply_to": effect.reply_to,
        "created_at": effect.created_at.isoformat(),
    }


def _caused(view: View, names: list[str]) -> list[Json]:
    sql = "SELECT seq, kind, agent, lane, state, cause FROM event WHERE cause = ?"
    rows = [row for name in names for row in view.query(sql, (name,))]
    return [dict(row) for row in sorted(rows, key=lambda row: int(row["seq"]))]


def _caused_by(view: View, cause: str | None) -> list[Json]:
    """The chain of events that led here, nearest first."""
    chain: list[Json] = []
    while cause is not None and len(chain) < 20:
        name = cause.partition(":")[2] if cause.startswith("event:") else cause.partition(":")[0].removeprefix("e")
        row = (
            view.one("SELECT seq, kind, agent, lane, cause FROM event WHERE seq = ?", (int(name),))
            if name.isdigit()
            else None
        )
        if row is None:
            break
        chain.append({"seq": row["seq"], "kind": row["kind"], "agent": row["agent"], "lane": row["lane"], "by": cause})
        cause = row["cause"]
    return chain


def recent(
    view: View,
    limit: int = 20,
    *,
    lane: str | None = None,
    agent: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    before: int | None = None,
) -> list[dict[str, Any]]:
    """The latest events that fit, newest first, each with its effects in short; for ``log``."""
    rows = view.query(
        "SELECT seq, kind, agent, lane, sender, state, attempts, received_at, done_at, body_id FROM event WHERE seq < ?"
        " AND (CAST(? AS TEXT) IS NULL OR lane = ?) AND (CAST(? AS TEXT) IS NULL OR agent = ?)"
        " AND (CAST(? AS TEXT) IS NULL OR kind = ?)"
        " AND (CAST(? AS TEXT) IS NULL OR state = ?) ORDER BY seq DESC LIMIT ?",
        (2**62 if before is None else before, lane, lane, agent, agent, kind, kind, state, state, limit),
    )
    return [
        {
            **{name: row[name] for name in ("seq", "kind", "agent", "lane", "sender", "state", "attempts")},
            "at": _iso(row["received_at"]),
            "seconds": None if row["done_at"] is None else round(row["done_at"] - row["received_at"], 3),
            "body": bodies.get(view, row["body_id"]),
            "effects": [
                {"key": e.key, "tool": e.tool, "state": e.state.value, "summary": e.summary, "reason": e.reason}
                for e in effects.of_event(view, row["seq"])
            ],
        }
        for row in rows
    ]


def unknown_effects(view: View) -> list[StoredEffect]:
    """Effects of which nobody knows whether they happened."""
    return effects.select_effects(view, "e.state = 'unknown'")


def _iso(epoch: float | None) -> str | None:
    return None if epoch is None else from_epoch(epoch).isoformat()
