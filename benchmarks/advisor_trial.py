"""The advisor on trial: what its advice loses where a study and a paper know the truth.

    python -m benchmarks.advisor_trial [--study NAME_OR_FOLDER] [--json | --markdown]

See `advisor.study.trial` for how the truth is held back. About a minute of one core.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import astuple

from rich.console import Console
from rich.table import Table

from advisor.study.trial import LEAST_RIGHT, RULES, Figure, Row, TrialReport, page_lines, run_trial
from policies import ThinkrouteError

from ._report import Report, machine

DEFAULT = "pocket-study"
_KEPT = {True: "earned", False: "NOT earned", None: "too few"}


def run(report: Report) -> None:
    """Add every condition's regret beside the better of two naive rules, and every word."""
    from advisor.study import load_study

    try:
        table = load_study(DEFAULT)
    except ThinkrouteError as error:
        report.skip("all", str(error))
        return
    add_to(report, run_trial(table))


def add_to(report: Report, trial: TrialReport) -> None:
    """Add a trial's figures to a report."""
    for name, rows in ((trial.study, trial.study_rows), ("printed", trial.published_rows)):
        for row in rows:
            _add_row(report, name, row)
    for word in trial.words:
        figure = word.loss if word.is_leaning else word.right
        if figure.value is None:
            continue
        report.add(
            f"word {word.word}{', leaning' if word.is_leaning else ''}, {word.trial}",
            100 * figure.value,
            "points lost" if word.is_leaning else "% right",
            at_least=None if word.is_leaning or word.is_earned is None else 100 * LEAST_RIGHT,
            note=f"n = {word.n}, {word.n_unclear} unclear; {word.promise}: {_KEPT[word.is_earned]}",
        )
    for race in (*trial.study_races, *trial.published_races):
        if race.cells.value is not None:
            note = f"of {race.n_to_measure:.1f}; n = {race.cells.n}"
            report.add(
                f"{race.unit} until good, {race.order}", race.cells.value, race.unit, note=note
            )


def _add_row(report: Report, name: str, row: Row) -> None:
    if row.regret.value is None:
        return
    rules = {
        rule: row.regret.value + figure.value
        for rule, figure in row.saved.items()
        if figure.value is not None
    }
    best = min(rules, key=lambda rule: rules[rule])
    decided = 100 * (row.decided.value or 0.0)
    report.add(
        f"{name}: without {row.leave_out}, given {row.given} ({row.evidence})",
        100 * row.regret.value,
        "points lost",
        baseline=(best, 100 * rules[best]),
        note=f"n = {row.regret.n}, {row.regret.n_problems} problems: {decided:.0f}% decided",
    )


def tables(trial: TrialReport) -> list[Table]:
    """Return the figures as tables for a terminal."""
    rules = Table(title=f"Rules on {trial.study}", title_justify="left")
    for name in ("rule", "regret, points", "n"):
        rules.add_column(name)
    for rule, figure in trial.rules.items():
        rules.add_row(rule, _points(figure), str(figure.n))
    words = Table(title="Words", title_justify="left")
    for name in ("trial", "word", "n", "right, %", "loses", "says", "kept"):
        words.add_column(name)
    for one in trial.words:
        words.add_row(
            one.trial,
            f"{one.word}{', leaning' if one.is_leaning else ''}",
            f"{one.n} ({one.n_unclear} unclear)",
            _points(one.right),
            _points(one.loss),
            _points(one.expected_loss),
            _KEPT[one.is_earned],
        )
    races = Table(title="Next cells", title_justify="left")
    for name in ("order", "until good", "reached, %", "fewer than random", "FLOPs / random"):
        races.add_column(name)
    for race in (*trial.study_races, *trial.published_races):
        races.add_row(
            race.order,
            f"{_number(race.cells)} {race.unit} of {race.n_to_measure:.1f}",
            _points(race.reached),
            "-" if race.saved_cells is None else _number(race.saved_cells),
            "-" if race.flops_ratio is None else _number(race.flops_ratio),
        )
    return [
        rules,
        _conditions(f"Advice on {trial.study}", trial.study_rows),
        _conditions("Advice on the printed table", trial.published_rows),
        words,
        races,
    ]


def _conditions(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    names = ("left out", "shown", "evidence", "n", "regret", "decides", "right", "abstains rightly")
    for name in (*names, "gain held", "train", "answer", *RULES):
        table.add_column(name)
    for row in rows:
        table.add_row(
            row.leave_out,
            row.given,
            row.evidence,
            str(row.regret.n),
            _points(row.regret),
            _points(row.decided),
            _points(row.right),
            _points(row.abstained_rightly),
            _points(row.gain_coverage),
            _number(row.train_ratio),
            _number(row.inference_ratio),
            *(_points(row.saved[rule]) if rule in row.saved else "-" for rule in RULES),
        )
    return table


def _points(figure: Figure) -> str:
    return _interval(figure, 100.0, ".1f")


def _number(figure: Figure) -> str:
    return _interval(figure, 1.0, ".2f")


def _interval(figure: Figure, scale: float, form: str) -> str:
    value, low, high = astuple(figure)[:3]
    if value is None:
        return "-"
    ends = "" if low is None or high is None else f"\n{scale * low:{form}} to {scale * high:{form}}"
    return f"{scale * value:{form}}{ends}"


def main() -> int:
    """Print the trial; exit status 1 if the study cannot be read."""
    from advisor.study import load_study

    parser = argparse.ArgumentParser(prog="python -m benchmarks.advisor_trial", description=__doc__)
    parser.add_argument("--study", default=DEFAULT, help="shipped study or folder of one")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document on stdout")
    form.add_argument("--markdown", action="store_true", help="the section of docs/study.md")
    arguments = parser.parse_args()
    try:
        table = load_study(arguments.study)
    except ThinkrouteError as error:
        print(f"{error}", file=sys.stderr)
        return 1
    trial = run_trial(table)
    if arguments.json:
        print(json.dumps({**trial.to_json(), "machine": machine()}, indent=2))
    elif arguments.markdown:
        print("\n".join(page_lines(trial)))
    else:
        console = Console(width=None if sys.stdout.isatty() else 200)
        for one in tables(trial):
            console.print(one)
    return 0


if __name__ == "__main__":
    sys.exit(main())
