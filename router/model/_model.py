"""The outcome model: p(correct), tokens and cost of every arm for a prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arms import Arm
from ..features.sparse import LinearScores, Vocabulary
from ..features.task_type import Label, posterior_from_logits
from ..features.text import TEXT_FEATURES, ReadText, read_text, text_row
from ._calibration import Calibration, soft_clip
from ._forest import Forest, parse_trees
from ._reference import ReferenceQuestions

__all__ = [
    "LEARNERS",
    "MIN_QUESTIONS",
    "MODEL_VERSION",
    "ModelParameters",
    "OutcomeModel",
    "Predictions",
    "arm_features",
    "assemble",
    "base_scores",
    "forest_p",
    "neighbour_rates",
]

MODEL_VERSION = 2
"""Raised whenever the same parameters and features give other predictions."""

MIN_QUESTIONS = 50
"""With fewer questions the model is shrunken means per label, without trees."""

LEARNERS = ("means", "linear", "boosted", "forest", "boosted-per-arm", "neighbours")
"""What p(correct) can be made of, from simple to elaborate."""

Floats = NDArray[np.float64]

# Enough to spread the cost of a call, few enough to stay in the processor's cache.
_BATCH = 32
_GROUP_BYTES = 32_768
_N_PAIR = 2
_N_SUMMARIES = 2
# Where exp would overflow; no model that was fitted comes near.
_MAX_LOG_TOKENS, _MIN_LOGIT, _P_MARGIN = 40.0, -700.0, 1e-15
_N_NEIGHBOURS = 40
_NEIGHBOUR_PRIOR = 4.0


@dataclass(frozen=True, slots=True)
class ModelParameters:
    """Everything a fitted outcome model consists of, as plain numbers and text.

    Attributes:
        arms: Arms in the order of every arm axis below.
        labels: Tasks, or task types of small tasks, in the order of every label axis below.
        vocabulary: Words and word pairs with their weights.
        linear: Linear scores, laid out as `ScoreColumns`.
        n_topics: Number of topics.
        n_extra: Number of extra features that the caller computes (embeddings).
        p_means: Shrunken share of correct outcomes, shape `(n_labels, n_arms)`.
        log_token_means: Shrunken mean of ln(1 + tokens), shape `(n_labels, n_arms)`.
        blend: Weight of each learner of `LEARNERS` that is used; they sum to 1.
        trees_correct: LightGBM text model of the log-odds beyond the means; may be empty.
        trees_tokens: LightGBM text model of ln(1 + tokens) beyond the means; may be empty.
        trees_by_arm: One LightGBM text model per arm for `boosted-per-arm`, each may be empty;
            no entries where that learner is not used.
        forest: LightGBM text models of the random forests, one per arm and a common one; no
            entries where that learner is not used.
        calibration: From the blend's p to calibrated p.
        token_scale: Factor that makes predicted tokens right on average, shape `(n_arms,)`.
        token_spread: 10%, 50%, 90% and 99% quantiles of measured over expected tokens, out of
            fold, shape `(n_arms, 4)`.
        prompt_tokens_per_byte: Measured ratio, shape `(n_arms,)`.
        flops_per_token: FLOPs over prompt and generated tokens; NaN unknown, shape `(n_arms,)`.
        seconds_per_token: Seconds over generated tokens; NaN unknown, shape `(n_arms,)`.
        reference: Measured questions with what was predicted for them out of fold.
    """

    arms: tuple[Arm, ...]
    labels: tuple[Label, ...]
    vocabulary: Vocabulary
    linear: LinearScores
    n_topics: int
    n_extra: int
    p_means: Floats
    log_token_means: Floats
    blend: dict[str, float]
    trees_correct: str
    trees_tokens: str
    trees_by_arm: tuple[str, ...]
    forest: tuple[str, ...]
    calibration: Calibration
    token_scale: Floats
    token_spread: Floats
    prompt_tokens_per_byte: Floats
    flops_per_token: Floats
    seconds_per_token: Floats
    reference: ReferenceQuestions


class Predictions(NamedTuple):
    """What the model expects, per prompt and arm.

    Attributes:
        p_correct: Calibrated probability of a correct answer, shape `(n_prompts, n_arms)`.
        tokens: Expected generated tokens, same shape.
        prompt_tokens: Expected prompt tokens, same shape.
        flops: Expected FLOPs, same shape; NaN where the arm's were never measured.
        seconds: Expected wall seconds, same shape; NaN where never measured.
        posterior: Probability of each label, shape `(n_prompts, n_labels)`.
    """

    p_correct: Floats
    tokens: Floats
    prompt_tokens: Floats
    flops: Floats
    seconds: Floats
    posterior: Floats


class OutcomeModel:
    """Predicts all arms of a prompt in one pass. Immutable and safe to share among threads.

    Expected FLOPs are the arm's measured FLOPs per token, times expected prompt plus generated
    tokens; expected seconds are its measured seconds per generated token, times generated
    tokens.
    """

    def __init__(self, parameters: ModelParameters) -> None:
        """Prepare the trees for evaluation.

        Raises:
            ValueError: The trees do not parse, or use features that are not there.
        """
        self.parameters = parameters
        n_arms = len(parameters.arms)
        n_labels = len(parameters.labels)
        self._topics_from = 2 * n_arms + n_labels
        n_more = parameters.n_topics + parameters.n_extra
        n_query = len(TEXT_FEATURES) + _N_SUMMARIES + n_labels + n_more
        texts = (parameters.trees_correct, parameters.trees_tokens)
        self._joint = Forest(
            [parse_trees(text) if text else () for text in texts],
            n_query,
            _N_PAIR,
            arm_features(parameters.arms),
        )
        self._by_arm = Forest(
            [
                parse_trees(text) if text else ()
                for text in (*parameters.trees_by_arm, *parameters.forest)
            ],
            n_query + n_arms,
            0,
            np.zeros((1, 0)),
        )
        self._has_arm_trees = bool(parameters.trees_by_arm or parameters.forest)
        self._weights = {name: weight for name, weight in parameters.blend.items() if weight > 0}
        parameters.vocabulary.prepare()

    def predict(
        self,
        prompts: Sequence[str],
        allowed: NDArray[np.bool_] | None = None,
        extra: Floats | None = None,
        more_bytes: int | Floats = 0,
    ) -> Predictions:
        """Return the predictions for prompts.

        A prompt's predictions do not depend on which other prompts are in the batch.

        Args:
            prompts: Any texts.
            allowed: Labels that the caller's hint leaves, shape `(n_labels,)`; `None` for all.
            extra: Extra features, shape `(n_prompts, n_extra)`; zeros by default.
            more_bytes: Length of what is sent along with each prompt, such as a conversation; where
                it differs, shape `(n_prompts, 1)`.
        """
        if extra is None:
            extra = np.zeros((len(prompts), self.parameters.n_extra))
        parts = [
            self._predict(
                prompts[start : start + _BATCH],
                allowed,
                extra[start : start + _BATCH],
                more_bytes if isinstance(more_bytes, int) else more_bytes[start : start + _BATCH],
            )
            for start in range(0, max(len(prompts), 1), _BATCH)
        ]
        return (
            parts[0]
            if len(parts) == 1
            else Predictions(*map(np.concatenate, zip(*parts, strict=True)))
        )

    def expected_for_reference(self) -> Predictions:
        """Return what was expected of the remembered questions out of fold."""
        model = self.parameters
        reference = model.reference
        tokens = reference.tokens_expected.astype(np.float64)
        prompt_tokens = reference.n_bytes[:, np.newaxis] * model.prompt_tokens_per_byte
        return Predictions(
            p_correct=reference.p_correct.astype(np.float64),
            tokens=tokens,
            prompt_tokens=prompt_tokens,
            flops=(prompt_tokens + tokens) * model.flops_per_token,
            seconds=tokens * model.seconds_per_token,
            posterior=np.zeros((len(tokens), len(model.labels))),
        )

    def topics(self, texts: Sequence[ReadText]) -> Floats:
        """Return the topics of texts, shape `(n_texts, n_topics)`."""
        vocabulary = self.parameters.vocabulary
        terms = vocabulary.terms(vocabulary.look_up([text.words for text in texts]))
        return self.parameters.linear.scores(terms, len(texts))[:, self._topics_from :]

    def _read(self, prompts: Sequence[str]) -> tuple[Floats, Floats]:
        """Return text features and linear scores of prompts."""
        vocabulary, linear = self.parameters.vocabulary, self.parameters.linear
        rows: list[tuple[float, ...]] = []
        scores: list[Floats] = []
        for texts in _groups(prompts):
            found = vocabulary.find([text.spaced for text in texts])
            scores.append(linear.scores(vocabulary.terms(found), len(texts)))
            start = 0
            for text, n_words in zip(texts, found.lengths.tolist(), strict=True):
                rows.append(text_row(text, found.classes[start : start + n_words]))
                start += n_words
        dense = np.array(rows, dtype=np.float64).reshape(len(prompts), len(TEXT_FEATURES))
        if len(scores) == 1:
            return dense, scores[0]
        return dense, np.concatenate(scores or [np.zeros((0, len(linear.intercepts)))])

    def _predict(
        self,
        prompts: Sequence[str],
        allowed: NDArray[np.bool_] | None,
        extra: Floats,
        more_bytes: int | Floats,
    ) -> Predictions:
        model = self.parameters
        n_arms = len(model.arms)
        dense, scores = self._read(prompts)
        posterior = posterior_from_logits(scores[:, 2 * n_arms : self._topics_from], allowed)
        topics = scores[:, self._topics_from :]
        more_features = topics if not model.n_extra else np.concatenate((topics, extra), axis=1)
        query, pair = assemble(dense, scores[:, : 2 * n_arms], posterior, more_features)
        logits, log_tokens = base_scores(posterior, model.p_means, model.log_token_means)
        more = self._joint.sums(query, pair)
        more_logits, more_log_tokens = more[:, :, 0], more[:, :, 1]
        weights = self._weights
        p = np.zeros((len(prompts), n_arms))
        if "boosted" in weights:
            p += weights["boosted"] * _sigmoid(logits + more_logits)
        if "linear" in weights:
            p += weights["linear"] * soft_clip(scores[:, :n_arms])
        if "means" in weights:
            p += weights["means"] * _sigmoid(logits)
        if self._has_arm_trees:
            features = np.concatenate((query, scores[:, :n_arms]), axis=1)
            of_arms = self._by_arm.sums(features)[:, 0]
            if "boosted-per-arm" in weights:
                p += weights["boosted-per-arm"] * _sigmoid(logits + of_arms[:, :n_arms])
            if "forest" in weights:
                p += weights["forest"] * forest_p(of_arms[:, -n_arms - 1 :])
        if "neighbours" in weights:
            rates = neighbour_rates(
                topics, model.reference.topics, model.reference.correct, _sigmoid(logits)
            )
            p += weights["neighbours"] * rates
        log_tokens = np.minimum(np.maximum(log_tokens + more_log_tokens, 0.0), _MAX_LOG_TOKENS)
        tokens = np.expm1(log_tokens) * model.token_scale
        prompt_tokens = (dense[:, :1] + more_bytes) * model.prompt_tokens_per_byte
        return Predictions(
            p_correct=model.calibration.apply(p),
            tokens=tokens,
            prompt_tokens=prompt_tokens,
            flops=(prompt_tokens + tokens) * model.flops_per_token,
            seconds=tokens * model.seconds_per_token,
            posterior=posterior,
        )


def _groups(prompts: Sequence[str]) -> Iterator[list[ReadText]]:
    """Read prompts, and return as many at a time as fit the processor's cache."""
    group: list[ReadText] = []
    n_bytes = 0
    for prompt in prompts:
        text = read_text(prompt)
        if group and n_bytes + len(text.spaced) > _GROUP_BYTES:
            yield group
            group, n_bytes = [], 0
        group.append(text)
        n_bytes += len(text.spaced)
    if group:
        yield group


def arm_features(arms: Sequence[Arm]) -> Floats:
    """Return what the trees know of the arms, shape `(n_arms, 4)`.

    Columns: reasons (0 or 1); log2 of 1 + budget (0 without a thought, 24 for no cap); log10 of
    the parameter count (0 if unknown); position of the arm.
    """
    rows: list[tuple[float, ...]] = []
    for position, arm in enumerate(arms):
        budget = 2**24 - 1 if arm.budget == "max" else arm.budget or 0
        size = np.log10(arm.size) if arm.size else 0.0
        rows.append((arm.mode == "reasoning", np.log2(1.0 + budget), size, position))
    return np.array(rows, dtype=np.float64)


def assemble(
    dense: Floats, scores: Floats, posterior: Floats, topics: Floats
) -> tuple[Floats, Floats]:
    """Return query and pair features, the same way for fitting and serving.

    Args:
        dense: Text features, shape `(n_texts, n_text_features)`.
        scores: Linear scores of correctness, then of log tokens, shape `(n_texts, 2 * n_arms)`.
        posterior: Label probabilities, shape `(n_texts, n_labels)`.
        topics: Topics and extra features, shape `(n_texts, n_topics + n_extra)`.

    Returns:
        Query features `(n_texts, n_text_features + 2 + n_labels + n_topics + n_extra)`: text features, mean
        scores over the arms, posterior, topics. Pair features `(n_texts, n_arms, 2)`: the arm's
        own two scores.
    """
    n_texts, n_scores = scores.shape
    by_kind = scores.reshape(n_texts, 2, n_scores // 2)  # (n_texts, correct/tokens, n_arms)
    means = by_kind.sum(axis=2) / by_kind.shape[2]
    query = np.concatenate((dense, means, posterior, topics), axis=1)
    return query, np.ascontiguousarray(by_kind.transpose(0, 2, 1))


def base_scores(
    posterior: Floats, p_means: Floats, log_token_means: Floats
) -> tuple[Floats, Floats]:
    """Return the log-odds and log tokens that the label alone gives, `(n_texts, n_arms)`."""
    # einsum and not @: BLAS may round differently for one row than for many.
    p_correct = np.einsum("nk,ka->na", posterior, p_means)
    log_tokens = np.einsum("nk,ka->na", posterior, log_token_means)
    p_correct = p_correct.clip(_P_MARGIN, 1.0 - _P_MARGIN)
    return np.log(p_correct / (1.0 - p_correct)), log_tokens


def neighbour_rates(
    topics: Floats, known_topics: NDArray[np.float32], correct: NDArray[np.float32], prior: Floats
) -> Floats:
    """Return the share correct among the nearest measured questions, shape `(n_texts, n_arms)`.

    The 40 nearest by cosine of their topics, with four more outcomes at `prior`.

    Args:
        topics: Topics of the texts, shape `(n_texts, n_topics)`.
        known_topics: Topics of measured questions, length 1, shape `(n_known, n_topics)`.
        correct: Their share correct, negative where not measured, shape `(n_known, n_arms)`.
        prior: p of the label alone, shape `(n_texts, n_arms)`.
    """
    n = min(_N_NEIGHBOURS, len(known_topics))
    # Row by row: einsum may add in another order for several rows than for one.
    similarity = np.stack(
        [np.einsum("d,kd->k", row, known_topics) for row in topics.astype(np.float32)]
    )
    nearest = np.argpartition(-similarity, n - 1, axis=1)[:, :n]
    values = correct[nearest]
    is_known = values >= 0
    totals = np.where(is_known, values, 0.0).sum(axis=1) + _NEIGHBOUR_PRIOR * prior
    return totals / (is_known.sum(axis=1) + _NEIGHBOUR_PRIOR)


def forest_p(scores: Floats) -> Floats:
    """Return p from each arm's difference and the common mean in the last column."""
    return soft_clip(scores[:, :-1] + scores[:, -1:])


def _sigmoid(logits: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.maximum(logits, _MIN_LOGIT)))
