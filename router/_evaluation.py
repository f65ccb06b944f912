"""Does routing pay? Cross-validated accuracy and cost beside every baseline that could do it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration import OutcomeRecord
from calibration.statistics import (
    clustered_mean_interval,
    mcnemar_exact,
    paired_difference_interval,
    wilson_interval,
)
from policies import InvalidInputError

from ._curves import headroom_share
from ._decision import choose
from ._fit import group_folds
from ._objective import CostUnit, Objective, Price
from ._outcomes import OutcomeMatrix
from ._router import Router
from ._selection import candidate_tradeoffs

__all__ = ["Comparison", "CurveRow", "Evaluation", "EvaluationRow", "evaluate"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class EvaluationRow(NamedTuple):
    """One way of answering all questions.

    Attributes:
        name: An arm's name, or `router`, `router (most accurate)`, `random mixing`,
            `best arm per task type`, `oracle`.
        accuracy: Share of correct answers in [0, 1].
        ci_low: Lower end of the 95% interval: Wilson for single samples of independent
            questions, else a t interval clustered by group.
        ci_high: Upper end.
        mean_tokens: Mean generated tokens.
        mean_flops: Mean inference FLOPs, `None` if unknown.
        n: Questions.
    """

    name: str
    accuracy: float
    ci_low: float
    ci_high: float
    mean_tokens: float
    mean_flops: float | None
    n: int


class CurveRow(NamedTuple):
    """The router at one trade-off.

    Attributes:
        tradeoff: Probability given up per unit of cost.
        accuracy: Share of correct answers.
        mean_tokens: Mean generated tokens.
    """

    tradeoff: float
    accuracy: float
    mean_tokens: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Router against the most accurate fixed arm, question by question.

    Attributes:
        reference: The fixed arm.
        difference: Router's accuracy minus the arm's.
        ci_low: Lower end of its 95% bootstrap interval over groups.
        ci_high: Upper end.
        tokens_saved: Share of the arm's tokens that the router does not spend; may be negative.
        n_gained: Questions only the router got right; `None` for averaged samples.
        n_lost: Questions only the arm got right; `None` for averaged samples.
        p_value: Two-sided exact McNemar test; `None` for averaged samples.
    """

    reference: str
    difference: float
    ci_low: float
    ci_high: float
    tokens_saved: float
    n_gained: int | None
    n_lost: int | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Cross-validated comparison; every question is decided by a router that never saw its group.

    Attributes:
        rows: Fixed arms first, then mixing, task types, router and oracle.
        comparison: Router against the most accurate fixed arm.
        headroom: Share of the oracle's headroom captured between `headroom_arms`; `None` if one
            arm is both cheapest and most accurate or the oracle gains nothing.
        headroom_arms: Cheapest and most accurate fixed arm.
        curve: The router at trade-offs from free to prohibitive.
        objectives: Objective of each fold's router, chosen without its test questions.
        n: Questions evaluated: those on which every arm was measured.
        n_incomplete: Questions used for fitting only, since an arm was not measured on them.
        n_errors: Records left out because the infrastructure failed.
        n_groups: Groups among the evaluated questions.
        n_folds: Folds.
        is_oracle_inflated: Whether the oracle picks among single samples, so that their noise
            inflates it (and deflates `headroom`).
    """

    rows: tuple[EvaluationRow, ...]
    comparison: Comparison
    headroom: float | None
    headroom_arms: tuple[str, str]
    curve: tuple[CurveRow, ...]
    objectives: tuple[Objective, ...]
    n: int
    n_incomplete: int
    n_errors: int
    n_groups: int
    n_folds: int
    is_oracle_inflated: bool

    def row(self, name: str) -> EvaluationRow:
        """Return a row by name.

        Raises:
            KeyError: There is no such row.
        """
        return {row.name: row for row in self.rows}[name]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with the fields as keys."""
        document = asdict(self)
        document["rows"] = [row._asdict() for row in self.rows]
        document["curve"] = [row._asdict() for row in self.curve]
        document["objectives"] = [objective.to_json() for objective in self.objectives]
        return document


def evaluate(
    records: Iterable[OutcomeRecord] | OutcomeMatrix,
    *,
    seed: int = 0,
    n_folds: int = 5,
    objective: Objective | None = None,
    unit: CostUnit | None = None,
    prices: Mapping[str, Price] | None = None,
) -> Evaluation:
    """Cross-validate routing by group; deterministic for a seed.

    Args:
        records: Outcomes of every arm.
        seed: Seed of the folds and of each fit.
        n_folds: Number of folds, at least 2.
        objective: The router's; by default each fold chooses its trade-off as `Router.fit` does.
        unit: Cost unit of that default.
        prices: US dollars per token by model, for the unit `usd`.

    Raises:
        InvalidInputError: The records contradict each other, or there are too few groups or
            questions on which every arm was measured.
    """
    is_matrix = isinstance(records, OutcomeMatrix)
    matrix = records if is_matrix else OutcomeMatrix.from_records(records)
    complete = np.flatnonzero(matrix.is_complete)
    n_groups = len({matrix.groups[row] for row in complete})
    if n_folds < 2 or n_groups < n_folds:
        raise InvalidInputError(
            f"{n_folds} folds need 2 folds and as many groups of questions on which every arm was "
            f"measured; there are {n_groups}",
            hint="measure more questions, or leave out arms with many gaps",
        )
    choices = _Choices(matrix.n_questions)
    for fold in group_folds(matrix.groups, n_folds, np.random.default_rng(seed)):
        train = matrix.rows(np.setdiff1d(np.arange(matrix.n_questions), fold))
        router = Router.fit(train, seed=seed, objective=objective, unit=unit, prices=prices)
        choices.add(fold, matrix.rows(fold), train, router)
    return _report(matrix, complete, choices, n_groups, n_folds)


class _Choices:
    """Choices for every question by routers that were not fitted on it."""

    def __init__(self, n_questions: int) -> None:
        self.router = np.zeros(n_questions, dtype=np.int64)
        self.most_accurate = np.zeros(n_questions, dtype=np.int64)
        self.by_type = np.zeros(n_questions, dtype=np.int64)
        self.objectives: list[Objective] = []
        self._parts: list[tuple[Ints, Floats, Floats, Floats]] = []

    def add(self, fold: Ints, test: OutcomeMatrix, train: OutcomeMatrix, router: Router) -> None:
        unit = router.objective.unit
        predictions = router.predict(test.prompts)
        cost = router.expected_cost(predictions)
        p = predictions.p_correct
        self.router[fold] = choose(p, cost, router.objective)[0]
        self.most_accurate[fold] = choose(p, cost, Objective.trade(0.0, unit))[0]
        self.by_type[fold] = _best_by_type(train, test.task_types)
        self.objectives.append(router.objective)
        self._parts.append((fold, p, cost, predictions.tokens))

    def predicted(self) -> tuple[Floats, Floats, Floats]:
        """Return p(correct), cost and tokens, each of shape `(n_questions, n_arms)`."""
        order = np.argsort(np.concatenate([fold for fold, *_ in self._parts]))
        _, p, cost, tokens = (
            np.concatenate(parts)[order] for parts in zip(*self._parts, strict=True)
        )
        return p.astype(np.float64), cost.astype(np.float64), tokens.astype(np.float64)


def _best_by_type(train: OutcomeMatrix, task_types: tuple[str, ...]) -> Ints:
    """Return the most accurate arm of each question's task type on the training questions."""
    types = np.array(train.task_types)
    overall = _column_means(train.correct)
    best: dict[str, int] = {}
    for name in set(task_types):
        means = _column_means(train.correct[types == name])
        best[name] = int(np.where(np.isnan(means), overall - 1.0, means).argmax())
    return np.array([best[name] for name in task_types], dtype=np.int64)


def _column_means(values: Floats) -> Floats:
    known = ~np.isnan(values)
    counts = np.count_nonzero(known, axis=0)
    totals = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(totals, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _report(
    matrix: OutcomeMatrix, complete: Ints, choices: _Choices, n_groups: int, n_folds: int
) -> Evaluation:
    test = matrix.rows(complete)
    correct, tokens, names = test.correct, test.tokens, [arm.name for arm in test.arms]
    everyone = np.arange(test.n_questions)
    n_arms = len(names)
    picks = {name: np.full(test.n_questions, arm) for arm, name in enumerate(names)}
    reference = int(np.lexsort((tokens.mean(axis=0), -correct.mean(axis=0)))[0])
    cheapest = int(tokens.mean(axis=0).argmin())
    routed = choices.router[complete]
    picks["best arm per task type"] = choices.by_type[complete]
    picks["router"] = routed
    picks["router (most accurate)"] = choices.most_accurate[complete]
    picks["oracle"] = np.lexsort((tokens, -correct))[:, 0]
    rows = [
        _row(name, test, np.eye(n_arms)[pick])  # one-hot: all weight on the picked arm
        for name, pick in picks.items()
    ]
    mixture = _best_mixture(correct, tokens, float(tokens[everyone, routed].mean()))
    rows.insert(n_arms, _row("random mixing", test, np.tile(mixture, (test.n_questions, 1))))
    p, cost, predicted_tokens = (values[complete] for values in choices.predicted())
    pair = [cheapest, reference]
    headroom = None
    if cheapest != reference:
        gain, extra = p[:, pair] @ [-1.0, 1.0], predicted_tokens[:, pair] @ [-1.0, 1.0]
        share = headroom_share(gain / np.maximum(extra, 1.0), correct[:, pair], tokens[:, pair])
        headroom = None if np.isnan(share) else share
    curve: list[CurveRow] = []
    for tradeoff in candidate_tradeoffs(cost).tolist():
        choice, _ = choose(p, cost, Objective.trade(tradeoff, choices.objectives[0].unit))
        accuracy, spent = correct[everyone, choice].mean(), tokens[everyone, choice].mean()
        curve.append(CurveRow(tradeoff, float(accuracy), float(spent)))
    return Evaluation(
        rows=tuple(rows),
        comparison=_compare(test, routed, reference),
        headroom=headroom,
        headroom_arms=(names[cheapest], names[reference]),
        curve=tuple(curve),
        objectives=tuple(choices.objectives),
        n=test.n_questions,
        n_incomplete=matrix.n_questions - test.n_questions,
        n_errors=matrix.n_errors,
        n_groups=n_groups,
        n_folds=n_folds,
        is_oracle_inflated=bool((test.n_samples == 1).any()),
    )


def _row(name: str, test: OutcomeMatrix, weights: Floats) -> EvaluationRow:
    """Return the row of a strategy that takes each arm with the given probabilities."""
    values = (weights * test.correct).sum(axis=1)
    flops = np.where(weights > 0, weights * test.flops, 0.0).sum(axis=1).mean()
    is_binary = np.isin(values, (0.0, 1.0)).all() and len(set(test.groups)) == len(values)
    interval = (
        wilson_interval(int(values.sum()), len(values))
        if is_binary
        else clustered_mean_interval(values.tolist(), test.groups)
    )
    return EvaluationRow(
        name=name,
        accuracy=float(values.mean()),
        ci_low=max(interval.low, 0.0),
        ci_high=min(interval.high, 1.0),
        mean_tokens=float((weights * test.tokens).sum(axis=1).mean()),
        mean_flops=None if np.isnan(flops) else float(flops),
        n=len(values),
    )


def _best_mixture(correct: Floats, tokens: Floats, budget: float) -> Floats:
    """Return arm probabilities, blind to the question, most accurate within mean tokens.

    The best such mixture takes at most two arms. Below the cheapest arm it is the cheapest arm.
    """
    accuracy, spent = correct.mean(axis=0), tokens.mean(axis=0)
    best = np.zeros(len(accuracy))
    best[spent.argmin()] = 1.0
    highest = accuracy @ best
    for low in np.flatnonzero(spent <= budget):
        for high in range(len(spent)):
            reach = (budget - spent[low]) / max(spent[high] - spent[low], 1e-12)
            share = min(reach, 1.0) if spent[high] > spent[low] else 0.0
            value = (1.0 - share) * accuracy[low] + share * accuracy[high]
            if value > highest:
                best, highest = np.zeros(len(accuracy)), value
                best[low] += 1.0 - share
                best[high] += share
    return best


def _compare(test: OutcomeMatrix, routed: Ints, reference: int) -> Comparison:
    everyone = np.arange(test.n_questions)
    ours, theirs = test.correct[everyone, routed], test.correct[:, reference]
    interval = paired_difference_interval(
        ours.tolist(), theirs.tolist(), clusters=test.groups, n_resamples=2000
    )
    gained = lost = p_value = None
    if np.isin(ours, (0.0, 1.0)).all() and np.isin(theirs, (0.0, 1.0)).all():
        gained, lost = int((ours > theirs).sum()), int((ours < theirs).sum())
        p_value = mcnemar_exact(gained, lost)
    spent, reference_spent = test.tokens[everyone, routed].sum(), test.tokens[:, reference].sum()
    return Comparison(
        reference=test.arms[reference].name,
        difference=interval.estimate,
        ci_low=interval.low,
        ci_high=interval.high,
        tokens_saved=float(1.0 - spent / reference_spent) if reference_spent > 0 else 0.0,
        n_gained=gained,
        n_lost=lost,
        p_value=p_value,
    )
