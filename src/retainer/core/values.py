"""Small shared value types: JSON, canonical bytes and their digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = "Mapping[str, Json]"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON: convert it where it is made")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


def canonical(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces, so equal values give equal bytes. Decimals become strings.

    Raises ``TypeError`` for what JSON cannot hold and ``ValueError`` for NaN and infinities.
    """
    return _ENCODER.encode(value).encode()


def writable(text: str) -> bool:
    """Whether UTF-8 can hold ``text``: it has no half characters (lone surrogates)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def digest(value: Any) -> str:
    """SHA-256 of :func:`canonical`, in hex: what approvals, steps and the audit chain bind to."""
    return hashlib.sha256(canonical(value)).hexdigest()
