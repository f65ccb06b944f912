"""The plan of a study: what students cost alone and together, and what a budget leaves."""

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.inference import accuracy_at
from advisor.study._design import StudyDesign
from advisor.study._doubt import NOTHING_KNOWN, doubt_of
from advisor.study._plan import PlannedStudent, StudyLimits, StudyPlan
from advisor.study._plan_costs import Costs, Together, makespan
from advisor.study._student import Student, StudyOrder
from calibration.published import load_published_table
from policies import InvalidInputError, ModelSize, NoAdmissibleArmError
from tests.advisor.study.price_list import (
    DIRECT_TOKENS,
    N_PARAMS,
    N_ROWS,
    REASONING_TOKENS,
    TASK_TYPES,
    PriceList,
)

ALL_ORDERS = tuple(StudyOrder)
M = StudyOrder.MIXED
SEQUENTIAL = StudyOrder.IFT_THEN_REASONING
IFT_TOKENS = N_ROWS * DIRECT_TOKENS
FULL = StudyDesign(sizes=("pocket-xs", "pocket-s", "pocket-m"), orders=ALL_ORDERS)


def plan_of(design: StudyDesign, lab: PriceList | None = None, **options: Any) -> StudyPlan:
    return StudyPlan.of(design, lab or PriceList(), TASK_TYPES, **options)


def by_student(plan: StudyPlan) -> dict[Student, PlannedStudent]:
    return {one.student: one for one in plan.students}


def grid(*sizes: str, **changes: Any) -> StudyDesign:
    usual = {"sizes": sizes or ("pocket-xs",), "corpora": ("general",), "seeds": (1,)}
    return StudyDesign.model_validate({**usual, **changes})


def test_a_plan_without_limits_has_every_student_of_the_design_once() -> None:
    plan = plan_of(FULL)

    assert Counter(one.student for one in plan.students) == Counter(FULL.students())
    assert plan.runs == len(FULL.students())
    assert plan.left_out == ()


def test_a_student_alone_costs_all_of_its_stages() -> None:
    order = StudyOrder.GENERAL_IFT_MATH_REASONING
    plan = plan_of(grid(orders=(M, order), corpora=("general", "math")))

    costs = {one.student.label: one.train_tokens for one in plan.students}

    assert costs["ift"] == IFT_TOKENS
    assert costs["reasoning"] == N_ROWS * REASONING_TOKENS
    assert costs["mixed@0.25"] == N_ROWS * (0.75 * DIRECT_TOKENS + 0.25 * REASONING_TOKENS)
    assert costs[order.value] == N_ROWS * (DIRECT_TOKENS + REASONING_TOKENS)


def test_direct_rows_that_come_first_are_trained_once() -> None:
    plan = plan_of(grid(orders=(SEQUENTIAL,)))
    costs = by_student(plan)

    for ratio in (0.25, 0.5, 0.75):
        one = costs[Student("pocket-xs", "general", ratio, SEQUENTIAL, 1)]
        # Only its reasoning rows are new.
        assert one.new_tokens == N_ROWS * ratio * REASONING_TOKENS
        assert one.train_tokens == one.new_tokens + N_ROWS * (1 - ratio) * DIRECT_TOKENS
        assert one.goes_on_from == Student("pocket-xs", "general", 0.0, M, 1)


def test_reasoning_rows_that_come_first_are_trained_once() -> None:
    orders = (StudyOrder.REASONING_THEN_IFT, StudyOrder.REASONING_THEN_HYBRID)
    costs = by_student(plan_of(grid(orders=orders, ratios=(0.0, 0.75, 1.0))))
    reasoning = Student("pocket-xs", "general", 1.0, M, 1)

    then_ift = costs[Student("pocket-xs", "general", 0.75, orders[0], 1)]
    then_hybrid = costs[Student("pocket-xs", "general", 0.75, orders[1], 1)]

    assert then_ift.new_tokens == N_ROWS * 0.25 * DIRECT_TOKENS
    # The first half is reasoning alone, the rest half and half.
    assert then_hybrid.new_tokens == N_ROWS * 0.25 * (DIRECT_TOKENS + REASONING_TOKENS)
    assert then_ift.goes_on_from == then_hybrid.goes_on_from == reasoning


def test_two_stage_students_add_their_second_stage_alone() -> None:
    orders = tuple(one for one in ALL_ORDERS if one.is_two_stage)
    plan = plan_of(grid(orders=orders, corpora=("general",), ratios=(0.0, 1.0)))

    added = {one.student.label: one.new_tokens for one in plan.students}

    assert added == {
        "ift": IFT_TOKENS,
        "reasoning": N_ROWS * REASONING_TOKENS,
        "general_ift_then_math_ift": IFT_TOKENS,
        "general_ift_then_math_reasoning": N_ROWS * REASONING_TOKENS,
        "general_reasoning_then_math_ift": IFT_TOKENS,
        "general_reasoning_then_math_reasoning": N_ROWS * REASONING_TOKENS,
    }


def test_a_first_stage_outside_the_design_is_counted_with_whoever_needs_it_first() -> None:
    orders = (StudyOrder.GENERAL_IFT_MATH_IFT, StudyOrder.GENERAL_IFT_MATH_REASONING)
    plan = plan_of(grid(orders=orders, corpora=("math",), ratios=(0.0,)))

    _, first, second = plan.students

    assert first.goes_on_from is None
    assert first.new_tokens == first.train_tokens == 2 * IFT_TOKENS
    assert second.new_tokens == second.train_tokens - IFT_TOKENS


def test_a_lab_that_shares_no_rows_shares_whole_first_stages_alone() -> None:
    orders = (SEQUENTIAL, StudyOrder.GENERAL_IFT_MATH_IFT)
    plan = plan_of(grid(orders=orders, ratios=(0.0, 0.5)), shares_prefixes=False)
    costs = {one.student.order: one for one in plan.students if one.student.order is not M}

    assert costs[SEQUENTIAL].new_tokens == costs[SEQUENTIAL].train_tokens
    assert costs[SEQUENTIAL].goes_on_from is None
    assert costs[orders[1]].new_tokens == IFT_TOKENS
    assert costs[orders[1]].goes_on_from is not None


def test_a_part_of_a_run_that_nobody_trains_whole_is_not_shared() -> None:
    plan = plan_of(grid(orders=(SEQUENTIAL,), ratios=(0.25, 0.75)))

    assert all(one.goes_on_from is None for one in plan.students)
    assert all(one.new_tokens == one.train_tokens for one in plan.students)


def test_totals_count_what_is_shared_once_and_each_student_counts_it_fully() -> None:
    plan = plan_of(FULL)

    assert plan.train_flops == pytest.approx(sum(one.new_flops for one in plan.students))
    assert plan.train_flops_alone == pytest.approx(sum(one.train_flops for one in plan.students))
    assert plan.train_flops < plan.train_flops_alone
    shares_nothing = plan_of(grid(orders=(M,)))
    assert shares_nothing.train_flops == pytest.approx(shares_nothing.train_flops_alone)


@given(st.permutations(grid(orders=ALL_ORDERS, corpora=("general", "math")).students()))
def test_what_students_cost_together_does_not_depend_on_the_order_of_those_that_go_on(
    shuffled: list[Student],
) -> None:
    expected = plan_of(grid(orders=ALL_ORDERS, corpora=("general", "math")))
    together = Together(Costs(PriceList()))

    added = [
        together.add(one)
        for one in sorted(shuffled, key=lambda one: one.order is not M or 0 < one.ratio < 1)
    ]

    assert sum(one.flops for one in added) == pytest.approx(expected.train_flops)
    assert sum(one.tokens for one in added) == expected.tokens


def test_answers_are_counted_per_student_task_type_and_policy() -> None:
    plan = plan_of(grid(ratios=(0.0, 1.0), n_questions=500))

    assert plan.n_answers == 2 * len(TASK_TYPES) * 2 * 500
    assert plan.measure_hours == pytest.approx(2 * 2.0 / 2 / 3600)


def test_measuring_takes_longer_with_more_questions_and_policies() -> None:
    usual = plan_of(grid()).measure_hours
    more = grid(n_questions=3000, policies=("direct", "reasoning@8", "reasoning@max"))

    assert usual is not None
    assert plan_of(more).measure_hours == pytest.approx(usual * 3 * 3 / 2)


def test_hours_shrink_with_workers_but_students_that_share_runs_wait_for_each_other() -> None:
    design = grid(orders=(SEQUENTIAL,), ratios=(0.0, 0.5, 1.0), seeds=(1, 2))
    # Trained 10 s, measured 2 s; the sequential one goes on from half of the first one's run.
    family = 2 * (10 + 2) + (5 + 2)

    hours = [plan_of(design, workers=n).hours for n in (1, 2, 64)]

    assert hours[0] == pytest.approx(2 * family / 3600)
    assert hours[1] == hours[2] == pytest.approx(family / 3600)


@given(st.lists(st.floats(0.1, 100.0), min_size=1, max_size=60), st.integers(1, 5))
def test_a_schedule_is_no_shorter_than_its_work_and_no_longer_than_one_worker(
    seconds: list[float], workers: int
) -> None:
    students = grid("pocket-xs", "pocket-s", orders=ALL_ORDERS, seeds=(1, 2)).students()

    length = makespan(list(zip(students, seconds, strict=False)), workers)

    assert length is not None
    assert sum(seconds[: len(students)]) / workers - 1e-6 <= length
    assert max(seconds[: len(students)]) - 1e-6 <= length <= sum(seconds) + 1e-6


def test_hours_are_unknown_where_the_lab_does_not_know_seconds() -> None:
    plan = plan_of(grid(), PriceList(seconds_per_run=None))

    assert plan.hours is None
    assert plan.measure_hours is not None


def test_hours_cannot_be_limited_where_they_are_not_known() -> None:
    with pytest.raises(InvalidInputError, match="pocket-xs") as raised:
        plan_of(grid(), PriceList(measuring=None), limits=StudyLimits(hours=1))

    assert raised.value.code == "unknown-seconds"


@pytest.mark.parametrize("limits", [{"hours": 0.0}, {"train_flops": -1.0}, {"runs": 0}])
def test_a_limit_that_nothing_can_keep_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="no limit"):
        StudyLimits(**limits)


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no limit"):
        StudyLimits(hours=float("nan"))


def test_no_workers_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="0 workers"):
        plan_of(grid(), workers=0)


def test_limits_that_leave_nobody_say_what_the_study_takes() -> None:
    with pytest.raises(NoAdmissibleArmError, match=r"within 1 runs.* is 8 runs"):
        plan_of(
            grid(orders=(M, SEQUENTIAL, StudyOrder.REASONING_THEN_IFT), ratios=(0, 0.25, 0.5, 1)),
            limits=StudyLimits(runs=1),
        )


FEW = FULL.model_copy(update={"seeds": (1, 2)})
limits = st.one_of(
    st.integers(2, 150).map(lambda n: StudyLimits(runs=n)),
    st.floats(4e11, 1e14).map(lambda x: StudyLimits(train_flops=x)),
    st.floats(0.02, 0.6).map(lambda x: StudyLimits(hours=x)),
)


@settings(max_examples=30)
@given(limits, st.integers(1, 4))
def test_a_cut_plan_keeps_its_limits_whole_comparisons_and_parents(
    cap: StudyLimits, workers: int
) -> None:
    plan = plan_of(FEW, workers=workers, limits=cap)
    kept = [one.student for one in plan.students]

    assert cap.runs is None or plan.runs <= cap.runs
    assert cap.train_flops is None or plan.train_flops <= cap.train_flops
    assert cap.hours is None or (plan.hours is not None and plan.hours <= cap.hours)
    assert Counter(kept) + Counter(plan.left_out) == Counter(FEW.students())
    for key, group in itertools.groupby(sorted(FEW.students(), key=_comparison), _comparison):
        whole = set(group)
        pure = {one for one in whole if one.ratio in {0.0, 1.0} and not one.order.is_two_stage}
        there = whole & set(kept)
        assert there in ({*()}, pure, whole), key
    for at, one in enumerate(plan.students):
        assert one.goes_on_from is None or one.goes_on_from in kept[:at]
        if one.student.order is not M:
            assert one.goes_on_from is not None


def _comparison(student: Student) -> tuple[str, str, int]:
    return student.size, student.corpus, student.seed


def test_equal_plans_come_of_equal_designs() -> None:
    cap = StudyLimits(runs=77)

    assert plan_of(FULL, limits=cap).to_json() == plan_of(FULL, limits=cap).to_json()


def test_a_larger_budget_keeps_what_a_smaller_one_kept() -> None:
    kept = [
        {one.student for one in plan_of(FULL, limits=StudyLimits(runs=n)).students}
        for n in (20, 60, 120, 200)
    ]

    assert all(smaller < larger for smaller, larger in itertools.pairwise(kept))


def test_where_nothing_is_published_pairs_of_the_smallest_size_come_first_then_mixtures() -> None:
    order = [one.student for one in plan_of(FULL).students]
    n_pairs = 2 * len(FULL.corpora) * len(FULL.sizes)
    pairs = order[:n_pairs]

    assert all(one.ratio in {0.0, 1.0} and not one.order.is_two_stage for one in pairs)
    assert [one.size for one in pairs] == sorted(
        [one.size for one in pairs], key=list(FULL.sizes).index
    )
    assert order[n_pairs].size == "pocket-xs"
    assert order[n_pairs].ratio == pytest.approx(0.25)


def test_one_seed_of_every_comparison_comes_before_the_next_seed() -> None:
    seeds = [one.student.seed for one in plan_of(FULL).students]

    assert seeds == sorted(seeds)


def test_two_runs_leave_the_smallest_pair() -> None:
    plan = plan_of(FULL, limits=StudyLimits(runs=2))

    assert [one.student.id for one in plan.students] == [
        "pocket-xs.general.ift.seed1",
        "pocket-xs.general.reasoning.seed1",
    ]


def test_what_is_too_dear_is_passed_over_for_what_fits() -> None:
    design = grid("pocket-xs", "pocket-m", ratios=(0.0, 1.0), seeds=(1, 2))
    smallest_pair = plan_of(design, limits=StudyLimits(runs=2)).train_flops

    plan = plan_of(design, limits=StudyLimits(train_flops=3 * smallest_pair))

    assert {(one.student.size, one.student.seed) for one in plan.students} == {
        ("pocket-xs", 1),
        ("pocket-xs", 2),
    }


def test_the_advisor_is_as_unsure_as_its_intervals_are_wide() -> None:
    table = load_published_table("scale_or_reason_table1")
    size = ModelSize(N_PARAMS["3B"])
    doubt = doubt_of(N_PARAMS.__getitem__, TASK_TYPES)
    expected = [accuracy_at(table, "general", task_type, "ift", size) for task_type in TASK_TYPES]

    width = doubt(Student("3B", "general", 0.0, M, 1))

    assert width == pytest.approx(
        sum((one.high or 0) - (one.low or 0) for one in expected) / len(TASK_TYPES)
    )
    assert 0 < width < 0.2


@pytest.mark.parametrize(
    "student",
    [
        Student("pocket-xs", "general", 0.0, M, 1),
        Student("3B", "own", 0.0, M, 1),
        Student("3B", "general", 0.5, M, 1),
        Student("3B", "general_then_math", 0.0, StudyOrder.GENERAL_IFT_MATH_IFT, 1),
    ],
    ids=lambda student: student.id,
)
def test_the_advisor_knows_nothing_where_nothing_is_published(student: Student) -> None:
    doubt = doubt_of(N_PARAMS.__getitem__, TASK_TYPES)

    assert doubt(student) == NOTHING_KNOWN


def test_task_types_without_figures_count_as_unknown() -> None:
    both = doubt_of(N_PARAMS.__getitem__, ("math-oe", "poems-oe"))
    one = doubt_of(N_PARAMS.__getitem__, ("math-oe",))
    student = Student("3B", "math", 1.0, M, 1)

    assert both(student) == pytest.approx((one(student) + 1.0) / 2)


def test_unpublished_sizes_come_before_published_ones_of_the_same_kind() -> None:
    plan = plan_of(grid("3B", "pocket-m", ratios=(0.0, 1.0)))

    assert [one.student.size for one in plan.students] == ["pocket-m"] * 2 + ["3B"] * 2


def test_a_mixture_that_nothing_is_known_of_brings_its_known_pair_along() -> None:
    plan = plan_of(grid("3B", ratios=(0.0, 0.5, 1.0), orders=(M,), seeds=(1, 2)))

    labels = [(one.student.label, one.student.seed) for one in plan.students]

    assert labels[:3] == [("ift", 1), ("reasoning", 1), ("mixed@0.5", 1)]


def test_the_document_has_a_cell_per_student_task_type_and_policy_with_nothing_measured() -> None:
    plan = plan_of(grid(ratios=(0.0, 1.0), n_questions=100))

    document = plan.to_json()

    assert len(document["cells"]) == 2 * len(TASK_TYPES) * 2
    assert document["cells"][0] == {
        "student": "pocket-xs.general.ift.seed1",
        "size": "pocket-xs",
        "n_params": N_PARAMS["pocket-xs"],
        "corpus": "general",
        "ratio": 0.0,
        "order": "mixed",
        "seed": 1,
        "recipe": "ift",
        "train_tokens": IFT_TOKENS,
        "train_flops": 6.0 * N_PARAMS["pocket-xs"] * IFT_TOKENS,
        "task_type": "general-mc",
        "mode": "ift",
        "policy": "direct",
        "n": 100,
        "accuracy": None,
        "ci_low": None,
        "ci_high": None,
        "mean_tokens": None,
    }
    assert document["runs"] == 2
    assert StudyDesign.model_validate(document["design"]) == plan.design
