"""The guard over real rows: facts, rechecks before sending, mandates, permits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from retainer.core.effects import Decision, Effect, EffectClass, EffectState, StoredEffect, Turn, Verdict
from retainer.core.errors import InvalidInputError, RefusedError
from retainer.core.labels import TRUSTED, UNTRUSTED, Label, Trust
from retainer.core.protocols import OutgoingMessage, Tx, View
from retainer.core.replies import reply_effect
from retainer.runtime import effects
from retainer.runtime.control import set_control
from retainer.runtime.sqlite import SqliteStore
from retainer.safety import mandate
from retainer.safety.guard import SafetyGuard
from retainer.safety.mandate import Mandate
from retainer.safety.people import Principal, add_device, revoke

BAR = Turn(label=TRUSTED, agent="trading", kind="bar", source="feed:replay")
PERSON = Turn(sender="owner", channel="telegram", reply_to="telegram:42", agent="trading", kind="request")
Put = Callable[..., StoredEffect]
Order = Callable[..., Effect]


def sign(store: SqliteStore, by: Principal, now: datetime, **changes: object) -> Mandate:
    terms: dict[str, object] = {
        "account": "paper",
        "strategy": "trend",
        "symbols": ["AAPL", "IBM", "MSFT", "GOOG"],
        "equity": Decimal(100_000),
        "order_cap_share": Decimal("0.3"),
        "daily_cap_share": Decimal(1),
        "max_loss_share": Decimal("0.25"),
        "expires_at": now + timedelta(days=365),
        "by": by,
        "now": now,
    }
    return store.write_now(lambda tx: mandate.sign(tx, **{**terms, **changes}))  # type: ignore[arg-type]  # test terms


@pytest.fixture
def guard() -> SafetyGuard:
    return SafetyGuard()


class TestMandates:
    def test_only_the_owner_signs(self, store: SqliteStore, phone: Principal, now: datetime) -> None:
        with pytest.raises(RefusedError, match="Only the owner"):
            sign(store, phone, now)
        forged = replace(phone, scope="admin")
        with pytest.raises(RefusedError, match="Only the owner"):
            sign(store, forged, now)

    def test_whoever_lost_the_device_changes_none(
        self, store: SqliteStore, owner: Principal, phone: Principal, now: datetime
    ) -> None:
        """A principal that somebody kept is worth what its device is worth now."""
        signed = sign(store, owner, now)
        guest = store.write_now(lambda tx: add_device(tx, "telegram", "7", "chat", now, name="Kim"))
        store.write_now(lambda tx: revoke(tx, now, channel="telegram", stable_id="42"))
        for kept in (phone, guest, replace(guest, scope="admin"), replace(owner, person_id="kim")):
            with pytest.raises(RefusedError, match="may not change mandates"):
                store.write_now(lambda tx, kept=kept: mandate.revoke(tx, signed.id, kept, now))  # type: ignore[misc]  # bound default
        assert mandate.active(store.view(), "paper", "trend", now) == signed

    @pytest.mark.parametrize(
        "changes",
        [
            {"symbols": []},
            {"order_cap_share": None},
            {"max_loss_share": None},
            {"order_cap": Decimal("-1")},
            {"daily_cap": Decimal("NaN")},
            {"equity": Decimal(0)},
            {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
        ],
    )
    def test_a_mandate_that_binds_nothing_is_refused(
        self, store: SqliteStore, owner: Principal, now: datetime, changes: dict[str, object]
    ) -> None:
        with pytest.raises(InvalidInputError):
            sign(store, owner, now, **changes)

    def test_it_lasts_until_revoked_replaced_or_expired(
        self, store: SqliteStore, owner: Principal, phone: Principal, now: datetime
    ) -> None:
        first = sign(store, owner, now)
        second = sign(store, owner, now + timedelta(seconds=1))
        later = now + timedelta(seconds=2)
        assert mandate.active(store.view(), "paper", "trend", later) == second
        assert first.id != second.id
        assert mandate.active(store.view(), "paper", "trend", now + timedelta(days=400)) is None
        assert mandate.active(store.view(), "live", "trend", later) is None
        store.write_now(lambda tx: mandate.revoke(tx, second.id, phone, later))
        assert mandate.active(store.view(), "paper", "trend", later) is None

    def test_it_reads_like_a_sentence(self, store: SqliteStore, owner: Principal, now: datetime) -> None:
        words = mandate.words(sign(store, owner, now, order_cap=Decimal("2500")))
        assert "trend may trade AAPL, GOOG, IBM, MSFT on paper by itself" in words
        assert "$2,500.00 or 30 % of equity an order" in words
        assert "until 02 Nov 2027" in words


class TestOrdersOverRows:
    def test_the_lower_cap_counts(
        self, store: SqliteStore, guard: SafetyGuard, owner: Principal, order: Order, now: datetime
    ) -> None:
        sign(store, owner, now, order_cap=Decimal(1000))
        assert guard.check(store.view(), order(), BAR, now).decision is Decision.ALLOW
        assert guard.check(store.view(), order(notional="1000.01"), BAR, now).decision is Decision.ASK

    def test_what_was_spent_on_the_accounts_day_counts(
        self, store: SqliteStore, guard: SafetyGuard, owner: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        sign(store, owner, now, daily_cap=Decimal(2000))
        put(order(), EffectState.DONE)
        put(order("yesterday", at=(now - timedelta(days=1)).isoformat(), notional="1900"), EffectState.DONE)
        put(order("refused", notional="1900"), EffectState.REFUSED)
        assert guard.check(store.view(), order(notional="1039.95"), BAR, now).decision is Decision.ALLOW
        verdict = guard.check(store.view(), order(notional="1039.96"), BAR, now)
        assert verdict.decision is Decision.ASK
        assert "day's" in verdict.reason

    def test_equity_comes_from_the_account(
        self, store: SqliteStore, owner: Principal, order: Order, now: datetime
    ) -> None:
        sign(store, owner, now)
        equity = Decimal(3000)

        def of(_view: View, account: str) -> Decimal:
            assert account == "paper"
            return equity

        guard = SafetyGuard(equity=of)
        assert "more than the $900.00" in guard.check(store.view(), order(), BAR, now).reason
        equity = Decimal(75_000)
        assert "has lost $25,000.00" in guard.check(store.view(), order(), BAR, now).reason
        equity = Decimal(75_001)
        assert guard.check(store.view(), order(), BAR, now).decision is Decision.ALLOW

    def test_a_runaway_strategy_gets_five_orders_a_minute_of_its_own_clock(
        self, store: SqliteStore, guard: SafetyGuard, owner: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        sign(store, owner, now)
        sent = 0
        for n in range(40):
            effect = order(f"o{n}", notional="1", at=(now + timedelta(milliseconds=n)).isoformat())
            if guard.check(store.view(), effect, BAR, now).decision is Decision.ALLOW:
                put(effect, EffectState.DONE)
                sent += 1
        assert sent == 5
        tomorrow = order("next", at=(now + timedelta(days=1)).isoformat())
        assert guard.check(store.view(), tomorrow, BAR, now).decision is Decision.ALLOW, "a replay is not slowed"

    def test_fifty_orders_a_day(
        self, store: SqliteStore, guard: SafetyGuard, owner: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        sign(store, owner, now)
        for n in range(50):
            put(order(f"o{n}", notional="1", at=(now - timedelta(minutes=2 * n + 2)).isoformat()), EffectState.DONE)
        verdict = guard.check(store.view(), order(), BAR, now)
        assert (verdict.decision, "a day" in verdict.reason) == (Decision.DENY, True)

    def test_cancellations_hide_no_order_that_was_sent_before_them(
        self, store: SqliteStore, guard: SafetyGuard, owner: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        sign(store, owner, now, daily_cap=Decimal(1000))
        put(order("first", notional="900"), EffectState.DONE, kind="bar")
        for n in range(300):
            cancel = replace(order(f"c{n}"), args={"account": "paper", "action": "cancel", "at": now.isoformat()})
            put(cancel, EffectState.DONE, kind="bar")
        verdict = guard.check(store.view(), order(notional="101"), BAR, now)
        assert "day's" in verdict.reason
        assert guard.check(store.view(), order(notional="100"), BAR, now).decision is Decision.ALLOW

    def test_orders_people_approved_do_not_use_up_the_strategys_rate(
        self, store: SqliteStore, guard: SafetyGuard, owner: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        sign(store, owner, now)
        for n in range(20):
            assert guard.check(store.view(), order(), PERSON, now).decision is Decision.ASK
            put(order(f"o{n}"), EffectState.DONE, asked=True)
        assert guard.check(store.view(), order(), BAR, now).decision is Decision.ALLOW
        assert guard.check(store.view(), order(), PERSON, now).decision is Decision.DENY

    def test_stop_and_resume(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, order: Order, now: datetime
    ) -> None:
        store.write_now(lambda tx: set_control(tx, "stopped", by="owner", reason="", now=now))
        assert guard.check(store.view(), order(), PERSON, now).decision is Decision.DENY
        store.write_now(lambda tx: set_control(tx, "running", by="owner", reason="", now=now))
        assert guard.check(store.view(), order(), PERSON, now).decision is Decision.ASK

    def test_with_nobody_to_approve_nothing_is_asked(
        self, store: SqliteStore, guard: SafetyGuard, order: Order, now: datetime
    ) -> None:
        verdict = guard.check(store.view(), order(), BAR, now)
        assert verdict.decision is Decision.DENY
        assert "paired" in verdict.reason


class TestPeopleOverRows:
    def test_a_revoked_sender_gets_nothing(
        self, store: SqliteStore, guard: SafetyGuard, now: datetime, owner: Principal
    ) -> None:
        kim = store.write_now(lambda tx: add_device(tx, "telegram", "7", "trade", now, name="Kim"))
        turn = Turn(sender=kim.person_id, channel="telegram", reply_to="telegram:7", kind="message")
        reply = reply_effect("telegram:7", OutgoingMessage(text="hello"))
        assert guard.check(store.view(), reply, turn, now).decision is Decision.ALLOW
        store.write_now(lambda tx: revoke(tx, now, channel="telegram", stable_id="7"))
        assert guard.check(store.view(), reply, turn, now).decision is Decision.DENY

    def test_speaking_to_paired_people_is_free_and_to_others_asked(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, now: datetime
    ) -> None:
        at_terminal = Turn(sender="owner", channel="terminal", reply_to="terminal:local", kind="message")
        known = reply_effect("telegram:42", OutgoingMessage(text="hello"))
        unknown = reply_effect("telegram:43", OutgoingMessage(text="hello"))
        assert guard.check(store.view(), known, at_terminal, now).decision is Decision.ALLOW
        assert guard.check(store.view(), unknown, at_terminal, now).level == "code"

    def test_what_is_private_stays_with_its_person_and_the_owner(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, now: datetime
    ) -> None:
        for number, name in (("7", "Kim"), ("8", "Lee")):
            store.write_now(lambda tx, n=number, w=name: add_device(tx, "telegram", n, "chat", now, name=w))  # type: ignore[misc]  # bound default
        kim = next(row["person_id"] for row in store.view().query("SELECT * FROM identity WHERE stable_id = '7'"))
        turn = Turn(
            label=Label(Trust.OWNER, private=True),
            sender=kim,
            channel="telegram",
            reply_to="telegram:7",
            kind="message",
        )

        def to(number: str) -> Decision:
            said = reply_effect(f"telegram:{number}", OutgoingMessage(text="hello"))
            return guard.check(store.view(), said, turn, now).decision

        assert [to("7"), to("42"), to("8")] == [Decision.ALLOW, Decision.ALLOW, Decision.ASK]
        nobodys = replace(turn, sender=None, reply_to=None, kind="timer")
        known = reply_effect("telegram:42", OutgoingMessage(text="hello"))
        assert guard.check(store.view(), known, nobodys, now).decision is Decision.ALLOW
        stranger = reply_effect("telegram:8", OutgoingMessage(text="hello"))
        assert guard.check(store.view(), stranger, nobodys, now).decision is Decision.ASK

    def test_effects_of_an_hour_are_counted_without_replies(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, put: Put, now: datetime
    ) -> None:
        note = Effect(name="n", tool="notes.add", args={}, effect_class=EffectClass.WRITE_OWN, queue="n")
        turn = replace(PERSON, kind="message")
        for _ in range(60):
            put(note, EffectState.DONE, at=now - timedelta(minutes=61))
        assert guard.check(store.view(), note, turn, now).decision is Decision.ALLOW
        for _ in range(60):
            put(note, EffectState.DONE, at=now - timedelta(minutes=59))
        assert guard.check(store.view(), note, turn, now).decision is Decision.DENY

    def test_poisoned_turns_ask_and_only_six_times_an_hour(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, put: Put, now: datetime
    ) -> None:
        turn = replace(PERSON, kind="message", label=UNTRUSTED)
        decisions = []
        for n in range(8):
            note = Effect(name="n", tool="notes.add", args={"n": n}, effect_class=EffectClass.WRITE_OWN, queue="n")
            verdict = guard.check(store.view(), note, turn, now)
            decisions.append(verdict.decision)
            if verdict.decision is Decision.ASK:
                stored = put(note)
                store.write_now(lambda tx, s=stored, v=verdict: guard.ask(tx, s, turn, v, now))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        assert decisions == [Decision.ASK] * 6 + [Decision.DENY] * 2


class TestRecheck:
    def test_an_order_without_its_mandate_is_not_sent(
        self, store: SqliteStore, guard: SafetyGuard, owner: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        signed = sign(store, owner, now)
        effect = put(order(), EffectState.READY, kind="bar")
        assert guard.recheck(store.view(), effect, now).decision is Decision.ALLOW
        store.write_now(lambda tx: mandate.revoke(tx, signed.id, owner, now))
        assert guard.recheck(store.view(), effect, now).decision is Decision.DENY

    def test_an_order_is_held_to_a_mandate_that_was_signed_after_it(
        self, store: SqliteStore, guard: SafetyGuard, owner: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        sign(store, owner, now - timedelta(minutes=1))
        effect = put(order(), EffectState.READY, kind="bar")
        sending = replace(effect, state=EffectState.SENDING)
        later = now + timedelta(seconds=1)
        for terms, reason in (
            ({"symbols": ["MSFT"]}, "AAPL is not in the mandate"),
            ({"order_cap": Decimal(960)}, "allows per order"),
            ({"daily_cap": Decimal(1000)}, "would be exceeded"),
        ):
            put(order("earlier", notional="50"), EffectState.DONE, kind="bar")
            sign(store, owner, later, **terms)
            assert reason in guard.recheck(store.view(), effect, later).reason
            assert guard.recheck(store.view(), sending, later).decision is Decision.ALLOW, "it may have left already"
        sign(store, owner, later)
        assert guard.recheck(store.view(), effect, later).decision is Decision.ALLOW

    def test_an_order_is_not_sent_once_the_account_has_lost_what_it_may_lose(
        self, store: SqliteStore, owner: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        sign(store, owner, now)
        equity = Decimal(75_001)
        guard = SafetyGuard(equity=lambda _view, _account: equity)
        buying = put(order(), EffectState.READY, kind="bar")
        selling = put(order("s", side="sell", increases_exposure=False), EffectState.READY, kind="bar")
        assert guard.recheck(store.view(), buying, now).decision is Decision.ALLOW
        equity = Decimal(75_000)
        assert "has lost $25,000.00" in guard.recheck(store.view(), buying, now).reason
        assert guard.recheck(store.view(), selling, now).decision is Decision.ALLOW

    def approved(
        self, store: SqliteStore, guard: SafetyGuard, who: Principal, effect: StoredEffect, now: datetime
    ) -> StoredEffect:
        verdict = Verdict(Decision.ASK, "", "tap")
        card = store.write_now(lambda tx: guard.ask(tx, effect, PERSON, verdict, now))
        answered = store.write_now(lambda tx: guard.approvals.answer(tx, card.approval_id, True, who, None, now))
        assert answered.result == "approved"
        return replace(effect, state=EffectState.READY)

    def test_an_approved_order_is_sent_unless_something_changed(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        effect = self.approved(store, guard, phone, put(order()), now)
        view = store.view()
        assert guard.recheck(view, effect, now).decision is Decision.ALLOW
        assert (
            guard.recheck(view, replace(effect, args={**effect.args, "quantity": "6"}), now).decision is Decision.DENY
        )
        assert guard.recheck(view, effect, now + timedelta(hours=2)).decision is Decision.DENY, "a stale yes"
        store.write_now(lambda tx: set_control(tx, "stopped", by="owner", reason="", now=now))
        assert guard.recheck(store.view(), effect, now).decision is Decision.DENY

    def test_an_asked_order_is_never_sent(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        effect = put(order())
        store.write_now(lambda tx: guard.ask(tx, effect, PERSON, Verdict(Decision.ASK, "", "tap"), now))
        forced = replace(effect, state=EffectState.READY)
        assert guard.recheck(store.view(), forced, now).decision is Decision.DENY

    def test_a_yes_of_somebody_revoked_since_does_not_count(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        kim = store.write_now(lambda tx: add_device(tx, "telegram", "7", "trade", now, name="Kim"))
        effect = self.approved(store, guard, kim, put(order()), now)
        store.write_now(lambda tx: revoke(tx, now, channel="telegram", stable_id="7"))
        assert guard.recheck(store.view(), effect, now).decision is Decision.DENY

    def test_a_yes_dies_with_the_device_that_gave_it(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        """The owner still has the terminal; whoever held the stolen phone has nothing."""
        effect = self.approved(store, guard, phone, put(order()), now)
        assert guard.recheck(store.view(), effect, now).decision is Decision.ALLOW
        store.write_now(lambda tx: revoke(tx, now, channel="telegram", stable_id="42"))
        assert guard.recheck(store.view(), effect, now).decision is Decision.DENY

    @pytest.mark.parametrize("ends", ["revoked", "moved"])
    def test_what_it_gave_ends_with_the_device_at_once(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, order: Order, put: Put, now: datetime, ends: str
    ) -> None:
        """Paired again in the same moment, or after the clock was set back, the device does not bring it back."""
        effect = self.approved(store, guard, phone, put(order()), now)

        def take_away(tx: Tx) -> None:
            if ends == "revoked":
                revoke(tx, now, channel="telegram", stable_id="42")
            add_device(tx, "telegram", "42", "trade", now, person_id=phone.person_id)

        store.write_now(take_away)
        ended = effects.by_key(store.view(), effect.key)
        assert (ended.state, ended.reason) == (EffectState.REFUSED, "the device that approved it is no longer paired")

    def test_a_clock_set_back_does_not_keep_a_yes_fresh(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        effect = self.approved(store, guard, phone, put(order()), now)
        assert guard.recheck(store.view(), effect, now - timedelta(minutes=10)).decision is Decision.ALLOW
        assert guard.recheck(store.view(), effect, now - timedelta(hours=2)).decision is Decision.DENY

    def test_a_yes_of_one_telephone_is_not_that_of_another(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        """The owner has two on one channel, and the one that said yes is stolen."""
        store.write_now(lambda tx: add_device(tx, "telegram", "43", "trade", now, person_id=phone.person_id))
        effect = self.approved(store, guard, phone, put(order()), now)
        assert guard.recheck(store.view(), effect, now).decision is Decision.ALLOW
        store.write_now(lambda tx: revoke(tx, now, channel="telegram", stable_id="42"))
        assert guard.recheck(store.view(), effect, now).decision is Decision.DENY

    def test_a_yes_of_an_earlier_version_counts_by_its_channel(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        effect = self.approved(store, guard, phone, put(order()), now)
        store.write_now(lambda tx: tx.execute("UPDATE approval SET answered_from = NULL"))
        assert guard.recheck(store.view(), effect, now).decision is Decision.ALLOW

    def test_taps_that_together_exceed_the_day_are_not_enough(
        self, store: SqliteStore, owner: Principal, phone: Principal, order: Order, put: Put, now: datetime
    ) -> None:
        guard = SafetyGuard()
        sign(store, owner, now, account="live", daily_cap=Decimal(1000), order_cap=Decimal(950))
        asked = [put(order(name=f"o{number}", account="live", notional="900.00"), asked=True) for number in range(3)]
        cards = [
            store.write_now(lambda tx, e=effect: guard.ask(tx, e, PERSON, Verdict(Decision.ASK, "", "tap"), now))  # type: ignore[misc]  # bound default
            for effect in asked
        ]
        answers = [
            store.write_now(lambda tx, c=card: guard.approvals.answer(tx, c.approval_id, True, phone, None, now))  # type: ignore[misc]  # bound default
            for card in cards
        ]
        assert [answer.result for answer in answers] == ["approved", "refused", "refused"]
        assert "ask for it again" in answers[1].text

    def test_nothing_is_said_to_a_revoked_device(
        self, store: SqliteStore, guard: SafetyGuard, phone: Principal, put: Put, now: datetime
    ) -> None:
        reply = put(reply_effect("telegram:42", OutgoingMessage(text="hello")), EffectState.READY)
        assert guard.recheck(store.view(), reply, now).decision is Decision.ALLOW
        store.write_now(lambda tx: revoke(tx, now, channel="telegram", stable_id="42"))
        assert guard.recheck(store.view(), reply, now).decision is Decision.DENY


def test_a_permit_is_for_one_exact_call(guard: SafetyGuard, order: Order, put: Put) -> None:
    effect = put(order(), EffectState.READY)
    permit = guard.permit(effect)
    assert permit.covers(effect)
    assert not permit.covers(replace(effect, args={**effect.args, "quantity": "500"}))
    for state in (EffectState.ASKED, EffectState.REFUSED):
        with pytest.raises(RefusedError):
            guard.permit(replace(effect, state=state))
