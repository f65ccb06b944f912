"""How much of the oracle's headroom can be reached at all: its samples are noisy."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._outcomes import OutcomeMatrix
from ._baselines import oracle_choice
from ._crossfit import Foresight
from ._curves import headroom_share, weighted_gain_curves
from ._metrics import Pair
from ._realised import Realised

__all__ = ["NoiseCeiling", "Repeats", "corrected_oracle", "noise_ceiling"]

_N_SPLITS = 40
_N_WORLDS = 40
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NoiseCeiling:
    """The largest headroom that one who knows every question's true probabilities could capture.

    The oracle knows the samples themselves, noise included, so that its headroom cannot be
    reached by anybody. With repeats an oracle that has seen some samples is judged on the
    others: nothing it knows there is noise. It still knows less than the true probabilities, so
    the figure is a lower bound of the ceiling, and the closer the more samples it has seen.

    Without repeats the ceiling is not identified: single outcomes fit a world in which every
    question is a fair coin and one in which nothing is left to chance. `headroom` is then `None`.
    `headroom_if_p_is_all` does not replace it: it is what the router's own probabilities would
    capture, against the same noisy oracle, in a world in which they are right and nothing more
    can be known. Somebody who knows more captures more.

    Attributes:
        headroom: Two-arm headroom, as in the metrics, of an oracle that saw all samples but one
            and is judged on that one; `None` without repeats.
        headroom_halves: The same with one half of the samples against the other, both ways.
        captured: The router's headroom over `headroom`, on the same questions.
        headroom_if_p_is_all: See above; `None` where there is no headroom at all.
        method: `sample-splitting` or `none`.
        reason: Why there is no figure; empty where there is one.
        n: Questions with repeats of both arms, or all questions with both arms.
        n_samples: Fewest repeats among them.
    """

    headroom: float | None
    headroom_halves: float | None
    captured: float | None
    headroom_if_p_is_all: float | None
    method: Literal["sample-splitting", "none"]
    reason: str
    n: int
    n_samples: int


class Repeats(NamedTuple):
    """Samples of some questions, as counts.

    Attributes:
        n_correct: Correct samples, shape `(n_questions, n_arms)`.
        n_samples: Samples, at least 2, same shape.
    """

    n_correct: Ints
    n_samples: Ints

    @classmethod
    def of(cls, correct: Floats, n_samples: Ints) -> "Repeats | None":
        """Return the counts, or `None` unless every cell has at least two samples of 0 or 1."""
        counts = np.rint(correct * n_samples)
        is_whole = np.abs(counts - correct * n_samples) < 1e-6
        if not correct.size or (n_samples < 2).any() or not is_whole.all():
            return None
        return cls(counts.astype(np.int64), n_samples)

    def splits(self, *, seed: int, is_half: bool) -> Iterator[tuple[Floats, Floats]]:
        """Yield shares correct of two disjoint parts of the samples, each `(n_questions, n_arms)`.

        The first part is for choosing, the second for judging. Samples of a cell are
        exchangeable, so that their counts are all that is needed.

        Args:
            seed: Seed of the splits.
            is_half: Halves, each once in both roles; else all samples but one, and that one.
        """
        rng = np.random.default_rng(seed)
        n_judged = self.n_samples // 2 if is_half else np.ones_like(self.n_samples)
        n_chosen = self.n_samples - n_judged
        for _ in range(_N_SPLITS // 2 if is_half else _N_SPLITS):
            drawn = rng.hypergeometric(self.n_correct, self.n_samples - self.n_correct, n_judged)
            judged, chosen = drawn / n_judged, (self.n_correct - drawn) / n_chosen
            yield chosen, judged
            if is_half:
                yield judged, chosen


def corrected_oracle(matrix: OutcomeMatrix, *, seed: int) -> Realised | None:
    """Return what an oracle achieves on samples that it did not choose by; `None` without repeats.

    It chooses by all samples of a cell but one and is judged on that one, on average over many
    splits.

    Args:
        matrix: Outcomes without gaps.
        seed: Seed of the splits.
    """
    repeats = Repeats.of(matrix.correct, matrix.n_samples)
    if repeats is None:
        return None
    rows = np.arange(matrix.n_questions)
    parts: list[Floats] = []
    for chosen, judged in repeats.splits(seed=seed, is_half=False):
        arm = oracle_choice(chosen, matrix.tokens)
        parts.append(
            np.stack([judged[rows, arm], matrix.tokens[rows, arm], matrix.flops[rows, arm]])
        )
    return Realised(*np.mean(parts, axis=0))


def noise_ceiling(pair: Pair, n_samples: Ints, expected: Foresight, *, seed: int) -> NoiseCeiling:
    """Return the ceiling between cheapest and reference arm.

    Args:
        pair: The two arms.
        n_samples: Samples behind each outcome of the pair, shape `(n_pair, 2)`.
        expected: The router's expectations for the same questions and both arms.
        seed: Seed of splits and simulations.
    """
    n = len(pair.gain)
    if pair.names[0] == pair.names[1]:
        reason = "the reference is the cheapest arm"
        return NoiseCeiling(None, None, None, None, "none", reason, n, 0)
    model = _headroom_if_p_is_all(pair, n_samples, expected, seed)
    has_repeats = (n_samples >= 2).all(axis=1)
    kept = np.flatnonzero(has_repeats)
    repeats = Repeats.of(pair.correct[kept], n_samples[kept])
    if repeats is None:
        reason = "no question has two samples or more of both arms, so noise cannot be told apart"
        return NoiseCeiling(None, None, None, model, "none", reason, n, 1)
    part = Pair(
        pair.names,
        pair.gain[kept],
        pair.extra[kept],
        pair.correct[kept],
        pair.tokens[kept],
        pair.index[kept],
    )
    ceiling = _split_headroom(part, repeats, seed, is_half=False)
    halves = _split_headroom(part, repeats, seed, is_half=True)
    captured = headroom_share(part.gain / part.extra, part.correct, part.tokens)
    is_known = ceiling is not None and ceiling > 1e-9 and not np.isnan(captured)
    return NoiseCeiling(
        headroom=ceiling,
        headroom_halves=halves,
        captured=captured / ceiling if is_known and ceiling is not None else None,
        headroom_if_p_is_all=model,
        method="sample-splitting",
        reason="" if is_known else "the oracle gains nothing that is not noise",
        n=len(kept),
        n_samples=int(repeats.n_samples.min()),
    )


def _split_headroom(pair: Pair, repeats: Repeats, seed: int, *, is_half: bool) -> float | None:
    """Return the headroom, in the unit of the full oracle's, of one that saw part of the samples."""
    once = np.ones((1, len(pair.gain)))
    random = float(pair.correct.mean())
    full = weighted_gain_curves(pair.measured_score, pair.correct, pair.tokens, once)
    unit = float(np.trapezoid(full.accuracy[0], full.extra_share[0])) - random
    if unit < 1e-9:
        return None
    extra = np.maximum(pair.tokens[:, 1] - pair.tokens[:, 0], 1.0)
    # Few samples tie often; one who knew the probabilities would break ties at least as well as
    # the router does.
    router = pair.gain / pair.extra
    tie_break = 1e-9 * np.argsort(np.argsort(router)) / len(router)
    gains: list[float] = []
    for chosen, judged in repeats.splits(seed=seed, is_half=is_half):
        score = (chosen[:, 1] - chosen[:, 0]) / extra + tie_break
        curve = weighted_gain_curves(score, judged, pair.tokens, once)
        area = float(np.trapezoid(curve.accuracy[0], curve.extra_share[0]))
        gains.append(area - float(judged.mean()))
    return float(np.mean(gains)) / unit


def _headroom_if_p_is_all(
    pair: Pair, n_samples: Ints, expected: Foresight, seed: int
) -> float | None:
    """Return the headroom the router would measure if its probabilities were the whole truth.

    Outcomes of both arms are drawn from them, independently given the question.
    """
    rng = np.random.default_rng(seed)
    score = pair.gain / pair.extra
    found: list[float] = []
    for _ in range(_N_WORLDS):
        correct = rng.binomial(n_samples, np.clip(expected.p, 0.0, 1.0)) / n_samples
        found.append(headroom_share(score, correct, pair.tokens))
    known = [share for share in found if not np.isnan(share)]
    return float(np.mean(known)) if known else None
