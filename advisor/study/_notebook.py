"""How a study looks in a notebook."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from policies.html_tables import Entry, amount, bullets, figure, interval, paragraph, table, view

if TYPE_CHECKING:
    from ._table import StudyTable

__all__ = ["study_html"]


def study_html(study: "StudyTable") -> str:
    """Return a study as HTML: one row per recipe, task type and policy, its seeds pooled."""
    students = [one.student for one in study.results]
    seeds = sorted({one.seed for one in students})
    over = "seeds and questions" if len(seeds) > 1 else "questions alone"
    columns = ("recipe", "size", "corpus", "task", "policy", "seeds", "n", "accuracy [95%]")
    return view(
        paragraph(f"{study.name}: {len(students):,} students", is_strong=True),
        table(
            "measured cells, the seeds of a recipe pooled",
            (*columns, "mean tokens", "FLOPs per query", "train FLOPs"),
            _rows(study),
        ),
        bullets([f"n: answers of all seeds; intervals are over {over}"]),
    )


def _rows(study: "StudyTable") -> Iterable[Sequence[Entry]]:
    costs: dict[tuple[str, str, str], list[float]] = {}
    for one in study.results:
        key = (one.student.size, one.student.corpus, one.student.label)
        costs.setdefault(key, []).append(one.train_flops)
    for corpus in study.corpora:
        for cell in study.pooled_cells(corpus=corpus):
            train = costs[cell.model, corpus, cell.recipe]
            yield (
                cell.recipe,
                cell.model,
                corpus,
                cell.task_type,
                cell.policy,
                figure(len(train), ",d"),
                figure(cell.n, ",d"),
                interval(cell.accuracy, cell.ci_low, cell.ci_high),
                figure(cell.mean_tokens, ",.1f"),
                amount(cell.mean_flops),
                amount(sum(train) / len(train)),
            )
