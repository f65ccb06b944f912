"""Write the measured parts of docs/study.md: `python scripts/write_study_page.py [STUDY]`.

STUDY is the name of a shipped study or a folder that `advisor study` wrote, `--methods` a folder
that `scripts/study_methods.sh` wrote (default: the shipped one); needs the extra `report`. What
stands between the marks `<!-- NAME: begin -->` and `<!-- NAME: end -->` is replaced, and
docs/study_training_flops.svg and docs/study_inference_flops.svg are drawn anew. Nothing else of the
page is touched. `--trial` does the same for docs/trial.md, which takes two minutes.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from advisor.study import StudyTable, load_study
from advisor.study.findings import (
    Agreement,
    Check,
    Finding,
    Group,
    Measure,
    Term,
    accuracy,
    contrast,
    corpora,
    find_all,
    group,
    load_methods,
    method_findings,
    shipped_methods,
    write_measure,
    write_value,
)
from advisor.study.trial import page_lines, run_trial

DOCS = Path(__file__).parent.parent / "docs"
STUDY = "pocket-study"
SETTINGS: dict[Any, Any] = {"svg.hashsalt": "thinkroute", "svg.fonttype": "none", "font.size": 9}

WHY: Mapping[str, str] = {
    "where": "Depth decides in the pocket world, not knowledge or the form of the answer: a question "
    "of level six needs six steps one after the other, one of level one needs none to be written "
    "down. What a thought is worth goes with the levels of a task type, with what the bases have "
    "read (facts, and notes of up to three steps), and with whether a student can write the steps.",
    "frontier": "The same depth: a larger student that answers at once does not gain the steps "
    "that a small one writes down for a few tokens. The paper's thoughts are also 5 to 20 times "
    "as long as its direct answers; pocket thoughts are as short as their steps allow, so that "
    "thinking costs little here.",
    "sequential": "A thought of the pocket world has one fixed form, and the share of rows that "
    "teaches it is also the number of rows: a quarter of a few thousand questions may be too few, "
    "or all that is needed, where a quarter of 1.3 million is neither.",
    "mixed": "Answers are decoded greedily, so a student thinks as soon as thinking is a little "
    "more likely than not; nothing in a pocket question tells which kind of answer is wanted, so "
    "the share of rows sets that likelihood alone.",
    "after": "Last rows weigh most in so short a training. Where a direct answer is worth as much as "
    "a weak student's thought, being taken off thinking costs nothing; and an added stage on "
    "mathematics also brings thousands of questions of the kind that is then asked.",
    "wrong": "The length of a pocket thought follows from the number of its steps, right or "
    "wrong, and the teacher writes no second thoughts: what makes wrong thoughts of large models "
    "long, doubt and new attempts, is not in the training data.",
    "cut": "The length of a pocket thought follows from the number of its steps, so a budget cuts "
    "the hardest questions alone, which are often wrong anyway, where the random mix saves on easy "
    "ones as well; lengths of large models tell less of difficulty.",
    "budgets": "A tiny student that is made to answer can be right more often than one that goes "
    "on, where its own long thoughts go wrong; and a budget above the longest needed thought has "
    "nothing left to buy. The paper's limits, 16k and 32k tokens, cut the longest answers only.",
}
"""What in the pocket world can bring a difference from the paper about, by finding."""


def trained_section(table: StudyTable) -> str:
    """Return what was trained: students, rows, tokens and FLOPs per size, and the recipes."""
    design = table.design
    recipes = dict.fromkeys(one.student.label for one in table.results)
    counts = {one.student.seed for one in table.results}
    planned = set(design.students()) | {one.student for one in table.results}
    lines = [
        f"Study `{table.name}`: {len(table.results):,} of {len(planned):,} planned "
        f"students, {len(counts)} seed{'s' if len(counts) != 1 else ''}, {design.n_rows:,} training "
        f"rows (one per question) in each stage.",
        "",
        "| size | parameters | students | training tokens | training FLOPs of all | of one, "
        "IFT to reasoning |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for size, n_params in table.sizes.items():
        own = table.select(size=size)
        cost = [one.train_flops for one in own if not one.student.order.is_two_stage]
        span = (
            f"{write_value(min(cost), 'flops')}-{write_value(max(cost), 'flops')}" if cost else "-"
        )
        tokens = sum(one.train_tokens for one in own)
        total = write_value(sum(one.train_flops for one in own), "flops")
        lines.append(f"| {size} | {n_params:,} | {len(own)} | {tokens:,} | {total} | {span} |")
    lines += [
        "",
        f"Corpora: {', '.join(table.corpora)}. Recipes: "
        + ", ".join(f"`{recipe}`" for recipe in recipes)
        + ".",
        "",
        "| from | |",
        "|---|---|",
        *(f"| {key} | {_cell(value)} |" for key, value in sorted(_facts(table).items())),
    ]
    return "\n".join(lines)


def measured_section(table: StudyTable) -> str:
    """Return how many answers were graded, by task type and policy."""
    cells = [cell for one in table.results for cell in one.cells]
    policies = tuple(dict.fromkeys(cell.policy for cell in cells))
    lines = ["| task type | questions | " + " | ".join(f"`{one}`" for one in policies) + " |"]
    lines.append("|---|---:" + "|---:" * len(policies) + "|")
    for kind in dict.fromkeys(cell.task_type for cell in cells):
        own = [cell for cell in cells if cell.task_type == kind]
        answers = [sum(cell.n for cell in own if cell.policy == one) for one in policies]
        asked = " | ".join(f"{n:,}" for n in answers)
        lines.append(f"| {kind} | {max(cell.n for cell in own):,} | {asked} |")
    lines += ["", f"Graded answers in all: {sum(cell.n for cell in cells):,}."]
    return "\n".join(lines)


def pictures_section(page: Path) -> str:
    """Return the links to the pictures, with what they show."""
    return "\n\n".join(
        f"![Accuracy over {axis.name} FLOPs per task type and corpus, one line per recipe]"
        f"({_picture(page, axis).name})"
        for axis in AXES
    )


def summary_section(findings: Sequence[Finding]) -> str:
    """Return one row per question: its verdict, and how its checks against the paper came out."""
    lines = ["| question | checks that agree | differ | cannot be told |", "|---|---:|---:|---:|"]
    for finding in findings:
        counts = [
            sum(check.agreement is one for check in finding.checks)
            for one in (Agreement.AGREES, Agreement.DIFFERS, Agreement.CANNOT_TELL)
        ]
        place = re.sub(r"[^a-z0-9 -]", "", finding.question.lower()).replace(" ", "-")
        row = " | ".join(map(str, counts))
        lines.append(f"| [{finding.question}](#{place}) | {row} |")
    return "\n".join(lines)


def findings_section(findings: Sequence[Finding]) -> str:
    """Return a section per question: verdict, checks against the paper, and the numbers."""
    parts: list[str] = []
    for finding in findings:
        parts += [f"### {finding.question}", ""]
        parts += [f"- {sentence}" for sentence in finding.verdict]
        parts += ["", finding.method]
        if finding.checks:
            parts += ["", *_checks(finding.checks)]
        if finding.rows:
            parts += ["", *_numbers(finding)]
        parts.append("")
    return "\n".join(parts).rstrip()


def differs_section(table: StudyTable, findings: Sequence[Finding]) -> str:
    """Return what differs from the paper, with what in the pocket world can bring it about."""
    parts: list[str] = []
    for finding in findings:
        differing = [one for one in finding.checks if one.agreement is Agreement.DIFFERS]
        if not differing:
            continue
        parts.append(f"- **{finding.question}**")
        parts += [
            f"  - Reported: {check.paper} ({check.source}). Here: {check.measured}."
            for check in differing
        ]
        if _facts(table).get("lab") == "pocket":
            parts.append(f"  - What can bring it about: {WHY[finding.key]}")
    return "\n".join(parts) or "No check differs."


def _checks(checks: Sequence[Check]) -> list[str]:
    return [
        "| reported | where | agrees if | here | |",
        "|---|---|---|---|---|",
        *(
            f"| {check.paper} | {check.source} | {check.rule} | {check.measured} "
            f"| **{check.agreement.value}** |"
            for check in checks
        ),
    ]


def _numbers(finding: Finding) -> list[str]:
    names = [*finding.label_columns, *(column.name for column in finding.columns)]
    lines = [
        f"<details><summary>The numbers: {len(finding.rows)} rows</summary>",
        "",
        f"| {' | '.join(names)} | seeds | questions |",
        "|---" * len(finding.label_columns) + "|---:" * (len(finding.columns) + 2) + "|",
    ]
    for row in finding.rows:
        measures = [
            write_measure(one, column.unit)
            for one, column in zip(row.measures, finding.columns, strict=True)
        ]
        values = (*row.labels, *measures, f"{row.n_seeds}", f"{row.n_questions:,}")
        lines.append(f"| {' | '.join(values)} |")
    return [*lines, "", "</details>"]


class Axis(NamedTuple):
    """A picture: what its horizontal axis holds."""

    name: str
    flops: Callable[[Group, str], float | None]


def _train_flops(one: Group, kind: str) -> float | None:
    del kind
    found = [result.train_flops for result in one.by_seed.values()]
    return sum(found) / len(found) if found else None


def _inference_flops(one: Group, kind: str) -> float | None:
    found = [
        cell.mean_flops
        for result in one.by_seed.values()
        for cell in result.cells
        if (cell.task_type, cell.policy) == (kind, "reasoning@max")
    ]
    return sum(found) / len(found) if found else None


AXES = (Axis("training", _train_flops), Axis("inference", _inference_flops))
_STYLES = {"mixed": "--", "ift_then_reasoning": "-", "reasoning_then_ift": ":"}


def draw(table: StudyTable, axis: Axis, target: Path) -> None:
    """Draw accuracy over FLOPs: a row of panels per corpus, a panel per task type."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(SETTINGS)
    import matplotlib.pyplot as plt

    kinds = list(dict.fromkeys(cell.task_type for one in table.results for cell in one.cells))
    shown = [
        label
        for label in dict.fromkeys(one.student.label for one in table.results)
        if label in {"ift", "reasoning"} or label.partition("@")[0] in _STYLES
    ]
    rows = corpora(table)
    figure, panels = plt.subplots(
        *(len(rows), len(kinds)),
        figsize=(3.2 * len(kinds), 3.0 * len(rows) + 0.8),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    colors = plt.get_cmap("viridis")
    for corpus, line in zip(rows, panels, strict=True):
        for kind, panel in zip(kinds, line, strict=True):
            for label in shown:
                points = _points(table, axis, corpus, kind, label)
                if not points:
                    continue
                order, _, ratio = label.partition("@")
                share = float(ratio) if ratio else float(order == "reasoning")
                panel.errorbar(
                    [cost for cost, _ in points],
                    [one.estimate for _, one in points],
                    [
                        [one.estimate - (one.low or 0.0) for _, one in points],
                        [(one.high or 0.0) - one.estimate for _, one in points],
                    ],
                    color=colors(0.9 * share),
                    ls=_STYLES.get(order, "-"),
                    lw=2.0 if share in {0.0, 1.0} else 0.9,
                    marker="o",
                    ms=3,
                    elinewidth=0.5,
                    label=label,
                )
            panel.set(title=f"{kind}, {corpus} corpus", xscale="log", ylim=(0, 1.02))
            panel.grid(alpha=0.25)
    for panel in panels[-1]:
        panel.set_xlabel(f"{axis.name} FLOPs")
    for panel in panels[:, 0]:
        panel.set_ylabel("accuracy, as trained")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=6, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.06 + 0.02 * (len(labels) > 6), 1, 1))
    # The test of the committed page asks which numbers a picture was drawn from.
    figure.savefig(target, metadata={"Date": None, "Description": digest(table, axis)})
    plt.close(figure)


def digest(table: StudyTable, axis: Axis) -> str:
    """Return a hash of the numbers that a picture shows."""
    kinds = dict.fromkeys(cell.task_type for one in table.results for cell in one.cells)
    labels = dict.fromkeys(one.student.label for one in table.results)
    numbers = [
        (corpus, kind, label, round(cost), *(round(end or 0.0, 6) for end in one))
        for corpus in corpora(table)
        for kind in kinds
        for label in labels
        for cost, one in _points(table, axis, corpus, kind, label)
    ]
    return hashlib.sha256(repr(numbers).encode()).hexdigest()


def _points(
    table: StudyTable, axis: Axis, corpus: str, kind: str, label: str
) -> list[tuple[float, Measure]]:
    found: list[tuple[float, Measure]] = []
    for size in table.sizes:
        one = group(table, size, corpus, label)
        cost, reached = axis.flops(one, kind), None
        if one.by_seed and contrast([Term(1.0, one)], [kind]) is not None:
            reached = accuracy(one, [kind])
        if cost and reached is not None:
            found.append((cost, reached))
    return found


def replace_section(page: str, name: str, text: str) -> str:
    """Return a page with what stands between the marks of a name replaced.

    Raises:
        ValueError: The page has no such marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"the page has no {begin} ... {end}")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)


def write_page(page: str, table: StudyTable, target: Path, methods: Path | None) -> str:
    """Return the page with all of its sections made from a study's table.

    Args:
        page: The page as it is.
        table: The study.
        target: Where the page lies; the pictures lie beside it.
        methods: Folder of the table of training methods; `None` says that there is none.
    """
    findings = find_all(table)
    sections = {
        "trained": trained_section(table),
        "measured": measured_section(table),
        "summary": summary_section(findings),
        "pictures": pictures_section(target),
        "findings": findings_section(findings),
        "differs": differs_section(table, findings),
        "methods": findings_section(method_findings(load_methods(methods) if methods else ())),
    }
    for name, text in sections.items():
        page = replace_section(page, name, text)
    return page


def write_trial(page: str, table: StudyTable) -> str:
    """Return the page about the advisor on trial with its section made anew: two minutes."""
    lines = page_lines(run_trial(table))
    return replace_section(page, "trial", "\n".join([trial_mark(table), "", *lines]))


def trial_mark(table: StudyTable) -> str:
    """Return what tells by which study a trial was held."""
    answers = "".join(cell.correct for one in table.results for cell in one.cells)
    return f"<!-- by answers {hashlib.sha256(answers.encode()).hexdigest()} -->"


def _picture(page: Path, axis: Axis) -> Path:
    return page.with_name(f"{page.stem}_{axis.name}_flops.svg")


def _facts(table: StudyTable) -> dict[str, object]:
    """Return where a study comes from; what its lab says of itself stands beside the rest."""
    found: dict[str, object] = {}
    for key, value in table.provenance.items():
        found |= value if isinstance(value, Mapping) else {key: value}
    return found


def _cell(value: object) -> str:
    return str(value).replace("|", "/").replace("\n", " ")


def main() -> int:
    """Write the page and the pictures."""
    parser = argparse.ArgumentParser(prog="python scripts/write_study_page.py")
    parser.add_argument("study", nargs="?", default=STUDY, help="a shipped study, or a folder")
    parser.add_argument("--methods", type=Path, default=shipped_methods(), help="a folder")
    parser.add_argument("--page", type=Path, default=DOCS / "study.md")
    parser.add_argument(
        "--trial", action="store_true", help="put the advisor on trial, too: writes docs/trial.md"
    )
    options = parser.parse_args()
    table = load_study(options.study)
    old = options.page.read_text(encoding="utf-8")
    page = write_page(old, table, options.page, options.methods)
    for axis in AXES:
        draw(table, axis, _picture(options.page, axis))
    options.page.write_text(page, encoding="utf-8")
    if options.trial:
        trial = options.page.with_name("trial.md")
        trial.write_text(write_trial(trial.read_text(encoding="utf-8"), table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
