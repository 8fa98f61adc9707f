"""Time-based one-time codes (RFC 6238, SHA-1, 6 digits, 30 seconds), each accepted once."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from retainer.core.clock import to_epoch
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Tx, View

STEP = 30
DIGITS = 6
DRIFT = 1
"""Steps a phone's clock may be off, either way."""


def new_secret() -> str:
    """A fresh shared secret (160 bits, base32), for an authenticator app."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def uri(secret: str, account: str, issuer: str = "retainer") -> str:
    """The ``otpauth://`` address that authenticator apps scan."""
    from urllib.parse import quote

    return f"otpauth://totp/{quote(issuer)}:{quote(account)}?secret={secret}&issuer={quote(issuer)}"


def code_at(secret: str, slot: int) -> str:
    """The code of a time slot (epoch seconds // 30). Raises :class:`InvalidInputError` for a malformed secret."""
    try:
        key = base64.b32decode(secret.strip().replace(" ", "").upper(), casefold=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(
            "The authenticator secret is not base32.", hint="Set it up again on this machine."
        ) from error
    mac = hmac.new(key, slot.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = mac[-1] & 0x0F
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def spend(tx: Tx, secret: str, given: str, now: datetime) -> bool:
    """Whether ``given`` is a current code that was never used; remembers its slot in the same transaction.

    Raises :class:`InvalidInputError` for a malformed secret.
    """
    digits = given.strip().replace(" ", "") if isinstance(given, str) else ""
    if not secret.strip() or len(digits) != DIGITS or not digits.isascii() or not digits.isdigit():
        return False
    at = to_epoch(now)
    current = int(at) // STEP
    for slot in range(current - DRIFT, current + DRIFT + 1):
        if hmac.compare_digest(code_at(secret, slot), digits):
            return bool(
                tx.execute(
                    "INSERT INTO totp_slot (slot, used_at) VALUES (?, ?) ON CONFLICT (slot) DO NOTHING", (slot, at)
                )
            )
    return False


def wrong_codes(view: View, now: datetime) -> int:
    """Wrong codes for requests open within the last hour: whoever guesses could ask anew after every third."""
    since = to_epoch(now - timedelta(hours=1))
    row = view.one(
        "SELECT (SELECT COALESCE(SUM(attempts), 0) FROM approval WHERE level = 'totp' AND expires_at > ?)"
        " + (SELECT COALESCE(SUM(attempts), 0) FROM consent WHERE level = 'totp' AND expires_at > ?) AS n",
        (since, since),
    )
    assert row is not None
    return int(row["n"])
