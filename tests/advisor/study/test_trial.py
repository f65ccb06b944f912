"""The trial of the advisor: nothing leaks, rules are as written, and figures add up."""

import dataclasses
import random
from collections.abc import Callable, Sequence

import pytest

from advisor.evidence import PublishedEvidence
from advisor.study._results import StudentResult
from advisor.study._student import StudyOrder
from advisor.study._table import StudyTable
from advisor.study.trial import (
    HeldStudy,
    covers,
    is_right_to_abstain,
)
from advisor.study.trial._asking import Range, Reply, shown_cells
from advisor.study.trial._figures import share_figure
from advisor.study.trial._held import Fold, Problem
from advisor.study.trial._judging import Judged, Outcome, row_of
from advisor.study.trial._next_cells import _until
from advisor.study.trial._published_trial import PublishedProblem, published_conditions
from advisor.study.trial._study_trial import StudyAsker, conditions, judge_as_table, judge_condition
from advisor.study.trial._words import check_words
from policies import InvalidInputError
from tests.advisor.study.synthetic import synthetic_study

PUBLISHED = PublishedEvidence.shipped()
N_PARAMS = {"pocket-xs": 150_000_000, "pocket-s": 250_000_000, "pocket-m": 400_000_000}
"""Below every published size, as the real ones are."""
INSIDE = {"pocket-xs": 700_000_000, "pocket-s": 2_000_000_000, "pocket-m": 5_000_000_000}


def study(
    *,
    n_params: dict[str, int] = N_PARAMS,
    task_types: Sequence[str] = ("math-oe",),
    keep: Callable[[StudentResult], bool] = lambda _: True,
    seeds: Sequence[int] = (1, 2),
    seed_sd: float = 0.0,
    n_questions: int = 200,
) -> StudyTable:
    made = synthetic_study(
        sizes=("pocket-xs", "pocket-s"),
        ratios=(0.0, 0.5, 1.0),
        orders=(StudyOrder.MIXED, StudyOrder.IFT_THEN_REASONING),
        seeds=seeds,
        seed_sd=seed_sd,
        n_questions=n_questions,
    )
    results = tuple(
        dataclasses.replace(
            one,
            n_params=n_params[one.student.size],
            cells=tuple(cell for cell in one.cells if cell.task_type in task_types),
        )
        for one in made.results
        if keep(one)
    )
    return dataclasses.replace(made, results=results)


# ------------------------------------------------------------------ what is held back


def flipped(table: StudyTable, *, seeds: Sequence[int], start: int) -> StudyTable:
    """Return the table with every second answer of some seeds turned round."""
    results: list[StudentResult] = []
    for one in table.results:
        if one.student.seed not in seeds:
            results.append(one)
            continue
        cells = []
        for cell in one.cells:
            bits = list(cell.correct)
            bits[start::2] = ["0" if bit == "1" else "1" for bit in bits[start::2]]
            n_correct = bits.count("1")
            cells.append(
                dataclasses.replace(
                    cell,
                    correct="".join(bits),
                    n_correct=n_correct,
                    n_cut=0,
                    accuracy=n_correct / cell.n,
                    ci_low=0.0,
                    ci_high=1.0,
                )
            )
        results.append(dataclasses.replace(one, cells=tuple(cells)))
    return dataclasses.replace(table, results=tuple(results))


def test_what_is_held_back_does_not_depend_on_what_is_shown_nor_the_other_way_round() -> None:
    table = study(seeds=(1, 2, 3))
    before = HeldStudy(table)
    problem = before.problems[0]
    for fold in before.folds(problem):
        others = [seed for seed in (1, 2, 3) if seed != fold.seed]
        labels = list(before.arms[problem])
        shown_changed = HeldStudy(flipped(table, seeds=[fold.seed], start=fold.half))
        held_changed = HeldStudy(flipped(table, seeds=others, start=1 - fold.half))

        assert shown_changed.held(problem, fold).scores == before.held(problem, fold).scores
        assert held_changed.held(problem, fold).scores != before.held(problem, fold).scores
        counts = [
            [cell.n_correct for cell in shown_cells(one, problem, fold, labels)]
            for one in (before, held_changed, shown_changed)
        ]
        assert counts[0] == counts[1]
        assert counts[0] != counts[2]


def test_every_seed_takes_its_turn_and_one_seed_is_split_by_questions_alone() -> None:
    several, single = HeldStudy(study(seeds=(1, 2, 3))), HeldStudy(study(seeds=(1,)))
    problem = several.problems[0]
    assert sorted(fold.seed for fold in several.folds(problem)) == [1, 2, 3]
    assert [fold.half for fold in single.folds(problem)] == [0, 1]
    assert single.seed_variance == (0.0, 0.0)
    assert single.held(problem, single.folds(problem)[0]).n_seeds == 1


def test_the_spread_of_seeds_is_told_from_that_of_answers() -> None:
    seeds = tuple(range(1, 9))
    without = HeldStudy(study(seeds=seeds, seed_sd=0.0)).seed_variance
    spread = HeldStudy(study(seeds=seeds, seed_sd=0.4)).seed_variance
    # A logit of 0.4 is 6 to 8 points where accuracies lie here; two students differ by 1.4 times.
    assert without.accuracy**0.5 < 0.015
    assert 0.05 < spread.accuracy**0.5 < 0.10
    assert spread.gap == pytest.approx(2 * spread.accuracy, rel=0.35)


def test_two_stages_and_recipes_with_a_seed_less_are_no_arms() -> None:
    def keep(one: StudentResult) -> bool:
        student = one.student
        return not (student.label == "mixed@0.5" and student.seed == 2)

    arms = HeldStudy(study(keep=keep)).arms
    assert {problem.corpus for problem in arms} == {"general", "math"}
    assert all(set(one) == {"ift", "reasoning", "ift_then_reasoning@0.5"} for one in arms.values())


def test_a_problem_with_fewer_seeds_than_another_is_no_evidence_for_the_seeds_it_lacks() -> None:
    def keep(one: StudentResult) -> bool:
        return not (one.student.size == "pocket-s" and one.student.seed == 2)

    held = HeldStudy(study(keep=keep))
    asker = StudyAsker(held, PUBLISHED, 0.01)
    judged = [judge_condition(asker, condition) for condition in conditions(held)]
    assert sum(map(len, judged)) > 0
    problem = Problem("pocket-s", "general", "math-oe")
    assert shown_cells(held, problem, Fold(1, 0), ["ift"])
    assert shown_cells(held, problem, Fold(2, 0), ["ift"]) == ()


def test_a_study_given_as_a_table_lacks_the_seed_and_the_questions_that_judge_it() -> None:
    table = study(seeds=(1, 2, 3))
    held = HeldStudy(table)
    fold = Fold(2, 1)
    shown = held.without(fold)
    assert {one.student.seed for one in shown.results} == {1, 3}
    # Turning round what is held back, seed 2 and every even question, changes nothing shown.
    for changed in (flipped(table, seeds=(2,), start=1), flipped(table, seeds=(1, 2, 3), start=0)):
        assert _answers(HeldStudy(changed).without(fold)) == _answers(shown)
    problem = held.problems[0]
    truth = held.held_seed(problem, fold)
    assert HeldStudy(flipped(table, seeds=(1, 3), start=0)).held_seed(problem, fold).scores == (
        truth.scores
    )
    assert HeldStudy(flipped(table, seeds=(2,), start=1)).held_seed(problem, fold).scores == (
        truth.scores
    )
    turned = HeldStudy(flipped(table, seeds=(2,), start=0)).held_seed(problem, fold)
    assert turned.mean("ift") == pytest.approx(1.0 - truth.mean("ift"))


def test_a_study_given_as_a_table_is_advised_on_and_one_seed_is_not() -> None:
    asker = StudyAsker(HeldStudy(study(seeds=(1, 2, 3))), PUBLISHED, 0.01)
    judged = judge_as_table(asker)
    assert len(judged) == 3 * len(asker.study.problems)
    assert {one.reply.word for one in judged if one.reply.is_decided} == {"measured"}
    assert judge_as_table(StudyAsker(HeldStudy(study(seeds=(1,))), PUBLISHED, 0.01)) == []


def test_a_study_without_pure_reasoning_is_refused() -> None:
    table = study(keep=lambda one: one.student.label != "reasoning")
    with pytest.raises(InvalidInputError, match="no size with both pure recipes"):
        HeldStudy(table)


def _answers(table: StudyTable) -> list[str]:
    return [cell.correct for one in table.results for cell in one.cells]


# ------------------------------------------------------------------ the rules of the judge


def test_right_intervals_hold_a_truth_with_an_error_of_its_own_in_nine_of_ten() -> None:
    rng = random.Random(5)
    hits = 0
    n = 4000
    for _ in range(n):
        seen, held = 0.4 + rng.gauss(0, 0.02), 0.4 + rng.gauss(0, 0.03)
        half = 1.6448536 * 0.02
        hits += covers(Range(seen, seen - half, seen + half), held, 0.03)
    # Four standard errors of a share of 0.9 over 4000 draws.
    assert hits / n == pytest.approx(0.9, abs=0.019)


@pytest.mark.parametrize(
    ("gain", "stderr", "shown_sign", "is_right"),
    [
        (0.005, 0.0, 1, True),  # the arms are within the tolerance
        (0.03, 0.03, 1, True),  # the truth does not tell
        (0.10, 0.01, 0, True),  # what was shown does not tell
        (0.10, 0.01, -1, True),  # it would have misled
        (0.10, 0.01, 1, False),
        (-0.10, 0.01, -1, False),
        (-0.10, 0.01, 1, True),
    ],
)
def test_an_abstention_is_wrong_only_if_a_true_sign_was_shown(
    gain: float, stderr: float, shown_sign: int, is_right: bool
) -> None:
    assert is_right_to_abstain(gain, stderr, shown_sign, 0.01) is is_right


def verdict(problem: str, outcome: Outcome, *, is_leaning: bool, lost: float) -> Judged:
    reply = Reply("ift", True, is_leaning, "measured", 0.001, {}, {}, None, {}, ())
    return Judged(problem, reply, lost, lost, outcome, None, None, None, None, (), {})


@pytest.mark.parametrize(("n_right", "is_earned"), [(94, False), (95, True), (100, True)])
def test_a_plain_word_is_earned_by_95_right_verdicts_of_100(n_right: int, is_earned: bool) -> None:
    judged = [
        verdict(str(i), "right" if i < n_right else "wrong", is_leaning=False, lost=0.0)
        for i in range(100)
    ]
    unclear = [verdict(str(i), "unclear", is_leaning=False, lost=0.0) for i in range(50)]
    (check,) = check_words("study", [*judged, *unclear], 0.01)
    assert check.is_earned is is_earned
    assert check.right.value == n_right / 100
    assert (check.n, check.n_unclear) == (150, 50)


@pytest.mark.parametrize(("lost", "is_earned"), [(0.009, True), (0.011, False)])
def test_a_leaning_is_earned_by_what_it_loses(lost: float, is_earned: bool) -> None:
    judged = [verdict(str(i), "wrong", is_leaning=True, lost=lost) for i in range(20)]
    (check,) = check_words("study", judged, 0.01)
    assert check.is_earned is is_earned


def test_a_word_on_few_problems_is_neither_earned_nor_not() -> None:
    judged = [verdict(str(i % 9), "wrong", is_leaning=False, lost=0.2) for i in range(90)]
    (check,) = check_words("study", judged, 0.01)
    assert check.is_earned is None


@pytest.mark.parametrize(
    ("good", "n", "flops", "is_reached"),
    [
        ([True, True, True, True], 0, 0.0, True),
        ([False, True, False, True], 3, 6.0, True),  # lucky after one cell: that does not count
        ([False, False, True, True], 2, 3.0, True),
        ([True, True, True, False], 3, 6.0, False),
    ],
)
def test_advice_counts_as_good_from_where_it_stays_so(
    good: list[bool], n: int, flops: float, is_reached: bool
) -> None:
    assert _until([1.0, 2.0, 3.0], good) == (n, flops, is_reached)


def test_shares_that_all_agree_have_an_interval_over_problems() -> None:
    figure = share_figure([True] * 30, [str(i % 3) for i in range(30)])
    assert (figure.value, figure.high, figure.n, figure.n_problems) == (1.0, 1.0, 30, 3)
    assert figure.low == pytest.approx(0.4385, abs=1e-3)  # Wilson's for 3 of 3


# ------------------------------------------------------------------ the trial on a study


def test_inside_the_published_sizes_the_prior_speaks() -> None:
    asker = StudyAsker(HeldStudy(study(n_params=INSIDE)), PUBLISHED, 0.01)
    first = next(conditions(asker.study))
    assert any(one.reply.is_decided for one in judge_condition(asker, first))


def test_cells_make_the_advice_better_than_none_and_below_the_published_sizes_none_is_given() -> (
    None
):
    asker = StudyAsker(HeldStudy(study(n_questions=600)), PUBLISHED, 0.01)
    rows = {
        (one.given, one.evidence): row_of(
            judge_condition(asker, one),
            leave_out=one.leave_out,
            given=one.given,
            evidence=one.evidence,
        )
        for one in conditions(asker.study)
        if one.given in {"nothing", "every cell of its size"}
    }
    nothing, every = rows["nothing", "prior"], rows["every cell of its size", "both"]
    assert nothing.decided.value == 0.0
    assert nothing.abstained_rightly.value == 1.0  # nothing that was shown tells a sign
    assert nothing.saved["always IFT"].value == 0.0  # what its fallback comes to
    assert every.decided.value is not None
    assert every.decided.value > 0.8
    assert every.regret.value is not None
    assert nothing.regret.value is not None
    assert every.regret.value < 0.5 * nothing.regret.value


def test_only_cells_of_another_corpus_are_not_what_they_are_said_to_be() -> None:
    found = list(conditions(HeldStudy(study())))
    assert [one.leave_out for one in found if not one.is_honest] == ["its corpus"]


def test_a_left_out_ratio_is_not_among_the_shown_cells() -> None:
    held = HeldStudy(study())
    for condition in conditions(held):
        if condition.leave_out.startswith("ratio "):
            ratio = float(condition.leave_out.removeprefix("ratio "))
            shown = condition.shown(held, held.problems[0])
            assert shown is not None
            arms = held.arms[held.problems[0]]
            ratios = {arms[label].ratio for label in shown[held.problems[0]]}
            assert ratio not in ratios
            assert len(ratios) == 2


# ------------------------------------------------------------------ the trial on the printed table


def test_a_hidden_size_or_corpus_is_not_in_the_evidence() -> None:
    table = PUBLISHED.table
    problem = PublishedProblem("general", "math-oe", table.sizes[2])
    inner, _, own, alike, *_ = published_conditions()
    sizes = inner.show(PUBLISHED, problem)
    corpus = own.show(PUBLISHED, problem)
    named = alike.show(PUBLISHED, problem)
    assert sizes is not None
    assert corpus is not None
    assert named is not None
    assert problem.size not in sizes.evidence.table.sizes
    assert problem.corpus not in corpus.evidence.table.corpora
    assert corpus.corpus == "own"
    assert named.corpus == "math-centric"
