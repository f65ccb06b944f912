"""How a finding of a study looks in a notebook."""

from typing import TYPE_CHECKING

from policies.html_tables import Entry, Figure, bullets, definitions, figure, paragraph, table, view

if TYPE_CHECKING:
    from ._finding import Finding, Measure, Unit

__all__ = ["finding_html"]


def finding_html(finding: "Finding") -> str:
    """Return a finding as HTML: question, verdict, the numbers, the paper's statements."""
    heads = [*finding.label_columns, "seeds", "n", *(one.name for one in finding.columns)]
    rows = [
        (
            *row.labels,
            figure(row.n_seeds, ",d"),
            figure(row.n_questions, ",d"),
            *(
                _measure(measure, column.unit)
                for measure, column in zip(row.measures, finding.columns, strict=True)
            ),
        )
        for row in finding.rows
    ]
    checks = ((f"{one.agreement.value}: {one.paper}", one.measured) for one in finding.checks)
    return view(
        paragraph(finding.question, is_strong=True),
        bullets(finding.verdict),
        table(finding.method, heads, rows) if rows else paragraph(finding.method),
        definitions(checks),
    )


def _measure(measure: "Measure | None", unit: "Unit") -> Entry:
    from ._finding import write_measure

    text = write_measure(measure, unit)
    return None if text == "-" else Figure(text)
