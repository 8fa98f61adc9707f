"""``SafetyProtocols`` for somebody who uses it as a library."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

from retainer.core.effects import Decision, Effect, EffectClass, Turn
from retainer.core.errors import InvalidInputError
from retainer.core.labels import UNTRUSTED
from retainer.runtime.sqlite import SqliteStore
from retainer.safety import people
from retainer.safety.facade import REFUSAL, SafetyProtocols, phone_number
from retainer.safety.limits import Rate
from retainer.safety.local import LocalStore
from retainer.safety.people import Principal, identify


def test_with_no_argument_nobody_is_authorised() -> None:
    safety = SafetyProtocols()
    assert not safety.authorized_user("+15550100")
    assert safety.block_unauthorized("+15550100") == REFUSAL
    assert safety.blocked_today() == {"phone": 1}


def test_records_in_memory_last_as_long_as_the_last_view_of_them() -> None:
    view = LocalStore().view()
    gc.collect()
    assert people.addresses(view) == frozenset()


def test_a_closed_store_has_forgotten_everything() -> None:
    store = LocalStore()
    for _ in range(2):
        store.close()
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            store.view().query("SELECT * FROM person")


def test_an_authorised_number_is_known_however_it_is_written() -> None:
    safety = SafetyProtocols(["+1 (555) 010-0"])
    for spelling in ("+15550100", "0015550100", "1-555-0100", " +1 555 0100 "):
        assert safety.authorized_user(spelling)
        assert safety.block_unauthorized(spelling) == ""
    for other in ("+15550101", "+1555010", "", "not a number", "+1555010０"):
        assert not safety.authorized_user(other)
        assert safety.block_unauthorized(other) == REFUSAL


@pytest.mark.parametrize("nobody", [None, 15550100, b"+15550100", ["+15550100"], "\ud800", "+1555\x000100", object()])
def test_what_is_no_number_and_no_channel_is_not_authorised(nobody: Any) -> None:
    safety = SafetyProtocols(["+15550100"])
    safety.authorize("42", channel="telegram")
    for number, channel in ((nobody, "phone"), (nobody, "telegram"), ("42", nobody), (nobody, nobody)):
        assert not safety.authorized_user(number, channel)
        assert safety.block_unauthorized(number, channel) == REFUSAL
    assert sum(safety.blocked_today().values()) == 4
    with pytest.raises(InvalidInputError):
        safety.authorize(nobody)
    with pytest.raises(InvalidInputError):
        safety.authorize("42", channel=nobody)


def test_who_has_a_name_that_no_database_can_hold_is_a_stranger() -> None:
    safety = SafetyProtocols(tools={"clock": ("read",)})
    for name in ("\ud800", "ow\0ner", Principal("owner", "Owner", "admin", "terminal", "\ud800")):
        assert safety.begin("What time is it?", name, "terminal").check("clock", {}).decision is Decision.DENY
    for channel in ("\ud800", "termi\0nal", ""):
        with pytest.raises(InvalidInputError, match="not the name of a channel"):
            safety.begin("What time is it?", "owner", channel)


def test_a_persons_id_passes_for_a_name_on_no_channel_with_devices_however_it_is_spelled() -> None:
    safety = SafetyProtocols(tools={"clock": ("read",)})
    safety.authorize("42", channel="Telegram", person_id="owner")
    assert safety.authorize("0015550100", channel="Phone").stable_id == "+15550100"
    for channel in ("telegram", "Telegram"):
        assert safety.begin("Now?", "owner", channel).check("clock", {}).decision is Decision.DENY
        assert safety.begin("Now?", "42", channel).check("clock", {}).decision is Decision.ALLOW
    assert safety.begin("Now?", "owner", "Terminal").check("clock", {}).decision is Decision.ALLOW


def test_scopes_channels_and_revocation() -> None:
    safety = SafetyProtocols()
    assert safety.authorize("42", scope="trade", channel="telegram", name="Ann").may("trade")
    assert not safety.authorized_user("42")
    assert safety.authorized_user("42", "telegram")
    assert safety.authorize("+15550100", scope="admin", channel="sms").scope == "propose"
    assert safety.revoke("42", "telegram")
    assert not safety.revoke("42", "telegram")
    assert not safety.authorized_user("42", "telegram")


def test_authorising_twice_keeps_the_person() -> None:
    safety = SafetyProtocols()
    first = safety.authorize("+15550100", name="Ann")
    second = safety.authorize("+15550100", scope="propose")
    assert (first.person_id, first.name, second.scope) == (second.person_id, second.name, "propose")


def test_wrong_words_are_errors_for_the_programmer() -> None:
    with pytest.raises(InvalidInputError, match="phone number"):
        SafetyProtocols(["call me"])
    with pytest.raises(InvalidInputError, match="scope"):
        SafetyProtocols().authorize("+15550100", scope="root")
    assert phone_number("00 1 555 0100") == "+15550100"


@pytest.mark.parametrize(
    ("text", "decision", "word"),
    [
        ("buy 5 AAPL", "allow", ""),
        ("two\nlines\tand emoji 🙂", "allow", ""),
        ("", "deny", "empty"),
        ("  \n ", "deny", "empty"),
        ("x" * 32_001, "deny", "32,001"),
        ("nul\x00byte", "deny", "control"),
        ("lone \ud800 surrogate", "deny", "control"),
        (b"\x89PNG", "deny", "not text"),
    ],
)
def test_texts(text: str | bytes, decision: str, word: str) -> None:
    verdict = SafetyProtocols().validate(text)
    assert verdict.decision.value == decision
    assert word in verdict.reason


def test_effects_are_judged_by_the_one_policy() -> None:
    safety = SafetyProtocols()
    ann = safety.authorize("+15550100", scope="propose", name="Ann")
    note = Effect(name="n", tool="notes.add", args={}, effect_class=EffectClass.WRITE_OWN, queue="n")
    order = Effect(name="o", tool="paper.order", args={"account": "paper"}, effect_class=EffectClass.MONEY, queue="p")
    turn = Turn(sender=ann.person_id, channel="phone", reply_to="phone:+15550100", kind="message")
    assert safety.validate(note, turn).decision is Decision.ALLOW
    assert safety.validate(note, Turn(label=UNTRUSTED, sender=ann.person_id, kind="message")).decision is Decision.ASK
    assert safety.validate(order, turn).decision is Decision.ASK
    assert safety.validate(order).decision is Decision.ASK


@pytest.mark.parametrize(
    ("args", "queue", "level"),
    [
        ({"account": "paper"}, "p", "tap"),
        ({}, "account:paper", "tap"),
        ({}, "p", "code"),
        ({"account": 7}, "p", "code"),
        ({"account": "robinhood"}, "p", "code"),
    ],
)
def test_an_order_that_names_no_account_counts_as_one_with_real_money(
    args: dict[str, Any], queue: str, level: str
) -> None:
    order = Effect(name="o", tool="pay", args=args, effect_class=EffectClass.MONEY, queue=queue)
    assert SafetyProtocols().validate(order, Turn(sender="owner", channel="terminal", kind="message")).level == level


def test_it_works_on_a_services_database(store: SqliteStore) -> None:
    safety = SafetyProtocols(["+15550100"], store=store)
    assert safety.authorized_user("+15550100")
    assert identify(store.view(), "phone", "+15550100") is not None


def test_a_rate_says_no_once_per_window(now: datetime) -> None:
    rate = Rate(3, timedelta(minutes=1))
    hits = [rate.hit("ann", now + timedelta(seconds=s)) for s in range(6)]
    assert [hit.ok for hit in hits] == [True, True, True, False, False, False]
    assert [hit.notice for hit in hits] == [False, False, False, True, False, False]
    assert rate.hit("kim", now).ok
    assert rate.hit("ann", now + timedelta(seconds=61)).ok


def test_importing_the_room_stays_light() -> None:
    """No third-party module, so that it is quick and nothing heavy hides behind the guard."""
    script = (
        "import sys; before = set(sys.modules); import retainer.safety.guard, retainer.safety.facade, "
        "retainer.safety.secrets, retainer.safety.people\n"
        "heavy = {'pydantic', 'structlog', 'pandas', 'numpy', 'httpx', 'telegram', 'rich', 'typer'}\n"
        "sys.exit(' '.join(sorted(heavy & (set(sys.modules) - before))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
