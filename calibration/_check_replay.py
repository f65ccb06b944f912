"""Check that budgets told from longer traces are the budgets' own answers, on the backend at hand.

The same questions are answered twice: once with each budget really set, once from the trace of
the largest. Equal accuracy within a margin is shown by two one-sided tests, not by the absence
of a significant difference.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from policies import InvalidInputError

from ._outcomes import Outcome, OutcomeRecord
from ._plan import Plan
from ._replay import trace_leads
from ._run import Progress, run_plan, store_path
from ._store import RunStore
from .statistics import Equivalence, PairedCounts, equivalence_test, same_distribution

__all__ = ["MIN_QUESTIONS", "ReplayCheck", "check_replay"]

MIN_QUESTIONS = 200
"""Fewer questions cannot show a difference of five points to be absent."""
_MIN_P_LENGTHS = 0.01


@dataclass(frozen=True, slots=True)
class ReplayCheck:
    """What the comparison of one arm has found.

    Attributes:
        arm: The arm with the smaller budget.
        accuracy: Native minus replayed accuracy, with the interval of the two one-sided tests.
        n_identical: Questions whose native and replayed answers have the same outcome and the
            same number of tokens; all of them where decoding is greedy and exact.
        p_lengths: p-value of "native and replayed answers are equally long"
            (Kolmogorov-Smirnov).
        n_error: Questions left out because of infrastructure errors.
    """

    arm: str
    accuracy: Equivalence
    n_identical: int
    p_lengths: float
    n_error: int

    @property
    def is_passed(self) -> bool:
        """Whether accuracy is equivalent and lengths do not differ at the level 0.01."""
        return self.accuracy.is_equivalent and self.p_lengths >= _MIN_P_LENGTHS


async def check_replay(
    plan: Plan,
    *,
    margin: float = 0.05,
    confidence: float = 0.95,
    concurrency: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[ReplayCheck]:
    """Answer a plan's questions natively and from traces, and compare.

    Args:
        plan: One backend's arms: a largest budget, and two smaller ones or more, of which the
            first and the last but one are compared. At least 200 questions.
        margin: Largest difference of accuracy that counts as none.
        confidence: Of each one-sided test.
        concurrency: As in `run_plan`.
        on_progress: As in `run_plan`.

    Raises:
        InvalidInputError: Nothing is told from traces in this plan, or it has too few questions.
        BackendError: The backend cannot be used.

    Source: Schuirmann 1987, see `equivalence_test`.
    """
    leads = trace_leads(plan.arms, plan.options)
    n_questions = plan.size().n_questions
    if not leads:
        raise InvalidInputError(
            "no budget of this plan is told from a longer trace",
            hint="give a backend with hard budgets, and --policies reasoning --budgets 64,256,max",
            code="nothing-to-check",
        )
    if n_questions < MIN_QUESTIONS:
        raise InvalidInputError(
            f"{n_questions} questions are too few to compare replayed with native answers",
            hint=f"give --limit {MIN_QUESTIONS} or more",
            code="too-few-questions",
        )
    followers = [arm for arm in plan.arms if arm.name in leads]
    compared = {arm.name: arm for arm in (followers[0], followers[-1])}
    with tempfile.TemporaryDirectory() as folder:
        native = await _outcomes(
            replace(plan, arms=tuple(compared.values())), Path(folder) / "native", concurrency
        )
        arms = {arm.name: arm for arm in (*compared.values(), *map(leads.__getitem__, compared))}
        replayed = await _outcomes(
            replace(plan, arms=tuple(arms.values())),
            *(Path(folder) / "replayed", concurrency, True, on_progress),
        )
    return [_compare(name, native, replayed, margin, confidence) for name in compared]


async def _outcomes(
    plan: Plan,
    folder: Path,
    concurrency: int | None,
    replay: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[tuple[str, str], OutcomeRecord]:
    with RunStore.create(store_path(folder)) as store:
        await run_plan(plan, store, concurrency=concurrency, replay=replay, on_progress=on_progress)
    with RunStore.open(store_path(folder)) as store:
        return {(r.arm, r.question_id): r for r in store.records()}


def _compare(
    arm: str,
    native: dict[tuple[str, str], OutcomeRecord],
    replayed: dict[tuple[str, str], OutcomeRecord],
    margin: float,
    confidence: float,
) -> ReplayCheck:
    pairs = [(record, replayed[key]) for key, record in native.items() if key[0] == arm]
    judged = [pair for pair in pairs if all(r.outcome is not Outcome.ERROR for r in pair)]
    right = [tuple(r.outcome is Outcome.CORRECT for r in pair) for pair in judged]
    counts = PairedCounts(
        n_both=right.count((True, True)),
        n_first_only=right.count((True, False)),
        n_second_only=right.count((False, True)),
        n_neither=right.count((False, False)),
    )
    lengths = [
        [float(r.completion_tokens or 0) for r in side] for side in zip(*judged, strict=True)
    ]
    return ReplayCheck(
        arm=arm,
        accuracy=equivalence_test(counts, margin, confidence),
        n_identical=sum(
            (a.outcome, a.completion_tokens) == (b.outcome, b.completion_tokens) for a, b in judged
        ),
        p_lengths=same_distribution(*lengths) if judged else 0.0,
        n_error=len(pairs) - len(judged),
    )
