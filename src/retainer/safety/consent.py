"""Approvals as plain calls, for programs without a service: ask, answer, spend.

A request is bound to the digest of one exact call and to the person's scope, waits for its time only, is answered once
and spent once; the code of a *code* request is the beginning of the digest, so it cannot be typed for another call.
The rules are those of :mod:`retainer.safety.approvals`, which binds requests to effects of the runtime instead.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Row, Tx
from retainer.core.values import digest
from retainer.safety import audit, totp
from retainer.safety.approvals import code_of, is_code, lapsed
from retainer.safety.identity import Principal, covers, identify, keepable, present, rank
from retainer.safety.limits import Limits, over
from retainer.safety.table import plain_args

LEVELS = ("tap", "code", "totp")
LIFE = timedelta(minutes=5)
WRONG_CODES = 3
_LANE = "consent"
Said = Literal["approved", "rejected", "already", "expired", "wrong_code", "not_allowed", "unknown"]


@dataclass(frozen=True, slots=True)
class Request:
    """What the owner is to be shown: the call itself, how to say yes, until when. ``code`` is empty below *code*."""

    id: str
    digest: str
    level: str
    code: str
    expires_at: datetime


def call_digest(tool: str, args: Mapping[str, Any]) -> str:
    """What a yes is bound to."""
    return digest([tool, plain_args(args)])


def ask(
    tx: Tx,
    tool: str,
    args: Mapping[str, Any],
    now: datetime,
    *,
    level: str = "tap",
    scope: str = "trade",
    life: timedelta = LIFE,
) -> Request:
    """Record a request for exactly this call. ``scope`` is the least that a person needs to answer it."""
    if level not in LEVELS:
        raise InvalidInputError(f"{level!r} is not a level.", hint=f"Use one of {', '.join(LEVELS)}.")
    rank(scope)
    bound, number, expires = call_digest(tool, args), secrets.token_hex(4), now + life
    tx.execute(
        "INSERT INTO consent (id, digest, level, scope, created_at, expires_at, state, attempts) "
        "VALUES (?, ?, ?, ?, ?, ?, 'pending', 0)",
        (number, bound, level, scope, to_epoch(now), to_epoch(expires)),
    )
    audit.append(tx, _LANE, "approval.asked", number, {"digest": bound, "level": level}, now)
    return Request(number, bound, level, code_of(bound) if level == "code" else "", expires)


def answer(
    tx: Tx,
    request_id: str,
    principal: Principal | None,
    now: datetime,
    *,
    yes: bool = True,
    code: str = "",
    totp_secret: str | None = None,
) -> Said:
    """A person's answer; of two answers the first wins. Only *approved* lets :func:`spend` succeed."""
    row = _row(tx, request_id)
    if row is None:
        return "unknown"
    who = None if principal is None else present(tx, principal)
    if who is None or not covers(who.scope, row["scope"]):
        return "not_allowed"
    if row["state"] != "pending":
        return "expired" if row["state"] == "expired" else "already"
    if lapsed(row, now):
        return _close(tx, row["id"], "expired", None, now)
    if yes is not True:  # "no" is no yes, whatever an untyped caller passes
        return _close(tx, row["id"], "rejected", who, now)
    if row["level"] == "totp" and over(totp.wrong_codes(tx, now), Limits().wrong_authenticator_codes):
        return "wrong_code"
    if not _typed(tx, row["level"], row["digest"], code, totp_secret, now):
        tx.execute("UPDATE consent SET attempts = attempts + 1 WHERE id = ?", (row["id"],))
        if row["attempts"] + 1 >= WRONG_CODES:
            _close(tx, row["id"], "rejected", who, now)
        return "wrong_code"
    return _close(tx, row["id"], "approved", who, now)


def spend(tx: Tx, request_id: str, tool: str, args: Mapping[str, Any], now: datetime) -> bool:
    """Use up a yes for exactly this call; ``True`` once. Anything else gives ``False``."""
    row = _row(tx, request_id)
    if row is None or row["state"] != "approved" or lapsed(row, now):
        return False
    who = identify(tx, row["answered_on"], row["answered_by"])
    if who is None or not covers(who.scope, row["scope"]):
        return False
    if not hmac.compare_digest(row["digest"], call_digest(tool, args)):
        return False
    won = tx.execute("UPDATE consent SET state = 'spent' WHERE id = ? AND state = 'approved'", (request_id,))
    if won:
        audit.append(tx, _LANE, "approval.spent", request_id, {"digest": row["digest"]}, now)
    return bool(won)


def expires_at(tx: Tx, request_id: str) -> datetime | None:
    """When a request ends, or ``None`` for one that is not there."""
    row = _row(tx, request_id)
    return None if row is None else from_epoch(row["expires_at"])


def _row(tx: Tx, request_id: str) -> Row | None:
    return tx.one("SELECT * FROM consent WHERE id = ?", (request_id,)) if keepable(request_id) else None


def _typed(tx: Tx, level: str, bound: str, code: str, totp_secret: str | None, now: datetime) -> bool:
    if level == "tap":
        return True
    if level == "code":
        return is_code(code, bound)
    return totp_secret is not None and totp.spend(tx, totp_secret, code, now)


def _close(tx: Tx, request_id: str, state: Said, who: Principal | None, now: datetime) -> Said:
    won = tx.execute(
        "UPDATE consent SET state = ?, answered_by = ?, answered_on = ? WHERE id = ? AND state = 'pending'",
        (state, None if who is None else who.stable_id, None if who is None else who.channel, request_id),
    )
    if not won:
        return "already"
    by = None if who is None else who.person_id
    audit.append(tx, _LANE, f"approval.{state}", request_id, {"by": by}, now)
    return state
