"""Only proof swaps models: no false promotion from looking often, no rules changed afterwards, one champion always."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError
from retainer.core.protocols import Tx
from retainer.core.values import Json
from retainer.learning import registry
from retainer.learning.gate import EProcess, Gate, GateRules, Verdict, Watch, loss_difference, run
from retainer.learning.schema import MIGRATIONS
from retainer.runtime.sqlite import SqliteStore

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def stream(rng: random.Random, length: int, edge: float) -> Iterator[tuple[bool, float, float]]:
    """Outcomes, a constant champion, a challenger that knows ``edge`` of the truth."""
    for _ in range(length):
        truth = 0.5 + edge * rng.choice((-1, 1))
        yield rng.random() < truth, 0.5, truth


def noise(rng: random.Random, length: int) -> Iterator[tuple[bool, float, float]]:
    """Two models of equal skill: none."""
    for _ in range(length):
        yield rng.random() < 0.5, 0.5 + rng.gauss(0, 0.05), 0.5 + rng.gauss(0, 0.05)


def test_equal_models_are_almost_never_swapped_though_every_bar_is_looked_at() -> None:
    rng = random.Random(7)
    promoted = sum(run(noise(rng, 500)).verdict is Verdict.PROMOTE for _ in range(200))
    assert promoted / 200 <= 0.05, "Ville: at most one in twenty; measured about one in fifty"


def test_a_better_model_is_promoted() -> None:
    rng = random.Random(8)
    promoted = sum(run(stream(rng, 1500, 0.12)).verdict is Verdict.PROMOTE for _ in range(20))
    assert promoted >= 18


@given(st.lists(st.floats(-1, 1), max_size=80))
def test_wealth_is_positive_and_the_peak_never_falls(differences: list[float]) -> None:
    process, peak = EProcess(), 1.0
    for difference in differences:
        process = process.update(difference)
        assert process.evidence > 0
        assert process.best >= peak - 1e-12
        peak = process.best
    assert process.count == len(differences)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_fair_coin_gains_nothing_on_average(first: float, second: float) -> None:
    """The supermartingale itself: when the champion's probability is the truth, the expected wealth does not grow."""
    truth = min(0.65, max(0.35, first))
    after = [EProcess().update(loss_difference(outcome, truth, second)).evidence for outcome in (True, False)]
    assert truth * after[0] + (1 - truth) * after[1] <= 1 + 1e-9


@given(st.booleans(), st.floats(0, 1), st.floats(0, 1))
def test_differences_are_bounded_and_antisymmetric(outcome: bool, first: float, second: float) -> None:
    difference = loss_difference(outcome, first, second)
    assert -1 <= difference <= 1
    assert math.isclose(difference, -loss_difference(outcome, second, first), abs_tol=1e-12)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability(wrong: float) -> None:
    with pytest.raises(InvalidInputError):
        loss_difference(True, wrong, 0.5)
    with pytest.raises(InvalidInputError):
        EProcess().update(wrong * 100)


def test_later_candidates_need_more_evidence() -> None:
    assert [GateRules(trial=k).needed for k in (1, 2, 3)] == [20, 60, 120]


def test_a_model_that_broke_is_taken_back_on_less_evidence() -> None:
    watch = Watch()
    for bar in range(200):
        watch = watch.score(bar % 2 == 0, 0.35 if bar % 2 == 0 else 0.65, 0.5)
        if watch.verdict is Verdict.DEMOTE:
            break
    assert bar < 20
    assert Gate().verdict is Verdict.WAIT


# --- registry --------------------------------------------------------------------------------------------------------
@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore.open(tmp_path / "x.db", MIGRATIONS)
    yield made
    made.close()


def add(store: SqliteStore, name: str) -> str:
    content: dict[str, Json] = {"kind": name}
    return store.write_now(lambda tx: registry.register(tx, "direction", content, lineage={"seed": 1}, now=NOW))


def test_the_constant_is_the_first_champion_and_only_the_gate_replaces_it(store: SqliteStore) -> None:
    constant, candidate = add(store, "constant"), add(store, "logistic")
    holder = registry.champion(store.view(), "direction")
    assert holder is not None
    assert holder.sha256 == constant
    with pytest.raises(RefusedError, match="No gate is open"):
        store.write_now(lambda tx: registry.score(tx, "direction", candidate, True, (0.5, 0.65), NOW))
    rules = store.write_now(lambda tx: registry.open_gate(tx, "direction", candidate, now=NOW))
    assert (rules.trial, rules.needed) == (1, 20)
    with pytest.raises(RefusedError, match="open already"):
        store.write_now(
            lambda tx: registry.open_gate(tx, "direction", candidate, rules=GateRules(promote_at=2), now=NOW)
        )
    verdicts = []
    for _ in range(40):
        verdicts.append(store.write_now(lambda tx: registry.score(tx, "direction", candidate, True, (0.5, 0.65), NOW)))
        if verdicts[-1] is Verdict.PROMOTE:
            break
    assert verdicts[0] is Verdict.WAIT
    assert verdicts[-1] is Verdict.PROMOTE
    holder = registry.champion(store.view(), "direction")
    assert holder is not None
    assert (holder.sha256, holder.previous) == (candidate, constant)
    assert store.write_now(lambda tx: registry.demote(tx, "direction", NOW)) == constant
    assert store.write_now(lambda tx: registry.demote(tx, "direction", NOW)) == constant


def test_the_same_content_is_the_same_model(store: SqliteStore) -> None:
    assert add(store, "constant") == add(store, "constant")
    assert registry.load(store.view(), add(store, "logistic")).trial == 1
    with pytest.raises(InvalidInputError, match="challenge itself"):
        store.write_now(lambda tx: registry.open_gate(tx, "direction", add_again(tx), now=NOW))


def add_again(tx: Tx) -> str:
    return registry.register(tx, "direction", {"kind": "constant"}, lineage={}, now=NOW)


def test_a_changed_model_is_refused(store: SqliteStore) -> None:
    sha = add(store, "constant")
    store.write_now(lambda tx: tx.execute("UPDATE artefact SET content = '{}'"))
    with pytest.raises(InvalidInputError, match="was changed"):
        registry.load(store.view(), sha)
    with pytest.raises(NotFoundError):
        registry.load(store.view(), "f" * 64)
    with pytest.raises(NotFoundError, match="constant first"):
        store.write_now(lambda tx: registry.demote(tx, "other", NOW))


@given(st.lists(st.floats(-1, 1), max_size=30))
@settings(max_examples=30)
def test_a_gate_kept_as_json_goes_on_bit_for_bit(differences: list[float]) -> None:
    whole = EProcess()
    for difference in differences:
        whole = whole.update(difference)
        kept = whole.to_json()
        logs = kept["logs"]
        assert isinstance(logs, list)
        whole = EProcess(tuple(logs), whole.peak, whole.count)
    straight = EProcess()
    for difference in differences:
        straight = straight.update(difference)
    assert straight == whole
