"""When and what, from people's words."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retainer.chat.reminders import parse_reminder, parse_when, spoken_time

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 17, 45, tzinfo=UTC)
"""A Sunday, 18:45 in Berlin."""


@pytest.mark.parametrize(
    ("text", "task", "when"),
    [
        ("remind me at 9 to call Anna", "call Anna", "tomorrow at 09:00"),
        ("Remind me in 10 minutes to check the oven", "check the oven", "today at 18:55"),
        ("remind me to call Anna at 9", "call Anna", "tomorrow at 09:00"),
        ("remind me to buy milk tomorrow at 7:30pm", "buy milk", "tomorrow at 19:30"),
        ("remind me to water the plants on friday", "water the plants", "on Fri 27 Nov 2026 at 09:00"),
        ("please remind me in half an hour to stretch", "stretch", "today at 19:15"),
        ("remind me tomorrow morning to send the report to Bob", "send the report to Bob", "tomorrow at 09:00"),
        ("remind me to meet at the cafe at noon", "meet at the cafe", "tomorrow at 12:00"),
        ("remind me about the meeting on 25 December at 10:00", "the meeting", "on Fri 25 Dec 2026 at 10:00"),
        ("remind me tonight to lock up", "lock up", "today at 20:00"),
        ("can you remind me at 21:00 that the show starts", "the show starts", "today at 21:00"),
        ("remind me in an hour to go", "go", "today at 19:45"),
    ],
)
def test_reminders_in_peoples_words(text: str, task: str, when: str) -> None:
    wish = parse_reminder(text, NOW, BERLIN)
    assert wish is not None
    assert wish.at is not None
    assert (wish.task, spoken_time(wish.at, NOW, BERLIN)) == (task, when)


@pytest.mark.parametrize("text", ["remind me to breathe", "remind me yesterday to go", "remind me"])
def test_a_reminder_without_a_time_to_come_has_none(text: str) -> None:
    wish = parse_reminder(text, NOW, BERLIN)
    assert wish is not None
    assert wish.at is None


@pytest.mark.parametrize("text", ["how are you", "you remind me of my aunt", "", "remind"])
def test_other_texts_ask_for_no_reminder(text: str) -> None:
    assert parse_reminder(text, NOW, BERLIN) is None


@settings(deadline=None, max_examples=40)
@given(hour=st.integers(0, 23), minute=st.integers(0, 59), days=st.integers(0, 400))
def test_a_clock_time_is_always_the_next_one_to_come(hour: int, minute: int, days: int) -> None:
    now = datetime.fromtimestamp(NOW.timestamp() + days * 86400, UTC)
    at = parse_when(f"at {hour}:{minute:02}", now, BERLIN)
    assert at is not None
    assert now < at
    assert (at - now).total_seconds() <= 25 * 3600
    assert (
        f"{at.astimezone(BERLIN):%H:%M}" == f"{hour:02}:{minute:02}"
        or at.astimezone(BERLIN).utcoffset() != now.astimezone(BERLIN).utcoffset()
    )


@settings(deadline=None, max_examples=60)
@given(
    day=st.sampled_from(["tomorrow", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]),
    days=st.integers(0, 800),
)
def test_a_named_day_is_within_the_week_to_come_at_any_month_end(day: str, days: int) -> None:
    now = datetime.fromtimestamp(NOW.timestamp() + days * 86400, UTC)
    at = parse_when(f"on {day} at 9:00", now, BERLIN)
    assert at is not None
    local = at.astimezone(BERLIN)
    assert (local.hour, local.minute) == (9, 0)
    ahead = (local.date() - now.astimezone(BERLIN).date()).days
    assert ahead == 1 if day == "tomorrow" else 1 <= ahead <= 7
    assert day == "tomorrow" or f"{local:%A}".casefold() == day
