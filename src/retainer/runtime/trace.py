"""One trace id for everything that one outside fact led to: the number of that first event, however many restarts ago.

The id is not stored: it is where the chain of causes ends, so it is the same before and after a crash, everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from retainer.core.protocols import Store, View
from retainer.runtime.store import StorageError

_CAUSE: Final = re.compile(r"(?:event:|e)(\d+)(?::|$)")
_LONGEST: Final = 64


def cause_number(cause: str | None) -> int | None:
    """The event that ``cause`` (``event:12``, or an effect's key ``e12:reply``) names."""
    found = _CAUSE.match(cause) if cause else None
    return int(found[1]) if found else None


def root_of(view: View, seq: int) -> int:
    """The event at the beginning of the chain of causes of event ``seq``."""
    for _ in range(_LONGEST):
        row = view.one("SELECT cause FROM event WHERE seq = ?", (seq,))
        before = cause_number(row["cause"]) if row else None
        if before is None or before == seq:
            break
        seq = before
    return seq


@contextmanager
def tracing(store: Store, seq: int | None, *, cause: str | None = "", **more: object) -> Iterator[None]:
    """Everything logged inside (by anybody, in this task) says to which trace and event it belongs.

    ``cause``: that of the event, where it is known; it is looked up where it is left out.
    """
    if seq is None:
        yield
        return
    around = structlog.contextvars.get_contextvars()
    trace = around.get("trace") if around.get("seq") == seq else None  # of this very event already
    if trace is None:
        root = seq
        if cause == "" or cause_number(cause) is not None:
            with suppress(StorageError):
                root = root_of(store.view(), seq)
        trace = f"e{root}"
    with structlog.contextvars.bound_contextvars(trace=trace, seq=seq, **more):
        yield
