"""Which model is in use, which was before, what every candidate was made of. Named by content; nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError
from retainer.core.protocols import Row, Tx, View
from retainer.core.values import Json, canonical
from retainer.learning.gate import EProcess, Gate, GateRules, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A model as data, named by the SHA-256 of its canonical JSON."""

    sha256: str
    family: str
    content: Mapping[str, Any]
    lineage: Mapping[str, Any]
    """What it was made of: data hash, features, parameters, seed."""
    parent: str | None
    trial: int
    """Which candidate of its family it was; counted here, so that none can be forgotten."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Champion:
    """The model in use and the one before it."""

    sha256: str
    previous: str | None
    since: datetime


def register(
    tx: Tx,
    family: str,
    content: Mapping[str, Json],
    *,
    lineage: Mapping[str, Json],
    parent: str | None = None,
    now: datetime,
) -> str:
    """Store a candidate; returns its SHA-256. The first one of a family (the constant) becomes its champion."""
    data = canonical(dict(content))
    sha = hashlib.sha256(data).hexdigest()
    known = tx.one("SELECT family FROM artefact WHERE sha256 = ?", (sha,))
    if known is not None:
        if known["family"] != family:
            raise InvalidInputError(f"This model belongs to {known['family']} already.", hint="Name the family in it.")
        return sha
    row = tx.one("SELECT COUNT(*) AS n FROM artefact WHERE family = ?", (family,))
    trial = int(row["n"]) if row else 0
    tx.execute(
        "INSERT INTO artefact (sha256, family, parent, lineage, content, trial, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (sha, family, parent, canonical(dict(lineage)).decode(), data.decode(), trial, to_epoch(now)),
    )
    if trial == 0:
        tx.execute("INSERT INTO champion (family, champion, since) VALUES (?, ?, ?)", (family, sha, to_epoch(now)))
    return sha


def load(view: View, sha256: str) -> Artefact:
    """A registered model, verified. Raises :class:`NotFoundError`, or :class:`InvalidInputError` if it was changed."""
    row = view.one("SELECT * FROM artefact WHERE sha256 = ?", (sha256,))
    if row is None:
        raise NotFoundError(f"There is no model {sha256[:12]}.", hint="Register it first.")
    if hashlib.sha256(str(row["content"]).encode()).hexdigest() != sha256:
        raise InvalidInputError(f"The model {sha256[:12]} was changed after it was registered.", hint="Train it again.")
    return _artefact(row)


def champion(view: View, family: str) -> Champion | None:
    """The model in use, or ``None`` for a family without any."""
    row = view.one("SELECT * FROM champion WHERE family = ?", (family,))
    return Champion(row["champion"], row["previous"], from_epoch(row["since"])) if row else None


def open_gate(tx: Tx, family: str, challenger: str, *, rules: GateRules | None = None, now: datetime) -> GateRules:
    """Write down the rules before the first score. ``trial`` is filled in from the registry. Returns them.

    Raises :class:`RefusedError` if this gate is open already: its rules cannot be changed.
    """
    holder = _champion(tx, family)
    if challenger == holder.sha256:
        raise InvalidInputError("A model cannot challenge itself.", hint="Register a candidate first.")
    candidate = load(tx, challenger)
    base = rules or GateRules()
    fixed = GateRules(promote_at=base.promote_at, demote_at=base.demote_at, trial=max(1, candidate.trial))
    if tx.one(
        "SELECT family FROM gate WHERE family = ? AND challenger = ? AND champion = ?",
        (family, challenger, holder.sha256),
    ):
        raise RefusedError("This gate is open already.", hint="Its rules were written down beforehand and stay.")
    tx.execute(
        "INSERT INTO gate (family, challenger, champion, rules, state, verdict, opened_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (family, challenger, holder.sha256, _text(fixed.to_json()), _text(EProcess().to_json()), "wait", to_epoch(now)),
    )
    return fixed


def score(
    tx: Tx, family: str, challenger: str, outcome: bool, probabilities: tuple[float, float], now: datetime
) -> Verdict:
    """Add one prediction (champion's probability, challenger's) and promote at once if it is proven."""
    holder = _champion(tx, family)
    row = tx.one(
        "SELECT * FROM gate WHERE family = ? AND challenger = ? AND champion = ?", (family, challenger, holder.sha256)
    )
    if row is None:
        raise RefusedError("No gate is open for this challenger.", hint="Write its rules down first (open_gate).")
    if row["closed_at"] is not None:
        return Verdict(row["verdict"])
    gate = Gate(GateRules(**json.loads(row["rules"])), _process(row)).score(outcome, *probabilities)
    verdict = gate.verdict
    closed = to_epoch(now) if verdict is Verdict.PROMOTE else None
    tx.execute(
        "UPDATE gate SET state = ?, verdict = ?, closed_at = ? WHERE family = ? AND challenger = ? AND champion = ?",
        (_text(gate.forward.to_json()), verdict.value, closed, family, challenger, holder.sha256),
    )
    if verdict is Verdict.PROMOTE:
        _install(tx, family, challenger, holder.sha256, now)
    return verdict


def demote(tx: Tx, family: str, now: datetime) -> str:
    """Back to the previous champion, or to the family's first model (the constant). Returns what is in use now."""
    holder = _champion(tx, family)
    row = tx.one("SELECT sha256 FROM artefact WHERE family = ? AND trial = 0", (family,))
    back = holder.previous or (str(row["sha256"]) if row else holder.sha256)
    _install(tx, family, back, None, now)
    return back


def _install(tx: Tx, family: str, sha256: str, previous: str | None, now: datetime) -> None:
    tx.execute(
        "UPDATE champion SET champion = ?, previous = ?, since = ? WHERE family = ?",
        (sha256, previous, to_epoch(now), family),
    )


def _champion(view: View, family: str) -> Champion:
    found = champion(view, family)
    if found is None:
        raise NotFoundError(f"No model of {family} was registered.", hint="Register the constant first.")
    return found


def _process(row: Row) -> EProcess:
    state = json.loads(row["state"])
    return EProcess(tuple(state["logs"]), state["peak"], state["count"])


def _artefact(row: Row) -> Artefact:
    return Artefact(
        sha256=row["sha256"],
        family=row["family"],
        content=json.loads(row["content"]),
        lineage=json.loads(row["lineage"]),
        parent=row["parent"],
        trial=row["trial"],
        at=from_epoch(row["at"]),
    )


def _text(value: Any) -> str:
    return canonical(value).decode()
