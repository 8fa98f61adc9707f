"""Tools that every service has: the time, the date, a calculator. No shell, no evaluation of code."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

from retainer.core.capabilities import Answer, Capability
from retainer.core.clock import Clock
from retainer.core.errors import InvalidInputError
from retainer.tools.arithmetic import calculate, is_calculation, show
from retainer.tools.tool import capability, tool

AGENT = "tools"
_CITIES = {
    "new york": "America/New_York",
    "boston": "America/New_York",
    "washington": "America/New_York",
    "miami": "America/New_York",
    "san francisco": "America/Los_Angeles",
    "seattle": "America/Los_Angeles",
    "beijing": "Asia/Shanghai",
    "mumbai": "Asia/Kolkata",
    "delhi": "Asia/Kolkata",
    "munich": "Europe/Berlin",
    "frankfurt": "Europe/Berlin",
    "geneva": "Europe/Zurich",
    "milan": "Europe/Rome",
    "barcelona": "Europe/Madrid",
    "utc": "UTC",
    "gmt": "UTC",
}


def find_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name (``Europe/Oslo``) or of a city. Raises :class:`InvalidInputError`."""
    wanted = " ".join(name.strip().strip("?.!").casefold().replace("_", " ").split())
    key = _CITIES.get(wanted) or _zone_names().get(wanted)
    try:
        return ZoneInfo(key or name.strip())
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInputError(
            f"I know no time zone “{name.strip()[:60]}”.", hint="Use a large city or an IANA name like Europe/Oslo."
        ) from error


def _zone_names() -> dict[str, str]:
    """Folded city or full name -> IANA name. Read anew each time: it is rarely asked for and takes milliseconds."""
    from zoneinfo import available_timezones

    names: dict[str, str] = {}
    for key in sorted(available_timezones()):
        if "/" in key and not key.startswith(("posix", "right", "Etc")):
            names.setdefault(key.rpartition("/")[2].replace("_", " ").casefold(), key)
        names[key.replace("_", " ").casefold()] = key
    return names


def _checked_zone(name: str) -> str:
    return find_zone(name).key


def _checked_calculation(text: str) -> str:
    if not is_calculation(text):
        raise ValueError("this is not a calculation")
    return text


Zone = Annotated[str, AfterValidator(_checked_zone)]
Calculation = Annotated[str, AfterValidator(_checked_calculation)]


def builtin_tools(clock: Clock, timezone: str = "UTC") -> tuple[Capability, ...]:
    """The built-in capabilities, reading ``clock`` and speaking in the owner's ``timezone``."""
    home = find_zone(timezone)

    @tool(
        name="time",
        phrases=(
            "what time is it",
            "(whats|what is) the time",
            "what time is it in {zone}",
            "(whats|what is) the time in {zone}",
            "time in {zone}",
        ),
        examples=("what time is it?", "what time is it in Tokyo?"),
    )
    def tell_time(zone: Zone | None = None) -> Answer:
        """The time now, here or in a city."""
        place = ZoneInfo(zone) if zone else home
        now = clock.now().astimezone(place)
        return Answer(f"It is {now:%H:%M} on {_date(now)} ({place.key}).", {"at": now.isoformat(), "zone": place.key})

    @tool(
        name="date",
        phrases=(
            "what (day|date) is it [today]",
            "(whats|what is) (the date|todays date|the day) [today]",
            "what day of the week is it [today]",
        ),
        examples=("what day is it?",),
    )
    def tell_date() -> Answer:
        """Today's date."""
        now = clock.now().astimezone(home)
        return Answer(f"Today is {_date(now)} ({home.key}).", {"date": now.date().isoformat(), "zone": home.key})

    @tool(
        name="calculate",
        phrases=(
            "(calculate|compute|work out) {expression}",
            "(whats|what is|how much is) {expression}",
            "{expression}",
        ),
        examples=("what is 12% of 300?", "calculate 3 * 4 + 2.5"),
    )
    def work_out(expression: Calculation) -> Answer:
        """Exact arithmetic."""
        value = calculate(expression)
        return Answer(f"{expression.strip().rstrip('=?! ')} = {show(value)}", {"value": str(value)})

    return tuple(capability(function, AGENT) for function in (tell_time, tell_date, work_out))


def _date(now: datetime) -> str:
    return f"{now:%A}, {now.day} {now:%B %Y}"
