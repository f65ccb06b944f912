"""The outcome model: p(correct), tokens and cost of every arm for a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._arms import Arm
from ._forest import Forest, parse_trees
from .features.sparse import LinearScores, Vocabulary
from .features.task_type import hinted_posterior, posterior_from_logits
from .features.text import TEXT_FEATURES, ReadText, read_text, text_features

__all__ = [
    "MODEL_VERSION",
    "ModelKind",
    "ModelParameters",
    "OutcomeModel",
    "Predictions",
    "arm_features",
    "assemble",
    "base_scores",
]

MODEL_VERSION = 1
"""Raised whenever the same parameters and features give other predictions."""

ModelKind = Literal["boosted", "means"]
Floats = NDArray[np.float64]

# Enough to spread the cost of a call, few enough to stay in the processor's cache.
_BATCH = 256
_N_SUMMARIES = 2
_N_PAIR = 2


@dataclass(frozen=True, slots=True)
class ModelParameters:
    """Everything a fitted outcome model consists of, as plain numbers and text.

    Attributes:
        kind: `boosted` (trees on top of means) or `means` (too few questions for trees).
        arms: Arms in the order of every arm axis below.
        task_types: Task types in the order of every type axis below.
        vocabulary: Words and word pairs with their weights.
        linear: Linear scores: p(correct) of each arm, log tokens of each arm, type logits.
        p_means: Shrunken share of correct outcomes, shape `(n_types, n_arms)`.
        log_token_means: Shrunken mean of ln(1 + tokens), shape `(n_types, n_arms)`.
        trees_correct: LightGBM text model of the log-odds beyond the means; may be empty.
        trees_tokens: LightGBM text model of ln(1 + tokens) beyond the means; may be empty.
        slope: Slope of the sigmoid calibration on the log-odds.
        intercepts: Its intercept for each arm, shape `(n_arms,)`.
        token_scale: Factor that makes predicted tokens right on average, shape `(n_arms,)`.
        prompt_tokens_per_byte: Measured ratio, shape `(n_arms,)`.
        flops_per_token: FLOPs over prompt and generated tokens; NaN unknown, shape `(n_arms,)`.
        seconds_per_token: Seconds over generated tokens; NaN unknown, shape `(n_arms,)`.
    """

    kind: ModelKind
    arms: tuple[Arm, ...]
    task_types: tuple[str, ...]
    vocabulary: Vocabulary
    linear: LinearScores
    p_means: Floats
    log_token_means: Floats
    trees_correct: str
    trees_tokens: str
    slope: float
    intercepts: Floats
    token_scale: Floats
    prompt_tokens_per_byte: Floats
    flops_per_token: Floats
    seconds_per_token: Floats


class Predictions(NamedTuple):
    """What the model expects, per prompt and arm.

    Attributes:
        p_correct: Calibrated probability of a correct answer, shape `(n_prompts, n_arms)`.
        tokens: Expected generated tokens, same shape.
        prompt_tokens: Expected prompt tokens, same shape.
        flops: Expected FLOPs, same shape; NaN where the arm's were never measured.
        seconds: Expected wall seconds, same shape; NaN where never measured.
        posterior: Task type probabilities, shape `(n_prompts, n_types)`.
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
        texts = (parameters.trees_correct, parameters.trees_tokens)
        n_query = len(TEXT_FEATURES) + _N_SUMMARIES + len(parameters.task_types)
        self._forest = Forest(
            [parse_trees(text) if text else () for text in texts],
            n_query,
            _N_PAIR,
            arm_features(parameters.arms),
        )

    def predict(self, prompts: Sequence[str], hint: int | None = None) -> Predictions:
        """Return the predictions for prompts.

        A prompt's predictions do not depend on which other prompts are in the batch.

        Args:
            prompts: Any texts.
            hint: Position of the caller's task type; `None` guesses it from the text.
        """
        return self.predict_read([read_text(prompt) for prompt in prompts], hint)

    def predict_read(self, texts: Sequence[ReadText], hint: int | None = None) -> Predictions:
        """Return the predictions for prompts already read; see `predict`."""
        parts = [
            self._predict(texts[start : start + _BATCH], hint)
            for start in range(0, max(len(texts), 1), _BATCH)
        ]
        return (
            parts[0]
            if len(parts) == 1
            else Predictions(*map(np.concatenate, zip(*parts, strict=True)))
        )

    def _predict(self, texts: Sequence[ReadText], hint: int | None) -> Predictions:
        model = self.parameters
        n_arms, n_types = len(model.arms), len(model.task_types)
        terms = model.vocabulary.terms([text.words for text in texts])
        scores = model.linear.scores(terms, len(texts))
        if hint is None:
            posterior = posterior_from_logits(scores[:, 2 * n_arms :])
        else:
            posterior = hinted_posterior(hint, len(texts), n_types)
        dense = text_features(texts)
        query, pair = assemble(dense, scores[:, : 2 * n_arms], posterior)
        logits, log_tokens = base_scores(posterior, model.p_means, model.log_token_means)
        more_logits, more_log_tokens = self._forest.raw_scores(query, pair)
        calibrated = model.slope * (logits + more_logits) + model.intercepts
        tokens = np.expm1(np.maximum(log_tokens + more_log_tokens, 0.0)) * model.token_scale
        prompt_tokens = dense[:, :1] * model.prompt_tokens_per_byte
        return Predictions(
            p_correct=1.0 / (1.0 + np.exp(-calibrated)),
            tokens=tokens,
            prompt_tokens=prompt_tokens,
            flops=(prompt_tokens + tokens) * model.flops_per_token,
            seconds=tokens * model.seconds_per_token,
            posterior=posterior,
        )


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


def assemble(dense: Floats, scores: Floats, posterior: Floats) -> tuple[Floats, Floats]:
    """Return query and pair features, the same way for fitting and serving.

    Args:
        dense: Text features, shape `(n_texts, n_text_features)`.
        scores: Linear scores of correctness, then of log tokens, shape `(n_texts, 2 * n_arms)`.
        posterior: Task type probabilities, shape `(n_texts, n_types)`.

    Returns:
        Query features `(n_texts, n_text_features + 2 + n_types)`: text features, mean scores over
        the arms, posterior. Pair features `(n_texts, n_arms, 2)`: the arm's own two scores.
    """
    n_texts, n_scores = scores.shape
    by_kind = scores.reshape(n_texts, 2, n_scores // 2)  # (n_texts, correct/tokens, n_arms)
    means = by_kind.sum(axis=2) / by_kind.shape[2]
    query = np.concatenate((dense, means, posterior), axis=1)
    return query, np.ascontiguousarray(by_kind.transpose(0, 2, 1))


def base_scores(
    posterior: Floats, p_means: Floats, log_token_means: Floats
) -> tuple[Floats, Floats]:
    """Return the log-odds and log tokens that the task type alone gives, `(n_texts, n_arms)`."""
    # einsum and not @: BLAS may round differently for one row than for many.
    p_correct = np.einsum("nk,ka->na", posterior, p_means)
    log_tokens = np.einsum("nk,ka->na", posterior, log_token_means)
    return np.log(p_correct / (1.0 - p_correct)), log_tokens
