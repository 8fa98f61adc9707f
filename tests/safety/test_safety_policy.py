"""The policy as a table: what runs, what is asked and how, what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.core.effects import Decision, Effect, EffectClass, Turn
from retainer.core.labels import OWNER, TRUSTED, UNTRUSTED, Label, Trust, join
from retainer.core.values import Json
from retainer.safety.limits import Limits
from retainer.safety.mandate import Mandate
from retainer.safety.policy import Facts, check, rate_reason

NOW = datetime(2026, 11, 2, tzinfo=UTC)
OWNERS = Turn(
    label=Label(Trust.OWNER, True), sender="owner", channel="telegram", reply_to="telegram:42", kind="message"
)
NOTHING_PRIVATE = replace(OWNERS, label=OWNER)
TAINTED = replace(OWNERS, label=UNTRUSTED)
RECORDS = replace(OWNERS, label=TRUSTED)
BAR = Turn(label=TRUSTED, agent="trading", kind="bar", source="feed:replay")
CANCEL: dict[str, Json] = {"account": "paper", "order_id": "o1", "action": "cancel", "increases_exposure": False}
PERSON = Facts(person=True, scope="trade")
MANDATE = Mandate(
    id="m1",
    account="paper",
    strategy="trend",
    symbols=frozenset({"AAPL", "IBM"}),
    order_cap=None,
    order_cap_share=Decimal("0.3"),
    daily_cap=Decimal(60_000),
    daily_cap_share=None,
    max_loss=Decimal(20_000),
    max_loss_share=None,
    equity_at_signing=Decimal(100_000),
    expires_at=datetime(2027, 1, 1, tzinfo=UTC),
    signed_by="owner",
    signed_at=NOW,
)
INSIDE = Facts(mandate=MANDATE, equity=Decimal(100_000))


def effect(kind: EffectClass, queue: str = "own", label: Label = OWNER, **args: str) -> Effect:
    return Effect(name="e", tool=f"t.{kind.value}", args=args, effect_class=kind, queue=queue, label=label)


REPLY = effect(EffectClass.COMMUNICATE, "telegram:42", text="hello")
ELSEWHERE = effect(EffectClass.COMMUNICATE, "telegram:7", text="hello")
NOTE = effect(EffectClass.WRITE_OWN, text="note")
FETCH = effect(EffectClass.FETCH, url="https://example.org")
READ = effect(EffectClass.READ)
DELETE = effect(EffectClass.DESTRUCTIVE)
ADMIN = effect(EffectClass.ADMIN)


@pytest.mark.parametrize(
    ("what", "turn", "facts", "expected"),
    [
        (READ, OWNERS, PERSON, "allow"),
        (READ, TAINTED, PERSON, "allow"),
        (NOTE, OWNERS, PERSON, "allow"),
        (NOTE, RECORDS, PERSON, "allow"),
        (NOTE, TAINTED, PERSON, "ask tap"),
        (FETCH, NOTHING_PRIVATE, PERSON, "allow"),
        (FETCH, OWNERS, PERSON, "ask tap"),
        (FETCH, OWNERS, replace(PERSON, worded=True), "allow"),
        (FETCH, replace(OWNERS, commitments=frozenset({FETCH.digest})), PERSON, "allow"),
        (FETCH, replace(OWNERS, commitments=frozenset({NOTE.digest})), PERSON, "ask tap"),
        (replace(FETCH, label=Label(Trust.OWNER, True)), NOTHING_PRIVATE, PERSON, "ask tap"),
        (FETCH, TAINTED, PERSON, "ask tap"),
        (REPLY, OWNERS, PERSON, "allow"),
        (REPLY, TAINTED, PERSON, "allow"),
        (ELSEWHERE, OWNERS, PERSON, "ask code"),
        (ELSEWHERE, NOTHING_PRIVATE, replace(PERSON, paired_address=True), "allow"),
        (ELSEWHERE, OWNERS, replace(PERSON, paired_address=True, own_address=True), "allow"),
        (ELSEWHERE, OWNERS, replace(PERSON, paired_address=True, worded=True), "ask tap"),
        (ELSEWHERE, TAINTED, replace(PERSON, paired_address=True), "ask tap"),
        (ELSEWHERE, TAINTED, PERSON, "ask code"),
        (ELSEWHERE, BAR, Facts(paired_address=True), "allow"),
        (DELETE, OWNERS, PERSON, "ask code"),
        (DELETE, TAINTED, PERSON, "ask code"),
        (ADMIN, OWNERS, PERSON, "deny"),
        (ADMIN, OWNERS, replace(PERSON, scope="admin"), "ask totp"),
        (ADMIN, BAR, Facts(), "ask totp"),
        (NOTE, OWNERS, replace(PERSON, scope=None), "deny"),
        (REPLY, OWNERS, replace(PERSON, scope=None), "deny"),
        (READ, OWNERS, replace(PERSON, scope=None), "deny"),
        (NOTE, TAINTED, replace(PERSON, approver=False), "deny"),
        (NOTE, TAINTED, replace(PERSON, approvals_hour=6), "deny"),
        (NOTE, OWNERS, replace(PERSON, effects_hour=60), "deny"),
        (REPLY, OWNERS, replace(PERSON, effects_hour=60), "allow"),
        (REPLY, replace(OWNERS, replies=49), PERSON, "allow"),
        (REPLY, replace(OWNERS, replies=50), PERSON, "deny"),
        (ELSEWHERE, replace(OWNERS, replies=50), replace(PERSON, paired_address=True, own_address=True), "allow"),
        (effect(EffectClass.WRITE_OWN, label=UNTRUSTED), OWNERS, PERSON, "ask tap"),
    ],
)
def test_everything_but_orders(what: Effect, turn: Turn, facts: Facts, expected: str) -> None:
    verdict = check(what, turn, facts)
    assert f"{verdict.decision.value} {verdict.level}".strip() == expected
    assert verdict.decision is Decision.ALLOW or verdict.reason


class TestCommit:
    """In a tainted turn exactly what was committed runs, once."""

    def test_a_committed_call_runs_unasked(self) -> None:
        turn = replace(TAINTED, commitments=frozenset({FETCH.digest}))
        assert check(FETCH, turn, PERSON).decision is Decision.ALLOW

    def test_another_argument_is_another_call(self) -> None:
        turn = replace(TAINTED, commitments=frozenset({FETCH.digest}))
        assert check(replace(FETCH, args={"url": "https://evil.example"}), turn, PERSON).decision is Decision.ASK

    def test_another_tool_with_the_same_arguments_is_another_call(self) -> None:
        turn = replace(TAINTED, commitments=frozenset({FETCH.digest}))
        assert check(replace(FETCH, tool="other"), turn, PERSON).decision is Decision.ASK

    def test_it_runs_once(self) -> None:
        turn = replace(TAINTED, commitments=frozenset({FETCH.digest}), spent=frozenset({FETCH.digest}))
        assert check(FETCH, turn, PERSON).decision is Decision.ASK

    @pytest.mark.parametrize("kind", [EffectClass.DESTRUCTIVE, EffectClass.ADMIN, EffectClass.MONEY])
    def test_commitments_never_stand_in_for_a_yes(self, kind: EffectClass) -> None:
        call = effect(kind)
        turn = replace(TAINTED, commitments=frozenset({call.digest}))
        assert check(call, turn, replace(PERSON, scope="admin")).decision is Decision.ASK


class TestOrders:
    """Orders run unasked only inside a mandate; stop and pause outrank everything."""

    def test_a_persons_order_is_asked(self, order: Callable[..., Effect]) -> None:
        verdict = check(order(), OWNERS, PERSON)
        assert (verdict.decision, verdict.level) == (Decision.ASK, "tap")

    def test_a_committed_order_is_asked_all_the_same(self, order: Callable[..., Effect]) -> None:
        turn = replace(OWNERS, commitments=frozenset({order().digest}))
        assert check(order(), turn, replace(PERSON, mandate=MANDATE)).decision is Decision.ASK

    def test_proposing_needs_the_scope_to_propose(self, order: Callable[..., Effect]) -> None:
        assert check(order(), OWNERS, replace(PERSON, scope="chat")).decision is Decision.DENY
        assert check(order(), OWNERS, replace(PERSON, scope="propose")).decision is Decision.ASK

    def test_another_agents_order_is_asked(self, order: Callable[..., Effect]) -> None:
        turn = Turn(label=TRUSTED, sender="home", agent="trading", kind="request")
        assert check(order(), turn, INSIDE).decision is Decision.ASK

    def test_the_strategys_own_order_inside_the_mandate_runs(self, order: Callable[..., Effect]) -> None:
        assert check(order(), BAR, INSIDE).decision is Decision.ALLOW

    @pytest.mark.parametrize(
        ("args", "facts", "words"),
        [
            ({}, Facts(), "No mandate"),
            ({"account": "paper2"}, INSIDE, "No mandate"),
            ({"strategy": "other"}, INSIDE, "No mandate"),
            ({"symbol": "TSLA"}, INSIDE, "TSLA is not in the mandate"),
            ({"notional": "30000.01"}, INSIDE, "per order"),
            ({"notional": "NaN"}, INSIDE, "not a valid number"),
            ({"notional": "-5"}, INSIDE, "not a valid number"),
            ({"notional": None}, INSIDE, "not a valid number"),
            ({"side": "short"}, INSIDE, "side or quantity"),
            ({"quantity": "0"}, INSIDE, "side or quantity"),
            ({"quantity": "Infinity"}, INSIDE, "side or quantity"),
            ({"notional": "20000"}, replace(INSIDE, spent_today=Decimal("40000.01")), "day's"),
            ({}, replace(INSIDE, equity=Decimal(80_000)), "has lost"),
        ],
    )
    def test_outside_the_mandate_it_is_asked(
        self, order: Callable[..., Effect], args: dict[str, object], facts: Facts, words: str
    ) -> None:
        verdict = check(order(**args), BAR, facts)
        assert verdict.decision is Decision.ASK
        assert words in verdict.reason

    def test_the_caps_are_inclusive(self, order: Callable[..., Effect]) -> None:
        facts = replace(INSIDE, spent_today=Decimal(30_000))
        assert check(order(notional="30000.00"), BAR, facts).decision is Decision.ALLOW

    def test_an_order_that_only_reduces_is_not_held_by_caps(self, order: Callable[..., Effect]) -> None:
        exit_order = order(side="sell", notional="70000", increases_exposure=False)
        assert check(exit_order, BAR, replace(INSIDE, equity=Decimal(70_000))).decision is Decision.ALLOW

    def test_a_tainted_feed_makes_every_order_asked(self, order: Callable[..., Effect]) -> None:
        assert check(order(), replace(BAR, label=UNTRUSTED), INSIDE).decision is Decision.ASK

    @pytest.mark.parametrize("turn", [OWNERS, BAR, TAINTED])
    def test_stop_refuses_every_order(self, order: Callable[..., Effect], turn: Turn) -> None:
        facts = replace(INSIDE, control="stopped", person=turn.sender is not None, scope="admin")
        assert check(order(), turn, facts).decision is Decision.DENY
        assert check(order(increases_exposure=False), turn, facts).decision is Decision.DENY

    def test_stop_keeps_protective_orders(self, order: Callable[..., Effect]) -> None:
        guard = order(side="sell", protective=True, increases_exposure=False)
        assert check(guard, BAR, replace(INSIDE, control="stopped")).decision is Decision.ALLOW

    def test_an_order_cannot_call_itself_protective_and_add_exposure(self, order: Callable[..., Effect]) -> None:
        assert check(order(protective=True), BAR, replace(INSIDE, control="stopped")).decision is Decision.DENY

    def test_pause_blocks_new_entries_only(self, order: Callable[..., Effect]) -> None:
        paused = replace(INSIDE, control="paused")
        assert check(order(), BAR, paused).decision is Decision.DENY
        assert check(order(increases_exposure=None), BAR, paused).decision is Decision.DENY
        assert check(order(side="sell", increases_exposure=False), BAR, paused).decision is Decision.ALLOW

    @pytest.mark.parametrize(
        ("args", "turn", "control", "expected"),
        [
            ({"increases_exposure": False}, OWNERS, "running", "allow"),
            ({"increases_exposure": False}, OWNERS, "stopped", "allow"),
            ({"increases_exposure": False}, OWNERS, "paused", "allow"),
            ({"increases_exposure": False}, TAINTED, "running", "ask"),
            ({"increases_exposure": True}, OWNERS, "running", "ask"),
            ({"increases_exposure": True}, OWNERS, "stopped", "deny"),
            ({"increases_exposure": False, "protective": True}, OWNERS, "running", "ask"),
            ({"increases_exposure": False, "protective": "yes"}, OWNERS, "stopped", "deny"),
        ],
    )
    def test_a_cancellation_runs_unasked_only_if_it_lowers_exposure_and_takes_no_protection_away(
        self, order: Callable[..., Effect], args: dict[str, Json], turn: Turn, control: str, expected: str
    ) -> None:
        cancel = replace(order(), args={"account": "paper", "order_id": "o1", "action": "cancel", **args})
        assert check(cancel, turn, replace(PERSON, control=control)).decision.value == expected

    def test_an_order_that_calls_itself_a_cancellation_is_an_order(self, order: Callable[..., Effect]) -> None:
        disguised = order(action="cancel", increases_exposure=False)
        assert check(disguised, OWNERS, PERSON).decision is Decision.ASK
        assert check(disguised, OWNERS, replace(PERSON, control="stopped")).decision is Decision.DENY
        together = replace(order(), args={**CANCEL, "legs": [dict(order().args)]})
        assert check(together, OWNERS, PERSON).decision is Decision.ASK
        assert check(replace(order(), args=CANCEL), OWNERS, PERSON).decision is Decision.ALLOW

    def test_legs_are_what_is_ordered_whatever_is_said_over_them(self, order: Callable[..., Effect]) -> None:
        """Orders that are sent together, each held to the mandate, to *stop* and to *pause*."""
        half = dict(order(notional="480.00").args)

        def both(*legs: object, **over: object) -> Effect:
            return order(legs=list(legs), **{"notional": "960.00", **over})

        assert check(both(half, {**half, "symbol": "IBM"}), BAR, INSIDE).decision is Decision.ALLOW
        for leg in (
            {**half, "symbol": "GME"},
            {**half, "account": "live"},
            {**half, "strategy": "other"},
            {**half, "side": "short"},
            {**half, "quantity": "0"},
            {**half, "symbol": ["AAPL"]},
            {**half, "account": ["paper"]},
            {**half, "side": ["buy"]},
            {**half, "notional": "480.01"},
            {**half, "notional": "NaN"},
            {},
            "buy",
        ):
            assert check(both(half, leg), BAR, INSIDE).decision is Decision.ASK, leg
        assert check(both(half, half, notional="100"), BAR, INSIDE).decision is Decision.ASK
        nothing: tuple[Json, ...] = ([], {}, "x", 7)
        for legs in nothing:
            assert check(order(legs=legs), BAR, INSIDE).decision is Decision.ASK, legs
        lower = {**half, "side": "sell", "increases_exposure": False}
        quiet = both(half, lower, increases_exposure=False)
        assert check(quiet, BAR, replace(INSIDE, control="paused")).decision is Decision.DENY
        allowed = both(lower, lower, increases_exposure=False)
        assert check(allowed, BAR, replace(INSIDE, control="paused")).decision is Decision.ALLOW
        guarding = both(lower, lower, increases_exposure=False, protective=True)
        assert check(guarding, BAR, replace(INSIDE, control="stopped")).decision is Decision.DENY
        all_guard = [{**lower, "protective": True}] * 2
        guarding = both(*all_guard, increases_exposure=False, protective=True)
        assert check(guarding, BAR, replace(INSIDE, control="stopped")).decision is Decision.ALLOW

    @pytest.mark.parametrize("cost", ["1e400", "9e999999", "1e9999999", "1e999999999999"])
    def test_a_cost_beyond_all_sums_is_no_number(self, order: Callable[..., Effect], cost: str) -> None:
        """Adding it up would raise, writing it out would fill the memory."""
        assert check(order(notional=cost), BAR, INSIDE).decision is Decision.ASK
        both = order(notional=cost, legs=[dict(order(notional=cost).args)] * 2)
        assert check(both, BAR, INSIDE).decision is Decision.ASK
        live = replace(INSIDE, live=True)
        assert check(order(notional=cost), OWNERS, replace(live, person=True, scope="trade")).level == "code"

    def test_an_order_beside_its_accounts_queue_is_not_the_mandates(self, order: Callable[..., Effect]) -> None:
        """The day's orders are counted by queue."""
        for queue in ("account:paper2", "paper", ""):
            assert check(replace(order(), queue=queue), BAR, INSIDE).decision is Decision.ASK
        assert check(order(), BAR, INSIDE).decision is Decision.ALLOW

    def test_facts_nobody_gathered_count_as_nothing_used(self, order: Callable[..., Effect]) -> None:
        once = Limits(effects_per_hour=1, approvals_per_hour=1, own_approvals_per_hour=1)
        assert check(NOTE, OWNERS, Facts(person=True, scope="trade", limits=once)).decision is Decision.ALLOW
        assert check(order(), OWNERS, Facts(person=True, scope="trade", limits=once)).decision is Decision.ASK
        assert rate_reason(Facts(limits=Limits(orders_per_minute=1, orders_per_day=1)), own=True) == ""
        day = Facts(mandate=replace(MANDATE, daily_cap=Decimal(30_000)))
        assert check(order(notional="30000.00"), BAR, day).decision is Decision.ALLOW

    @pytest.mark.parametrize(
        ("facts", "allowed"),
        [
            (replace(INSIDE, orders_minute=4), True),
            (replace(INSIDE, orders_minute=5), False),
            (replace(INSIDE, orders_day=50), False),
        ],
    )
    def test_the_rate_of_orders(self, order: Callable[..., Effect], facts: Facts, allowed: bool) -> None:
        assert check(order(), BAR, facts).decision is (Decision.ALLOW if allowed else Decision.DENY)

    def test_live_orders_need_a_tap_inside_the_caps_and_a_code_above(self, order: Callable[..., Effect]) -> None:
        live = replace(PERSON, live=True, mandate=replace(MANDATE, account="robinhood"))
        assert check(order(account="robinhood"), OWNERS, live).level == "tap"
        assert check(order(account="robinhood", notional="31000"), OWNERS, live).level == "code"
        assert check(order(account="robinhood"), OWNERS, replace(live, mandate=None)).level == "code"
        assert check(order(account="robinhood", notional="nan"), OWNERS, live).level == "code"

    def test_too_many_requests_are_refused_not_asked(self, order: Callable[..., Effect]) -> None:
        assert check(order(), OWNERS, replace(PERSON, approvals_hour=6)).decision is Decision.ASK
        assert check(order(), OWNERS, replace(PERSON, approvals_hour=200)).decision is Decision.DENY
        assert check(order(), BAR, Facts(approvals_hour=6)).decision is Decision.DENY


_labels = st.builds(Label, st.sampled_from(list(Trust)), st.booleans())
_kinds = st.sampled_from(["message", "command", "bar", "timer", "request", "outcome"])
_classes = st.sampled_from(list(EffectClass))


@given(st.lists(_labels, max_size=6), _labels)
def test_joined_labels_never_rise(labels: list[Label], one: Label) -> None:
    joined = join([*labels, one])
    assert joined.trust <= one.trust
    assert joined.private >= one.private
    assert joined == join([one, *reversed(labels)])
    assert Label.decode(joined.encode()) == joined
    for typo in ("+privat", "+Private", "+", "+private+x"):
        with pytest.raises(KeyError):
            Label.decode("trusted" + typo)


@given(
    _labels,
    _kinds,
    st.sampled_from([None, "owner"]),
    st.sampled_from(["running", "paused", "stopped"]),
    st.sampled_from(["feed:replay", "agent:chat", "telegram", ""]),
)
def test_only_a_clean_strategys_order_runs_unasked(
    label: Label, kind: str, sender: str | None, control: str, source: str
) -> None:
    args = {"account": "paper", "strategy": "trend", "symbol": "AAPL", "side": "buy", "quantity": "1", "notional": "1"}
    call = Effect(
        name="o", tool="paper.order", args=args, effect_class=EffectClass.MONEY, queue="account:paper", label=label
    )
    turn = Turn(label=OWNER, sender=sender, kind=kind, source=source, commitments=frozenset({call.digest}))
    facts = replace(INSIDE, control=control, person=sender is not None, scope="admin")
    if check(call, turn, facts).decision is Decision.ALLOW:
        assert (kind, sender, control, source) == ("bar", None, "running", "feed:replay")
        assert label.trust is not Trust.UNTRUSTED


@given(_classes, _labels, _kinds, st.sampled_from([None, "chat", "propose", "trade", "admin"]), st.booleans())
def test_more_taint_never_allows_more(
    kind: EffectClass, label: Label, event: str, scope: str | None, paired: bool
) -> None:
    call = effect(kind, "telegram:7")
    facts = Facts(person=True, scope=scope, paired_address=paired)
    clean = check(call, Turn(label=label, sender="owner", kind=event), facts)
    dirty = check(call, Turn(label=label.join(UNTRUSTED), sender="owner", kind=event), facts)
    order = [Decision.ALLOW, Decision.ASK, Decision.DENY]
    assert order.index(dirty.decision) >= order.index(clean.decision)


def test_the_pure_check_is_quick(order: Callable[..., Effect]) -> None:
    calls = [(NOTE, OWNERS, PERSON), (order(), BAR, INSIDE), (FETCH, TAINTED, PERSON), (REPLY, OWNERS, PERSON)]
    times = []
    for call, turn, facts in calls:
        check(call, turn, facts)
        for _ in range(200):
            started = time.perf_counter_ns()
            check(call, turn, facts)
            times.append(time.perf_counter_ns() - started)
    assert median(times) <= 20_000, "p50 is 5 microseconds on a quiet machine; four times that is a defect"


def test_limits_are_what_the_settings_say() -> None:
    from retainer.safety.settings import SafetySettings

    assert SafetySettings().limits() == Limits()
