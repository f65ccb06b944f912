"""Made-up studies with a known truth: full tables of plausible students, drawn in a second.

A question has a difficulty, drawn once per task type and shared by all students; a student has an
ability on a task type, which is its recipe's plus an effect of its seed. It gets a question right
with probability `sigmoid(ability - difficulty)`, independently given both. `true_ability` is the
truth behind a recipe, `true_accuracy` what it comes to over questions and seeds.
"""

import math
from collections.abc import Sequence

import numpy as np

from advisor.study._design import StudyDesign
from advisor.study._results import StudentResult, StudyCell
from advisor.study._student import Student, StudyOrder
from advisor.study._table import StudyTable
from calibration.statistics import wilson_interval

TASK_TYPES = ("math-oe", "math-mc", "general-oe", "general-mc")
N_PARAMS = {"pocket-xs": 101_136, "pocket-s": 463_968, "pocket-m": 2_124_096}
"""Sizes of the pocket family, roughly."""
DIFFICULTY_SD = 1.2
SEED_SD = 0.15
"""Standard deviation of a seed's effect on a student's ability, on the logit scale."""

_LEVEL = {"math-oe": -0.6, "math-mc": 0.1, "general-oe": 0.0, "general-mc": 0.5}
_GAIN = {"math-oe": 1.8, "math-mc": 1.0, "general-oe": 0.5, "general-mc": -0.3}
"""What thinking adds at the middle size, and what it takes away on easy choice."""
_ORDERS = (
    StudyOrder.MIXED,
    StudyOrder.IFT_THEN_REASONING,
    StudyOrder.GENERAL_IFT_MATH_IFT,
    StudyOrder.GENERAL_IFT_MATH_REASONING,
    StudyOrder.GENERAL_REASONING_MATH_IFT,
    StudyOrder.GENERAL_REASONING_MATH_REASONING,
)


def synthetic_study(
    seed: int = 0,
    *,
    sizes: Sequence[str] = tuple(N_PARAMS),
    ratios: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    orders: Sequence[StudyOrder] = _ORDERS,
    corpora: Sequence[str] = ("general", "math"),
    seeds: Sequence[int] = (1, 2, 3),
    policies: Sequence[str] = ("direct", "reasoning@max"),
    n_questions: int = 200,
    seed_sd: float = SEED_SD,
    name: str = "synthetic-study",
) -> StudyTable:
    """Draw a study; equal arguments give equal tables.

    Args:
        seed: Of everything that is drawn.
        sizes: Names out of `N_PARAMS`.
        ratios: Shares of reasoning rows.
        orders: Orders, one-run and two-stage ones.
        corpora: Training corpora.
        seeds: Training seeds.
        policies: `direct`, `reasoning@max` and budgets such as `reasoning@8`.
        n_questions: Questions per task type.
        seed_sd: Standard deviation of a training seed's effect on the logit scale.
        name: Name of the study.
    """
    design = StudyDesign(
        sizes=tuple(sizes),
        ratios=tuple(ratios),
        orders=tuple(orders),
        corpora=tuple(corpora),
        seeds=tuple(seeds),
        n_questions=n_questions,
        policies=tuple(policies),
    )
    draw = np.random.default_rng([seed, 7])
    difficulty = {one: draw.normal(0.0, DIFFICULTY_SD, n_questions) for one in TASK_TYPES}
    results = tuple(
        _result(student, design, difficulty, np.random.default_rng([seed, 8, at]), seed_sd)
        for at, student in enumerate(design.students())
    )
    return StudyTable(name, design, results, {"lab": "synthetic", "seed": seed})


def true_ability(student: Student, task_type: str, policy: str) -> float:
    """Return the ability of a recipe, before the effect of its seed; the seed is not read."""
    step = list(N_PARAMS).index(student.size) - 1.0
    base = _LEVEL[task_type] + 0.5 * step
    stages = student.stages
    learned = 0.0 if any(one.corpus == "general" for one in stages) else -0.8
    if task_type.startswith("math"):
        learned = 0.3 if any(one.corpus == "math" for one in stages) else 0.0
    share = think_share(student, policy)
    budget = _budget(policy)
    gain = _GAIN[task_type] + 0.6 * step
    reach = 1.0 if budget is None else 1.0 - math.exp(-budget / 12.0)
    forgotten = 0.2 * student.ratio if policy == "direct" else 0.0
    sequential = 0.15 if student.order is StudyOrder.IFT_THEN_REASONING else 0.0
    return base + learned + share * (gain * reach + sequential) - forgotten


def true_accuracy(
    student: Student, task_type: str, policy: str, *, seed_sd: float = SEED_SD
) -> float:
    """Return the accuracy of a recipe over all questions and seeds."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    spread = math.hypot(DIFFICULTY_SD, seed_sd)
    chances = 1 / (1 + np.exp(-(true_ability(student, task_type, policy) - spread * nodes)))
    return float(np.sum(weights * chances) / np.sum(weights))


def think_share(student: Student, policy: str) -> float:
    """Return the share of its answers in which a student thinks."""
    if policy == "direct":
        return 0.0
    last = student.stages[-1].ratio
    if student.order is StudyOrder.MIXED or student.order.is_two_stage:
        return last if last in {0.0, 1.0} else 0.95 if last > 0.5 else last
    return 0.0 if student.order is StudyOrder.REASONING_THEN_IFT else 1.0


def _budget(policy: str) -> int | None:
    text = policy.partition("@")[2]
    return int(text) if text.isdecimal() else None


def _result(
    student: Student,
    design: StudyDesign,
    difficulty: "dict[str, np.ndarray]",
    draw: np.random.Generator,
    seed_sd: float,
) -> StudentResult:
    n_params = N_PARAMS[student.size]
    tokens = round(design.n_rows * len(student.stages) * (40 + 60 * student.ratio))
    cells: list[StudyCell] = []
    for task_type in TASK_TYPES:
        effect = draw.normal(0.0, seed_sd)
        for policy in design.policies:
            ability = true_ability(student, task_type, policy) + effect
            chances = 1 / (1 + np.exp(difficulty[task_type] - ability))
            right = draw.random(design.n_questions) < chances
            cells.append(_cell(student, task_type, policy, right, n_params))
    return StudentResult(student, n_params, tokens, 6.0 * n_params * tokens, tuple(cells))


def _cell(
    student: Student, task_type: str, policy: str, right: np.ndarray, n_params: int
) -> StudyCell:
    n, n_correct = len(right), int(right.sum())
    share = think_share(student, policy)
    thought = min(_budget(policy) or 48, 48) * share
    interval = wilson_interval(n_correct, n)
    return StudyCell(
        task_type=task_type,
        mode="ift" if policy == "direct" else "reasoning",
        policy=policy,
        n=n,
        n_correct=n_correct,
        n_cut=(n - n_correct) // 20,
        accuracy=n_correct / n,
        ci_low=interval.low,
        ci_high=interval.high,
        mean_tokens=3.0 + thought,
        mean_tokens_correct=3.0 + 0.9 * thought if n_correct else None,
        mean_tokens_wrong=3.0 + 1.6 * thought if n_correct < n else None,
        think_share=share,
        mean_flops=2.0 * n_params * (23.0 + thought),
        correct="".join("1" if one else "0" for one in right),
    )
