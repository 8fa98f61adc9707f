"""Predictors: a readable artefact, numpy only, nothing that does not fit is served."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError
from retainer.models.errors import DamagedFileError
from retainer.models.predictor import (
    LogisticPredictor,
    Scores,
    TrainedOn,
    constant_predictor,
    load_predictor,
    logistic_predictor,
    save_predictor,
)

SPAN = TrainedOn(first="2000-03-01T21:00:00+00:00", last="2010-01-04T21:00:00+00:00", rows=2400, symbols=("IBM",))
SCORES = Scores(rows=800, log_loss=0.6921, constant_log_loss=0.6930)


def made(**changes: Any) -> LogisticPredictor:
    values: dict[str, Any] = {
        "name": "direction",
        "features": ("r1", "rsi"),
        "coef": np.array([0.5, -0.25]),
        "intercept": 0.1,
        "mean": np.array([0.0, 50.0]),
        "scale": np.array([0.01, 10.0]),
        "trained_on": SPAN,
        "scores": SCORES,
    }
    return logistic_predictor(**{**values, **changes})


def test_the_probability_is_the_sigmoid_of_the_standardised_row() -> None:
    z = 0.1 + 0.5 * (0.02 / 0.01) - 0.25 * ((40 - 50) / 10)
    assert made().predict([[0.02, 40.0]])[0] == pytest.approx(1 / (1 + math.exp(-z)), abs=1e-15)


def test_a_frame_is_read_by_column_name_whatever_the_order() -> None:
    import pandas as pd

    frame = pd.DataFrame({"rsi": [40.0], "other": ["x"], "r1": [0.02]})
    assert made().predict(frame) == pytest.approx(made().predict([[0.02, 40.0]]))
    with pytest.raises(InvalidInputError, match="lacks the columns rsi"):
        made().predict(frame.drop(columns="rsi"))


@given(st.lists(st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12)), min_size=1, max_size=20))
def test_probabilities_stay_strictly_between_0_and_1(rows: list[tuple[float, float]]) -> None:
    p = made().predict(rows)
    assert p.shape == (len(rows),)
    assert ((p > 0) & (p < 1)).all()


def test_it_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    rows = rng.normal(size=(200, 2)) * [0.01, 10] + [0, 50]
    labels = (rows[:, 0] + rng.normal(size=200) * 0.01 > 0).astype(int)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    fitted = LogisticRegression().fit((rows - mean) / scale, labels)
    ours = made(coef=fitted.coef_[0], intercept=fitted.intercept_[0], mean=mean, scale=scale)
    expected = fitted.predict_proba((rows - mean) / scale)[:, 1]
    np.testing.assert_allclose(ours.predict(rows), expected, rtol=1e-12)


def test_saved_and_loaded_it_is_the_same_model(tmp_path: Path) -> None:
    path = save_predictor(made(), tmp_path / "new")
    again = load_predictor(path)
    assert again == made()
    assert again.name == made().name == f"direction@{made().sha256[:12]}"
    assert json.loads(path.read_text())["scores"]["constant_log_loss"] == 0.693
    assert [p.name for p in path.parent.iterdir()] == ["direction.json"]


def test_the_constant_is_a_predictor_like_any_other(tmp_path: Path) -> None:
    constant = constant_predictor(0.53, features=("r1", "rsi"), trained_on=SPAN, scores=SCORES)
    assert constant.predict([[0, 0], [1, 1]]).tolist() == [0.53, 0.53]
    assert load_predictor(save_predictor(constant, tmp_path)) == constant
    assert SCORES.beats_constant


def test_a_changed_number_gives_another_version() -> None:
    changed = made().updated(intercept=0.2)
    assert changed.name != made().name
    assert changed.predict([[0.0, 50.0]])[0] > made().predict([[0.0, 50.0]])[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"coef": [0.5]},
        {"scale": [0.01, 0.0]},
        {"mean": [math.nan, 0.0]},
        {"intercept": math.inf},
        {"features": ("r1", "r1")},
        {"name": "../escape"},
    ],
)
def test_numbers_that_do_not_fit_make_no_predictor(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        made(**changes)


@pytest.mark.parametrize("rows", [[[1.0]], [1.0, 2.0], [["x", "y"]], [[math.nan, 1.0]], [[1.0, math.inf]]])
def test_rows_of_another_shape_or_without_numbers_are_refused(rows: Any) -> None:
    with pytest.raises(InvalidInputError):
        made().predict(rows)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("0.1,", "0.2,"),
        lambda text: text[:40],
        lambda text: "[]",
        lambda text: text.replace('"kind": "logistic"', '"kind": "pickle"'),
        lambda text: text.replace('"rows"', '"rowz"', 1),
    ],
)
def test_a_file_that_was_changed_is_not_served(tmp_path: Path, edit: Any) -> None:
    path = save_predictor(made(), tmp_path)
    path.write_text(edit(path.read_text()))
    with pytest.raises(DamagedFileError) as caught:
        load_predictor(path)
    assert caught.value.hint
