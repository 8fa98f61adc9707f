"""Following rows until they are finished: what became of events and replies since the last look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from retainer.core.protocols import Row, View

_PAGE: Final = 500


class Follow:
    """Rows of one query that reach a final state, each reported once, in whatever order they finish.

    ``sql`` selects ``id``, ``finished`` (0 or 1) and what else is wanted; it ends before its ``WHERE``'s condition on
    the number, which is added as ``<column> > ?`` or ``<column> IN (...)``.
    """

    def __init__(self, view: View, sql: str, column: str, *, newest: str) -> None:
        """``newest`` is a query for ``n``, the greatest number so far: following begins after it."""
        self._sql = sql
        self._column = column
        row = view.one(newest)
        self._after = int(row["n"] or 0) if row else 0
        self._open: set[int] = set()

    def poll(self, view: View) -> list[Row]:
        """Rows that were finished since the last call."""
        found: list[Row] = []
        while True:
            page = view.query(f"{self._sql} {self._column} > ? ORDER BY {self._column} LIMIT {_PAGE}", (self._after,))
            found += self._sort(page)
            if page:
                self._after = page[-1]["id"]
            if len(page) < _PAGE:
                break
        known = sorted(self._open - {row["id"] for row in found})
        for start in range(0, len(known), _PAGE):
            found += self._sort(self._again(view, known[start : start + _PAGE]))
        return found

    def _again(self, view: View, numbers: Sequence[int]) -> list[Row]:
        marks = ", ".join("?" * len(numbers))
        return view.query(f"{self._sql} {self._column} IN ({marks})", tuple(numbers))

    def _sort(self, rows: Sequence[Row]) -> list[Row]:
        done = [row for row in rows if row["finished"]]
        self._open -= {row["id"] for row in done}
        self._open |= {row["id"] for row in rows if not row["finished"]}
        return done


def follow_events(view: View) -> Follow:
    """Events with ``agent``, ``kind``, ``state`` and ``seconds`` from reception to the end of their handling."""
    return Follow(
        view,
        "SELECT seq AS id, agent, kind, state, done_at - received_at AS seconds,"
        " CASE WHEN state IN ('done', 'dead', 'parked') THEN 1 ELSE 0 END AS finished FROM event WHERE",
        "seq",
        newest="SELECT MAX(seq) AS n FROM event",
    )


def follow_replies(view: View) -> Follow:
    """Answers to people, with ``seconds`` from the reception of the message or command to their delivery."""
    return Follow(
        view,
        "SELECT e.id AS id, e.state AS state, e.updated_at - v.received_at AS seconds,"
        " CASE WHEN e.state IN ('done', 'refused', 'unknown') THEN 1 ELSE 0 END AS finished"
        " FROM effect e JOIN event v ON v.seq = e.event_seq"
        " WHERE v.kind IN ('message', 'command') AND e.effect_class = 'communicate' AND e.queue = v.reply_to AND",
        "e.id",
        newest="SELECT MAX(id) AS n FROM effect",
    )
