"""Fitting of the outcome model from an outcome matrix."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._outcomes import OutcomeMatrix
from ._blend import Contender, choose_blend
from ._calibration import Calibration, fit_calibration
from ._folds import group_folds
from ._learners import JointTrees, RandomForest, TreesPerArm, linear_p, neighbours_p, unit_rows
from ._model import MIN_QUESTIONS, ModelParameters
from ._reference import MAX_REFERENCE, ReferenceQuestions, prompt_hashes
from ._training import TrainingData, prepare

__all__ = ["FittedModel", "OutOfFold", "fit_model", "group_folds"]

_N_FOLDS = 5
# Fitting saturates: more questions than this are sampled.
_MAX_QUESTIONS = 40_000
# The comparison of learners needs no more questions than this.
_MAX_COMPARED = 6_000
# More models than this take longer to ask than they are worth.
_MAX_ARMS_APART = 8
_QUANTILES = (0.1, 0.5, 0.9, 0.99)
# The first is used unless another is clearly better; the others show what each learner brings.
_BLENDS = (
    ("means", "linear", "boosted", "forest"),
    ("means",),
    ("linear",),
    ("boosted",),
    ("forest",),
    ("neighbours",),
    ("boosted-per-arm",),
    ("means", "linear", "boosted", "forest", "neighbours"),
)
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class OutOfFold(NamedTuple):
    """What was predicted for the questions of the fit by models that had not seen them.

    Attributes:
        rows: Their positions in the matrix that was given.
        p_correct: Calibrated p, shape `(len(rows), n_arms)`.
        tokens: Expected tokens, same shape.
        prompt_tokens: Expected prompt tokens, same shape.
        posterior: Label probabilities guessed from the text, shape `(len(rows), n_labels)`.
    """

    rows: Ints
    p_correct: Floats
    tokens: Floats
    prompt_tokens: Floats
    posterior: Floats


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A fitted model and how it did on questions that its parts were not fitted on.

    Attributes:
        parameters: The model.
        out_of_fold: Predictions for the questions of the fit.
        contenders: The blends that were compared.
    """

    parameters: ModelParameters
    out_of_fold: OutOfFold
    contenders: tuple[Contender, ...]


def fit_model(matrix: OutcomeMatrix, *, seed: int, extra: Floats | None = None) -> FittedModel:
    """Fit p(correct) and tokens of every arm; deterministic for a seed.

    Everything is cross-fitted over groups in five folds: linear scores, trees, the learners'
    weights and the calibration are each judged on questions that they were not fitted on; the
    parts that are kept are then fitted on all questions. With fewer than `MIN_QUESTIONS`
    questions or ten groups the model is the shrunken means per label. Of more than 40,000
    questions a sample is used.

    Args:
        matrix: The outcomes.
        seed: Seed of folds, trees and samples.
        extra: More features of the questions (embeddings), shape `(n_questions, n_extra)`.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(matrix.n_questions)[:_MAX_QUESTIONS])
    sample = matrix if len(rows) == matrix.n_questions else matrix.rows(rows)
    n_groups = len(set(sample.groups))
    is_small = sample.n_questions < MIN_QUESTIONS or n_groups < 2 * _N_FOLDS
    folds = group_folds(sample.groups, 1 if is_small else _N_FOLDS, rng)
    data = prepare(sample, folds, rng, None if extra is None else extra[rows])
    known = np.sort(rng.permutation(sample.n_questions)[:MAX_REFERENCE])
    fit = _Fit(data, known, int(rng.integers(2**31)), is_small)
    return fit.run(matrix, rows)


class _Fit:
    """One fit: compares learners, keeps the best blend, calibrates it."""

    def __init__(self, data: TrainingData, known: Ints, seed: int, is_small: bool) -> None:
        self._data = data
        self._known = known
        self._seed = seed
        self._is_small = is_small
        self._joint = JointTrees(data, "cross_entropy", seed)
        self._per_arm = TreesPerArm(data, seed)
        self._forest = RandomForest(data, seed)

    def run(self, matrix: OutcomeMatrix, rows: Ints) -> FittedModel:
        data, sample = self._data, self._data.matrix
        contenders, raw = self._blend()
        weights = next(each.weights for each in contenders if each.is_chosen)
        if self._is_small:  # already shrunk, and too few outcomes to tell what is off
            n_arms = len(sample.arms)
            calibration, p_correct = Calibration.identity(n_arms), raw
        else:
            calibration, p_correct = fit_calibration(raw, sample.correct, data.folds, sample.groups)
        trees_tokens, tokens = self._tokens()
        scale = _ratio(sample.tokens, tokens)
        scale = np.where(scale > 0, scale, 1.0)
        tokens = tokens * scale
        n_bytes = data.n_bytes[:, np.newaxis] * np.ones((1, len(sample.arms)))
        per_byte = np.nan_to_num(_ratio(sample.prompt_tokens, n_bytes))
        known = self._known
        places: list[int] = known.tolist()
        parameters = ModelParameters(
            arms=sample.arms,
            labels=data.labels,
            vocabulary=data.vocabulary,
            linear=data.linear,
            n_topics=data.topics.shape[1],
            n_extra=data.n_extra,
            p_means=data.p_means,
            log_token_means=data.log_token_means,
            blend={name: weight for name, weight in weights.items() if weight > 0},
            trees_correct=self._joint.fit() if weights.get("boosted") else "",
            trees_tokens=trees_tokens,
            trees_by_arm=self._per_arm.fit() if weights.get("boosted-per-arm") else (),
            forest=self._forest.fit() if weights.get("forest") else (),
            calibration=calibration,
            token_scale=scale,
            token_spread=_spread(sample.tokens, tokens),
            prompt_tokens_per_byte=per_byte,
            flops_per_token=_ratio(sample.flops, sample.prompt_tokens + sample.tokens),
            # Importers of outcomes without timing write 0 seconds.
            seconds_per_token=_ratio(
                np.where(sample.seconds > 0, sample.seconds, np.nan), sample.tokens
            ),
            reference=ReferenceQuestions(
                ids=tuple(sample.question_ids[row] for row in places),
                tasks=tuple(sample.tasks[row] for row in places),
                topics=unit_rows(data.topics[known]),
                p_correct=p_correct[known].astype(np.float32),
                correct=np.nan_to_num(sample.correct[known], nan=-1.0).astype(np.float32),
                tokens=np.nan_to_num(sample.tokens[known], nan=-1.0).astype(np.float32),
                tokens_expected=tokens[known].astype(np.float32),
                n_bytes=data.n_bytes[known].astype(np.float32),
                seen=prompt_hashes(matrix.prompts),
            ),
        )
        out_of_fold = OutOfFold(rows, p_correct, tokens, n_bytes * per_byte, data.posterior)
        return FittedModel(parameters, out_of_fold, tuple(contenders))

    def _blend(self) -> tuple[list[Contender], Floats]:
        data = self._data
        if self._is_small:
            chosen = Contender(("means",), float("nan"), 0.0, {"means": 1.0}, True)
            return [chosen], data.p_base
        predictions = {"means": data.p_base, "linear": linear_p(data)}
        predictions["boosted"] = _sigmoid(data.plain_logits + self._joint.cross_fit())
        predictions["forest"] = self._forest.cross_fit()
        predictions["neighbours"] = neighbours_p(data, self._known)
        blends = _BLENDS
        n_arms = len(data.matrix.arms)
        if data.matrix.n_questions <= _MAX_COMPARED and 1 < n_arms <= _MAX_ARMS_APART:
            predictions["boosted-per-arm"] = _sigmoid(data.plain_logits + self._per_arm.cross_fit())
        else:
            blends = tuple(blend for blend in blends if "boosted-per-arm" not in blend)
        return choose_blend(
            predictions, blends, data.matrix.correct, data.folds, data.matrix.groups
        )

    def _tokens(self) -> tuple[str, Floats]:
        """Return the trees of log tokens and expected tokens out of fold, before scaling."""
        data = self._data
        added = np.zeros_like(data.plain_base_tokens)
        text = ""
        if not self._is_small and np.isfinite(data.log_tokens).any():
            trees = JointTrees(data, "regression", self._seed)
            added = trees.cross_fit()
            text = trees.fit()
        return text, np.expm1(np.maximum(data.plain_base_tokens + added, 0.0))


def _sigmoid(logits: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-logits))


def _spread(measured: Floats, expected: Floats) -> Floats:
    """Return quantiles of measured over expected per arm, 1 where nothing is known."""
    ratios = measured / np.maximum(expected, 1e-9)
    spread = np.ones((measured.shape[1], len(_QUANTILES)))
    for arm in range(measured.shape[1]):
        known = ratios[np.isfinite(ratios[:, arm]), arm]
        if len(known):
            spread[arm] = np.quantile(known, _QUANTILES)
    return spread


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return the ratio of column sums over cells where both are known; NaN where there is none."""
    known = ~(np.isnan(numerator) | np.isnan(denominator))
    above = np.where(known, numerator, 0.0).sum(axis=0)
    below = np.where(known, denominator, 0.0).sum(axis=0)
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
