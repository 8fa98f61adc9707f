"""Texts and payloads, kept apart from the rows that refer to them so that they can be erased."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Tx, View
from retainer.core.values import canonical


def encode(value: Any) -> str:
    """Canonical JSON text. Raises :class:`InvalidInputError` for what JSON or UTF-8 cannot hold."""
    try:
        return canonical(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"A value cannot be stored: {error}.", hint="Store plain JSON values only.") from error


def put(tx: Tx, value: Any) -> int:
    """Store ``value`` as JSON under a fresh salt; returns the body's id."""
    return put_text(tx, encode(value))


def put_text(tx: Tx, text: str, salt: str | None = None) -> int:
    """:func:`put` for what :func:`encode` has made already, under ``salt`` if the caller has to know it."""
    return tx.insert("INSERT INTO body (salt, bytes) VALUES (?, ?)", (salt or new_salt(), text))


def new_salt() -> str:
    """128 random bits, in hex."""
    return secrets.token_hex(16)


def get(view: View, body_id: int | None) -> Any:
    """The value, or ``None`` when there is none or it was erased."""
    if body_id is None:
        return None
    row = view.one("SELECT bytes FROM body WHERE id = ?", (body_id,))
    return None if row is None else json.loads(row["bytes"])


def decode(text: str | None) -> Any:
    """Value of a joined ``body.bytes`` column; ``None`` when the body is gone."""
    return None if text is None else json.loads(text)


def erase(tx: Tx, body_id: int) -> bool:
    """Delete bytes and salt. Checkpoint the store afterwards so that the write-ahead log forgets them too."""
    return tx.execute("DELETE FROM body WHERE id = ?", (body_id,)) > 0


def salted(salt: str, text: str) -> str:
    """SHA-256 of ``salt`` and ``text``, in hex: says nothing about ``text`` once the salt is gone."""
    return hashlib.sha256(f"{salt}:{text}".encode()).hexdigest()
