"""Learners: what is predicted out of fold, and that serving computes the same numbers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from calibration import OutcomeRecord
from router import OutcomeMatrix
from router.model._fit import FittedModel, fit_model
from router.model._folds import group_folds
from router.model._forest import Forest, parse_trees
from router.model._learners import (
    JointTrees,
    RandomForest,
    TreesPerArm,
    linear_p,
    neighbours_p,
    unit_rows,
)
from router.model._model import LEARNERS, OutcomeModel, neighbour_rates
from router.model._training import TrainingData, prepare

Records = list[OutcomeRecord]
Floats = NDArray[np.float64]
PROMPTS = [
    "Compute, left to right: 3+4*5-1*2",
    "Who is the boss of the friend of Ada?",
    "",
    "ünïcode 数学 ข้อใดถูกต้อง",
    "x" * 300,
]


@pytest.fixture(scope="module")
def matrix(make_records: Callable[..., Records]) -> OutcomeMatrix:
    return OutcomeMatrix.from_records(make_records(300, seed=2))


@pytest.fixture(scope="module")
def data(matrix: OutcomeMatrix) -> TrainingData:
    rng = np.random.default_rng(0)
    return prepare(matrix, group_folds(matrix.groups, 5, rng), rng)


def fitted_with(
    matrix: OutcomeMatrix, monkeypatch: pytest.MonkeyPatch, *blends: tuple[str, ...]
) -> FittedModel:
    monkeypatch.setattr("router.model._fit._BLENDS", blends)
    return fit_model(matrix, seed=0)


PREDICTORS: dict[str, Callable[[TrainingData], Floats]] = {
    "boosted": lambda data: JointTrees(data, "cross_entropy", 1).cross_fit(),
    "boosted-per-arm": lambda data: TreesPerArm(data, 1).cross_fit(),
    "forest": lambda data: RandomForest(data, 1).cross_fit(),
    "linear": linear_p,
    "neighbours": lambda data: neighbours_p(data, np.arange(data.matrix.n_questions)),
    "means": lambda data: data.p_base,
}


@pytest.mark.parametrize("learner", LEARNERS)
def test_outcomes_of_a_fold_have_no_say_in_its_predictions(
    matrix: OutcomeMatrix, monkeypatch: pytest.MonkeyPatch, learner: str
) -> None:
    """Turning an arm's outcomes of a fold around changes nothing that is predicted for that fold.

    Trees get the linear scores of questions as features, each made without that question's own
    fold: those are held fixed here. How many rounds of boosting there are is chosen on all folds
    together: so few are allowed that all are used.
    """
    monkeypatch.setattr("router.model._boosting._MAX_ROUNDS", 4)
    folds = group_folds(matrix.groups, 5, np.random.default_rng(0))
    data = prepare(matrix, folds, np.random.default_rng(1))
    correct = matrix.correct.copy()
    rows = folds[2][:20] if learner.startswith("boosted") else folds[2]
    correct[rows, 0] = 1.0 - correct[rows, 0]
    turned = replace(matrix, correct=correct)
    if learner in ("boosted", "boosted-per-arm", "forest"):
        other = replace(data, matrix=turned)
    else:
        other = prepare(turned, folds, np.random.default_rng(1))
    first, second = PREDICTORS[learner](data), PREDICTORS[learner](other)
    assert np.array_equal(first[folds[2]], second[folds[2]])
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_learner_served_alone_predicts_as_its_parts_say(
    matrix: OutcomeMatrix, monkeypatch: pytest.MonkeyPatch, learner: str
) -> None:
    fitted = fitted_with(matrix, monkeypatch, (learner,))
    parameters = fitted.parameters
    assert parameters.blend == {learner: 1.0}
    model = OutcomeModel(parameters)
    together = model.predict(PROMPTS * 60).p_correct[: len(PROMPTS)]
    for row, prompt in enumerate(PROMPTS):
        assert np.array_equal(model.predict([prompt]).p_correct[0], together[row]), prompt
    assert ((together > 0.0) & (together < 1.0)).all()
    assert np.ptp(together[:2], axis=1).max() > 0.05  # the arms are told apart
    truth = matrix.correct
    p = fitted.out_of_fold.p_correct
    assert np.square(p - truth).mean() < np.square(truth.mean(axis=0) - truth).mean()


@pytest.mark.parametrize("learner", ["boosted", "boosted-per-arm", "forest"])
def test_served_trees_predict_what_lightgbm_does(
    matrix: OutcomeMatrix, data: TrainingData, learner: str
) -> None:
    n_arms = len(matrix.arms)
    plain = np.hstack([data.plain_query, data.scores])
    if learner == "boosted":
        trees = JointTrees(data, "cross_entropy", 1)
        assert trees.cross_fit().any()
        text = trees.fit()
        forest = Forest([parse_trees(text)], data.query.shape[1], 2, data.of_arms)
        ours = forest.raw_scores(data.plain_query, data.pair)[0]
        peer = lightgbm.Booster(model_str=text)
        for arm in range(n_arms):
            of_arm = np.tile(data.of_arms[arm], (len(plain), 1))
            rows = np.hstack([data.plain_query, data.pair[:, arm], of_arm])
            theirs = np.asarray(peer.predict(rows, raw_score=True))
            assert ours[:, arm] == pytest.approx(theirs, abs=1e-12)
        return
    source: Any = (TreesPerArm if learner == "boosted-per-arm" else RandomForest)(data, 1)
    source.cross_fit()
    texts = source.fit()
    assert len(texts) == n_arms + (learner == "forest")
    assert any(texts)
    assert all(("\naverage_output\n" in text) == (learner == "forest") for text in texts if text)
    forest = Forest(
        [parse_trees(text) if text else () for text in texts], plain.shape[1], 0, np.zeros((1, 0))
    )
    ours = np.hstack(forest.raw_scores(plain, np.zeros((len(plain), 1, 0))))
    for column, text in enumerate(texts):
        # The raw score of LightGBM's own random forest is not divided by the number of trees.
        is_raw = learner != "forest"
        peer = lightgbm.Booster(model_str=text) if text else None
        theirs = 0.0 if peer is None else np.asarray(peer.predict(plain, raw_score=is_raw))
        assert ours[:, column] == pytest.approx(np.broadcast_to(theirs, len(plain)), abs=1e-12)


def test_features_of_fitted_questions_are_those_that_are_served(data: TrainingData) -> None:
    """Trees split between values; a feature must not take another one when it is served."""
    parameters = data.vocabulary, data.linear
    from router.features.text import read_text

    words = [read_text(prompt).words for prompt in data.matrix.prompts]
    vocabulary, linear = parameters
    served = linear.scores(vocabulary.terms(vocabulary.look_up(words)), len(words))
    topics = served[:, -data.topics.shape[1] :]
    assert topics == pytest.approx(data.topics, abs=1e-6)
    # Rounding noise is no feature: it differs from machine to machine.
    assert not ((np.abs(data.topics) > 0) & (np.abs(data.topics) < 1e-9)).any()
    assert data.topics.std(axis=0).min() > 1e-3


def test_texts_of_one_pattern_have_as_many_topics_as_they_have_patterns(
    make_records: Callable[..., Records],
) -> None:
    """Singular vectors beyond the rank are noise: trees that split on it predict nonsense."""
    patterns = ["alpha beta", "gamma delta", "epsilon zeta", "eta theta"]
    records = [
        replace(record, prompt=patterns[int(record.question_id[1:]) % 4])
        for record in make_records(200)
    ]
    matrix = OutcomeMatrix.from_records(records)
    rng = np.random.default_rng(0)
    data = prepare(matrix, group_folds(matrix.groups, 5, rng), rng)
    assert data.topics.shape[1] <= 4
    p = OutcomeModel(fit_model(matrix, seed=0).parameters).predict(patterns).p_correct
    by_pattern = np.array(
        [
            matrix.correct[[text == each for text in matrix.prompts]].mean(axis=0)
            for each in patterns
        ]
    )
    assert np.abs(p - by_pattern).max() < 0.15


def test_neighbours_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    known, texts = rng.normal(size=(300, 6)), rng.normal(size=(5, 6))
    correct = rng.choice([-1.0, 0.0, 1.0], (300, 2)).astype(np.float32)
    prior = rng.random((5, 2))
    rates = neighbour_rates(texts, unit_rows(known), correct, prior)
    for row, text in enumerate(texts):
        cosine = known @ text / np.linalg.norm(known, axis=1)
        nearest = np.argsort(-cosine)[:40]
        for arm in range(2):
            outcomes = [value for value in correct[nearest, arm].tolist() if value >= 0]
            expected = (sum(outcomes) + 4 * prior[row, arm]) / (len(outcomes) + 4)
            assert rates[row, arm] == pytest.approx(expected)


def test_a_text_without_topics_gets_some_rate() -> None:
    rates = neighbour_rates(
        np.zeros((1, 3)),
        np.zeros((50, 3), np.float32),
        np.ones((50, 1), np.float32),
        np.ones((1, 1)),
    )
    assert rates.tolist() == [[1.0]]


def test_rows_of_zeros_have_no_direction() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
