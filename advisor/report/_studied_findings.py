"""What a study found against the paper: verdicts, checks, and the numbers behind them."""

from collections.abc import Sequence

from ..study.findings import Agreement, Check, Finding, write_measure
from ._blocks import Block, Column, Facts, Prose, Table, link_to

__all__ = ["agreement_words", "finding_blocks", "summary_table"]

_OUTCOMES = (Agreement.AGREES, Agreement.DIFFERS, Agreement.CANNOT_TELL)


def agreement_words(findings: Sequence[Finding]) -> str:
    """Return how the statements of the paper came out, in a sentence."""
    checks = [check.agreement for one in findings for check in one.checks]
    agree, differ, unclear = (checks.count(one) for one in _OUTCOMES)
    return (
        f"Of {len(checks)} statements of the paper {agree} agree with the study, {differ} differ, "
        f"and of {unclear} it cannot be told."
    )


def summary_table(findings: Sequence[Finding]) -> Table:
    """Return one row per question: how its statements of the paper came out."""
    columns = (
        Column("question"),
        Column("checks", is_number=True),
        *(Column(one.value, is_number=True) for one in _OUTCOMES),
    )
    rows = tuple(
        (
            one.question,
            f"{len(one.checks)}",
            *(
                f"{sum(check.agreement is outcome for check in one.checks)}"
                for outcome in _OUTCOMES
            ),
        )
        for one in findings
    )
    caption = (
        "How statements of the paper came out; each is put as where more than half of the 95% "
        "intervals must lie"
    )
    return Table(caption, columns, rows)


def finding_blocks(finding: Finding) -> tuple[Block, ...]:
    """Return a finding: its verdict, its method, its checks, and its numbers on demand."""
    blocks: list[Block] = [
        Prose(finding.verdict, is_warning=not finding.rows),
        Prose((finding.method,)),
        *(_check(check) for check in finding.checks),
    ]
    if finding.rows:
        blocks.append(_numbers(finding))
    return tuple(blocks)


def _check(check: Check) -> Facts:
    rows = (
        ("reported", check.paper),
        ("where", check.source),
        ("agrees if", check.rule),
        ("here", check.measured),
        ("outcome", check.agreement.value),
    )
    return Facts(rows, tuple(link_to(value) if name == "where" else "" for name, value in rows))


def _numbers(finding: Finding) -> Table:
    columns = (
        *(Column(name) for name in finding.label_columns),
        *(
            Column(f"{one.name} [95%]", is_number=True, hint=f"in {one.unit}")
            for one in finding.columns
        ),
        Column("seeds", is_number=True),
        Column("n", is_number=True, hint="questions that each student was asked"),
    )
    rows = tuple(
        (
            *row.labels,
            *(
                "" if one is None else write_measure(one, column.unit)
                for one, column in zip(row.measures, finding.columns, strict=True)
            ),
            f"{row.n_seeds}",
            f"{row.n_questions:,}",
        )
        for row in finding.rows
    )
    return Table(f"The numbers: {len(rows):,} rows", columns, rows, is_folded=True)
