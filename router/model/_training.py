"""What learners are trained on: features of questions that were made without their answers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._outcomes import OutcomeMatrix
from ..features.fit_linear import LinearFitter, ScoreColumns
from ..features.sparse import LinearScores, Vocabulary
from ..features.task_type import Label, label_questions, posterior_from_logits
from ..features.text import read_text, text_features
from ._model import arm_features, assemble, base_scores

__all__ = ["TrainingData", "prepare", "shrunken_means"]

_PRIOR_OUTCOMES = 8.0
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Questions as the learners see them; every score of a question is out of fold.

    As usual when models are stacked, what learns from these scores for one fold was given scores
    of the other folds' questions that have seen this fold's outcomes.

    Attributes:
        matrix: The outcomes.
        folds: Questions of each fold; one empty fold where there are too few groups.
        labels: Labels.
        label_of: Label of each question, shape `(n_questions,)`.
        log_tokens: ln(1 + measured tokens), NaN for gaps, shape `(n_questions, n_arms)`.
        vocabulary: Words of all questions.
        linear: Linear scores fitted on all questions, for serving.
        p_means: Means per label of all questions, `(n_labels, n_arms)`.
        log_token_means: The same of `log_tokens`.
        query: Query features, shape `(n_questions, n_query)`.
        pair: Pair features, shape `(n_questions, n_arms, 2)`.
        of_arms: Arm features, shape `(n_arms, 4)`.
        scores: Linear scores of correctness, shape `(n_questions, n_arms)`.
        topics: Topics, shape `(n_questions, n_topics)`.
        p_base: p of the guessed label alone, shape `(n_questions, n_arms)`.
        logits: Log-odds that the trees are added to; of the hinted label for hinted questions.
        base_tokens: Log tokens that the trees are added to.
        posterior: Label probabilities guessed from the text, shape `(n_questions, n_labels)`.
        plain_query: Query features without any hint.
        plain_logits: Log-odds without any hint.
        plain_base_tokens: Log tokens without any hint.
        n_extra: Number of extra features.
        n_bytes: Length of each prompt.
    """

    matrix: OutcomeMatrix
    folds: list[Ints]
    labels: tuple[Label, ...]
    label_of: Ints
    log_tokens: Floats
    vocabulary: Vocabulary
    linear: LinearScores
    p_means: Floats
    log_token_means: Floats
    query: Floats
    posterior: Floats
    plain_query: Floats
    pair: Floats
    of_arms: Floats
    scores: Floats
    topics: Floats
    p_base: Floats
    logits: Floats
    base_tokens: Floats
    plain_logits: Floats
    plain_base_tokens: Floats
    n_extra: int
    n_bytes: Floats


def prepare(
    matrix: OutcomeMatrix,
    folds: list[Ints],
    rng: np.random.Generator,
    extra: Floats | None = None,
) -> TrainingData:
    """Read the prompts, fit the linear scores in and out of fold, and lay out the features.

    For training half of the questions carry their true label as a hint, so that both ways of
    asking are known; the plain features are those of a text alone.
    """
    texts = [read_text(prompt) for prompt in matrix.prompts]
    words = [text.words for text in texts]
    vocabulary = Vocabulary.build(words)
    found = vocabulary.look_up(words)
    terms = vocabulary.terms(found)
    dense = text_features(texts, found.classes)
    labels, label_of = label_questions(matrix.tasks, matrix.task_types)
    n, n_arms, n_labels = matrix.n_questions, len(matrix.arms), len(labels)
    fitter = LinearFitter(terms, n, vocabulary.n_terms)
    columns = ScoreColumns(n_arms, n_labels, fitter.n_dimensions)
    log_tokens = np.log1p(matrix.tokens)
    targets = np.hstack([matrix.correct, log_tokens])
    everything = np.arange(n)
    linear = fitter.fit(targets, label_of, n_labels, everything)
    scores = fitter.apply(linear, everything)
    p_means, log_token_means = shrunken_means(matrix, log_tokens, label_of, n_labels)
    hinted = np.flatnonzero(rng.random(n) < 0.5)
    posterior = posterior_from_logits(scores[:, columns.labels])
    logits, base_tokens = base_scores(posterior, p_means, log_token_means)
    certain = np.eye(n_labels)[label_of]
    hint_logits, hint_tokens = base_scores(certain, p_means, log_token_means)
    for fold in folds if len(folds) > 1 else ():
        others = np.setdiff1d(everything, fold)
        part = fitter.apply(fitter.fit(targets, label_of, n_labels, others), fold)
        scores[fold] = part
        posterior[fold] = posterior_from_logits(part[:, columns.labels])
        means = shrunken_means(matrix.rows(others), log_tokens[others], label_of[others], n_labels)
        logits[fold], base_tokens[fold] = base_scores(posterior[fold], *means)
        hint_logits[fold], hint_tokens[fold] = base_scores(certain[fold], *means)
    topics = scores[:, columns.topics]
    extra = np.zeros((n, 0)) if extra is None else extra
    more = np.hstack([topics, extra])
    plain_query, pair = assemble(dense, scores[:, : 2 * n_arms], posterior, more)
    mixed = posterior.copy()
    mixed[hinted] = certain[hinted]
    query, _ = assemble(dense, scores[:, : 2 * n_arms], mixed, more)
    mixed_logits, mixed_tokens = logits.copy(), base_tokens.copy()
    mixed_logits[hinted], mixed_tokens[hinted] = hint_logits[hinted], hint_tokens[hinted]
    return TrainingData(
        matrix=matrix,
        folds=folds,
        labels=labels,
        label_of=label_of,
        log_tokens=log_tokens,
        vocabulary=vocabulary,
        linear=linear,
        p_means=p_means,
        log_token_means=log_token_means,
        query=query,
        posterior=posterior,
        plain_query=plain_query,
        pair=pair,
        of_arms=arm_features(matrix.arms),
        scores=scores[:, columns.correct],
        topics=topics,
        p_base=1.0 / (1.0 + np.exp(-logits)),
        logits=mixed_logits,
        base_tokens=mixed_tokens,
        plain_logits=logits,
        plain_base_tokens=base_tokens,
        n_extra=extra.shape[1],
        n_bytes=np.array([text.n_bytes for text in texts], dtype=np.float64),
    )


def shrunken_means(
    matrix: OutcomeMatrix, log_tokens: Floats, label_of: Ints, n_labels: int
) -> tuple[Floats, Floats]:
    """Return mean p and log tokens per (label, arm), `(n_labels, n_arms)` each.

    A label's means are shrunk to its arm's, which are shrunk to the overall mean, with eight
    outcomes each.
    """
    n_all = np.count_nonzero(matrix.is_measured)
    overall_p = (np.nansum(matrix.correct) + 0.5) / (n_all + 1.0)
    known = np.isfinite(log_tokens)
    overall_tokens = log_tokens[known].mean() if known.any() else 0.0
    tables: list[Floats] = []
    for values, overall in ((matrix.correct, overall_p), (log_tokens, overall_tokens)):
        of_arm = _shrunken_mean(values, overall)
        cells = [_shrunken_mean(values[label_of == label], of_arm) for label in range(n_labels)]
        tables.append(np.array(cells))
    return tables[0], tables[1]


def _shrunken_mean(values: Floats, prior: Floats | np.float64 | float) -> Floats:
    counts = np.count_nonzero(~np.isnan(values), axis=0)
    totals = np.nansum(values, axis=0) + _PRIOR_OUTCOMES * prior
    return np.asarray(totals / (counts + _PRIOR_OUTCOMES), dtype=np.float64)
