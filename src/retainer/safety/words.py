"""What the owner said in so many words: the test that every argument of a committed call has to pass.

A value is *in the words* when code can find it there: a quoted text, a name, an address, a number, a date, a time, or
a time plus a length that was named. Nothing is guessed and no model is asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property

_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_ONES = tuple("zero one two three four five six seven eight nine ten eleven twelve".split())  # noqa: SIM905
_COUNTS = {
    **{word: n for n, word in enumerate(_ONES)},
    "a": 1,
    "an": 1,
}
_MONTH = "|".join(f"{name}|{name[:3]}" for name in _MONTHS)
_DAY_FIRST = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({_MONTH})\b\.?(?:,?\s+(\d{{4}}))?")
_MONTH_FIRST = re.compile(rf"\b({_MONTH})\b\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(\d{{4}}))?")
_ISO_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})")
_CLOCK = re.compile(r"\b(\d{1,2})(?::(\d{2}))?\s*(am|pm)\b|\b(\d{1,2}):(\d{2})\b")
_LENGTH = re.compile(r"\b(\d+(?:\.\d+)?|[a-z]+)[\s-]+(hour|hr|minute|min|day|week)s?\b")
_UNITS = {"hour": 60, "hr": 60, "minute": 1, "min": 1, "day": 1440, "week": 10_080}
_NUMBER = re.compile(
    r"(?<![\w.])(?<!\d[-:/])([-+]?(?:\d{1,3}(?:,\d{3})+(?!,?\d)|\d++)(?:\.\d++)?)"
    r"(?:(k|m|mn|bn)\b|\s(hundred|thousand|million|billion)\b)?+(?![-:/.]\d)"
)
"""A comma belongs to a number only before each three digits: 1,250 is one number, 1,5 are two. What goes on behind a
dash, a colon, a slash or a second dot is no number but a date, a time or the number of a phone."""
_POWERS = {"k": "E3", "mn": "E6", "bn": "E9", "hundred": "E2", "thousand": "E3", "million": "E6", "billion": "E9"}
"""What a word behind a number makes of it. 10m is no number: it may be millions, minutes or metres."""
_VALUE_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::00(?:\.0+)?)?(?:Z|\+00:00)?)?")


_BEGINS = re.compile(r"\b(?:start|beginn?)(?:s|ing)\s+with\s+[\"']?([\w-]+)")
_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")


def plain(text: str) -> str:
    """``text`` for comparing: one case, one composition of letters, one kind of quote and space.

    Letters that only look alike or sound alike stay apart: stra\u00dfe.de is another place than strasse.de.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFC", text.lower()).translate(_QUOTES).split())


class Words:
    """One message of the owner, searched for values. ``today`` gives ``today`` and ``tomorrow`` their dates."""

    def __init__(self, text: str, *, today: date | None = None) -> None:
        self.text = plain(text)
        self._said = unicodedata.normalize("NFC", text)
        self._today = today

    def hold(self, value: object, *, strict: bool = False) -> bool:
        """Whether every part of ``value`` is in the words, the names within it too.

        Empty values, yes and no say nothing and always are; where ``strict``, as for a receiver, they never are, and
        no part of a longer name is one.
        """
        if value is None or isinstance(value, bool) or value in ("", [], {}, ()):
            return not strict
        if isinstance(value, int | float | Decimal):
            return self._number(value)
        if isinstance(value, str):
            return self._literal(value, whole=strict) or self._moment(value) or self._numeral(value)
        if isinstance(value, Mapping):
            return all(self.hold(name, strict=True) and self.hold(each, strict=strict) for name, each in value.items())
        if isinstance(value, Sequence | set | frozenset):
            return all(self.hold(each, strict=strict) for each in value)
        return False

    def begins(self, name: str) -> bool:
        """Whether ``name`` starts with what the owner said it starts with, or else with any word of four letters."""
        said = _BEGINS.findall(self.text) or [word for word in re.findall(r"[\w-]+", self.text) if len(word) >= 4]
        return plain(name).startswith(tuple(said))

    # --- texts and numbers ------------------------------------------------------------------------------------------
    def _literal(self, value: str, *, whole: bool = False) -> bool:
        """Whether ``value`` stands there, between ends of words. ``whole``: bob is not in bob.smith, ? is nobody."""
        wanted = plain(value)
        if not wanted or wanted not in self.text:
            return False
        if whole and not any(ch.isalnum() for ch in wanted):
            return False
        paths = re.findall(r"://[^/\s]*(/\S*)", unicodedata.normalize("NFC", value)) if "://" in wanted else ()
        if any(path not in self._said for path in paths):  # in another case it leads elsewhere
            return False
        before = r"(?<!\w)(?<!\S@)" if wanted[0].isalnum() else ""
        after = r"(?![\w@])" if wanted[-1].isalnum() else ""
        address = "@" in wanted or "://" in wanted
        if whole or address:  # which goes on behind a dot, too: bob@example.co is not bob@example.co.uk
            before, after = before + r"(?<!\w[.+-])", after + r"(?![.+-]\w)"
        if not address:  # a number goes on behind any of these: 555 is not 555-0100
            before += r"(?<!\d[-.,:/])" if wanted[0].isdigit() else ""
            after += r"(?![-.,:/]\d)" if wanted[-1].isdigit() else ""
        return re.search(before + re.escape(wanted) + after, self.text) is not None

    @cached_property
    def _numbers(self) -> frozenset[Decimal]:
        found = {
            Decimal(digits.replace(",", "") + _POWERS.get(short or word, ""))
            for digits, short, word in _NUMBER.findall(self.text)
            if short != "m"
        }
        words = self.text.split()
        counts = ((_COUNTS[word], then) for word, then in zip(words, [*words[1:], ""], strict=True) if word in _COUNTS)
        return frozenset(found | {Decimal(f"{count}{_POWERS.get(then, '')}") for count, then in counts})

    def _number(self, value: float | Decimal) -> bool:
        try:
            return Decimal(str(value)) in self._numbers
        except (InvalidOperation, ValueError):
            return False

    def _numeral(self, value: str) -> bool:
        return re.fullmatch(r"[-+]?\d+(?:\.\d+)?", value.strip()) is not None and self._number(Decimal(value.strip()))

    # --- dates and times --------------------------------------------------------------------------------------------
    @cached_property
    def _dates(self) -> frozenset[tuple[int | None, int, int]]:
        found: set[tuple[int | None, int, int]] = set()
        for year, month, day in _ISO_DATE.findall(self.text):
            found.add((int(year), int(month), int(day)))
        for day, name, year in _DAY_FIRST.findall(self.text):
            found.add((int(year) if year else None, _month(name), int(day)))
        for name, day, year in _MONTH_FIRST.findall(self.text):
            found.add((int(year) if year else None, _month(name), int(day)))
        if self._today is not None:
            for word, ahead in (("today", 0), ("tonight", 0), ("tomorrow", 1), ("yesterday", -1)):
                if self._literal(word):
                    at = self._today + timedelta(days=ahead)
                    found.add((at.year, at.month, at.day))
        return frozenset(found)

    @cached_property
    def _minutes(self) -> frozenset[int]:
        """Times of day that were named, in minutes after midnight."""
        found = set()
        for hour, minute, half, hour24, minute24 in _CLOCK.findall(self.text):
            if half:
                if not 1 <= int(hour) <= 12 or int(minute or 0) >= 60:
                    continue
                found.add((int(hour) % 12 + (12 if half == "pm" else 0)) * 60 + int(minute or 0))
            elif int(hour24) < 24 and int(minute24) < 60:
                found.add(int(hour24) * 60 + int(minute24))
        return frozenset(found | ({720} if self._literal("noon") else set()))

    @cached_property
    def _lengths(self) -> frozenset[int]:
        """Lengths of time that were named, in minutes."""
        found = set()
        for count, unit in _LENGTH.findall(self.text):
            if count in _COUNTS or count[0].isdigit():
                number = Decimal(_COUNTS[count]) if count in _COUNTS else Decimal(count)
                found.add(int(number * _UNITS[unit]))
        return frozenset(found)

    def _moment(self, value: str) -> bool:
        match = _VALUE_DATE.fullmatch(value.strip())
        if match is None:
            return False
        try:
            day = date.fromisoformat(match.group(1))
            at = None if match.group(2) is None else time.fromisoformat(match.group(2))
        except ValueError:
            return False
        if at is None:
            return self._day(day)
        start = datetime.combine(day, at)
        return self._at(start) or any(self._ends(start, length) for length in self._lengths)

    def _ends(self, moment: datetime, length: int) -> bool:
        try:
            return self._at(moment - timedelta(minutes=length))
        except OverflowError:  # before the year 1
            return False

    def _at(self, moment: datetime) -> bool:
        return self._day(moment.date()) and moment.hour * 60 + moment.minute in self._minutes

    def _day(self, day: date) -> bool:
        return (day.year, day.month, day.day) in self._dates or (None, day.month, day.day) in self._dates


def _month(name: str) -> int:
    return next(n for n, full in enumerate(_MONTHS, 1) if full.startswith(name[:3]))
