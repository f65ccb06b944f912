"""Findings of a study: what they say of tables whose truth is known."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.study._design import StudyDesign
from advisor.study._results import StudentResult, StudyCell
from advisor.study._student import Student, StudyOrder
from advisor.study._table import StudyTable
from advisor.study.findings import (
    QUESTIONS,
    Agreement,
    Check,
    Finding,
    Measure,
    Tally,
    cutting_by_length,
    find_all,
    ift_after_reasoning,
    ift_on_the_frontier,
    larger_budgets,
    mixed_above_half,
    sequential_is_enough,
    settle,
    tally,
    where_reasoning_helps,
    write_measure,
    write_value,
    wrong_answers_are_longer,
)
from tests.advisor.study.synthetic import synthetic_study, true_accuracy

KINDS = ("math-oe", "math-mc", "general-oe", "general-mc")
N_PARAMS = {"pocket-xs": 100_000, "pocket-s": 400_000, "pocket-m": 1_600_000}
N = 400
MAX = "reasoning@max"
Number = Callable[[Student, str, str], float]


def make_table(
    accuracy: Number,
    *,
    tokens: Number = lambda student, _, __: 10.0 + 40.0 * student.ratio,
    wrong_tokens: Number = lambda student, _, __: 10.0 + 80.0 * student.ratio,
    think_share: Number = lambda student, _, __: student.ratio,
    sizes: Sequence[str] = tuple(N_PARAMS),
    ratios: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    orders: Sequence[StudyOrder] = (StudyOrder.MIXED, StudyOrder.IFT_THEN_REASONING),
    corpora: Sequence[str] = ("general",),
    seeds: Sequence[int] = (1, 2, 3),
    policies: Sequence[str] = ("direct", MAX),
) -> StudyTable:
    """Return a table whose students reach exactly what `accuracy` says, the easy questions first.

    A training row costs as many tokens as an answer that thinks in the share of the ratio; FLOPs
    are twice the parameters a token.
    """
    design = StudyDesign(
        sizes=tuple(sizes),
        ratios=tuple(ratios),
        orders=tuple(orders),
        corpora=tuple(corpora),
        seeds=tuple(seeds),
        policies=tuple(policies),
        n_questions=N,
    )
    results: list[StudentResult] = []
    for one in design.students():
        n_params = N_PARAMS[one.size]
        cells: list[StudyCell] = []
        for kind, policy in product(KINDS, policies):
            k = round(N * accuracy(one, kind, policy))
            length = tokens(one, kind, policy)
            cells.append(
                StudyCell(
                    *(kind, "ift" if policy == "direct" else "reasoning", policy, N, k, 0),
                    *(k / N, 0.0, 1.0, length, length, wrong_tokens(one, kind, policy)),
                    *(think_share(one, kind, policy), 2.0 * n_params * length),
                    "1" * k + "0" * (N - k),
                )
            )
        rows = round(4096 * (10 + 40 * one.ratio))
        results.append(StudentResult(one, n_params, rows, 6.0 * n_params * rows, tuple(cells)))
    return StudyTable("made", design, tuple(results), {})


def linear(student: Student, kind: str, policy: str) -> float:
    """Reasoning is worth 30 points over IFT, a share of it in proportion."""
    del kind, policy
    return 0.4 + 0.3 * student.ratio


def constant(value: float) -> Number:
    return lambda _student, _kind, _policy: value


def check(finding: Finding, key: str) -> Check:
    (found,) = [one for one in finding.checks if one.key == key]
    return found


def measures(finding: Finding, column: str, **labels: str) -> list[Measure | None]:
    place = [one.name for one in finding.columns].index(column)
    return [
        row.measures[place]
        for row in finding.rows
        if labels.items() <= dict(zip(finding.label_columns, row.labels, strict=True)).items()
    ]


# The rule


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_the_rule_needs_more_than_half_on_one_side(above: int, below: int, rest: int) -> None:
    counts = Tally(above, below, above + below + rest)
    found = settle(counts, "above")
    assert (found is Agreement.AGREES) == (above > below + rest)
    assert (found is Agreement.DIFFERS) == (below > above + rest)
    mirror = {
        Agreement.AGREES: Agreement.DIFFERS,
        Agreement.DIFFERS: Agreement.AGREES,
        Agreement.CANNOT_TELL: Agreement.CANNOT_TELL,
    }
    assert settle(counts, "below") is mirror[found]


def test_nothing_measured_cannot_be_told() -> None:
    assert settle(tally([]), "above") is Agreement.CANNOT_TELL
    assert tally([None, Measure(1.0, None, None), Measure(1.0, 0.5, 2.0)]) == Tally(1, 0, 2)


def test_an_end_that_touches_the_value_is_on_no_side() -> None:
    assert tally([Measure(1.0, 0.0, 2.0), Measure(-1.0, -2.0, 0.0)]) == Tally(0, 0, 2)


def test_numbers_are_written_by_their_unit() -> None:
    assert write_value(0.1234, "points") == "+12.3"
    assert write_value(-0.0001, "points") == "0"
    assert write_value(1.5, "ratio") == "1.50x"
    assert write_value(float("nan"), "tokens") == "-"
    assert write_measure(None, "points") == "-"
    assert write_measure(Measure(0.5, None, None), "accuracy") == "0.500"
    assert write_measure(Measure(0.5, 0.4, 0.6), "accuracy") == "0.500 [0.400, 0.600]"


# All of them


def test_intervals_of_gains_cover_the_truth_of_synthetic_studies() -> None:
    hits = total = 0
    for seed in range(3):
        table = synthetic_study(seed=seed)
        for row in where_reasoning_helps(table).rows:
            corpus, kind, size = row.labels
            first, second = (
                true_accuracy(Student(size, corpus, ratio, StudyOrder.MIXED, 1), kind, MAX)
                for ratio in (1.0, 0.0)
            )
            gain = row.measures[2]
            assert gain is not None
            assert gain.low is not None
            assert gain.high is not None
            hits += gain.low <= first - second <= gain.high
            total += 1
    # One table's rows share their questions, so hits are not independent.
    assert total == 72
    assert hits >= 0.85 * total


def test_findings_do_not_depend_on_the_order_of_results() -> None:
    table = synthetic_study(n_questions=60, policies=("direct", "reasoning@8", MAX))
    assert find_all(replace(table, results=table.results[::-1])) == find_all(table)


def test_findings_are_json_documents_with_their_agreement() -> None:
    for finding in find_all(synthetic_study(n_questions=40)):
        document = json.loads(json.dumps(finding.to_json()))
        assert document["agreement"] == finding.agreement.value
        assert len(document["rows"]) == len(finding.rows)
        for row in finding.rows:
            assert len(row.labels) == len(finding.label_columns)
            assert len(row.measures) == len(finding.columns)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.__name__)
def test_what_was_not_trained_is_said_and_not_guessed(
    question: Callable[[StudyTable], Finding],
) -> None:
    finding = question(make_table(linear, ratios=(0.0,)))
    assert finding.rows == ()
    assert finding.agreement is Agreement.CANNOT_TELL
    assert any("Not measured" in text or "nothing can be" in text for text in finding.verdict)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.__name__)
def test_one_seed_gives_intervals_over_questions_alone(
    question: Callable[[StudyTable], Finding],
) -> None:
    orders = (StudyOrder.MIXED, StudyOrder.IFT_THEN_REASONING, StudyOrder.REASONING_THEN_IFT)
    table = make_table(linear, seeds=(1,), orders=orders, policies=("reasoning@8", MAX))
    finding = question(table)
    assert {row.n_seeds for row in finding.rows} <= {1}
    lengths = [one for unit in ("tokens", "ratio") for one in _of_unit(finding, unit)]
    assert all(one is None or one.low is None for one in lengths)
    points = [one for one in _of_unit(finding, "points") if one is not None]
    assert all(one.low is not None and one.high is not None for one in points)


def _of_unit(finding: Finding, unit: str) -> list[Measure | None]:
    places = [place for place, one in enumerate(finding.columns) if one.unit == unit]
    return [row.measures[place] for row in finding.rows for place in places]


def test_a_disagreement_outweighs_agreements_and_silence() -> None:
    one = Check("a", "", "", "", "", Agreement.AGREES)
    two, three = (
        replace(one, agreement=Agreement.DIFFERS),
        replace(one, agreement=Agreement.CANNOT_TELL),
    )
    finding = Finding("", "", (), "", (), (), (), (one, three))
    assert finding.agreement is Agreement.AGREES
    assert replace(finding, checks=(one, two, three)).agreement is Agreement.DIFFERS
    assert replace(finding, checks=(three,)).agreement is Agreement.CANNOT_TELL


# One by one


def test_gains_agree_with_the_sign_that_the_paper_prints() -> None:
    finding = where_reasoning_helps(make_table(linear))
    assert measures(finding, "gain")[0] == pytest.approx(
        (0.3, *(measures(finding, "gain")[0] or ())[1:])
    )
    assert check(finding, "where/general/math-oe").agreement is Agreement.AGREES
    assert check(finding, "where/general/math-oe").paper.startswith(
        "math-oe: gains of +4.7 at 0.5B"
    )
    assert check(finding, "where/overall").agreement is Agreement.AGREES
    # Gains of General-MC change their sign in the paper; here they do not grow.
    assert check(finding, "where/general/general-mc").agreement is Agreement.CANNOT_TELL
    falling = where_reasoning_helps(
        make_table(lambda one, kind, policy: 1.0 - linear(one, kind, policy))
    )
    assert check(falling, "where/general/math-oe").agreement is Agreement.DIFFERS
    assert "reasoning is ahead of IFT in 0 of 12" in falling.verdict[0]


def test_a_gain_that_grows_from_below_zero_is_what_the_paper_reports_of_general_choice() -> None:
    def growing(student: Student, kind: str, policy: str) -> float:
        del kind, policy
        return 0.5 + 0.2 * student.ratio * (list(N_PARAMS).index(student.size) - 1)

    finding = where_reasoning_helps(make_table(growing))
    assert check(finding, "where/general/general-mc").agreement is Agreement.AGREES


def test_a_corpus_that_the_paper_does_not_have_is_checked_by_the_count_alone() -> None:
    finding = where_reasoning_helps(make_table(linear, corpora=("own",)))
    assert [one.key for one in finding.checks] == ["where/overall"]
    assert len(finding.rows) == 12


def test_ift_at_equal_flops_is_interpolated_over_log_flops() -> None:
    def sized(student: Student, kind: str, policy: str) -> float:
        del kind, policy
        return 0.2 + 0.2 * list(N_PARAMS).index(student.size) + 0.1 * student.ratio

    # Reasoning costs 5 times as much as IFT; the sizes are 4 times apart.
    finding = ift_on_the_frontier(make_table(sized))
    column = "minus IFT at equal training FLOPs"
    (found,) = measures(finding, column, size="pocket-xs", **{"task type": "math-oe"})
    assert found is not None
    share = 0.160964  # log 5 / log 4 - 1
    assert found.estimate == pytest.approx(0.3 - (0.4 * (1 - share) + 0.6 * share), abs=0.003)
    unmatched = measures(finding, column, size="pocket-s") + measures(
        finding, column, size="pocket-m"
    )
    assert unmatched == [None] * 8
    assert "8 cells have no IFT student" in finding.verdict[0]
    assert {one.agreement for one in finding.checks} == {Agreement.AGREES}


def test_reasoning_ahead_at_equal_flops_differs_from_the_paper() -> None:
    finding = ift_on_the_frontier(make_table(lambda one, _, __: 0.3 + 0.5 * one.ratio))
    assert {one.agreement for one in finding.checks} == {Agreement.DIFFERS}


def test_unknown_flops_are_not_matched() -> None:
    table = make_table(linear, tokens=constant(0.0))
    finding = ift_on_the_frontier(table)
    assert measures(finding, "minus IFT at equal inference FLOPs") == [None] * 12
    assert cutting_by_length(table).rows == ()


@pytest.mark.parametrize(
    ("exponent", "expected"), [(0.2, Agreement.AGREES), (3.0, Agreement.DIFFERS)]
)
def test_sequential_is_enough_where_most_of_the_gain_comes_early(
    exponent: float, expected: Agreement
) -> None:
    def reached(student: Student, kind: str, policy: str) -> float:
        del kind, policy
        return 0.3 + 0.6 * student.ratio**exponent

    finding = sequential_is_enough(make_table(reached))
    assert check(finding, "sequential/most-at-25").agreement is expected
    assert check(finding, "sequential/most-at-50").agreement is expected
    assert "gains over IFT in 12 of 12" in finding.verdict[0]
    assert finding.verdict[-1] == (
        "Training FLOPs against pure IFT: 2.00 times at 25%, 3.00 times at 50%, 5.00 times at 100%."
    )


def test_sequential_says_nothing_where_reasoning_alone_gains_nothing() -> None:
    finding = sequential_is_enough(make_table(constant(0.5)))
    assert {one.agreement for one in finding.checks} == {Agreement.CANNOT_TELL}
    assert "gains over IFT in 0 of 12" in finding.verdict[0]


def test_mixed_students_that_jump_to_thinking_agree_and_those_that_do_not_differ() -> None:
    def jumps(student: Student, kind: str, policy: str) -> float:
        del kind, policy
        return 0.98 if student.ratio > 0.5 else 0.1

    def accuracy(student: Student, kind: str, policy: str) -> float:
        behind = 0.1 if student.order is StudyOrder.MIXED and 0 < student.ratio < 1 else 0.0
        return linear(student, kind, policy) - behind

    def tokens(student: Student, kind: str, policy: str) -> float:
        return 10 + 40 * jumps(student, kind, policy)

    table = make_table(accuracy, think_share=jumps, tokens=tokens)
    finding = mixed_above_half(table)
    for key in ("short-to-50", "always-thinks", "behind-sequential"):
        assert check(finding, f"mixed/{key}").agreement is Agreement.AGREES, key
    assert "At 75% of reasoning rows 98% of answers think" in " ".join(finding.verdict)
    even = mixed_above_half(make_table(linear))
    assert check(even, "mixed/always-thinks").agreement is Agreement.DIFFERS


@pytest.mark.parametrize(("harm", "expected"), [(0.2, "agrees"), (-0.2, "differs")])
def test_ift_after_reasoning_is_read_from_rows_and_from_stages(harm: float, expected: str) -> None:
    def accuracy(student: Student, kind: str, policy: str) -> float:
        del kind, policy
        is_last = student.order in {
            StudyOrder.REASONING_THEN_IFT,
            StudyOrder.GENERAL_REASONING_MATH_IFT,
        }
        return 0.5 - harm * is_last

    table = make_table(accuracy, orders=tuple(StudyOrder), corpora=("general", "math"))
    finding = ift_after_reasoning(table)
    assert check(finding, "after/rows").agreement.value == expected
    assert check(finding, "after/stage").agreement.value == expected
    assert {row.labels[2] for row in finding.rows} == {"math", "general"}
    found = [one.estimate for one in measures(finding, "difference") if one is not None]
    assert found == pytest.approx([-harm] * len(found))


@pytest.mark.parametrize(
    ("factor", "longer", "in_range"),
    [(1.7, "agrees", "agrees"), (1.2, "agrees", "differs"), (0.8, "differs", "differs")],
)
def test_lengths_of_wrong_answers_are_compared_with_the_printed_range(
    factor: float, longer: str, in_range: str
) -> None:
    def wrong(student: Student, kind: str, policy: str) -> float:
        del kind, policy
        # Seeds differ a little, as they do.
        return factor * 50.0 * (1 + 0.005 * student.seed)

    finding = wrong_answers_are_longer(make_table(linear, wrong_tokens=wrong))
    assert check(finding, "wrong/longer").agreement.value == longer
    assert check(finding, "wrong/factor").agreement.value == in_range


def test_lengths_need_right_and_wrong_answers() -> None:
    table = make_table(linear)
    silent = tuple(
        replace(one, cells=tuple(replace(cell, mean_tokens_wrong=None) for cell in one.cells))
        for one in table.results
    )
    finding = wrong_answers_are_longer(replace(table, results=silent))
    assert finding.rows == ()
    assert finding.verdict[0].startswith("Not measured")


BUDGETS = ("direct", "reasoning@8", "reasoning@24", MAX)


def _cut_tokens(student: Student, kind: str, policy: str) -> float:
    del kind
    thought = {"direct": 0, "reasoning@8": 8, "reasoning@24": 24, MAX: 40}[policy]
    return 10.0 + thought * student.ratio


@pytest.mark.parametrize(("kept", "expected"), [(0.9, "differs"), (0.0, "agrees")])
def test_cut_thoughts_are_compared_with_a_mix_of_equal_cost(kept: float, expected: str) -> None:
    def accuracy(student: Student, kind: str, policy: str) -> float:
        del kind
        is_cut = policy in {"reasoning@8", "reasoning@24"}
        return 0.3 + 0.5 * student.ratio * (kept if is_cut else policy == MAX)

    table = make_table(accuracy, tokens=_cut_tokens, policies=BUDGETS)
    finding = cutting_by_length(table)
    assert check(finding, "cut/frontier").agreement.value == expected
    (over,) = measures(
        finding,
        "over the mix",
        size="pocket-xs",
        budget="reasoning@8",
        **{"task type": "math-oe", "corpus": "general"},
    )
    assert over is not None
    # 8 of 40 thinking tokens buy a fifth of the uncut gain in the mix.
    assert over.estimate == pytest.approx(0.5 * kept - 0.5 * 0.2, abs=0.003)


@pytest.mark.parametrize(("last", "expected"), [(0.8, "agrees"), (0.4, "differs")])
def test_steps_to_larger_budgets_tell_rises_and_falls(last: float, expected: str) -> None:
    def accuracy(student: Student, kind: str, policy: str) -> float:
        del kind, student
        return {"direct": 0.3, "reasoning@8": 0.2, "reasoning@24": 0.6, MAX: last}[policy]

    finding = larger_budgets(make_table(accuracy, tokens=_cut_tokens, policies=BUDGETS))
    assert check(finding, "budgets/last-step").agreement.value == expected
    assert {row.labels[3:] for row in finding.rows} == {
        ("reasoning@8", "reasoning@24"),
        ("reasoning@24", MAX),
    }
    text = " ".join(finding.verdict)
    assert ("not monotone" in text) == (last < 0.6)
    assert "From reasoning@8 to reasoning@24: accuracy rises in 12 of 12" in text


# What sentences may say of thin tables


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.__name__)
def test_one_seed_is_said_in_the_verdict_and_the_method(
    question: Callable[[StudyTable], Finding],
) -> None:
    orders = (StudyOrder.MIXED, StudyOrder.IFT_THEN_REASONING, StudyOrder.REASONING_THEN_IFT)
    made = partial(make_table, linear, tokens=_cut_tokens, orders=orders, policies=BUDGETS)
    one, three = question(made(seeds=(1,))), question(made())
    assert one.rows
    assert "All of this is one training seed" in one.verdict[-1]
    assert "one seed" in one.method
    assert "over seeds and questions" not in one.method
    assert not any("one training seed" in text for text in three.verdict)


def test_lengths_of_one_seed_are_not_said_to_be_near_or_far() -> None:
    said = " ".join(mixed_above_half(make_table(linear, seeds=(1,))).verdict)
    assert "lengths have no intervals with one seed" in said
    assert "nearer" not in said
    wrong = wrong_answers_are_longer(make_table(linear, seeds=(1,)))
    assert wrong.verdict[0].startswith("In the mean wrong answers are longer than right ones in 12")
    assert {one.agreement for one in wrong.checks} == {Agreement.CANNOT_TELL}


def test_with_one_size_the_frontier_counts_cells_and_not_students() -> None:
    finding = ift_on_the_frontier(make_table(linear, sizes=("pocket-xs",)))
    assert "in none of 4 cells" in finding.verdict[0]


def test_few_falls_among_many_steps_are_not_called_more_than_chance() -> None:
    def accuracy(student: Student, kind: str, policy: str) -> float:
        falls = kind == "math-oe" and student.size == "pocket-xs" and policy == MAX
        return 0.3 if falls else 0.6

    finding = larger_budgets(make_table(accuracy, tokens=_cut_tokens, policies=BUDGETS))
    assert "In 1 of 24 steps" in finding.verdict[-1]
    assert "too few to tell from chance" in finding.verdict[-1]


def test_training_without_known_flops_is_not_divided_by() -> None:
    table = make_table(linear)
    free = tuple(replace(one, train_flops=0.0) for one in table.results)
    finding = sequential_is_enough(replace(table, results=free))
    assert not any("Training FLOPs" in text for text in finding.verdict)
