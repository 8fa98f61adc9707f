"""Approvals: a yes bound to one exact call, from a paired person, once, within its time.

An approval is a row beside an effect stored as *asked*. It names the digest of the call (tool, class, arguments), how
the yes must be given (``tap``, ``code``, ``totp``) and until when, in real time. Answering happens in one transaction:
the approval is spent and the effect becomes *ready* (or *refused*) together, so of two answers one wins.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.effects import Decision, EffectClass, EffectState, StoredEffect, Turn, Verdict
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Row, Tx, View
from retainer.core.values import digest
from retainer.runtime import effects
from retainer.safety import audit, totp
from retainer.safety.facts import account_of, is_live
from retainer.safety.identity import Principal, approver_address, covers, keepable, present, principal_at
from retainer.safety.limits import Limits, over
from retainer.safety.policy import approver_scope

Result = Literal["approved", "rejected", "already", "expired", "wrong_code", "not_allowed", "refused", "unknown"]
CODE_LENGTH = 4
_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer did, with a sentence for the person. Only ``approved`` lets anything happen."""

    result: Result
    effect_key: str | None
    text: str
    address: str | None = None
    """Where the card was shown."""

    @property
    def card_key(self) -> str | None:
        """Key of the reply effect that showed the card, for editing it (``args.edit``)."""
        return None if self.effect_key is None else f"{self.effect_key}:card"


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval as its row has it. ``expires_at`` is real time."""

    id: str
    effect_key: str
    level: str
    scope: str
    lane: str
    address: str
    account: str | None
    requester: str | None
    state: str
    created_at: datetime
    expires_at: datetime
    answered_by: str | None
    answered_at: datetime | None
    answered_on: str | None
    """Channel of the device that answered."""
    answered_from: str | None
    """Its stable id there; ``None`` in rows of earlier versions."""


def code_of(effect_digest: str) -> str:
    """The typed code of a call: the first four hex digits of its digest, in capitals."""
    return effect_digest[:CODE_LENGTH].upper()


def is_code(given: object, effect_digest: str) -> bool:
    """Whether ``given`` is that code, as a person types it."""
    if not isinstance(given, str):
        return False
    typed = given.strip().upper().encode("utf-8", "replace")
    return hmac.compare_digest(typed, code_of(effect_digest).encode())


def find(view: View, approval_id: str) -> Approval | None:
    """The approval with this id, or ``None``."""
    row = _row(view, approval_id)
    return None if row is None else _approval(row)


def _row(view: View, approval_id: str) -> Row | None:
    known = keepable(approval_id)
    return view.one("SELECT * FROM approval WHERE id = ?", (approval_id.strip().lower(),)) if known else None


def lapsed(row: Row, now: datetime) -> bool:
    """Whether a request's time is over. A clock set back by more than all of that time ends it too."""
    life = row["expires_at"] - row["created_at"]
    return not row["created_at"] - life <= to_epoch(now) < row["expires_at"]


def for_effect(view: View, effect_key: str) -> Approval | None:
    """The approval that an effect waits or waited for, or ``None`` if it was never asked."""
    row = view.one("SELECT * FROM approval WHERE effect_key = ?", (effect_key,))
    return None if row is None else _approval(row)


def pending(
    view: View, *, lane: str | None = None, address: str | None = None, account: str | None = None
) -> list[Approval]:
    """Approvals that still wait and whose effect is still *asked*, oldest first.

    ``lane`` is that of the effect, ``address`` the conversation that shows the card, ``account`` that of an order.
    """
    rows = view.query(
        "SELECT a.* FROM approval a JOIN effect e ON e.key = a.effect_key "
        "WHERE a.state = 'pending' AND e.state = 'asked' ORDER BY a.created_at, a.id"
    )
    found = [_approval(row) for row in rows]
    return [
        each
        for each in found
        if lane in {None, each.lane} and address in {None, each.address} and account in {None, each.account}
    ]


def _approval(row: Row) -> Approval:
    answered = row["answered_at"]
    return Approval(
        id=row["id"],
        effect_key=row["effect_key"],
        level=row["level"],
        scope=row["scope"],
        lane=row["lane"],
        address=row["address"],
        account=row["account"],
        requester=row["requester"],
        state=row["state"],
        created_at=from_epoch(row["created_at"]),
        expires_at=from_epoch(row["expires_at"]),
        answered_by=row["answered_by"],
        answered_at=None if answered is None else from_epoch(answered),
        answered_on=row["answered_on"],
        answered_from=row["answered_from"],
    )


def lifetime(effect: StoredEffect, limits: Limits) -> timedelta:
    """How long a request waits: orders on real money shorter than everything else."""
    live = effect.effect_class is EffectClass.MONEY and is_live(account_of(effect))
    return timedelta(seconds=limits.live_seconds if live else limits.tap_seconds)


class Approvals:
    """Asks and answers. ``still`` is the guard's check of an asked effect at the moment of the yes."""

    def __init__(
        self,
        still: Callable[[View, StoredEffect, datetime], Verdict],
        *,
        limits: Limits | None = None,
        totp_secret: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._still = still
        self._limits = limits or Limits()
        self._totp_secret = totp_secret

    def ask(
        self, tx: Tx, effect: StoredEffect, turn: Turn, verdict: Verdict, now: datetime, *, personal: bool
    ) -> Approval:
        """Store a request for ``effect``; asking again for the same effect returns the same request.

        It is shown where the request came from if that device may approve it, otherwise to one that may.
        """
        known = for_effect(tx, effect.key)
        if known is not None:
            return known
        scope = approver_scope(effect.effect_class)
        asker = principal_at(tx, turn.sender, turn.reply_to, turn.channel) if turn.sender else None
        here = turn.reply_to if asker is not None and asker.may(scope) else None
        address = here or approver_address(tx, scope) or turn.reply_to or effect.queue
        approval_id = _new_id(tx, effect, now)
        tx.execute(
            "INSERT INTO approval (id, effect_key, digest, effect_class, level, scope, lane, address, account, "
            "requester, origin, created_at, expires_at, state, attempts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', 0)",
            (
                approval_id,
                effect.key,
                effect.digest,
                effect.effect_class.value,
                verdict.level or "tap",
                scope,
                effect.lane,
                address,
                account_of(effect) if effect.effect_class is EffectClass.MONEY else None,
                turn.sender,
                "person" if personal else "other",
                to_epoch(now),
                to_epoch(now + lifetime(effect, self._limits)),
            ),
        )
        data = {"approval": approval_id, "digest": effect.digest, "level": verdict.level, "address": address}
        audit.append(tx, effect.lane, "approval.asked", effect.key, data, now)
        found = for_effect(tx, effect.key)
        assert found is not None
        return found

    def pending(
        self, view: View, *, lane: str | None = None, address: str | None = None, account: str | None = None
    ) -> list[Approval]:
        """See :func:`pending`."""
        return pending(view, lane=lane, address=address, account=account)

    def answer(
        self, tx: Tx, approval_id: str, yes: bool, principal: Principal | None, code: str | None, now: datetime
    ) -> Answered:
        """Answer a request; the transaction of ``tx`` decides it whole. Never raises for a bad answer."""
        row = _row(tx, approval_id)
        if row is None:
            return Answered("unknown", None, "I have no request with that number. Nothing was done.")
        who = None if principal is None else present(tx, principal)
        may = who is not None and covers(who.scope, row["scope"])
        withdraw = yes is not True and who is not None and who.person_id == row["requester"]
        if who is None or not (may or withdraw):
            text = f"This device may not approve that: it needs scope {row['scope']}. Nothing was done."
            return Answered("not_allowed", row["effect_key"], text, row["address"])
        if row["state"] != "pending":
            return self._settled(tx, row)
        if lapsed(row, now):
            return self._expire(tx, row, now)
        effect = effects.find(tx, row["effect_key"])
        if effect is None or effect.state is not EffectState.ASKED:
            self._close(tx, row, "void", who, now)
            reason = effect.reason if effect is not None and effect.reason else "it is no longer open"
            return _said(row, "refused", f"Too late: {reason.rstrip('.')}. Nothing was done.")
        if yes is not True:  # "no" is no yes, whatever an untyped caller passes
            return self._reject(tx, row, who, now, "it was rejected", "Rejected. Nothing was done.")
        if not hmac.compare_digest(effect.digest, row["digest"]):
            text = "The request is not the one that was shown. Rejected, nothing was done."
            return self._reject(tx, row, who, now, "the call changed after it was shown", text)
        wrong = self._wrong_code(tx, row, who, code, now)
        return wrong or self._approve(tx, row, effect, who, now)

    def expire(self, tx: Tx, approval_id: str, now: datetime) -> Answered:
        """End a request whose time has come; before that, or when it was answered, nothing changes."""
        row = _row(tx, approval_id)
        if row is None:
            return Answered("unknown", None, "I have no request with that number.")
        if row["state"] != "pending" or not lapsed(row, now):
            return self._settled(tx, row)
        return self._expire(tx, row, now)

    # --- the ways it can end ---------------------------------------------------------------------------------------
    def _approve(self, tx: Tx, row: Row, effect: StoredEffect, who: Principal, now: datetime) -> Answered:
        verdict = self._still(tx, effect, now)
        if verdict.decision is Decision.DENY:
            text = f"Not done: {verdict.reason}"
            return self._reject(tx, row, who, now, verdict.reason, text, state="void", result="refused")
        if not self._close(tx, row, "approved", who, now):
            return self._settled(tx, row)
        if not effects.make_ready(tx, effect.key, now):
            ended = effects.find(tx, effect.key)
            reason = ended.reason if ended is not None else "it is no longer open."
            return _said(row, "refused", f"Not done: {reason}")
        return _said(row, "approved", "Approved.")

    def _reject(
        self,
        tx: Tx,
        row: Row,
        who: Principal,
        now: datetime,
        reason: str,
        text: str,
        *,
        state: str = "rejected",
        result: Result = "rejected",
    ) -> Answered:
        if not self._close(tx, row, state, who, now):
            return self._settled(tx, row)
        effects.refuse(tx, row["effect_key"], reason, now)
        return _said(row, result, text)

    def _expire(self, tx: Tx, row: Row, now: datetime) -> Answered:
        if not self._close(tx, row, "expired", None, now):
            return self._settled(tx, row)
        effects.refuse(tx, row["effect_key"], "nobody answered in time", now)
        return _said(row, "expired", _late(row))

    def _settled(self, tx: Tx, row: Row) -> Answered:
        """What to say about a request that needs no answer any more (or not yet)."""
        found = tx.one("SELECT * FROM approval WHERE id = ?", (row["id"],)) or row
        if found["state"] == "pending":
            return _said(found, "already", "This request still waits for an answer.")
        if found["state"] == "expired":
            return _said(found, "expired", _late(found))
        person = tx.one("SELECT name FROM person WHERE id = ?", (found["answered_by"],))
        by = f" by {person['name']}" if person is not None else ""
        at = f" at {from_epoch(found['answered_at']):%H:%M} UTC" if found["answered_at"] is not None else ""
        word = {"approved": "approved", "rejected": "rejected"}.get(found["state"], "closed")
        return _said(found, "already", f"That was already {word}{by}{at}. Nothing more was done.")

    def _close(self, tx: Tx, row: Row, state: str, who: Principal | None, now: datetime) -> bool:
        won = tx.execute(
            "UPDATE approval SET state = ?, answered_by = ?, answered_on = ?, answered_from = ?, answered_at = ? "
            "WHERE id = ? AND state = 'pending'",
            (
                state,
                None if who is None else who.person_id,
                None if who is None else who.channel,
                None if who is None else who.stable_id,
                to_epoch(now),
                row["id"],
            ),
        )
        if won:
            data = {
                "approval": row["id"],
                "digest": row["digest"],
                "by": None if who is None else who.person_id,
                "on": None if who is None else who.channel,
            }
            audit.append(tx, row["lane"], f"approval.{state}", row["effect_key"], data, now)
        return bool(won)

    def _wrong_code(self, tx: Tx, row: Row, who: Principal, code: str | None, now: datetime) -> Answered | None:
        """``None`` when the yes was given as its level demands; otherwise what to say."""
        level, given = row["level"], code.strip() if isinstance(code, str) else ""
        if level == "tap":
            return None
        what = "the four characters on the card" if level == "code" else "the six digits of your authenticator app"
        if not given:
            return _said(row, "wrong_code", f"This one needs more than a tap: type YES and {what}. Nothing was done.")
        if level == "code" and is_code(given, row["digest"]):
            return None
        if level == "totp":
            most = self._limits.wrong_authenticator_codes
            if over(totp.wrong_codes(tx, now), most):
                text = f"{most} wrong authenticator codes within an hour is the limit; none is looked at for now. "
                return _said(row, "wrong_code", f"{text}Nothing was done.")
            secret = self._totp_secret()
            if secret is None:
                text = "No authenticator app is set up; do this on the machine itself. Nothing was done."
                return _said(row, "wrong_code", text)
            try:
                if totp.spend(tx, secret, given, now):
                    return None
            except InvalidInputError as error:  # the machine's fault: nobody's try
                return _said(row, "wrong_code", f"{error.message} Nothing was done.")
        tx.execute("UPDATE approval SET attempts = attempts + 1 WHERE id = ?", (row["id"],))
        if row["attempts"] + 1 >= self._limits.wrong_codes:
            text = "Wrong code, for the last time: the request is closed. Nothing was done."
            return self._reject(tx, row, who, now, "too many wrong codes", text)
        return _said(row, "wrong_code", f"Wrong code: type YES and {what}. Nothing was done.")


def _said(row: Row, result: Result, text: str) -> Answered:
    return Answered(result, row["effect_key"], text, row["address"])


def _late(row: Row) -> str:
    return f"Too late: the request ended at {from_epoch(row['expires_at']):%H:%M:%S} UTC. Nothing was done; ask again."


def _new_id(tx: Tx, effect: StoredEffect, now: datetime) -> str:
    """A short name for the request. It is no secret: what counts is who answers."""
    attempt = 0
    while True:
        number = int(digest([effect.key, effect.digest, to_epoch(now), attempt])[:16], 16)
        name = "".join(_ID_ALPHABET[(number >> (5 * place)) & 31] for place in range(_ID_LENGTH))
        if tx.one("SELECT id FROM approval WHERE id = ?", (name,)) is None:
            return name
        attempt += 1
