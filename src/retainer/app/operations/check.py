"""Whether a database is what it should be: sound pages, whole audit chains, accounts that equal their ledgers."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retainer.core.errors import RetainerError
from retainer.core.protocols import View
from retainer.safety.audit import Anchor, verify
from retainer.trading.ledger import balance, entry, holdings
from retainer.trading.records import load, read_postings
from retainer.trading.units import cents_to_decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found. ``problems`` is empty when all is well."""

    problems: tuple[str, ...]
    events: int
    """Number of the newest event."""
    anchors: Mapping[str, Anchor] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing wrong."""
        return not self.problems


def check_view(view: View, anchors: Mapping[str, Anchor] | None = None) -> Checked:
    """Check records through ``view``: audit chains (against ``anchors`` where given) and every account's ledger."""
    problems: list[str] = []
    report = verify(view, anchors)
    if not report.ok:
        problems.append(f"audit: {report.words}")
    for row in view.query("SELECT id FROM account ORDER BY id"):
        problems += account_problems(view, row["id"])
    newest = view.one("SELECT MAX(seq) AS n FROM event")
    return Checked(
        problems=tuple(problems), events=int(newest["n"] or 0) if newest else 0, anchors=dict(report.anchors)
    )


def account_problems(view: View, account: str) -> list[str]:
    """Where the state of ``account`` is not what its ledger adds up to, to the cent and to the share."""
    try:
        state = load(view, account)
    except RetainerError as error:
        return [error.message]
    if state is None:
        return []
    lines = [entry(posting) for posting in read_postings(view, account)]
    problems = []
    cash, booked = cents_to_decimal(state.cash), balance(lines)
    if cash != booked:
        problems.append(f"account {account}: cash is {cash}, its ledger adds up to {booked}")
    held = {symbol: position.quantity for symbol, position in sorted(state.positions.items()) if position.quantity}
    if held != holdings(lines):
        problems.append(f"account {account}: it holds {held}, its ledger adds up to {holdings(lines)}")
    return problems


def check_pages(path: Path) -> list[str]:
    """SQLite's own ``integrity_check`` and the references between tables; the file is only read."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        return [f"{path.name} cannot be opened: {error}"]
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
        problems = [] if found == ["ok"] else [" ".join(line.split()) for line in found]
        broken = connection.execute("PRAGMA foreign_key_check").fetchmany(5)
        return problems + [f"a row of {row[0]} refers to a row of {row[2]} that is missing" for row in broken]
    except sqlite3.Error as error:
        return [f"{path.name}: {error}"]
    finally:
        connection.close()


class FileView:
    """:class:`~retainer.core.protocols.View` over a closed database file (a backup); nothing is written beside it."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        self._connection.row_factory = _mapping

    def query(self, sql: str, params: Any = ()) -> list[Mapping[str, Any]]:
        """All rows."""
        return self._connection.execute(sql, params).fetchall()

    def one(self, sql: str, params: Any = ()) -> Mapping[str, Any] | None:
        """The first row, or ``None``."""
        found: Mapping[str, Any] | None = self._connection.execute(sql, params).fetchone()
        return found

    def __enter__(self) -> FileView:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _mapping(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}
