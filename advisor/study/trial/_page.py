"""The trial as a section of the page of a study, in Markdown."""

from collections.abc import Mapping, Sequence

from ._figures import Figure
from ._judging import RULES, Row
from ._next_cells import Race
from ._report import TrialReport
from ._signs import SignRule
from ._words import WordCheck

__all__ = ["page_lines", "points", "ratio", "share"]

_NO_FIGURE = "-"


def page_lines(report: TrialReport) -> list[str]:
    """Return the lines of the section, without its heading; equal reports give equal lines."""
    return [
        *_intro(report),
        "",
        "### What needs no advice",
        "",
        *_rules(report.rules),
        "",
        f"### Advice on `{report.study}`",
        "",
        *_rows(report.study_rows),
        "",
        "### Advice on the printed table",
        "",
        "arXiv 2509.22193v2, Table 1, 80 figures; a verdict for a mixture counts as reasoning, and"
        " the advisor was asked for accuracy. Own pairs are drawn from the printed accuracies, 740"
        " questions an arm. The constants of carrying and the widths of its intervals come from"
        " this very table, so that its rows flatter the advisor; the rows of the study do not.",
        "",
        *_rows(report.published_rows),
        "",
        "### Published signs as a rule",
        "",
        "Pocket models are far below the published sizes, so the advisor uses no published figure"
        " for them. Read as a rule by corpus and task type, how often is the published sign the"
        " study's?",
        "",
        *_signs(report.signs),
        "",
        "### Its words",
        "",
        "A plain word must be right in 95% of verdicts; a leaning must not be shown to lose more"
        " than the tolerance, or than it says it expects to lose. Verdicts on another corpus's cells are not counted: there the"
        " advisor was told what is not so.",
        "",
        *_words(report.words),
        "",
        "### Its ranking of the next cells",
        "",
        "What is measured until the advisor recommends something that loses no more than the"
        " tolerance, and does so after every later cell; all cells where that never happens.",
        "",
        *_races((*report.study_races, *report.published_races)),
    ]


def points(figure: Figure) -> str:
    """Return an accuracy difference with its interval in percentage points."""
    return _text(figure, 100.0, "+.1f" if (figure.value or 0.0) < 0 else ".1f")


def share(figure: Figure) -> str:
    """Return a share with its interval in percent, and what it was counted over."""
    text = _text(figure, 100.0, ".0f")
    return text if text == _NO_FIGURE else f"{text}, n = {figure.n}"


def ratio(figure: Figure) -> str:
    """Return a ratio with its interval."""
    return _text(figure, 1.0, ".2f")


def _text(figure: Figure, scale: float, form: str) -> str:
    if figure.value is None:
        return _NO_FIGURE
    value = f"{scale * figure.value:{form}}"
    if figure.low is None or figure.high is None:
        return value
    return f"{value} [{scale * figure.low:{form}}, {scale * figure.high:{form}}]"


def _intro(report: TrialReport) -> list[str]:
    seeds = f"{report.n_seeds} seeds" if report.n_seeds > 1 else "one seed"
    others = "the other seeds on the other questions" if report.n_seeds > 1 else "the other half"
    return [
        f"The advisor was asked about the {report.n_problems} problems (size, corpus, task type)"
        f" of `{report.study}` with one training seed and half of the {report.n_questions:,}"
        f" questions of a task type shown at most; the truth is {others} ({seeds}). Nothing is on"
        " both sides. Regret is accuracy below the best recipe of the study at the problem, in"
        " points; an abstention is followed by its fallback, so it is not free. The best is that"
        " of the held-back half, which is lucky by a little: all regrets are too large by the same"
        " amount, differences are not. Intervals are 95%, over problems.",
        "",
        f"Tolerance {100 * report.tolerance:g} points. Another training seed moves an accuracy by"
        f" {100 * report.seed_sd:.1f} points (standard deviation)."
        f" Direct-answer students as trained, by which they are judged, are better than with"
        f" thinking off, which the advisor sees, by {points(report.ift_gap)} points.",
    ]


def _rules(rules: Mapping[str, Figure]) -> list[str]:
    body = [
        [rule, f"`{RULES[rule]}`", points(figure), str(figure.n), str(figure.n_problems)]
        for rule, figure in rules.items()
    ]
    return _table(["rule", "recipe", "regret, points", "n", "problems"], body)


def _rows(rows: Sequence[Row]) -> list[str]:
    first = [
        [
            row.leave_out,
            row.given,
            row.evidence,
            f"{row.regret.n} / {row.regret.n_problems}",
            points(row.regret),
            share(row.decided),
            points(row.regret_decided),
            share(row.right),
            str(row.n_unclear),
            share(row.abstained_rightly),
        ]
        for row in rows
    ]
    second = [
        [
            row.leave_out,
            row.given,
            row.evidence,
            share(row.gain_coverage),
            share(row.accuracy_coverage),
            ratio(row.train_ratio),
            ratio(row.inference_ratio),
            *(points(row.saved[rule]) if rule in row.saved else _NO_FIGURE for rule in RULES),
        ]
        for row in rows
    ]
    head = ["left out", "shown", "evidence"]
    return [
        *_table(
            [
                *head,
                "n / problems",
                "regret, points",
                "recommends, %",
                "regret then, points",
                "right, %",
                "unclear",
                "abstains rightly, %",
            ],
            first,
        ),
        "",
        "FLOPs are ratios to the cheapest recipe within the tolerance of the best; the last columns"
        " are points of accuracy gained over each rule.",
        "",
        *_table(
            [
                *head,
                "90% intervals of the gain hold, %",
                "of accuracies, %",
                "training FLOPs",
                "FLOPs of an answer",
                *(f"over {rule}" for rule in RULES),
            ],
            second,
        ),
    ]


def _signs(signs: Sequence[SignRule]) -> list[str]:
    body = [[one.rule, one.task_type or "all", share(one.right), str(one.n_open)] for one in signs]
    return _table(["rule", "task type", "right, %", "sign not shown"], body)


def _words(words: Sequence[WordCheck]) -> list[str]:
    verdict = {True: "earned", False: "NOT earned", None: "too few"}
    body = [
        [
            one.trial,
            f"{one.word}, leaning" if one.is_leaning else one.word,
            str(one.n),
            share(one.right),
            str(one.n_unclear),
            points(one.loss),
            points(one.expected_loss),
            one.promise,
            verdict[one.is_earned],
        ]
        for one in words
    ]
    head = ["trial", "word", "n", "right, %", "unclear", "loses, points", "says it loses, points"]
    return _table([*head, "must keep", "kept"], body)


def _races(races: Sequence[Race]) -> list[str]:
    body = [
        [
            "study" if one.unit == "cells" else "printed table",
            one.order,
            f"{_text(one.cells, 1.0, '.1f')} {one.unit} of {one.n_to_measure:.1f}",
            share(one.reached),
            _NO_FIGURE if one.saved_cells is None else _text(one.saved_cells, 1.0, "+.1f"),
            _NO_FIGURE if one.flops_ratio is None else ratio(one.flops_ratio),
            _NO_FIGURE if one.own_choice is None else f"{100 * one.own_choice:.0f}",
        ]
        for one in races
    ]
    return _table(
        [
            "trial",
            "order",
            "measured until good",
            "reached, %",
            "fewer than random",
            "FLOPs / random",
            "chosen by a proposal, %",
        ],
        body,
    )


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(one) for one in body)]
    return [f"| {line} |" for line in lines]
