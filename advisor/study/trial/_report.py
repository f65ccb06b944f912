"""The whole trial: every condition, the rules, the words and the ranking of next cells."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from ...evidence import PublishedEvidence
from .._table import StudyTable
from ._figures import Figure, mean_figure
from ._held import HeldStudy
from ._judging import RULES, Judged, Row, row_of
from ._next_cells import Race, race_on_published, race_on_study
from ._published_trial import published_conditions
from ._signs import SignRule, sign_rules
from ._study_trial import StudyAsker, conditions, judge_as_table, judge_condition
from ._words import WordCheck, check_words

__all__ = ["SCHEMA_VERSION", "TOLERANCE", "TrialReport", "run_trial"]

SCHEMA_VERSION = 1
TOLERANCE = 0.01
"""Accuracy that may be lost: the default of the advisor."""


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What the advisor is worth where the truth is known; accuracies are shares of 1.

    Attributes:
        study: Name of the study.
        tolerance: Accuracy that may be lost.
        n_problems: Problems of the study: sizes x corpora x task types.
        n_seeds: Training seeds of its design.
        n_questions: Questions per task type, half of which are shown.
        n_asked: Different questions that the advisor was asked about the study.
        seed_sd: What a training seed adds to an accuracy, standard deviation.
        ift_gap: Accuracy of direct-answer students as trained minus that with thinking off: the
            advisor sees the second and is judged by the first.
        rules: Regret of following each rule on the study, by rule.
        study_rows: Conditions of the study.
        published_rows: Conditions of the printed table.
        words: Checks of the advisor's words.
        study_races: Ranking of next cells on the study.
        published_races: The same on the printed table.
        signs: Published figures as rules for the study's signs.
    """

    study: str
    tolerance: float
    n_problems: int
    n_seeds: int
    n_questions: int
    n_asked: int
    seed_sd: float
    ift_gap: Figure
    rules: Mapping[str, Figure]
    study_rows: tuple[Row, ...]
    published_rows: tuple[Row, ...]
    words: tuple[WordCheck, ...]
    study_races: tuple[Race, ...]
    published_races: tuple[Race, ...]
    signs: tuple[SignRule, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def run_trial(table: StudyTable, *, tolerance: float = TOLERANCE) -> TrialReport:
    """Put the advisor on trial by a study and by the printed table.

    Deterministic; takes about a minute on one core.

    Args:
        table: The study, asked by `direct` and `reasoning@max`.
        tolerance: Accuracy that may be lost, in [0, 1].

    Raises:
        InvalidInputError: The study has no size with both pure recipes.
    """
    published = PublishedEvidence.shipped()
    study = HeldStudy(table)
    asker = StudyAsker(study, published, tolerance)
    honest: list[Judged] = []
    widened: list[Judged] = []
    rows: list[Row] = []
    for condition in conditions(study):
        judged = judge_condition(asker, condition)
        if condition.is_honest and condition.evidence != "cells":
            (widened if condition.with_seeds else honest).extend(judged)
        rows.append(_row(judged, condition.leave_out, condition.given, condition.evidence))
    as_table = judge_as_table(asker)
    rows.append(_row(as_table, "a seed", "the study's other seeds, as a table", "both"))
    printed = _on_published(tolerance)
    gaps = list(study.ift_gaps())
    return TrialReport(
        study=table.name,
        tolerance=tolerance,
        n_problems=len(study.problems),
        n_seeds=len(table.design.seeds),
        n_questions=table.design.n_questions,
        n_asked=asker.n_asked,
        seed_sd=study.seed_variance.accuracy**0.5,
        ift_gap=mean_figure(gaps, [str(number) for number in range(len(gaps))]),
        rules=_rules(study),
        study_rows=tuple(row for row in rows if row.decided.n),
        published_rows=printed.rows,
        words=(
            *check_words("study", honest, tolerance),
            *check_words("study, seeds in intervals", widened, tolerance),
            *check_words("study, as a table", as_table, tolerance),
            *printed.words,
        ),
        study_races=race_on_study(asker),
        published_races=printed.races,
        signs=sign_rules(study, published.table),
    )


class _OnPublished(NamedTuple):
    """The trial on the printed table, which is the same beside every study."""

    rows: tuple[Row, ...]
    words: tuple[WordCheck, ...]
    races: tuple[Race, ...]


@lru_cache(maxsize=4)
def _on_published(tolerance: float) -> _OnPublished:
    published = PublishedEvidence.shipped()
    honest: list[Judged] = []
    rows: list[Row] = []
    for condition in published_conditions():
        judged = list(condition.judged(published, tolerance))
        if condition.is_honest:
            honest += judged
        rows.append(_row(judged, condition.leave_out, condition.given, condition.evidence))
    return _OnPublished(
        tuple(rows),
        check_words("published", honest, tolerance),
        race_on_published(published, tolerance),
    )


def _row(judged: list[Judged], leave_out: str, given: str, evidence: str) -> Row:
    return row_of(judged, leave_out=leave_out, given=given, evidence=evidence)


def _rules(study: HeldStudy) -> dict[str, Figure]:
    """Return what each rule loses on the study, over the same splits as the advisor."""
    found: dict[str, Figure] = {}
    for rule, label in RULES.items():
        lost = [
            ("/".join(problem), held.gap(held.best(), label)[0])
            for problem, arms in study.arms.items()
            if label in arms
            for fold in study.folds(problem)
            for held in [study.held(problem, fold)]
        ]
        if lost:
            found[rule] = mean_figure([value for _, value in lost], [name for name, _ in lost])
    return found
