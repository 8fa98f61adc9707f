"""Who gets in: pairing, scopes, revocation, strangers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.core.effects import Decision, Effect, EffectClass, EffectState, RepeatClass, Turn, Verdict
from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError
from retainer.core.events import NewEvent
from retainer.core.protocols import Tx
from retainer.runtime import effects
from retainer.runtime.inbox import insert_event
from retainer.runtime.sqlite import SqliteStore
from retainer.safety import audit, people
from retainer.safety.approvals import Approvals, find
from retainer.safety.local import LocalStore
from retainer.safety.pairing import LOCK, normal
from retainer.safety.people import NEW_PERSON, Principal


@pytest.fixture
def local() -> Iterator[LocalStore]:
    made = LocalStore()
    yield made
    made.close()


@pytest.fixture
def host(local: LocalStore, now: datetime) -> Principal:
    return local.write_now(lambda tx: people.ensure_local_owner(tx, now))


def issue(local: LocalStore, now: datetime, channel: str = "telegram", scope: str = "trade") -> str:
    return local.write_now(lambda tx: people.issue_code(tx, channel, scope, now))


def redeem(local: LocalStore, code: str, now: datetime, stable_id: str = "42", channel: str = "telegram") -> str:
    return local.write_now(lambda tx: people.redeem(tx, channel, stable_id, code, "Ann", now).result)


class TestThreat1Strangers:
    """A stranger texts the bot: deny by default, silence, a counter."""

    def test_nobody_is_known_at_first(self, local: LocalStore) -> None:
        assert people.identify(local.view(), "telegram", "42") is None
        assert people.addresses(local.view()) == frozenset()

    def test_the_owner_is_at_the_terminal_and_stays_one_person(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        again = local.write_now(lambda tx: people.ensure_local_owner(tx, now))
        assert host == again == Principal("owner", "Owner", "admin", "terminal", "local")
        assert people.addresses(local.view()) == {"terminal:local"}

    def test_ids_are_exact_and_per_channel(self, local: LocalStore, host: Principal, now: datetime) -> None:
        assert redeem(local, issue(local, now), now) == "paired"
        view = local.view()
        for channel, stable_id in [
            ("telegram", "042"),
            ("telegram", "42 "),
            ("sms", "42"),
            ("telegram", "4"),
            ("telegram", "42\0"),
            ("telegram", "\ud800"),
            ("telegram\ud800", "42"),
        ]:
            assert people.identify(view, channel, stable_id) is None
        assert people.identify(view, "telegram", "42") is not None

    def test_a_channel_is_one_however_it_is_spelled(self, local: LocalStore, host: Principal, now: datetime) -> None:
        """Or a device could be there twice, with two scopes, and a revoked one be let in again."""
        assert redeem(local, issue(local, now, "Telegram"), now, channel="TELEGRAM") == "paired"
        local.write_now(
            lambda tx: people.add_device(tx, "telegraM", "42", "propose", now, person_id="owner", address="telegram:1")
        )
        (phone,) = [device for device in people.devices(local.view()) if device.channel != "terminal"]
        assert (phone.channel, phone.scope) == ("telegram", "propose")
        view = local.view()
        assert people.identify(view, "Telegram", "42") == people.identify(view, "telegram", "42")
        assert people.has_devices(view, "Telegram")
        lesser = people.principal_at(view, "owner", None, "Telegram")
        assert lesser is not None
        assert lesser.stable_id == "42"
        local.write_now(lambda tx: people.touch(tx, "Telegram", "42", now))
        assert {d.last_seen for d in people.devices(view)} == {None, now.timestamp()}
        assert local.write_now(lambda tx: people.shrink(tx, "Telegram", "42", "chat", now)).channel == "telegram"
        issue(local, now)
        assert people.open_codes(view, "Telegram", now) == 1
        local.write_now(lambda tx: people.drop(tx, "Telegram", "7", now))
        assert people.counts(view, now) == {"telegram": 1}
        assert local.write_now(lambda tx: people.revoke(tx, now, channel="Telegram", stable_id="42")) == 1
        assert people.identify(view, "telegram", "42") is None

    def test_ids_that_no_database_can_hold_pair_nothing(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        code = issue(local, now)
        for channel, stable_id in (("telegram", "\ud800"), ("telegram", "4\0"), ("\ud800", "42")):
            assert redeem(local, code, now, stable_id, channel) == "wrong"
            with pytest.raises(InvalidInputError):
                local.write_now(partial(people.add_device, channel=channel, stable_id=stable_id, scope="chat", now=now))
        for channel in ("\ud800", "a\0", ""):
            with pytest.raises(InvalidInputError, match="not the name of a channel"):
                issue(local, now, channel)
        with pytest.raises(InvalidInputError, match="half characters"):
            local.write_now(lambda tx: people.add_device(tx, "telegram", "43", "chat", now, name="\ud800"))
        with pytest.raises(InvalidInputError, match="half characters"):
            local.write_now(lambda tx: people.issue_code(tx, "telegram", "chat", now, person_id="\ud800"))
        assert local.write_now(lambda tx: people.drop(tx, "telegram", "\ud800", now)).first

    def test_dropped_messages_leave_a_count_and_no_id(self, local: LocalStore, now: datetime) -> None:
        first = local.write_now(lambda tx: people.drop(tx, "telegram", "987654", now))
        second = local.write_now(lambda tx: people.drop(tx, "telegram", "987654", now))
        assert (first.today, first.first, second.today, second.first) == (1, True, 2, False)
        assert people.counts(local.view(), now) == {"telegram": 2}
        assert "987654" not in repr(local.view().query("SELECT * FROM stranger"))

    def test_a_flood_of_strangers_does_not_grow_the_table_for_ever(self, local: LocalStore, now: datetime) -> None:
        local.write_now(lambda tx: [people.drop(tx, "telegram", str(n), now) for n in range(600)])
        assert len(local.view().query("SELECT * FROM stranger")) <= 501
        assert people.counts(local.view(), now) == {"telegram": 600}


class TestThreat2RestrictedChannels:
    """A forged sender: SMS reads and proposes, whatever it is given."""

    def test_sms_is_capped(self, local: LocalStore, host: Principal, now: datetime) -> None:
        code = issue(local, now, "sms", "admin")
        assert redeem(local, code, now, "+15550100", "sms") == "paired"
        found = people.identify(local.view(), "sms", "+15550100")
        assert found is not None
        assert found.scope == "propose"

    def test_an_edited_row_does_not_lift_the_cap(self, local: LocalStore, host: Principal, now: datetime) -> None:
        redeem(local, issue(local, now, "sms", "propose"), now, "+15550100", "sms")
        local.write_now(lambda tx: tx.execute("UPDATE identity SET scope = 'admin' WHERE channel = 'sms'"))
        found = people.identify(local.view(), "sms", "+15550100")
        assert found is not None
        assert not found.may("trade")

    def test_a_turn_speaks_for_the_device_it_came_from(self, local: LocalStore, host: Principal, now: datetime) -> None:
        redeem(local, issue(local, now, "sms", "propose"), now, "+15550100", "sms")
        redeem(local, issue(local, now), now)
        view = local.view()
        scopes = {
            address: principal.scope
            for address in ("sms:+15550100", "telegram:42", "terminal:local", "telegram:group", "page:1", None)
            if (principal := people.principal_at(view, "owner", address)) is not None
        }
        assert scopes == {
            "sms:+15550100": "propose",
            "telegram:42": "trade",
            "terminal:local": "admin",
            "telegram:group": "trade",
            "page:1": "propose",
            None: "propose",
        }

    @pytest.mark.parametrize(("channel", "address"), [("telegram", "telegram:42"), ("sms", "sms:+15550100")])
    def test_a_turn_of_a_revoked_device_speaks_for_nobody(
        self, local: LocalStore, host: Principal, now: datetime, channel: str, address: str
    ) -> None:
        """The owner's other devices, such as the terminal, must not lend it theirs."""
        name = address.partition(":")[2]
        redeem(local, issue(local, now, channel, "propose"), now, name, channel)
        local.write_now(lambda tx: people.revoke(tx, now, channel=channel, stable_id=name))
        assert people.principal_at(local.view(), "owner", address, channel) is None
        assert people.principal_at(local.view(), "owner", None, channel) is None

    def test_a_channel_without_devices_lends_no_more_than_it_may_have(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        for channel in ("sms", "SMS"):
            found = people.principal_at(local.view(), "owner", None, channel)
            assert found is not None
            assert found.scope == "propose"
        loud = local.write_now(lambda tx: people.add_device(tx, "SMS", "+15550100", "admin", now, person_id="owner"))
        assert loud.scope == "propose"


class TestPairing:
    def test_a_code_pairs_one_device_once(self, local: LocalStore, host: Principal, now: datetime) -> None:
        code = issue(local, now)
        assert redeem(local, code, now) == "paired"
        assert redeem(local, code, now, "43") == "wrong"
        assert people.identify(local.view(), "telegram", "43") is None

    def test_codes_forgive_spelling(self, local: LocalStore, host: Principal, now: datetime) -> None:
        code = local.write_now(lambda tx: people.issue_code(tx, "telegram", "trade", now, "A0B1C2D3"))
        assert redeem(local, f" {code[:4].lower()}-{code[4:]} ".replace("0", "o").replace("1", "l"), now) == "paired"

    def test_a_code_lives_ten_minutes(self, local: LocalStore, host: Principal, now: datetime) -> None:
        code = issue(local, now)
        assert redeem(local, code, now + timedelta(minutes=10)) == "wrong"

    def test_a_code_is_for_one_channel(self, local: LocalStore, host: Principal, now: datetime) -> None:
        assert redeem(local, issue(local, now), now, channel="whatsapp") == "wrong"

    def test_a_new_code_ends_the_earlier_one(self, local: LocalStore, host: Principal, now: datetime) -> None:
        first, second = issue(local, now), issue(local, now)
        assert people.open_codes(local.view(), "telegram", now) == 1
        assert redeem(local, first, now) == "wrong"
        assert redeem(local, second, now) == "paired"

    def test_five_wrong_tries_lock_a_sender_for_an_hour(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        code = issue(local, now)
        assert [redeem(local, "ZZZZZZZ0", now) for _ in range(5)] == ["wrong"] * 4 + ["locked"]
        assert redeem(local, code, now) == "locked"
        assert redeem(local, code, now, "43") == "paired", "another sender is not locked"
        later = now + LOCK + timedelta(seconds=1)
        assert redeem(local, issue(local, later), later) == "paired"

    def test_a_paired_device_guesses_no_longer_than_a_stranger(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        """It could raise its own scope with a code that was opened for another."""
        redeem(local, issue(local, now, scope="chat"), now)
        code = issue(local, now, scope="admin")

        def say(text: str, when: datetime = now) -> tuple[str, str]:
            said = local.write_now(lambda tx: people.redeem(tx, "telegram", "42", text, "Ann", when))
            return said.result, said.text

        paired = ("already", "This device is already paired.")
        locked = ("locked", "Too many wrong codes: none is looked at for an hour.")
        for _ in range(30):
            assert say("hello there, how are you?") == paired, "plain talk is not a try"
        assert [say("ZZZZZZZ0") for _ in range(5)] == [paired] * 4 + [locked]
        assert say(code) == locked
        assert say("hello there, how are you?") == paired
        later = now + LOCK + timedelta(seconds=1)
        assert say(issue(local, later, scope="admin"), later)[0] == "paired"

    def test_guesses_of_paired_devices_end_an_open_code_too(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        for n in range(20):
            local.write_now(partial(people.add_device, channel="telegram", stable_id=str(n), scope="chat", now=now))
        code = issue(local, now)
        for n in range(20):
            assert redeem(local, "ZZZZZZZ0", now, str(n)) == "already"
        assert redeem(local, code, now, "1000") == "wrong"

    def test_many_senders_together_end_an_open_code(self, local: LocalStore, host: Principal, now: datetime) -> None:
        code = issue(local, now)
        for n in range(20):
            redeem(local, "ZZZZZZZ0", now, str(n))
        assert redeem(local, code, now, "1000") == "wrong"

    def test_the_code_is_not_in_the_database(self, local: LocalStore, host: Principal, now: datetime) -> None:
        code = issue(local, now)
        for table in ("pairing", "pairing_try", "audit"):
            assert code not in repr(local.view().query(f"SELECT * FROM {table}"))

    def test_plain_talk_is_not_a_try(self, local: LocalStore, host: Principal, now: datetime) -> None:
        code = issue(local, now)
        for _ in range(30):
            assert redeem(local, "hello there, how are you?", now) == "wrong"
        assert redeem(local, code, now) == "paired"

    def test_a_device_is_the_owners_by_default(self, local: LocalStore, host: Principal, now: datetime) -> None:
        redeem(local, issue(local, now), now)
        code = local.write_now(lambda tx: people.issue_code(tx, "telegram", "chat", now, person_id=NEW_PERSON))
        redeem(local, code, now, "43")
        mine, guest = (people.identify(local.view(), "telegram", n) for n in ("42", "43"))
        assert mine is not None
        assert guest is not None
        assert mine.person_id == "owner"
        assert (guest.person_id != "owner", guest.name, guest.scope) == (True, "Ann", "chat")

    def test_a_device_hands_out_less_than_it_has(self, local: LocalStore, host: Principal, now: datetime) -> None:
        redeem(local, issue(local, now), now)
        mine = people.identify(local.view(), "telegram", "42")
        assert mine is not None
        for scope in ("trade", "admin"):
            with pytest.raises(RefusedError, match="cannot hand out"):
                local.write_now(partial(people.issue_code, channel="telegram", scope=scope, now=now, by=mine))
        local.write_now(lambda tx: people.issue_code(tx, "telegram", "propose", now, by=mine))

    def handed_out(self, local: LocalStore, now: datetime, scope: str = "chat") -> str:
        """A code by the owner's phone, which has scope trade."""
        redeem(local, issue(local, now), now)
        phone = people.identify(local.view(), "telegram", "42")
        return local.write_now(lambda tx: people.issue_code(tx, "telegram", scope, now, by=phone))

    def test_a_code_ends_with_the_device_that_handed_it_out(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        code = self.handed_out(local, now)
        local.write_now(lambda tx: people.revoke(tx, now, channel="telegram", stable_id="42"))
        assert people.open_codes(local.view(), "telegram", now) == 0
        local.write_now(lambda tx: people.add_device(tx, "telegram", "42", "admin", now, person_id="owner"))
        assert redeem(local, code, now, "43") == "wrong", "also when that is paired again"

    def test_a_code_ends_when_its_device_goes_to_somebody_else(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        code = self.handed_out(local, now)
        local.write_now(lambda tx: people.add_device(tx, "telegram", "42", "admin", now, name="Kim"))
        assert redeem(local, code, now, "43") == "wrong"

    def test_a_code_ends_with_the_person_whose_device_it_would_make(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        ann = local.write_now(lambda tx: people.add_device(tx, "telegram", "7", "chat", now, name="Ann")).person_id
        code = local.write_now(lambda tx: people.issue_code(tx, "telegram", "chat", now, person_id=ann))
        local.write_now(lambda tx: people.revoke(tx, now, person_id=ann))
        assert redeem(local, code, now, "8") == "wrong"

    @pytest.mark.parametrize(("lowered", "result"), [("trade", "paired"), ("propose", "wrong"), ("chat", "wrong")])
    def test_a_code_ends_when_its_device_no_longer_has_more_than_it_gives(
        self, local: LocalStore, host: Principal, now: datetime, lowered: str, result: str
    ) -> None:
        code = self.handed_out(local, now, "propose")
        local.write_now(lambda tx: people.shrink(tx, "telegram", "42", lowered, now))
        assert people.open_codes(local.view(), "telegram", now) == (result == "paired")
        assert redeem(local, code, now, "43") == result

    def test_an_edited_row_does_not_keep_a_code_alive(self, local: LocalStore, host: Principal, now: datetime) -> None:
        code = self.handed_out(local, now, "propose")
        local.write_now(lambda tx: tx.execute("UPDATE identity SET scope = 'propose' WHERE stable_id = '42'"))
        assert redeem(local, code, now, "43") == "wrong"

    def test_who_is_no_longer_paired_hands_out_nothing(self, local: LocalStore, host: Principal, now: datetime) -> None:
        redeem(local, issue(local, now), now)
        kept = people.identify(local.view(), "telegram", "42")
        local.write_now(lambda tx: people.shrink(tx, "telegram", "42", "propose", now))
        with pytest.raises(RefusedError, match="with scope propose cannot hand out propose"):
            local.write_now(lambda tx: people.issue_code(tx, "telegram", "propose", now, by=kept))
        local.write_now(lambda tx: people.revoke(tx, now, channel="telegram", stable_id="42"))
        with pytest.raises(RefusedError, match="not paired cannot hand out"):
            local.write_now(lambda tx: people.issue_code(tx, "telegram", "chat", now, by=kept))

    @pytest.mark.parametrize(("scope", "whose"), [("trade", "owner"), ("trade", "kim"), ("admin", None)])
    def test_a_guests_device_pairs_none_for_somebody_else(
        self, local: LocalStore, host: Principal, now: datetime, scope: str, whose: str | None
    ) -> None:
        ann = local.write_now(lambda tx: people.add_device(tx, "telegram", "7", scope, now, name="Ann"))
        if whose is not None:
            with pytest.raises(RefusedError, match="for somebody else"):
                local.write_now(lambda tx: people.issue_code(tx, "telegram", "propose", now, by=ann, person_id=whose))
        for may in (people.NEW_PERSON, ann.person_id, *(() if whose else ("owner",))):
            give = partial(people.issue_code, channel="telegram", scope="propose", now=now, by=ann, person_id=may)
            local.write_now(give)

    def test_scopes_only_shrink(self, local: LocalStore, host: Principal, now: datetime) -> None:
        redeem(local, issue(local, now), now)
        lowered = local.write_now(lambda tx: people.shrink(tx, "telegram", "42", "propose", now))
        assert lowered.scope == "propose"
        with pytest.raises(RefusedError, match="only shrink"):
            local.write_now(lambda tx: people.shrink(tx, "telegram", "42", "trade", now))

    def test_a_scope_may_be_set_to_what_it_is(self, local: LocalStore, host: Principal, now: datetime) -> None:
        redeem(local, issue(local, now), now)
        assert local.write_now(lambda tx: people.shrink(tx, "telegram", "42", "trade", now)).scope == "trade"

    @pytest.mark.parametrize(("channel", "stable_id"), [("", "42"), ("telegram", "")])
    def test_a_device_needs_a_channel_and_an_id(
        self, local: LocalStore, host: Principal, now: datetime, channel: str, stable_id: str
    ) -> None:
        with pytest.raises(InvalidInputError, match="a channel and a stable id"):
            local.write_now(lambda tx: people.add_device(tx, channel, stable_id, "chat", now))

    def test_a_new_person_gets_a_number_that_fits_a_line(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        ann = local.write_now(lambda tx: people.add_device(tx, "telegram", "43", "chat", now, name=" Ann "))
        assert re.fullmatch(r"p[0-9a-f]{8}", ann.person_id)
        assert ann.name == "Ann"

    def test_pairing_is_in_the_record_once(self, local: LocalStore, host: Principal, now: datetime) -> None:
        for _ in range(2):
            paired = [entry for entry in audit.entries(local.view()) if entry.kind == "device.paired"]
            assert [(entry.ref, entry.data) for entry in paired] == [("terminal:owner", {"scope": "admin"})]
            local.write_now(lambda tx: people.ensure_local_owner(tx, now))

    def test_who_may_approve_is_asked_where_they_were_last_heard_from(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        def where() -> str | None:
            return people.approver_address(local.view(), "trade")

        redeem(local, issue(local, now), now + timedelta(seconds=1), "42")
        redeem(local, issue(local, now), now + timedelta(seconds=2), "43")
        assert where() == "telegram:43", "never heard from since: the one paired last"
        local.write_now(lambda tx: people.touch(tx, "telegram", "42", now + timedelta(minutes=1)))
        assert where() == "telegram:42"
        redeem(local, issue(local, now), now + timedelta(minutes=2), "44")
        assert where() == "telegram:44"

    def test_unknown_words_are_named(self, local: LocalStore, host: Principal, now: datetime) -> None:
        with pytest.raises(InvalidInputError, match="'root' is not a scope"):
            issue(local, now, scope="root")
        with pytest.raises(NotFoundError, match="no person nobody"):
            local.write_now(lambda tx: people.add_device(tx, "telegram", "1", "chat", now, person_id="nobody"))

    @given(st.text(max_size=20))
    def test_no_text_but_the_code_pairs(self, text: str) -> None:
        when = datetime.fromisoformat("2026-11-02T15:00:00+00:00")
        fresh = LocalStore()
        fresh.write_now(lambda tx: people.ensure_local_owner(tx, when))
        fresh.write_now(lambda tx: people.issue_code(tx, "telegram", "trade", when, "A0B1C2D3"))
        assert (redeem(fresh, text, when) == "paired") == (normal(text) == "A0B1C2D3" and len(text) <= 16)
        fresh.close()


def asked(store: SqliteStore, now: datetime, requester: str, address: str) -> tuple[Approvals, str, str]:
    """An order that ``requester`` asked for at ``address`` waits for a yes: its approval's number and its key."""
    approvals = Approvals(lambda _view, _effect, _now: Verdict(Decision.ALLOW))

    def ask(tx: Tx) -> tuple[str, str]:
        event = NewEvent(
            source="t", external_id="1", agent="trading", lane="account:paper", kind="request", occurred_at=now
        )
        call = Effect(name="o", tool="paper.order", args={}, effect_class=EffectClass.MONEY, queue="account:paper")
        stored = effects.insert_effect(
            tx,
            call,
            event_seq=insert_event(tx, event, now).seq,
            lane="account:paper",
            agent="trading",
            state=EffectState.ASKED,
            repeat=RepeatClass.ENFORCED,
            now=now,
        )
        turn = Turn(sender=requester, channel="telegram", reply_to=address, kind="request")
        return approvals.ask(tx, stored, turn, Verdict(Decision.ASK, "", "tap"), now, personal=True).id, stored.key

    approval_id, key = store.write_now(ask)
    return approvals, approval_id, key


class TestThreat3StolenPhone:
    """Revoked means at once, and what waits at that device dies."""

    def test_a_channel_has_devices_once_one_was_paired_on_it(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        assert not people.has_devices(local.view(), "irc")
        local.write_now(lambda tx: people.add_device(tx, "irc", "alice", "chat", now, name="Alice"))
        assert people.has_devices(local.view(), "irc")
        local.write_now(lambda tx: people.revoke(tx, now, channel="irc", stable_id="alice"))
        assert people.has_devices(local.view(), "irc"), "names still mean something there"

    def test_a_revoked_device_is_a_stranger(self, local: LocalStore, host: Principal, now: datetime) -> None:
        redeem(local, issue(local, now), now)
        assert local.write_now(lambda tx: people.revoke(tx, now, channel="telegram", stable_id="42")) == 1
        assert people.identify(local.view(), "telegram", "42") is None
        assert people.addresses(local.view()) == {"terminal:local"}
        assert redeem(local, issue(local, now), now) == "paired", "a new code brings it back"

    def test_the_other_devices_stay(self, local: LocalStore, host: Principal, now: datetime) -> None:
        for stable_id in ("42", "43"):
            redeem(local, issue(local, now), now, stable_id)
        assert local.write_now(lambda tx: people.revoke(tx, now, channel="telegram", stable_id="42")) == 1
        assert people.addresses(local.view()) == {"terminal:local", "telegram:43"}

    def test_half_a_device_is_nobody(self, local: LocalStore, host: Principal, now: datetime) -> None:
        halves: tuple[dict[str, Any], ...] = ({"channel": "telegram"}, {"stable_id": "42"}, {})
        for half in halves:
            with pytest.raises(InvalidInputError, match="Say whom to revoke"):
                local.write_now(partial(people.revoke, now=now, **half))

    def test_pending_approvals_of_the_device_die(
        self, store: SqliteStore, owner: Principal, phone: Principal, now: datetime
    ) -> None:
        approvals, approval_id, key = asked(store, now, "owner", "telegram:42")
        store.write_now(lambda tx: people.revoke(tx, now, channel="telegram", stable_id="42"))
        view = store.view()
        found = find(view, approval_id)
        assert found is not None
        assert found.state == "void"
        assert effects.by_key(view, key).state is EffectState.REFUSED
        answer = store.write_now(lambda tx: approvals.answer(tx, approval_id, True, owner, None, now))
        assert answer.result == "already"

    @pytest.mark.parametrize(("devices", "state"), [(["43"], "void"), (["43", "44"], "pending")])
    def test_what_somebody_asked_of_another_dies_with_their_last_device(
        self, store: SqliteStore, owner: Principal, phone: Principal, now: datetime, devices: list[str], state: str
    ) -> None:
        guest: str | None = None
        for stable_id in devices:
            guest = store.write_now(
                partial(
                    people.add_device,
                    channel="telegram",
                    stable_id=stable_id,
                    scope="propose",
                    now=now,
                    person_id=guest,
                )
            ).person_id
        assert guest is not None
        _, approval_id, _ = asked(store, now, guest, "telegram:43")
        found = find(store.view(), approval_id)
        assert found is not None
        assert found.address != "telegram:43", "who may not approve is not asked"
        store.write_now(lambda tx: people.revoke(tx, now, channel="telegram", stable_id="43"))
        found = find(store.view(), approval_id)
        assert found is not None
        assert found.state == state

    def test_a_person_who_lost_a_device_is_paired_again_one_who_was_revoked_is_not(
        self, local: LocalStore, host: Principal, now: datetime
    ) -> None:
        ann = local.write_now(lambda tx: people.add_device(tx, "telegram", "43", "chat", now, name="Ann")).person_id

        def pair() -> Principal:
            return local.write_now(lambda tx: people.add_device(tx, "telegram", "43", "chat", now, person_id=ann))

        device: dict[str, Any] = {"channel": "telegram", "stable_id": "43"}
        for which in (device, {"person_id": ann, **device}, {"person_id": ann, "channel": "telegram"}):
            assert local.write_now(partial(people.revoke, now=now, **which)) == 1
            assert pair().person_id == ann
        assert local.write_now(lambda tx: people.revoke(tx, now, person_id=ann)) == 1
        with pytest.raises(NotFoundError, match="no person"):
            pair()

    def test_revoking_a_person_takes_all_their_devices(self, local: LocalStore, host: Principal, now: datetime) -> None:
        code = local.write_now(lambda tx: people.issue_code(tx, "telegram", "chat", now, person_id=NEW_PERSON))
        redeem(local, code, now, "43")
        guest = people.identify(local.view(), "telegram", "43")
        assert guest is not None
        assert local.write_now(lambda tx: people.revoke(tx, now, person_id=guest.person_id)) == 1
        assert people.devices(local.view(), guest.person_id) == []
        assert people.known(local.view(), guest.person_id)
