"""The words around ``retainer erase``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from retainer.app.agents import agent_migrations, load_agents
from retainer.app.config import Settings
from retainer.app.erasing import Receipt, erase, preview
from retainer.app.store import migrations, open_view
from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.memory.database import SCHEMA
from retainer.memory.erasing import Wish

LEAST = 4
"""Characters that a text must have: a shorter one stands in too much else."""
_NAMES = ("event.lane", "event.kind", "event.source", "event.agent", "effect.tool", "audit.lane", "audit.kind")
"""Columns whose words are the program's own."""


def run_erase(
    settings: Settings,
    *,
    persons: Sequence[str],
    texts: Sequence[str],
    text_file: Path | None,
    conversations: Sequence[str],
    before: str | None,
    yes: bool,
) -> int:
    """Ask, erase, say what was done; 1 when something could not be erased."""
    wish = Wish(
        persons=tuple(_person(settings, each) for each in persons),
        texts=tuple(_text(settings, each) for each in [*texts, *_lines(text_file)]),
        conversations=tuple(_plain(each) for each in conversations),
        before=_instant(settings, before),
    )
    if wish == Wish():
        raise InvalidInputError(
            "Say what to erase.", hint="For example: retainer erase --text WORDS, or --before 2026-01-31."
        )
    count = preview(settings, wish)
    if not yes:
        sys.stdout.write(
            f"{count} stored texts would be erased, from backups too. This cannot be undone.\nErase? [y/N] "
        )
        sys.stdout.flush()
        if sys.stdin.readline().strip().casefold() not in {"y", "yes"}:
            sys.stdout.write("Nothing was erased.\n")
            return 1
    receipt = erase(settings, wish)
    sys.stdout.write("\n".join(_words(receipt)) + "\n")
    return 1 if receipt.left else 0


def _words(receipt: Receipt) -> list[str]:
    lines = [f"Erased: {receipt.texts} stored texts and {receipt.turns} turns in memory files."]
    if not receipt.texts and not receipt.turns:
        lines.append("No text like that was found in the records.")
    if receipt.backups:
        lines.append(f"Backups rewritten: {', '.join(receipt.backups)}.")
    if receipt.shared:
        lines.append(f"{receipt.shared} of the texts were said by somebody else too and stay there.")
    if receipt.left:
        lines += [f"Still readable in: {path}" for path in receipt.left]
        lines.append(
            "  -> End the service and erase again. Another file than the database that is still named then cannot be"
            " changed: make it writable or remove it. In a TOML file of yours it is a setting: change that yourself."
        )
    else:
        lines.append(f"Looked through {receipt.files} files: nothing of it is left. The audit still verifies.")
    return lines


def _person(settings: Settings, given: str) -> str:
    """A person's id, from that, the name, or the address of a device."""
    _plain(given)
    with open_view(settings) as view:
        rows = view.query(
            "SELECT DISTINCT p.id FROM person p LEFT JOIN identity i ON i.person_id = p.id"
            " WHERE p.id = ? OR p.name = ? OR i.address = ?",
            (given, given, given),
        )
    if len(rows) != 1:
        raise NotFoundError(
            f"{'Nobody' if not rows else 'More than one person'} goes by {given!r}.", hint="See: retainer phone list"
        )
    return str(rows[0]["id"])


def _text(settings: Settings, given: str) -> str:
    if len(given.strip()) < LEAST:
        raise InvalidInputError(
            f"{given!r} is too short to be looked for.", hint=f"Give at least {LEAST} characters of it."
        )
    _plain(given)
    if any(given.strip() in word for word in _own_words(settings)):
        raise InvalidInputError(
            f"{given!r} is a word of the records themselves, which stays in them.",
            hint="Give more of the text, such as a word beside it; or erase by --conversation, --person or --before.",
        )
    return given


def _own_words(settings: Settings) -> set[str]:
    """What the records are written in: their schema, and the names of lanes, tools and kinds."""
    with open_view(settings) as view:
        columns = (column.split(".") for column in _NAMES)
        named = {
            str(row["name"])
            for table, column in columns
            for row in view.query(f"SELECT DISTINCT {column} AS name FROM {table}")  # noqa: S608 - constants
        }
    return named | {SCHEMA} | {migration.sql for migration in migrations(agent_migrations(load_agents(settings)))}


def _plain(given: str) -> str:
    """What a terminal gave that is no text cannot be in the records."""
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{given!r} is no text.", hint="Write it in UTF-8.") from error
    return given


def _lines(path: Path | None) -> list[str]:
    """One text per line, so that none has to stand in the history of a shell."""
    if path is None:
        return []
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}.", hint="One text per line, UTF-8.") from error


def _instant(settings: Settings, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        found = datetime.fromisoformat(given)
        found = found if found.tzinfo is not None else found.replace(tzinfo=settings.chat.zone())
        return found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"{given!r} is no date.", hint="Write it like 2026-01-31 or 2026-01-31T18:00."
        ) from error
