"""Reminders: when and what, from a person's words; the date arithmetic is dateparser's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from retainer.core.clock import from_epoch, utc
from retainer.core.protocols import View
from retainer.runtime import bodies

PREFIX = "reminder:"
"""Names of reminders' timers begin with it."""
MOST = 100
"""Reminders that may be set in one conversation."""
MORNING = time(9, 0)
"""When a day is named without an hour."""

_OPENING = re.compile(
    r"^\W*(?:(?:hey|ok|okay|please|can you|could you|would you|will you)\W+)*"
    r"(?:set (?:a|me a) reminder|remind me)\b[\s,:]*",
    re.IGNORECASE,
)
_TASK_FIRST = re.compile(r"^(?:to|about|that|of)\s+(?P<rest>.+)$", re.IGNORECASE | re.DOTALL)
_TIME_FIRST = re.compile(r"^(?P<when>.+?)[\s,]+(?:to|about|that|of)\s+(?P<task>.+)$", re.IGNORECASE | re.DOTALL)
_BREAK = re.compile(
    r"\s+(?=(?:at|in|on|by|this|next|tomorrow|tonight|today|after|noon|midnight"
    r"|monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b)",
    re.IGNORECASE,
)
_BARE_HOUR = re.compile(r"\b(?:at|by)\s+(\d{1,2})(?!\s*(?:[:.]\d|am\b|pm\b|\d|st\b|nd\b|rd\b|th\b|h\b))", re.IGNORECASE)
_HAS_HOUR = re.compile(
    r"\d\s*:\s*\d|\b\d{1,2}\s*(?:am|pm)\b|noon|midnight|morning|afternoon|evening|tonight|second|minute|hour|\bnow\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\d{1,2}(?::\d{2})?(?::\d{2})?\s*(?:am|pm)?|noon|midnight", re.IGNORECASE)
_PHRASES = (
    (re.compile(r"\bhalf an hour\b", re.IGNORECASE), "30 minutes"),
    (re.compile(r"\ban? (?=second|minute|hour|day|week|month)", re.IGNORECASE), "1 "),
    (re.compile(r"\ba couple of\b", re.IGNORECASE), "2"),
    (re.compile(r"\b(?:on|by) (?=\w+day\b)", re.IGNORECASE), ""),
    (re.compile(r"\bnext (?=(?:mon|tues|wednes|thurs|fri|satur|sun)day\b)", re.IGNORECASE), ""),
    (re.compile(r"\bthis (?=evening|afternoon|morning)", re.IGNORECASE), ""),
    (re.compile(r"\bevening\b(?!.*\d)", re.IGNORECASE), "18:00"),
    (re.compile(r"\bafternoon\b(?!.*\d)", re.IGNORECASE), "15:00"),
    (re.compile(r"\bmorning\b(?!.*\d)", re.IGNORECASE), "9:00"),
    (re.compile(r"\btonight\b(?!.*\d)", re.IGNORECASE), "today 20:00"),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A reminder as asked for. ``at`` is ``None`` when the time was not understood."""

    task: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Reminder:
    """A reminder that is set. ``number`` names it to people."""

    number: int
    name: str
    task: str
    at: datetime


def parse_reminder(text: str, now: datetime, zone: ZoneInfo) -> Wish | None:
    """The reminder that ``text`` asks for, or ``None`` when it asks for none. Times are meant in ``zone``."""
    opening = _OPENING.match(text)
    if opening is None:
        return None
    rest = text[opening.end() :].strip().rstrip(".!?").strip()
    if not rest:
        return Wish("", None)
    fallback = ""
    for task, when in _readings(rest):
        fallback = fallback or task
        at = parse_when(when, now, zone)
        if at is not None and task:
            return Wish(task, at)
    return Wish(fallback or rest, None)


def _readings(rest: str) -> Iterator[tuple[str, str]]:
    """(task, time) in the ways ``rest`` can be cut, likeliest first."""
    if first := _TASK_FIRST.match(rest):
        body = first["rest"].strip()
        for cut in sorted((match.start() for match in _BREAK.finditer(body)), reverse=True):
            for wider in (found.start() for found in _BREAK.finditer(body) if found.start() < cut):
                yield body[:wider].strip(" ,"), body[wider:].strip()
            yield body[:cut].strip(" ,"), body[cut:].strip()
        yield body, ""
        return
    if timed := _TIME_FIRST.match(rest):
        yield timed["task"].strip(), timed["when"].strip()
    for cut in (match.start() for match in _BREAK.finditer(rest)):
        yield rest[:cut].strip(" ,"), rest[cut:].strip()


def parse_when(words: str, now: datetime, zone: ZoneInfo) -> datetime | None:
    """The future instant (UTC) that ``words`` name, or ``None``. An hour that has passed today means tomorrow's."""
    import dateparser

    said = _BARE_HOUR.sub(r"\1:00", words.strip(" ,."))
    for pattern, plain in _PHRASES:
        said = pattern.sub(plain, said)
    said = re.sub(r"^(?:at|by|on)\s+", "", said.strip(), flags=re.IGNORECASE)
    said = re.sub(r"\bat\s+(?=\d|noon|midnight)", "", said, flags=re.IGNORECASE)
    if not said:
        return None
    local = now.astimezone(zone)
    found = dateparser.parse(
        said,
        languages=["en"],
        settings={
            "RELATIVE_BASE": local.replace(tzinfo=None),
            # A bare clock time is moved to tomorrow below: dateparser does not carry over the end of a month.
            "PREFER_DATES_FROM": "current_period" if _CLOCK.fullmatch(said) else "future",
            "RETURN_AS_TIMEZONE_AWARE": False,
        },
    )
    if found is None:
        return None
    if not _HAS_HOUR.search(said):
        found = datetime.combine(found.date(), MORNING)
    instant = utc(found.replace(tzinfo=zone))
    if instant <= utc(now) and found.date() == local.date():
        instant = utc((found + timedelta(days=1)).replace(tzinfo=zone))
    return instant if instant > utc(now) else None


def spoken_time(at: datetime, now: datetime, zone: ZoneInfo) -> str:
    """``today at 21:00``, ``tomorrow at 09:00``, ``on Fri 27 Nov 2026 at 09:00``."""
    local, today = at.astimezone(zone), now.astimezone(zone).date()
    if local.date() == today:
        day = "today"
    elif local.date() == today + timedelta(days=1):
        day = "tomorrow"
    else:
        day = f"on {local:%a} {local.day} {local:%b %Y}"
    return f"{day} at {local:%H:%M}"


def pending(view: View, lane: str) -> list[Reminder]:
    """Reminders that are set in this conversation, soonest first, numbered from 1."""
    rows = view.query("SELECT name, next_at, body_id FROM timer WHERE lane = ? ORDER BY next_at, name", (lane,))
    found: list[Reminder] = []
    for row in rows:
        if not row["name"].startswith(PREFIX):
            continue
        body: Any = bodies.get(view, row["body_id"]) or {}
        found.append(Reminder(len(found) + 1, row["name"], str(body.get("text", "")), from_epoch(row["next_at"])))
    return found
