"""The trained model: past-only features, walk-forward scores, no shuffling, one artefact for the same bars."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.models.predictor import load_predictor
from retainer.trading import learned
from retainer.trading.bars import Bars
from retainer.trading.samples import load_samples, sample_path


@pytest.fixture(scope="module")
def market() -> dict[str, Bars]:
    return {symbol: bars.upto(900) for symbol, bars in load_samples(("IBM", "MSFT")).items()}


@pytest.fixture(scope="module")
def rows(market: dict[str, Bars]) -> learned.Samples:
    return learned.build_samples(market)


def test_features_use_the_past_only(market: dict[str, Bars]) -> None:
    bars = market["IBM"]
    whole = learned.features(bars)
    assert np.isnan(whole[:98]).any(axis=1).all()
    for row in (99, 250, 700):
        np.testing.assert_array_equal(learned.features(bars.upto(row + 1))[-1], whole[row])


def test_outcomes_become_known_after_their_features(rows: learned.Samples) -> None:
    assert (rows.known > rows.at).all()
    assert (np.diff(rows.at) >= 0).all()
    assert rows.rows.shape == (len(rows), len(learned.FEATURES))


def test_training_never_sees_what_was_not_known_yet(rows: learned.Samples) -> None:
    folds = list(learned.walk_forward(rows))
    assert len(folds) == learned.FOLDS
    for fold in folds:
        assert rows.known[fold.train].max() < rows.at[fold.test].min()
    tested = np.concatenate([fold.test for fold in folds])
    assert len(set(tested.tolist())) == len(tested)


def test_a_shuffled_evaluation_is_refused(rows: learned.Samples) -> None:
    order = np.random.default_rng(0).permutation(len(rows))
    with pytest.raises(InvalidInputError, match="shuffled"):
        learned.Samples(rows.rows[order], rows.outcome[order], rows.at[order], rows.known[order])
    with pytest.raises(InvalidInputError, match="known no later"):
        replace(rows, known=rows.at)
    with pytest.raises(InvalidInputError, match="different lengths"):
        replace(rows, outcome=rows.outcome[:-1])


def test_a_real_pattern_beats_the_constant_and_noise_does_not() -> None:
    rng = np.random.default_rng(1)
    count = 4_000
    at = np.arange(1, count + 1)
    table = rng.normal(size=(count, 2))
    real = rng.random(count) < 1 / (1 + np.exp(-2 * table[:, 0]))
    noise = rng.random(count) < 0.5
    found = learned.evaluate(learned.Samples(table, real, at, at + 1))
    nothing = learned.evaluate(learned.Samples(table, noise, at, at + 1))
    assert found.log_loss < found.constant_log_loss - 0.1
    assert nothing.log_loss > nothing.constant_log_loss - 0.005


def test_the_same_bars_give_the_same_model_and_it_predicts(market: dict[str, Bars], tmp_path: Path) -> None:
    first, second = learned.train(market), learned.train(market)
    assert first.sha256 == second.sha256
    assert first.artefact.trained_on.symbols == ("IBM", "MSFT")
    table = learned.features(market["IBM"])[200:210]
    p = first.predict(table)
    assert ((p > 0) & (p < 1)).all()


def test_too_few_bars_are_refused(market: dict[str, Bars]) -> None:
    with pytest.raises(InvalidInputError, match="too few"):
        learned.train({"IBM": market["IBM"].upto(106)})


def test_the_default_is_trained_once_and_replaced_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = sample_path().read_bytes()
    monkeypatch.setenv("RETAINER_CACHE", str(tmp_path))
    with pytest.raises(NotFoundError, match="not on this machine"):
        learned.train_default()
    sample_path().parent.mkdir(parents=True)
    sample_path().write_bytes(bars)
    made = learned.train_default()
    path = learned.artefact_path()
    stamp = path.stat().st_mtime_ns
    assert learned.train_default().sha256 == made.sha256
    assert path.stat().st_mtime_ns == stamp
    body = json.loads(path.read_text())
    body["coef"][0] += 1.0
    path.write_text(json.dumps(body))
    assert learned.train_default().sha256 == made.sha256
    assert load_predictor(path).sha256 == made.sha256
    assert made.artefact.scores.rows > 6_000
