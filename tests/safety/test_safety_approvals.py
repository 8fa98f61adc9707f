"""Approvals: bound to the exact call, once, in time, by somebody who may; one winner of two answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retainer.core.effects import Decision, Effect, EffectClass, EffectState, StoredEffect, Turn, Verdict
from retainer.core.labels import UNTRUSTED
from retainer.core.protocols import Card, Tx
from retainer.core.values import Json
from retainer.runtime import effects, safe_mode
from retainer.runtime.control import set_control
from retainer.runtime.sqlite import SqliteStore
from retainer.safety import audit, consent, totp
from retainer.safety.approvals import Answered, code_of, find, pending
from retainer.safety.guard import SafetyGuard
from retainer.safety.limits import Limits
from retainer.safety.people import Principal, add_device, principal_at

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
FROM_PHONE = Turn(sender="owner", channel="telegram", reply_to="telegram:42", agent="trading", kind="request")
Put = Callable[..., StoredEffect]


class Desk:
    """One pending request and the ways to answer it."""

    def __init__(self, store: SqliteStore, guard: SafetyGuard, put: Put, now: datetime) -> None:
        self.store, self.guard, self.put, self.now = store, guard, put, now

    def ask(self, effect: Effect, level: str = "tap", turn: Turn = FROM_PHONE) -> tuple[StoredEffect, Card]:
        stored = self.put(effect)
        verdict = Verdict(Decision.ASK, "An order.", level)
        return stored, self.store.write_now(lambda tx: self.guard.ask(tx, stored, turn, verdict, self.now))

    def answer(
        self, card: Card, who: Principal | None, *, yes: bool = True, code: str | None = None, after: float = 1
    ) -> Answered:
        at = self.now + timedelta(seconds=after)
        return self.store.write_now(lambda tx: self.guard.approvals.answer(tx, card.approval_id, yes, who, code, at))

    def state(self, effect: StoredEffect) -> EffectState:
        return effects.by_key(self.store.view(), effect.key).state


@pytest.fixture
def desk(store: SqliteStore, put: Put, now: datetime) -> Desk:
    return Desk(store, SafetyGuard(totp_secret=lambda: SECRET), put, now)


class TestTheCard:
    def test_it_goes_where_the_request_came_from(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order())
        assert card.address == "telegram:42"
        assert card.text.startswith(effect.summary)
        assert "5 minutes" in card.text
        assert [(b.text, b.data) for b in card.buttons] == [
            ("Approve", f"a:{card.approval_id}"),
            ("Reject", f"r:{card.approval_id}"),
        ]
        assert all(len(b.data.encode()) <= 64 for b in card.buttons)
        assert card.expires_at == desk.now + timedelta(minutes=5)
        assert len(card.approval_id) == 8

    def test_the_owner_is_asked_when_the_requester_may_not_approve(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect], now: datetime
    ) -> None:
        desk.store.write_now(lambda tx: add_device(tx, "telegram", "7", "propose", now, name="Kim"))
        guest = desk.store.view().one("SELECT person_id FROM identity WHERE stable_id = '7'")
        assert guest is not None
        turn = Turn(sender=guest["person_id"], channel="telegram", reply_to="telegram:7", kind="request")
        _, card = desk.ask(order(), turn=turn)
        assert card.address in {"telegram:42", "terminal:local"}

    def test_asking_again_for_the_same_effect_is_the_same_request(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order())
        verdict = Verdict(Decision.ASK, "An order.", "tap")
        again = desk.store.write_now(lambda tx: desk.guard.ask(tx, effect, FROM_PHONE, verdict, desk.now))
        assert again == card

    def test_a_coded_request_shows_the_code_and_no_approve_button(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order(account="robinhood"), "code")
        assert card.text.endswith(f"type within 2 minutes: YES {effect.digest[:4].upper()}")
        assert "2 minutes" in card.text
        assert [b.text for b in card.buttons] == ["Reject"]

    def test_a_request_has_the_same_number_in_every_replay(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        """It is made from the effect's key, its call and the time."""
        _, card = desk.ask(order())
        assert card.approval_id == "g43bq8p8"

    def test_the_limits_given_are_those_that_hold(
        self, store: SqliteStore, put: Put, phone: Principal, now: datetime, order: Callable[..., Effect]
    ) -> None:
        desk = Desk(store, SafetyGuard(Limits(tap_seconds=60, wrong_codes=1)), put, now)
        effect, card = desk.ask(order(), "code")
        assert card.expires_at == now + timedelta(seconds=60)
        assert desk.answer(card, phone, code="zzzz").result == "rejected"
        assert desk.state(effect) is EffectState.REFUSED

    def test_a_tainted_turn_shows_the_exact_call_and_why(self, desk: Desk, phone: Principal) -> None:
        note = Effect(
            name="n",
            tool="notes.add",
            args={"text": "x"},
            effect_class=EffectClass.WRITE_OWN,
            queue="n",
            label=UNTRUSTED,
        )
        _, card = desk.ask(note)
        assert 'Exactly: notes.add {"text":"x"}' in card.text
        assert "Why I ask" in card.text


class TestAnswers:
    def test_a_yes_makes_the_effect_ready_and_nothing_else(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order())
        answered = desk.answer(card, phone)
        assert (answered.result, answered.effect_key, answered.card_key) == (
            "approved",
            effect.key,
            f"{effect.key}:card",
        )
        assert desk.state(effect) is EffectState.READY
        assert pending(desk.store.view()) == []

    def test_a_yes_is_in_the_record_with_who_gave_it(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order())
        desk.answer(card, phone)
        asked, approved = audit.about(desk.store.view(), effect.key)
        assert (asked.kind, approved.kind) == ("approval.asked", "approval.approved")
        assert (approved.data["by"], approved.data["on"]) == ("owner", "telegram")

    def test_a_second_answer_is_told_what_the_first_one_was(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        _, card = desk.ask(order())
        desk.answer(card, phone)
        told = desk.answer(card, phone, yes=False)
        assert told.text == "That was already approved by Owner at 15:00 UTC. Nothing more was done."

    @pytest.mark.parametrize(("reason", "words"), [("sold out.", "sold out"), ("", "it is no longer open")])
    def test_a_yes_to_what_was_refused_meanwhile_is_too_late(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect], reason: str, words: str
    ) -> None:
        effect, card = desk.ask(order())
        desk.store.write_now(lambda tx: effects.refuse(tx, effect.key, reason, desk.now))
        assert desk.answer(card, phone).text == f"Too late: {words}. Nothing was done."
        found = find(desk.store.view(), card.approval_id)
        assert found is not None
        assert found.state == "void"

    def test_a_yes_that_the_runtime_forbids_says_why(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order())
        mode = {"backup": "b", "made_at": 0.0, "since": 0.0, "last_event": 0}
        desk.store.write_now(
            lambda tx: tx.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (safe_mode.KEY, json.dumps(mode)))
        )
        answered = desk.answer(card, phone)
        assert (answered.result, answered.text) == ("refused", f"Not done: {safe_mode.WORDS}")
        assert desk.state(effect) is EffectState.REFUSED

    def test_a_no_refuses_it(self, desk: Desk, phone: Principal, order: Callable[..., Effect]) -> None:
        effect, card = desk.ask(order())
        assert desk.answer(card, phone, yes=False).result == "rejected"
        assert desk.state(effect) is EffectState.REFUSED

    @pytest.mark.parametrize("first", [True, False])
    @pytest.mark.parametrize("second", [True, False])
    def test_the_second_answer_does_nothing_and_says_so(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect], first: bool, second: bool
    ) -> None:
        effect, card = desk.ask(order())
        desk.answer(card, phone, yes=first)
        before = desk.state(effect)
        again = desk.answer(card, phone, yes=second, after=2)
        assert again.result == "already"
        assert "already " + ("approved" if first else "rejected") in again.text
        assert desk.state(effect) is before

    def test_a_late_yes_does_nothing_and_says_so(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order())
        assert desk.answer(card, phone, after=300).result == "expired"
        assert desk.state(effect) is EffectState.REFUSED
        assert desk.answer(card, phone, after=1).result == "expired", "moving the clock back helps nobody"

    def test_the_timer_ends_it_only_in_time(self, desk: Desk, phone: Principal, order: Callable[..., Effect]) -> None:
        effect, card = desk.ask(order())
        expire = desk.guard.approvals.expire
        early, late = desk.now + timedelta(seconds=299), desk.now + timedelta(seconds=300)
        desk.store.write_now(lambda tx: expire(tx, card.approval_id, early))
        assert desk.state(effect) is EffectState.ASKED
        assert desk.store.write_now(lambda tx: expire(tx, card.approval_id, late)).result == "expired"
        assert desk.state(effect) is EffectState.REFUSED

    def test_the_timer_leaves_an_approved_one_alone(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order())
        desk.answer(card, phone)
        late = desk.now + timedelta(hours=1)
        answered = desk.store.write_now(lambda tx: desk.guard.approvals.expire(tx, card.approval_id, late))
        assert (answered.result, desk.state(effect)) == ("already", EffectState.READY)

    def test_an_unknown_number_does_nothing(self, desk: Desk, phone: Principal) -> None:
        nowhere = Card("zzzzzzzz", "telegram:42", "", (), desk.now)
        assert desk.answer(nowhere, phone).result == "unknown"

    def test_strangers_proposers_and_forged_principals_may_not(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect], now: datetime
    ) -> None:
        kim = desk.store.write_now(lambda tx: add_device(tx, "telegram", "7", "propose", now, name="Kim"))
        effect, card = desk.ask(order())
        forged = Principal("owner", "Owner", "admin", "telegram", "666")
        raised = Principal(kim.person_id, "Kim", "admin", "telegram", "7")
        for who in (None, kim, forged, raised):
            for yes in (True, False):
                assert desk.answer(card, who, yes=yes).result == "not_allowed"
        assert desk.state(effect) is EffectState.ASKED

    def test_the_requester_may_withdraw_what_they_may_not_approve(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect], now: datetime
    ) -> None:
        kim = desk.store.write_now(lambda tx: add_device(tx, "telegram", "7", "propose", now, name="Kim"))
        turn = Turn(sender=kim.person_id, channel="telegram", reply_to="telegram:7", kind="request")
        effect, card = desk.ask(order(), turn=turn)
        assert desk.answer(card, kim).result == "not_allowed"
        assert desk.answer(card, kim, yes=False).result == "rejected"
        assert desk.state(effect) is EffectState.REFUSED

    def test_stop_after_the_question_wins(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect], now: datetime
    ) -> None:
        effect, card = desk.ask(order())
        desk.store.write_now(lambda tx: set_control(tx, "stopped", by="owner", reason="stop", now=now))
        answered = desk.answer(card, phone)
        assert answered.result == "refused"
        assert "Stopped" in answered.text
        assert desk.state(effect) is EffectState.REFUSED

    def test_orders_refused_by_stop_are_not_pending_and_say_why(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect], now: datetime
    ) -> None:
        _, card = desk.ask(order())
        desk.store.write_now(lambda tx: effects.refuse_orders(tx, "You said stop.", now))
        assert pending(desk.store.view()) == []
        answered = desk.answer(card, phone)
        assert answered.result == "refused"
        assert "You said stop" in answered.text

    def test_a_call_changed_after_the_question_is_not_approved(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order())
        changed = '{"account":"paper","quantity":"5000"}'
        desk.store.write_now(
            lambda tx: tx.execute(
                "UPDATE body SET bytes = ? WHERE id = (SELECT args_id FROM effect WHERE key = ?)", (changed, effect.key)
            )
        )
        assert desk.answer(card, phone).result == "rejected"
        assert desk.state(effect) is EffectState.REFUSED

    def test_pending_finds_by_conversation_lane_and_account(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        _, card = desk.ask(order())
        view = desk.store.view()
        for found in (
            pending(view),
            pending(view, address="telegram:42"),
            pending(view, lane="account:paper"),
            pending(view, account="paper"),
        ):
            assert [each.id for each in found] == [card.approval_id]
        for none in (
            pending(view, address="terminal:local"),
            pending(view, lane="account:other"),
            pending(view, account="other"),
        ):
            assert none == []


class TestLevels:
    def test_a_code_must_be_that_calls_own(self, desk: Desk, phone: Principal, order: Callable[..., Effect]) -> None:
        effect, card = desk.ask(order(account="robinhood"), "code")
        right = code_of(effect.digest)
        wrong = "0000" if right != "0000" else "1111"
        tapped = desk.answer(card, phone)
        assert tapped.result == "wrong_code", "a tap is not enough"
        assert "type YES and the four characters on the card" in tapped.text
        assert desk.answer(card, phone, code=wrong).result == "wrong_code"
        assert desk.state(effect) is EffectState.ASKED
        assert desk.answer(card, phone, code=right.lower()).result == "approved"
        assert desk.state(effect) is EffectState.READY

    def test_three_wrong_codes_close_the_request(
        self, desk: Desk, phone: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order(account="robinhood"), "code")
        results = [desk.answer(card, phone, code="zzzz").result for _ in range(3)]
        assert results == ["wrong_code", "wrong_code", "rejected"]
        assert desk.answer(card, phone, code=code_of(effect.digest)).result == "already"
        assert desk.state(effect) is EffectState.REFUSED

    def test_an_authenticator_code_works_once(self, desk: Desk, owner: Principal, now: datetime) -> None:
        def admin(name: str) -> Effect:
            return Effect(
                name=name, tool="limits.raise", args={"n": name}, effect_class=EffectClass.ADMIN, queue="admin"
            )

        at_terminal = Turn(sender="owner", channel="terminal", reply_to="terminal:local", kind="message")
        (first, one), (second, two) = (desk.ask(admin(n), "totp", at_terminal) for n in ("a", "b"))
        assert "type YES and the six digits of your authenticator app" in desk.answer(one, owner).text
        code = totp.code_at(SECRET, int(now.timestamp()) // 30)
        assert desk.answer(one, owner, code="000000" if code != "000000" else "111111").result == "wrong_code"
        assert desk.answer(one, owner, code=code).result == "approved"
        assert desk.answer(two, owner, code=code).result == "wrong_code"
        assert (desk.state(first), desk.state(second)) == (EffectState.READY, EffectState.ASKED)

    def test_guessing_authenticator_codes_ends_for_all_requests_together(
        self, desk: Desk, owner: Principal, now: datetime
    ) -> None:
        """Three guesses for each request would add up: after ten within an hour not even the right one counts."""
        at_terminal = Turn(sender="owner", channel="terminal", reply_to="terminal:local", kind="message")
        code = totp.code_at(SECRET, int(now.timestamp()) // 30)
        wrong = "000000" if code != "000000" else "111111"

        def request(n: int) -> tuple[StoredEffect, Card]:
            args: dict[str, Json] = {"n": n}
            change = Effect(name=f"c{n}", tool="limits.raise", args=args, effect_class=EffectClass.ADMIN, queue="admin")
            return desk.ask(change, "totp", at_terminal)

        for n in range(3):
            _, card = request(n)
            assert [desk.answer(card, owner, code=wrong).result for _ in range(3)] == [*["wrong_code"] * 2, "rejected"]
        effect, card = request(3)
        assert desk.answer(card, owner, code=wrong).result == "wrong_code"
        locked = desk.answer(card, owner, code=code)
        assert (locked.result, "10 wrong authenticator codes" in locked.text) == ("wrong_code", True)
        assert desk.state(effect) is EffectState.ASKED
        desk.now += timedelta(hours=1, minutes=5, seconds=1)  # and the life of the last request
        effect, card = request(4)
        later = totp.code_at(SECRET, int(desk.now.timestamp()) // 30)
        assert desk.answer(card, owner, code=later).result == "approved"

    def test_administration_needs_an_admin(self, desk: Desk, phone: Principal, owner: Principal) -> None:
        change = Effect(name="x", tool="limits.raise", args={}, effect_class=EffectClass.ADMIN, queue="admin")
        at_terminal = Turn(sender="owner", channel="terminal", reply_to="terminal:local", kind="message")
        _, card = desk.ask(change, "totp", at_terminal)
        assert desk.answer(card, phone, code="123456").result == "not_allowed"

    def test_without_an_authenticator_nothing_at_that_level_passes(
        self, store: SqliteStore, put: Put, owner: Principal, now: datetime
    ) -> None:
        desk = Desk(store, SafetyGuard(), put, now)
        change = Effect(name="x", tool="limits.raise", args={}, effect_class=EffectClass.ADMIN, queue="admin")
        effect, card = desk.ask(change, "totp", Turn(sender="owner", reply_to="terminal:local", kind="message"))
        answered = desk.answer(card, owner, code="123456")
        assert answered.result == "wrong_code"
        assert "No authenticator" in answered.text
        assert desk.state(effect) is EffectState.ASKED

    def test_rfc_6238_vectors(self) -> None:
        """Appendix B of RFC 6238 (SHA-1), its eight digits cut to the six we use."""
        secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        for at, code in [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]:
            assert totp.code_at(secret, at // 30) == code


def test_two_answers_at_once_have_one_winner(
    desk: Desk, phone: Principal, owner: Principal, order: Callable[..., Effect]
) -> None:
    for round_ in range(5):
        effect, card = desk.ask(order(quantity=str(round_ + 1)))
        results: list[str] = []
        together = threading.Barrier(4)

        def press(who: Principal, yes: bool, card: Card, gate: threading.Barrier, said: list[str]) -> None:
            gate.wait()
            said.append(desk.answer(card, who, yes=yes).result)

        presses = [(phone, True), (owner, True), (phone, False), (owner, False)]
        threads = [threading.Thread(target=press, args=(*each, card, together, results)) for each in presses]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results.count("already") == 3
        winner = next(result for result in results if result != "already")
        assert desk.state(effect) is (EffectState.READY if winner == "approved" else EffectState.REFUSED)


_moves = st.lists(
    st.tuples(st.sampled_from(["yes", "no", "expire", "guest"]), st.integers(min_value=0, max_value=400)), max_size=8
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(moves=_moves)
def test_single_use_under_any_interleaving(
    desk: Desk, phone: Principal, order: Callable[..., Effect], moves: list[tuple[str, int]]
) -> None:
    """At most one answer lets the effect happen, never after its time, and a final state never changes again."""
    desk.store.write_now(lambda tx: tx.execute("DELETE FROM approval"))
    effect, card = desk.ask(order())
    approved = 0
    settled: EffectState | None = None
    for move, after in moves:
        if move == "expire":
            at = desk.now + timedelta(seconds=after)
            desk.store.write_now(lambda tx, at=at: desk.guard.approvals.expire(tx, card.approval_id, at))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        else:
            who = None if move == "guest" else phone
            result = desk.answer(card, who, yes=move != "no", after=after).result
            approved += result == "approved"
            assert result != "approved" or (move == "yes" and after < 300)
        state = desk.state(effect)
        assert settled is None or state is settled
        settled = state if state is not EffectState.ASKED else None
    assert approved <= 1
    assert (approved == 1) == (desk.state(effect) is EffectState.READY)
    found = find(desk.store.view(), card.approval_id)
    assert found is not None
    assert (found.state == "approved") == (approved == 1)


class TestWhoeverPassesAPrincipal:
    """It may have been kept for long, or speak for a channel that may do less than the device."""

    def test_it_answers_with_no_more_power_than_it_says(
        self, desk: Desk, owner: Principal, order: Callable[..., Effect]
    ) -> None:
        effect, card = desk.ask(order())
        by_sms = principal_at(desk.store.view(), "owner", None, "sms")
        assert by_sms is not None
        assert desk.answer(card, by_sms).result == "not_allowed"
        request = desk.store.write_now(lambda tx: consent.ask(tx, "pay", {}, desk.now))
        said = desk.store.write_now(lambda tx: consent.answer(tx, request.id, by_sms, desk.now))
        assert (said, desk.state(effect)) == ("not_allowed", EffectState.ASKED)

    def test_it_does_not_answer_for_who_has_the_device_now(self, desk: Desk, order: Callable[..., Effect]) -> None:
        def pair(name: str) -> Principal:
            return desk.store.write_now(lambda tx: add_device(tx, "telegram", "7", "trade", desk.now, name=name))

        ana, _ = pair("Ana"), pair("Bob")
        effect, card = desk.ask(order())
        assert desk.answer(card, ana).result == "not_allowed"
        request = desk.store.write_now(lambda tx: consent.ask(tx, "pay", {}, desk.now))
        said = desk.store.write_now(lambda tx: consent.answer(tx, request.id, ana, desk.now))
        assert (said, desk.state(effect)) == ("not_allowed", EffectState.ASKED)

    @pytest.mark.parametrize("secret", ["not base32!", "A" * 31])
    def test_a_spoilt_authenticator_secret_is_said_and_no_try(
        self, desk: Desk, owner: Principal, order: Callable[..., Effect], secret: str
    ) -> None:
        guard = SafetyGuard(totp_secret=lambda: secret)
        effect, card = desk.ask(order(), "totp")

        def answer(tx: Tx) -> Answered:
            return guard.approvals.answer(tx, card.approval_id, True, owner, "123456", desk.now)

        for _ in range(4):
            answered = desk.store.write_now(answer)
            assert (answered.result, "not base32" in answered.text) == ("wrong_code", True)
        assert desk.state(effect) is EffectState.ASKED

    @pytest.mark.parametrize("level", ["code", "totp"])
    def test_a_code_that_is_no_text_is_a_wrong_one(
        self, desk: Desk, owner: Principal, order: Callable[..., Effect], level: str
    ) -> None:
        _, card = desk.ask(order(), level)
        assert desk.answer(card, owner, code=123456).result == "wrong_code"  # type: ignore[arg-type]
        request = desk.store.write_now(lambda tx: consent.ask(tx, "pay", {}, desk.now, level=level))
        for code in (123456, None):
            give = partial(consent.answer, request_id=request.id, principal=owner, now=desk.now, totp_secret=SECRET)
            said = desk.store.write_now(partial(give, code=code))
            assert said == "wrong_code"

    def test_a_card_is_not_for_who_has_the_device_next(self, desk: Desk, order: Callable[..., Effect]) -> None:
        """They were never shown it, and what was said on that device before is nobody's."""

        def pair(number: str, name: str = "", whose: str | None = None) -> Principal:
            return desk.store.write_now(
                lambda tx: add_device(tx, "telegram", number, "trade", desk.now, name=name, person_id=whose)
            )

        ana = pair("7", "Ana")
        pair("8", whose=ana.person_id)
        turn = Turn(sender=ana.person_id, channel="telegram", reply_to="telegram:7", kind="request")
        effect, card = desk.ask(order(), turn=turn)
        assert card.address == "telegram:7"
        bob = pair("7", "Bob")
        assert pending(desk.store.view(), address="telegram:7") == []
        assert desk.state(effect) is EffectState.REFUSED
        assert desk.answer(card, bob).result == "already"
        assert principal_at(desk.store.view(), ana.person_id, "telegram:7") is None
        assert principal_at(desk.store.view(), ana.person_id, "telegram:8") is not None

    def test_an_id_that_is_none_names_no_request(self, desk: Desk, owner: Principal) -> None:
        for text in ("\ud800", "x\0y"):
            answer = partial(desk.guard.approvals.answer, yes=True, principal=owner, code=None, now=desk.now)
            assert desk.store.write_now(partial(answer, approval_id=text)).result == "unknown"
            assert desk.store.write_now(partial(consent.answer, request_id=text, principal=owner, now=desk.now)) == (
                "unknown"
            )
            assert not desk.store.write_now(partial(consent.spend, request_id=text, tool="pay", args={}, now=desk.now))

    def test_a_clock_set_back_does_not_keep_a_request_open(
        self, desk: Desk, owner: Principal, order: Callable[..., Effect]
    ) -> None:
        (_, soon), (late, card) = desk.ask(order()), desk.ask(order())
        assert desk.answer(soon, owner, after=-200).result == "approved"
        assert desk.answer(card, owner, after=-3600).result == "expired"
        assert desk.state(late) is EffectState.REFUSED
        request = desk.store.write_now(lambda tx: consent.ask(tx, "pay", {}, desk.now))
        assert desk.store.write_now(lambda tx: consent.answer(tx, request.id, owner, desk.now)) == "approved"
        before = desk.now - timedelta(hours=1)
        assert not desk.store.write_now(lambda tx: consent.spend(tx, request.id, "pay", {}, before))

    def test_a_word_is_no_yes(self, desk: Desk, phone: Principal, order: Callable[..., Effect]) -> None:
        effect, card = desk.ask(order())
        assert desk.answer(card, phone, yes="no").result == "rejected"  # type: ignore[arg-type]
        assert desk.state(effect) is EffectState.REFUSED
