"""Share of the oracle's headroom on pocket: text, task hint, and cascades on answers' evidence.

Direct and reasoning answers of `pocket-m` to all four task types are measured with evidence, and
the router is cross-fitted by group: every prediction comes from a router, and every decision from
a cascade, that was not fitted on its question. Tokens of a cascade include the first answers.
"""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration import Arm, Plan, RunStore, describe_model, load_tasks, run_plan, store_path
from policies import build_policy
from policies.backends.pocket import POCKET_OPTIONS, PocketBackend
from router import Objective, OutcomeMatrix, Router
from router._decision import choose  # noqa: PLC2701
from router.cascade._cascade import Cascade  # noqa: PLC2701
from router.cascade._cascade_fit import fit_cascade  # noqa: PLC2701
from router.evaluation._curves import gain_curve, headroom_share  # noqa: PLC2701
from router.model._fit import group_folds  # noqa: PLC2701

from ._report import Report

MODEL = "pocket-m"
POLICIES = ("direct", "reasoning@max")
N_PER_TASK = 700
N_FOLDS = 5
N_TRADEOFFS = 200
TARGET = 0.60
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Spend = Callable[[Objective], tuple[Floats, Floats]]


class Predicted(NamedTuple):
    """Out-of-fold predictions.

    Attributes:
        p: Probability of a right answer, shape `(n_questions, n_arms)`.
        tokens: Expected tokens, same shape.
    """

    p: Floats
    tokens: Floats


def run(report: Report) -> None:
    """Measure, cross-fit, and print each share beside what the text alone gives."""
    matrix = measure()
    folds = group_folds(matrix.groups, N_FOLDS, np.random.default_rng(0))
    text, hint = cross_fitted(matrix, folds)
    alone = swept(matrix, plain(matrix, text))
    name = f"{MODEL}, {matrix.n_questions:,} questions"
    report.add(f"headroom, text only, {name}", alone, "share")
    baseline = ("text only", alone)
    report.add(
        "headroom, task hint", swept(matrix, plain(matrix, hint)), "share", baseline=baseline
    )
    blind = Predicted(
        *(base_rates(matrix, values, folds) for values in (matrix.correct, matrix.tokens))
    )
    for case, predicted in (("without text", blind), ("with text", text), ("with a hint", hint)):
        report.add(
            f"headroom, cascade {case}",
            swept(matrix, cascaded(matrix, predicted, folds)),
            "share",
            baseline=baseline,
            at_least=None if predicted is blind else TARGET,
        )
    report.add(
        "ceiling: the same evidence for free",
        free_evidence(matrix, text, folds),
        "share",
        baseline=baseline,
        note="first answers not paid: what any rule on this evidence stays below",
    )
    report.add(
        "ceiling: evidence that knows the answer",
        swept(matrix, cascaded(all_knowing(matrix), text, folds)),
        "share",
        baseline=baseline,
        note="first answers paid",
    )


def measure() -> OutcomeMatrix:
    """Return the outcomes of direct and reasoning answers, with evidence."""
    backend = PocketBackend(MODEL)
    plan = Plan(
        tuple(load_tasks(["pocket"], limit=N_PER_TASK, seed=0)),
        tuple(Arm(backend, build_policy(one), describe_model(backend)) for one in POLICIES),
        replace(POCKET_OPTIONS, logprobs=True),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = store_path(Path(folder))
        with RunStore.create(path) as store:
            asyncio.run(run_plan(plan, store))
        with RunStore.open(path) as store:
            return OutcomeMatrix.from_records(store.records())


def cross_fitted(matrix: OutcomeMatrix, folds: Sequence[Ints]) -> tuple[Predicted, Predicted]:
    """Return out-of-fold predictions from text alone, and with the task type as a hint."""
    shape = matrix.correct.shape
    found = [Predicted(np.empty(shape), np.empty(shape)) for _ in range(2)]
    names = sorted(set(matrix.task_types))
    for fold in folds:
        rest = np.setdiff1d(np.arange(matrix.n_questions), fold)
        router = Router.fit(matrix.rows(rest), unit="tokens")
        hinted: list[tuple[Ints, str | None]] = []
        for name in names:
            rows = np.array([row for row in fold if matrix.task_types[row] == name], np.int64)
            hinted += [(rows, name)] if len(rows) else []
        for predicted, parts in zip(found, ([(fold, None)], hinted), strict=True):
            for rows, task in parts:
                made = router.predict([matrix.prompts[int(row)] for row in rows], task)
                predicted.p[rows], predicted.tokens[rows] = made.p_correct, made.tokens
    return found[0], found[1]


def base_rates(matrix: OutcomeMatrix, values: Floats, folds: Sequence[Ints]) -> Floats:
    """Return each arm's mean over the other folds: what is known without reading the prompt."""
    rates = np.empty_like(values)
    for fold in folds:
        rest = np.setdiff1d(np.arange(matrix.n_questions), fold)
        rates[fold] = values[rest].mean(axis=0)
    return rates


def plain(matrix: OutcomeMatrix, predicted: Predicted) -> Spend:
    """Return what one call per question gives."""

    def spend(objective: Objective) -> tuple[Floats, Floats]:
        choice, _ = choose(predicted.p, predicted.tokens, objective)
        rows = np.arange(len(choice))
        return matrix.correct[rows, choice], matrix.tokens[rows, choice]

    return spend


def cascaded(matrix: OutcomeMatrix, predicted: Predicted, folds: Sequence[Ints]) -> Spend:
    """Return what two-stage decisions give; each fold's cascade is fitted on the others."""
    cascades: list[Cascade | None] = []
    for fold in folds:
        rest = np.setdiff1d(np.arange(matrix.n_questions), fold)
        parameters = fit_cascade(predicted.p[rest], matrix.rows(rest))
        cascades.append(None if parameters is None else Cascade(parameters))

    def spend(objective: Objective) -> tuple[Floats, Floats]:
        correct, tokens = plain(matrix, predicted)(objective)
        for fold, cascade in zip(folds, cascades, strict=True):
            if cascade is not None:
                done = cascade.simulate(
                    predicted.p[fold], predicted.tokens[fold], matrix.rows(fold), objective
                )
                correct[fold], tokens[fold] = done.correct, done.tokens
        return correct, tokens

    return spend


def swept(matrix: OutcomeMatrix, spend: Spend) -> float:
    """Return the share of headroom between both arms over all trade-offs.

    As `headroom_share`: area under accuracy over the share of the dear arm's extra tokens, by
    trapezoids over [0, 1], less random mixing, over the same of the oracle.
    """
    correct, tokens = matrix.correct, matrix.tokens
    extra = (tokens[:, 1] - tokens[:, 0]).sum()
    points = [(0.0, correct[:, 0].mean()), (1.0, correct[:, 1].mean())]
    for tradeoff in (0.0, *np.geomspace(1e-5, 1.0, N_TRADEOFFS)):
        right, spent = spend(Objective.trade(float(tradeoff)))
        share = (spent - tokens[:, 0]).sum() / extra
        if share <= 1.0:
            points.append((share, right.mean()))
    curve = np.array(sorted(points))
    ideal = (correct[:, 1] - correct[:, 0]) / np.maximum(tokens[:, 1] - tokens[:, 0], 1.0)
    oracle = np.array(gain_curve(ideal, correct, tokens))
    areas = [np.trapezoid(one[:, 1], one[:, 0]) for one in (curve, oracle)]
    random = correct.mean()
    return float((areas[0] - random) / (areas[1] - random))


def free_evidence(matrix: OutcomeMatrix, predicted: Predicted, folds: Sequence[Ints]) -> float:
    """Return the share of ranking by the probabilities after evidence that cost nothing."""
    score = np.empty(matrix.n_questions)
    for fold in folds:
        rest = np.setdiff1d(np.arange(matrix.n_questions), fold)
        parameters = fit_cascade(predicted.p[rest], matrix.rows(rest))
        p = predicted.p[fold]
        if parameters is not None and 0 in parameters.firsts:
            p = Cascade(parameters).revised_many(p, 0, matrix.evidence[fold, 0])
        tokens = predicted.tokens[fold]
        score[fold] = (p[:, 1] - p[:, 0]) / np.maximum(tokens[:, 1] - tokens[:, 0], 1.0)
    return headroom_share(score, matrix.correct, matrix.tokens)


def all_knowing(matrix: OutcomeMatrix) -> OutcomeMatrix:
    """Return the matrix with evidence that says whether the answer is right."""
    evidence = matrix.evidence.copy()
    evidence[:, :, 0] = np.where(matrix.evidence_correct == 1.0, -0.01, -5.0)
    return replace(matrix, evidence=evidence)


if __name__ == "__main__":
    report = Report()
    report.begin("cascade")
    run(report)
    print(report.to_text())
