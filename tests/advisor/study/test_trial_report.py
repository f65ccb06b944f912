"""The whole trial of the advisor, run on a small study: figures add up and say what they show."""

import json

import pytest

from advisor.study._catalog import load_study, shipped_studies
from advisor.study.trial import RULES, TrialReport, page_lines, run_trial
from tests.advisor.study.test_trial import study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", name="report")
def _report() -> TrialReport:
    return run_trial(study(n_questions=600))


# ------------------------------------------------------------------ the trial on a study


def test_with_nothing_shown_it_abstains_below_the_published_sizes(report: TrialReport) -> None:
    row = report.study_rows[0]
    assert (row.given, row.evidence) == ("nothing", "prior")
    assert row.decided.value == 0.0
    assert row.abstained_rightly.value == 1.0  # nothing shown tells a sign
    # Followed by its fallback, direct answers: the same as always answering directly.
    assert row.saved["always IFT"].value == 0.0


def test_cells_make_the_advice_better_than_none(report: TrialReport) -> None:
    by_given = {(row.leave_out, row.given, row.evidence): row for row in report.study_rows}
    nothing = by_given["everything", "nothing", "prior"].regret.value
    everything = by_given["other sizes", "every cell of its size", "both"]
    assert nothing is not None
    assert everything.regret.value is not None
    assert everything.regret.value < 0.5 * nothing
    assert everything.decided.value is not None
    assert everything.decided.value > 0.8


def test_saved_points_are_those_of_the_rule_less_those_of_the_advice(report: TrialReport) -> None:
    n_checked = 0
    for row in report.study_rows:
        if row.leave_out == "a seed":  # Judged by what the other rows are shown, and so its rules.
            continue
        for rule, figure in row.saved.items():
            if row.regret.n != report.rules[rule].n:
                continue
            rule_regret = report.rules[rule].value
            assert figure.value is not None
            assert row.regret.value is not None
            assert rule_regret is not None
            assert figure.value == pytest.approx(rule_regret - row.regret.value, abs=1e-9)
            n_checked += 1
    assert n_checked > 20
    assert set(report.rules) == set(RULES)


def test_figures_lie_within_their_ranges_and_say_what_they_were_counted_over(
    report: TrialReport,
) -> None:
    for row in (*report.study_rows, *report.published_rows):
        assert row.regret.value is not None
        assert row.regret.value >= 0.0
        for share in (row.decided, row.right, row.gain_coverage, row.abstained_rightly):
            if share.value is not None:
                assert share.low is not None
                assert share.high is not None
                assert 0.0 <= share.low <= share.value <= share.high <= 1.0
                assert share.n >= share.n_problems > 0


def test_races_count_no_more_than_there_is(report: TrialReport) -> None:
    races = {(race.unit, race.order): race for race in report.study_races + report.published_races}
    assert len(races) == 6
    for (_, order), race in races.items():
        assert race.cells.value is not None
        assert 0 <= race.cells.value <= race.n_to_measure
        assert (race.saved_cells is None) == (order == "random")
    # The pair is proposed first, of four recipes of a size.
    assert races["cells", "advisor"].own_choice == pytest.approx(0.5, abs=0.1)


def test_equal_studies_give_equal_documents(report: TrialReport) -> None:
    first = json.dumps(report.to_json(), sort_keys=True)
    assert json.loads(first)["schema_version"] == 1
    assert json.dumps(run_trial(study(n_questions=600)).to_json(), sort_keys=True) == first


def test_the_section_has_whole_tables_and_every_condition(report: TrialReport) -> None:
    lines = page_lines(report)
    assert lines == page_lines(report)
    text = "\n".join(lines)
    for row in (*report.study_rows, *report.published_rows):
        assert f"| {row.leave_out} | {row.given} | {row.evidence} |" in text
    widths: list[int] = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            widths.append(line.count("|"))
            continue
        assert len(set(widths)) <= 1
        widths = []
    assert "NaN" not in text
    assert "None" not in text


# ------------------------------------------------------------------ the trial on the printed table


def test_without_an_own_cell_a_hidden_corpus_gets_abstentions(report: TrialReport) -> None:
    rows = {(row.leave_out, row.given): row for row in report.published_rows}
    alone = rows["its corpus", "the other corpus"]
    assert (alone.decided.value, alone.decided.n) == (0.0, 40)
    mistaken = rows["its corpus", "the other corpus, said to be alike"]
    assert mistaken.right.value is not None
    assert mistaken.right.value < 0.8


def test_hidden_sizes_are_advised_on_better_than_by_either_rule(report: TrialReport) -> None:
    row = report.published_rows[0]
    assert (row.leave_out, row.regret.n) == ("an inner size", 24)
    assert row.right.value is not None
    assert row.right.value >= 0.95
    assert row.gain_coverage.value is not None
    assert row.gain_coverage.value >= 0.85
    for rule in ("always IFT", "always reasoning"):
        saved = row.saved[rule].value
        assert saved is not None
        assert saved > 0


def test_words_are_earned_on_the_printed_table(report: TrialReport) -> None:
    checks = [one for one in report.words if one.trial == "published"]
    assert len(checks) >= 5
    assert [f"{one.word} {one.is_leaning}" for one in checks if one.is_earned is False] == []


# ------------------------------------------------------------------ the study that ships


def test_words_are_earned_on_the_shipped_study() -> None:
    """A plain word is right in 95% of verdicts, a leaning loses no more than it says it may."""
    if "pocket-study" not in shipped_studies():
        pytest.skip("the study 'pocket-study' does not ship yet")
    words = run_trial(load_study("pocket-study")).words
    assert {one.trial for one in words} >= {"study", "published"}
    failed = [
        f"{one.trial}: {one.word}{', leaning' if one.is_leaning else ''}: {one.promise}, but right "
        f"{one.right.value}, loses {one.loss.value}"
        for one in words
        if one.is_earned is False
    ]
    assert failed == []
