"""Fitting of the outcome model from an outcome matrix."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._boosting import fit_booster
from ._model import ModelParameters, OutcomeModel, arm_features, assemble, base_scores
from ._outcomes import OutcomeMatrix
from .features.fit_linear import fit_scores
from .features.sparse import LinearScores, Terms, Vocabulary
from .features.task_type import posterior_from_logits
from .features.text import ReadText, read_text, text_features

__all__ = ["MIN_QUESTIONS", "FittedModel", "fit_model", "group_folds"]

MIN_QUESTIONS = 50
"""With fewer questions the model is shrunken means per task type, without trees."""

_N_FOLDS = 5
_CALIBRATION_SHARE = 0.2
_PRIOR_OUTCOMES = 8.0
_CALIBRATION_PRIOR = 4.0
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class FittedModel(NamedTuple):
    """A fitted model and the questions it was not fitted on.

    Attributes:
        parameters: The model.
        calibration_rows: Questions used only to calibrate; all of them for `means`, which has
            too few to hold any back.
    """

    parameters: ModelParameters
    calibration_rows: Ints


def fit_model(matrix: OutcomeMatrix, *, seed: int) -> FittedModel:
    """Fit p(correct) and tokens of every arm; deterministic for a seed.

    A fifth of the groups is held back to calibrate probabilities (a sigmoid on the log-odds, one
    slope, one intercept per arm, shrunk towards none) and mean tokens. On the rest, linear
    word scores are computed out of fold, so that the trees see them as they are on new text;
    half of the questions carry their true task type as a hint, so that both ways of asking are
    known. With fewer than `MIN_QUESTIONS` questions or two groups there are no trees.
    """
    rng = np.random.default_rng(seed)
    is_small = matrix.n_questions < MIN_QUESTIONS or len(set(matrix.groups)) < 2 * _N_FOLDS
    everything = np.arange(matrix.n_questions)
    held_back = group_folds(matrix.groups, round(1 / _CALIBRATION_SHARE), rng)[0]
    fitting = everything if is_small else np.setdiff1d(everything, held_back)
    calibration = everything if is_small else held_back
    texts = [read_text(prompt) for prompt in matrix.prompts]
    parameters = _Fit(matrix.rows(fitting), [texts[row] for row in fitting], rng, is_small).fit()
    parameters = _calibrate(
        parameters, matrix.rows(calibration), [texts[row] for row in calibration]
    )
    return FittedModel(parameters, calibration)


def group_folds(groups: Sequence[str], n_folds: int, rng: np.random.Generator) -> list[Ints]:
    """Split positions into folds of about equal size; a group is never split.

    Args:
        groups: Group of each position.
        n_folds: Number of folds wanted; fewer come back if there are fewer groups.
        rng: Decides which groups go together.
    """
    names, group_of = np.unique(np.array(groups, dtype=object), return_inverse=True)
    sizes = np.bincount(group_of)
    order = rng.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    loads = np.zeros(min(n_folds, len(names)), dtype=np.int64)
    fold_of_group = np.empty(len(names), dtype=np.int64)
    for group in order:
        fold_of_group[group] = loads.argmin()
        loads[fold_of_group[group]] += sizes[group]
    folds = fold_of_group[group_of]
    return [np.flatnonzero(folds == fold) for fold in range(len(loads))]


class _Fit:
    """The fitting part of one model; nothing in here sees the calibration questions."""

    def __init__(
        self,
        matrix: OutcomeMatrix,
        texts: Sequence[ReadText],
        rng: np.random.Generator,
        is_small: bool,
    ) -> None:
        self._matrix = matrix
        self._texts = texts
        self._rng = rng
        self._is_small = is_small
        self._task_types = tuple(sorted(set(matrix.task_types)))
        self._types = np.array([self._task_types.index(name) for name in matrix.task_types])
        self._log_tokens = np.log1p(matrix.tokens)
        self._words = [text.words for text in texts]

    def fit(self) -> ModelParameters:
        vocabulary = Vocabulary.build(self._words)
        terms = vocabulary.terms(self._words)
        matrix, n_arms = self._matrix, len(self._matrix.arms)
        p_means, log_token_means = self._means()
        trees = ("", "")
        if not self._is_small:
            trees = self._trees(terms, vocabulary.n_terms, p_means, log_token_means)
        bytes_of = np.array([[len(text.data)] for text in self._texts]) * np.ones((1, n_arms))
        return ModelParameters(
            kind="means" if self._is_small else "boosted",
            arms=matrix.arms,
            task_types=self._task_types,
            vocabulary=vocabulary,
            linear=self._linear(terms, vocabulary.n_terms),
            p_means=p_means,
            log_token_means=log_token_means,
            trees_correct=trees[0],
            trees_tokens=trees[1],
            slope=1.0,
            intercepts=np.zeros(n_arms),
            token_scale=np.ones(n_arms),
            prompt_tokens_per_byte=np.nan_to_num(_ratio(matrix.prompt_tokens, bytes_of)),
            flops_per_token=_ratio(matrix.flops, matrix.prompt_tokens + matrix.tokens),
            # Importers of outcomes without timing write 0 seconds.
            seconds_per_token=_ratio(
                np.where(matrix.seconds > 0, matrix.seconds, np.nan), matrix.tokens
            ),
        )

    def _linear(self, terms: Terms, n_terms: int, rows: Ints | None = None) -> LinearScores:
        targets = np.hstack([self._matrix.correct, self._log_tokens])
        return fit_scores(terms, targets, self._types, len(self._task_types), n_terms, rows)

    def _means(self) -> tuple[Floats, Floats]:
        """Return means per (type, arm), shrunk to the arm's, itself shrunk to the overall one."""
        correct, tokens = self._matrix.correct, self._log_tokens
        n_all = np.count_nonzero(self._matrix.is_measured)
        overall_p = (np.nansum(correct) + 0.5) / (n_all + 1.0)
        overall_tokens = np.nansum(tokens) / n_all
        tables: list[Floats] = []
        for values, overall in ((correct, overall_p), (tokens, overall_tokens)):
            of_arm = _shrunken_mean(values, overall)
            cells = [
                _shrunken_mean(values[self._types == index], of_arm)
                for index in range(len(self._task_types))
            ]
            tables.append(np.array(cells))
        return tables[0], tables[1]

    def _trees(
        self, terms: Terms, n_terms: int, p_means: Floats, log_token_means: Floats
    ) -> tuple[str, str]:
        matrix, n_arms = self._matrix, len(self._matrix.arms)
        folds = group_folds(matrix.groups, _N_FOLDS, self._rng)
        scores = np.empty((matrix.n_questions, 2 * n_arms + len(self._task_types)))
        everything = np.arange(matrix.n_questions)
        for fold in folds:
            others = np.setdiff1d(everything, fold)
            linear = self._linear(terms, n_terms, others)
            scores[fold] = linear.scores(terms, matrix.n_questions)[fold]
        posterior = posterior_from_logits(scores[:, 2 * n_arms :])
        is_hinted = self._rng.random(matrix.n_questions) < 0.5
        posterior[is_hinted] = np.eye(len(self._task_types))[self._types[is_hinted]]
        query, pair = assemble(text_features(self._texts), scores[:, : 2 * n_arms], posterior)
        logits, log_tokens = base_scores(posterior, p_means, log_token_means)
        rows, columns = np.nonzero(matrix.is_measured)
        of_arms = arm_features(matrix.arms)[columns]
        features = np.hstack([query[rows], pair[rows, columns], of_arms])
        cell_folds = [
            (np.flatnonzero(~is_held), np.flatnonzero(is_held))
            for is_held in (np.isin(rows, fold) for fold in folds)
        ]
        seed = int(self._rng.integers(2**31))
        cells = (rows, columns)
        return (
            fit_booster(
                features,
                matrix.correct[cells],
                logits[cells],
                cell_folds,
                objective="cross_entropy",
                seed=seed,
            ),
            fit_booster(
                features,
                self._log_tokens[cells],
                log_tokens[cells],
                cell_folds,
                objective="regression",
                seed=seed,
            ),
        )


def _calibrate(
    parameters: ModelParameters, matrix: OutcomeMatrix, texts: Sequence[ReadText]
) -> ModelParameters:
    """Return the model with probabilities and mean tokens calibrated on held-back questions."""
    predictions = OutcomeModel(parameters).predict_read(texts)
    scale = _ratio(matrix.tokens, predictions.tokens)
    parameters = replace(parameters, token_scale=np.where(scale > 0, scale, 1.0))
    if parameters.kind == "means":  # already shrunk, and no question was held back
        return parameters
    rows, columns = np.nonzero(matrix.is_measured)
    p = predictions.p_correct[rows, columns].clip(1e-9, 1.0 - 1e-9)
    slope, intercepts = _fit_sigmoid(
        np.log(p / (1.0 - p)),
        columns,
        matrix.correct[rows, columns],
        len(matrix.arms),
    )
    return replace(parameters, slope=slope, intercepts=intercepts)


def _fit_sigmoid(scores: Floats, arms: Ints, correct: Floats, n_arms: int) -> tuple[float, Floats]:
    """Fit `p = sigmoid(slope * score + intercept of the arm)` by Newton's method.

    Source:
        Platt (1999), with Gaussian priors (slope around 1, intercepts around 0, standard
        deviation 1/2) in the place of his smoothed targets.
    """
    design = np.zeros((len(scores), 1 + n_arms))
    design[:, 0] = scores
    design[np.arange(len(scores)), 1 + arms] = 1.0
    start = np.zeros(1 + n_arms)
    start[0] = 1.0
    solution = start.copy()
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-design @ solution))
        gradient = design.T @ (p - correct) + _CALIBRATION_PRIOR * (solution - start)
        weights = p * (1.0 - p)
        hessian = (design * weights[:, np.newaxis]).T @ design
        hessian += _CALIBRATION_PRIOR * np.eye(1 + n_arms)
        step = np.linalg.solve(hessian, gradient)
        solution -= np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    # A negative slope would turn the ranking around on the word of a few questions.
    return max(float(solution[0]), 0.0), solution[1:]


def _shrunken_mean(values: Floats, prior: Floats | np.float64) -> Floats:
    """Return column means with `_PRIOR_OUTCOMES` pseudo-outcomes at `prior`, `(n_columns,)`."""
    counts = np.count_nonzero(~np.isnan(values), axis=0)
    totals = np.nansum(values, axis=0) + _PRIOR_OUTCOMES * prior
    return totals / (counts + _PRIOR_OUTCOMES)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return the ratio of column sums over cells where both are known; NaN where there is none."""
    known = ~(np.isnan(numerator) | np.isnan(denominator))
    above = np.where(known, numerator, 0.0).sum(axis=0)
    below = np.where(known, denominator, 0.0).sum(axis=0)
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
