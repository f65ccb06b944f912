"""Asking the advisor as a user would, and reading what whoever follows its answer would do."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from calibration import Cell
from calibration.statistics import wilson_interval
from policies import InvalidInputError, ModelSize

from ..._recipe import Corpus
from ..._recommendation import Recommendation
from ..._request import Objective, RecommendationRequest
from ...evidence import PublishedEvidence
from ...verdict import recommend
from .._evidence import StudyEvidence
from ._held import Arm, Fold, HeldStudy, Problem

__all__ = ["Range", "Reply", "ask", "named_corpus", "shown_cells"]

_CORPORA: dict[str, Corpus] = {"general": "general", "math": "math-centric"}
_REFUSED = "size-out-of-range"
_Z_95 = 1.959963984540054
_MEASURED = re.compile(r"--size (\S+) .*?--recipe (\S+)")


class Range(NamedTuple):
    """A figure of the advisor with its 90% interval."""

    value: float
    low: float
    high: float


Wanted: TypeAlias = tuple[ModelSize, str]
"""A cell that the advisor asks to be measured: size and recipe label."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the advisor.

    Attributes:
        label: Recipe that is trained by whoever follows it: the advised one, or the fallback of an
            abstention; `None` without either.
        is_decided: It recommends something; else it abstains.
        is_leaning: It says that this is not shown.
        word: Its word for how sure it is.
        expected_loss: Accuracy that it expects to lose, `None` where it does not say.
        train_flops: Training FLOPs that it states, by recipe label.
        inference_flops: FLOPs of a query by recipe label, where it states them.
        gain: Accuracy of reasoning minus that of direct answers, `None` where it gives none.
        accuracies: Accuracy by recipe label, where it gives one.
        wanted: Cells that it asks to be measured, the most valuable first.
    """

    label: str | None
    is_decided: bool
    is_leaning: bool
    word: str
    expected_loss: float | None
    train_flops: Mapping[str, float]
    inference_flops: Mapping[str, float]
    gain: Range | None
    accuracies: Mapping[str, Range]
    wanted: tuple[Wanted, ...]


def ask(
    size: ModelSize,
    task_type: str,
    cells: Sequence[Cell],
    *,
    corpus: Corpus,
    evidence: PublishedEvidence,
    study: StudyEvidence | None = None,
    objective: Objective = "balanced",
    tolerance: float,
) -> Reply:
    """Ask for a recipe and return what the answer comes to.

    A size that the advisor refuses to speak about, because neither published figures nor cells
    reach it, counts as an abstention, and as followed by direct answers, which cost least.

    Args:
        size: Size to train, also the largest allowed.
        task_type: Task type.
        cells: What the user measured.
        corpus: What the user says the training corpus resembles.
        evidence: Published figures, those that are judged left out.
        study: A study that is given as a table.
        objective: What the user says matters most.
        tolerance: Accuracy that may be lost.
    """
    request = RecommendationRequest(
        size=size,
        task_type=task_type,
        corpus=corpus,
        objective=objective,
        tolerance=tolerance,
    )
    try:
        answer = recommend(request, cells=cells, evidence=evidence, study=study)
    except InvalidInputError as error:
        if error.code != _REFUSED:
            raise
        return Reply("ift", False, False, "none", None, {}, {}, None, {}, ())
    option = answer.recommended or answer.option(answer.verdict.fallback)
    here = {one.id: one for one in answer.options if one.size == size}
    return Reply(
        label=None if option is None else option.recipe.label,
        is_decided=answer.recommended is not None,
        is_leaning=answer.verdict.is_leaning,
        word=answer.verdict.confidence,
        expected_loss=answer.verdict.expected_regret,
        train_flops={one.recipe.label: one.train_flops for one in here.values()},
        inference_flops={
            one.recipe.label: one.inference_flops
            for one in here.values()
            if one.inference_flops is not None
        },
        gain=_gain(answer, {name: one.recipe.label for name, one in here.items()}),
        accuracies={
            one.recipe.label: Range(one.accuracy.value, one.accuracy.low, one.accuracy.high)
            for one in here.values()
            if one.accuracy.value is not None
            and one.accuracy.low is not None
            and one.accuracy.high is not None
        },
        wanted=_wanted(answer),
    )


def named_corpus(name: str) -> Corpus:
    """Return a study's corpus as the advisor calls it."""
    return _CORPORA.get(name, "own")


def shown_cells(
    study: HeldStudy,
    problem: Problem,
    fold: Fold,
    labels: Sequence[str],
    *,
    with_seeds: bool = False,
) -> tuple[Cell, ...]:
    """Return the cells of some recipes as a fold shows them: one seed, half of the questions.

    Lengths and FLOPs are means over all questions: they are costs, which nobody guesses here.

    Args:
        study: The study.
        problem: Whose cells.
        fold: What is shown of them.
        labels: Recipe labels; those that were not trained with the fold's seed are passed over.
        with_seeds: Widen each interval by what another training seed would add.
    """
    arms = study.arms[problem]
    shown = [arms[label] for label in labels if label in arms and fold.seed in arms[label].cells]
    variance = study.seed_variance.accuracy if with_seeds else 0.0
    return tuple(cell for arm in shown for cell in _shown(problem, arm, fold, variance))


def _shown(problem: Problem, arm: Arm, fold: Fold, seed_variance: float) -> list[Cell]:
    more = _Z_95 * math.sqrt(seed_variance)
    cells: list[Cell] = []
    for policy in ("direct", "reasoning@max"):
        seen = arm.cells[fold.seed][policy]
        right = seen.correct[fold.half :: 2]
        n, n_correct = len(right), right.count("1")
        interval = wilson_interval(n_correct, n)
        cells.append(
            Cell(
                task=f"study-{problem.task_type}",
                task_type=problem.task_type,
                model=f"{problem.size}.{problem.corpus}.{arm.label}",
                size=arm.n_params,
                policy=policy,
                recipe=arm.label,
                n=n,
                n_correct=n_correct,
                n_cut=min(round(seen.n_cut * n / seen.n), n - n_correct),
                n_error=0,
                accuracy=n_correct / n,
                ci_low=max(0.0, n_correct / n - math.hypot(n_correct / n - interval.low, more)),
                ci_high=min(1.0, n_correct / n + math.hypot(interval.high - n_correct / n, more)),
                mean_prompt_tokens=float("nan"),
                mean_tokens=seen.mean_tokens,
                mean_flops=seen.mean_flops,
                mean_seconds=float("nan"),
            )
        )
    return cells


def _gain(answer: Recommendation, labels: Mapping[str, str]) -> Range | None:
    for one in answer.differences:
        if (labels.get(one.first), labels.get(one.second)) == ("reasoning", "ift"):
            return Range(one.value, one.low, one.high)
    return None


def _wanted(answer: Recommendation) -> tuple[Wanted, ...]:
    """Return the cells that the commands of the proposals measure, each once."""
    found = [
        (ModelSize.parse(match[1]), match[2])
        for one in answer.next_measurements
        for command in one.commands
        if command.startswith("advisor calibrate")
        and (match := _MEASURED.search(command)) is not None
    ]
    return tuple(dict.fromkeys(found))
