"""Words of a question: tokens, stop words, and the dates it names."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta

_TOKEN = re.compile(r"\w+")

_STOP = """
a about above after again against all also am an and any are aren as at be because been before being below between both
but by can cannot could couldn d did didn do does doesn doing don done down during each else ever few for from further
get gets getting go goes going gone got had hadn has hasn have haven having he hello her here hers herself hey hi him
himself his how i if in into is isn it its itself just know let like ll m me mean might more most much must my myself
need no nor not now of off ok okay on once one only or other ought our ours ourselves out over own please quite rather
re really s said same say says shall she should shouldn so some such t tell than thank thanks that the their theirs them
themselves then there these they thing things think this those though through to told too under until up us ve very want
was wasn we well were weren what when where which while who whom whose why will with won would wouldn yes yet you your
yours yourself yourselves ask asked discuss discussed mention mentioned recall remember speak talk talked talking
"""
STOP_WORDS = frozenset(_STOP.split())
"""English words that say nothing about what a question is about."""

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            ("january", "jan"),
            ("february", "feb"),
            ("march", "mar"),
            ("april", "apr"),
            ("may",),
            ("june", "jun"),
            ("july", "jul"),
            ("august", "aug"),
            ("september", "sep", "sept"),
            ("october", "oct"),
            ("november", "nov"),
            ("december", "dec"),
        ),
        start=1,
    )
    for name in names
}
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_MONTH = re.compile(
    r"\b(?:(?P<before>\d{1,2})(?:st|nd|rd|th)?\s+(?:of\s+)?)?(?P<month>" + "|".join(_MONTHS) + r")\b\.?"
    r"(?:\s+(?P<after>\d{1,2})(?:st|nd|rd|th)?\b(?!\d))?(?:,?\s+(?P<year>(?:19|20)\d{2}))?",
    re.IGNORECASE,
)
_YEAR = re.compile(r"\b(?:in|during|of)\s+((?:19|20)\d{2})\b", re.IGNORECASE)
_RELATIVE = re.compile(r"\b(today|yesterday|(?:last|this)\s+(?:week|month|year))\b", re.IGNORECASE)


def tokens(text: str) -> list[str]:
    """Folded words in order, accents kept (the index folds them itself)."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def content_tokens(text: str, names: frozenset[str] = frozenset()) -> list[str]:
    """Distinct words that can find something: no stop words, no ``names`` of speakers, no single letters."""
    seen: dict[str, None] = {}
    for token in tokens(text):
        if token not in STOP_WORDS and token not in names and len(token) > 1:
            seen.setdefault(token)
    return list(seen)


def date_window(text: str, now: datetime) -> tuple[datetime, datetime] | None:
    """The span of days that ``text`` names (``8 May 2023``, ``in March``, ``last week``), or ``None``.

    A month without a year is the latest one not after ``now``. Half-open, UTC.
    """
    today = datetime(now.year, now.month, now.day, tzinfo=UTC)
    if match := _ISO.search(text):
        return _day(*(int(part) for part in match.groups()))
    for match in _MONTH.finditer(text):
        window = _month_window(match, today)
        if window is not None:
            return window
    if match := _YEAR.search(text):
        year = int(match.group(1))
        return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    if match := _RELATIVE.search(text):
        return _relative(" ".join(match.group(1).casefold().split()), today)
    return None


def _month_window(match: re.Match[str], today: datetime) -> tuple[datetime, datetime] | None:
    month = _MONTHS[match["month"].casefold()]
    day = match["before"] or match["after"]
    if month == 5 and not (day or match["year"]) and not match["month"][0].isupper():
        return None  # the verb "may"
    year = int(match["year"]) if match["year"] else today.year - (month > today.month)
    if day:
        return _day(year, month, int(day))
    return _month(year, month)


def _day(year: int, month: int, day: int) -> tuple[datetime, datetime] | None:
    try:
        start = datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        return None
    return start, start + timedelta(days=1)


def _month(year: int, month: int) -> tuple[datetime, datetime]:
    start = datetime(year, month, 1, tzinfo=UTC)
    return start, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _relative(words: str, today: datetime) -> tuple[datetime, datetime]:
    which, _, unit = words.rpartition(" ")
    if unit == "today":
        return today, today + timedelta(days=1)
    if unit == "yesterday":
        return today - timedelta(days=1), today
    back = 1 if which == "last" else 0
    if unit == "week":
        monday = today - timedelta(days=today.weekday() + 7 * back)
        return monday, monday + timedelta(days=7)
    if unit == "month":
        month = today.month - 1 - back
        return _month(today.year + month // 12, month % 12 + 1)
    year = today.year - back
    return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
