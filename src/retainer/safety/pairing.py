"""Pairing: a one-time code shown on this machine turns a stranger's device into a person's.

A code has 8 characters of a 32-letter alphabet, lives 10 minutes, works once and on one channel. It is kept hashed.
Five wrong tries lock a sender out for an hour, a paired device too; twenty wrong tries by anybody end the open codes
of that channel. A code that a device handed out ends when that device may no longer do so.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from retainer.core.clock import to_epoch
from retainer.core.errors import InvalidInputError, RefusedError
from retainer.core.protocols import Row, Tx, View
from retainer.safety import audit
from retainer.safety.identity import (
    OWNER_ID,
    Principal,
    add_device,
    capped,
    channel_name,
    identify,
    keepable,
    present,
    rank,
)
from retainer.safety.strangers import anonymous

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's 32 letters: none of I, L, O, U."""
CODE_LENGTH = 8
CODE_LIFE = timedelta(minutes=10)
MAX_TRIES = 5
LOCK = timedelta(hours=1)
MAX_TRIES_PER_CODE = 20
NEW_PERSON = ""
"""As ``person_id`` of :func:`issue_code`: the device belongs to somebody new, named when the code is redeemed."""
_MAX_TRACKED = 1000


@dataclass(frozen=True, slots=True)
class Redeemed:
    """How a code fared: ``paired``, ``already``, ``wrong`` or ``locked``. ``text`` is empty where silence is due.

    ``already``: it paired nothing, and came from a device that is paired.
    """

    result: str
    principal: Principal | None = None
    text: str = ""


def new_code() -> str:
    """A fresh code from the system's random source (40 bits)."""
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))


def normal(code: str) -> str:
    """``code`` as it is hashed: capitals, without spaces and dashes, look-alikes mapped (O is 0, I and L are 1)."""
    kept = "".join(ch for ch in code.upper() if ch.isalnum())
    return kept.translate(str.maketrans("OIL", "011"))


def looks_like_code(text: str) -> bool:
    """Whether ``text`` could be a code at all; only such texts count as a try."""
    found = normal(text)
    return len(found) == CODE_LENGTH and all(ch in ALPHABET for ch in found) and len(text) <= 2 * CODE_LENGTH


def _hashed(code: str, salt: str) -> str:
    return hashlib.scrypt(normal(code).encode(), salt=salt.encode(), n=1024, r=8, p=1, dklen=32).hex()


def issue_code(
    tx: Tx,
    channel: str,
    scope: str,
    now: datetime,
    code: str | None = None,
    *,
    person_id: str = OWNER_ID,
    by: Principal | None = None,
) -> str:
    """Open a code for one device on ``channel``; returns it, to be shown on this machine and nowhere else.

    ``code`` ``None`` draws one. ``person_id``: whose device it will be (default the owner; :data:`NEW_PERSON` for
    somebody new). ``by``: the device that hands it out, which must hold *more* than ``scope`` and, unless it is the
    owner's or has scope admin, pairs for its own person or somebody new; ``None`` is this machine itself. The scope is
    lowered to what the channel allows. Earlier open codes of the channel end.
    """
    channel = channel_name(channel)
    if not keepable(person_id):
        raise InvalidInputError("A person's id is a text without NUL and half characters.")
    rank(scope)
    scope = capped(channel, scope)
    issuer = None if by is None else present(tx, by)
    if by is not None and (issuer is None or rank(scope) >= rank(issuer.scope)):
        held = "that is not paired" if issuer is None else f"with scope {issuer.scope}"
        raise RefusedError(f"A device {held} cannot hand out {scope}.", hint="Pair from this machine instead.")
    if issuer is not None and not _may_pair_for(issuer, person_id):
        raise RefusedError("This device cannot pair another one for somebody else.", hint="Pair from this machine.")
    given = new_code() if code is None else normal(code)
    if not looks_like_code(given):
        raise InvalidInputError(f"A pairing code has {CODE_LENGTH} characters of {ALPHABET}.")
    at, salt = to_epoch(now), secrets.token_hex(8)
    tx.execute(
        "UPDATE pairing SET expires_at = ? WHERE channel = ? AND used_at IS NULL AND expires_at > ?", (at, channel, at)
    )
    tx.execute(
        "INSERT INTO pairing (id, channel, scope, person_id, salt, code_hash, created_at, expires_at, issuer_channel, "
        "issuer_id, tries) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        (
            secrets.token_hex(6),
            channel,
            scope,
            person_id or None,
            salt,
            _hashed(given, salt),
            at,
            to_epoch(now + CODE_LIFE),
            None if issuer is None else issuer.channel,
            None if issuer is None else issuer.stable_id,
        ),
    )
    audit.append(tx, "safety", "pairing.issued", channel, {"scope": scope}, now)
    return given


def _may_pair_for(issuer: Principal, person_id: str) -> bool:
    """A device of somebody else's would read what is theirs, and be asked in their place."""
    return issuer.may("admin") or issuer.person_id in {OWNER_ID, person_id} or person_id == NEW_PERSON


def redeem(
    tx: Tx, channel: str, stable_id: str, code: str, name: str, now: datetime, *, address: str | None = None
) -> Redeemed:
    """Try ``code`` for the device (``channel``, ``stable_id``); on success it is paired in this transaction.

    A wrong, used, late or foreign code gives ``wrong`` and an empty text: a stranger learns nothing. A paired device is
    told that it is paired; its guesses count like anybody's.
    """
    if not keepable(channel, stable_id):
        return Redeemed("wrong")
    at, channel = to_epoch(now), channel.casefold()
    who, held = anonymous(tx, channel, stable_id), identify(tx, channel, stable_id)
    no = Redeemed("wrong") if held is None else Redeemed("already", held, "This device is already paired.")
    if held is not None and not looks_like_code(code):
        return no
    tries, locked_until = _tries(tx, channel, who, at)
    if locked_until > at:
        return _locked(held)
    row = _match(tx, channel, code, at) if looks_like_code(code) else None
    if row is None:
        locked = looks_like_code(code) and _count(tx, channel, who, tries + 1, at)
        return _locked(held) if locked else no
    spent = tx.execute(
        "UPDATE pairing SET used_at = ?, used_by = ? WHERE id = ? AND used_at IS NULL", (at, who, row["id"])
    )
    if not spent:
        return no
    tx.execute("DELETE FROM pairing_try WHERE channel = ? AND who = ?", (channel, who))
    principal = add_device(
        tx, channel, stable_id, row["scope"], now, person_id=row["person_id"], name=name, address=address
    )
    return Redeemed("paired", principal, f"Paired. Hello {principal.name}: this device may {_may(principal.scope)}.")


def open_codes(view: View, channel: str, now: datetime) -> int:
    """How many codes wait for a device on ``channel``."""
    row = view.one(
        "SELECT COUNT(*) AS n FROM pairing WHERE channel = ? AND used_at IS NULL AND expires_at > ?",
        (channel.casefold(), to_epoch(now)),
    )
    return 0 if row is None else int(row["n"])


def _may(scope: str) -> str:
    words = {
        "chat": "talk to me and read",
        "propose": "talk to me, read and propose orders",
        "trade": "talk to me, propose orders and approve them",
        "admin": "do everything, administration included",
    }
    return words[scope]


def _match(tx: Tx, channel: str, code: str, at: float) -> dict[str, str] | None:
    rows = tx.query(
        "SELECT id, scope, person_id, salt, code_hash, issuer_channel, issuer_id FROM pairing "
        "WHERE channel = ? AND used_at IS NULL AND expires_at > ? AND tries < ?",
        (channel, at, MAX_TRIES_PER_CODE),
    )
    for row in rows:
        if hmac.compare_digest(_hashed(code, row["salt"]), row["code_hash"]) and _stands(tx, row):
            return dict(row)
    return None


def _stands(view: View, row: Row) -> bool:
    """Whether the device that handed a code out still holds more than it gives; this machine always does."""
    if row["issuer_channel"] is None:
        return True
    issuer = identify(view, row["issuer_channel"], row["issuer_id"])
    return issuer is not None and rank(issuer.scope) > rank(row["scope"])


def _locked(held: Principal | None) -> Redeemed:
    return Redeemed("locked", held, "" if held is None else "Too many wrong codes: none is looked at for an hour.")


def _tries(tx: Tx, channel: str, who: str, at: float) -> tuple[int, float]:
    tx.execute("DELETE FROM pairing_try WHERE last_at < ? AND locked_until < ?", (at - LOCK.total_seconds(), at))
    row = tx.one("SELECT tries, locked_until FROM pairing_try WHERE channel = ? AND who = ?", (channel, who))
    return (0, 0.0) if row is None else (int(row["tries"]), float(row["locked_until"]))


def _count(tx: Tx, channel: str, who: str, tries: int, at: float) -> bool:
    """Count a wrong code; whether its sender is locked out now."""
    until = at + LOCK.total_seconds() if tries >= MAX_TRIES else 0.0
    tx.execute(
        "UPDATE pairing SET tries = tries + 1 WHERE channel = ? AND used_at IS NULL AND expires_at > ?", (channel, at)
    )
    changed = tx.execute(
        "UPDATE pairing_try SET tries = ?, last_at = ?, locked_until = ? WHERE channel = ? AND who = ?",
        (tries if not until else 0, at, until, channel, who),
    )
    if not changed:
        row = tx.one("SELECT COUNT(*) AS n FROM pairing_try")
        if row is None or row["n"] < _MAX_TRACKED:
            tx.execute(
                "INSERT INTO pairing_try (channel, who, tries, last_at, locked_until) VALUES (?, ?, ?, ?, ?)",
                (channel, who, tries, at, until),
            )
    return bool(until)
