"""How a recommendation looks in a notebook."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from policies.html_tables import (
    Entry,
    Figure,
    amount,
    bullets,
    definitions,
    figure,
    interval,
    paragraph,
    table,
    view,
)

if TYPE_CHECKING:
    from ._recommendation import CostRange, RecipeOption, Recommendation

__all__ = ["recommendation_html"]


def recommendation_html(answer: "Recommendation") -> str:
    """Return a recommendation as HTML: the verdict and why, the options, what could change it."""
    verdict = answer.verdict
    word = f"{verdict.confidence}, leaning" if verdict.is_leaning else verdict.confidence
    return view(
        paragraph(f"[{word}] {verdict.text}", is_strong=True),
        definitions(_facts(answer)),
        bullets(
            f"{reason.text} ({reason.source})" if reason.source else reason.text
            for reason in verdict.reasons
            if reason.text not in verdict.text
        ),
        _options(answer),
        _differences(answer),
        _evidence(answer),
        _list("Warnings", (one.text for one in answer.warnings)),
        _list("What would change it", (f"{one.condition}: {one.text}" for one in answer.changes)),
        _list("What to measure next", (one.text for one in answer.next_measurements)),
    )


def _facts(answer: "Recommendation") -> Iterable[tuple[str, Entry]]:
    verdict = answer.verdict
    if verdict.option is not None:
        yield "recommended", f"option {verdict.option}"
    if verdict.fallback is not None:
        yield "if something must be trained today", f"option {verdict.fallback}"
    if verdict.expected_regret is not None:
        yield "expected loss", Figure(f"{100 * verdict.expected_regret:.1f} points of accuracy")
    taken = [f"{one.name} {one.value}" for one in answer.assumptions if not one.is_given]
    if taken:
        yield "assumed", "; ".join(taken)


def _options(answer: "Recommendation") -> str:
    level = f"{100 * answer.confidence_level:g}%"
    has_usd = any(option.train_usd is not None for option in answer.options)
    columns = ["option", "size", "recipe", "corpus", f"accuracy [{level}]", "n", "basis"]
    columns += ["train FLOPs", "GPU-hours", *(["USD"] * has_usd), "FLOPs per query"]
    columns += ["tokens per answer", "p on front", "feasible"]
    questions = {item.id: item.n for item in answer.evidence}
    rows = [_option(answer, option, questions, has_usd=has_usd) for option in answer.options]
    notes = [
        f"{option.id}: {text}"
        for option in answer.options
        for text in option.notes + option.why_not
    ]
    return table("options", columns, rows) + bullets(notes) if rows else ""


def _option(
    answer: "Recommendation",
    option: "RecipeOption",
    questions: dict[str, int | None],
    *,
    has_usd: bool,
) -> Sequence[Entry]:
    accuracy = option.accuracy
    is_chosen = option.id == answer.verdict.option
    return (
        f"{option.id} (recommended)" if is_chosen else option.id,
        str(option.size),
        option.recipe.label if option.recipe.method.value == "sft" else option.recipe.method.value,
        option.recipe.corpus,
        interval(accuracy.value, accuracy.low, accuracy.high),
        _questions([questions.get(cell) for cell in accuracy.cells]),
        accuracy.basis,
        amount(option.train_flops),
        _range(option.gpu_hours),
        *([_range(option.train_usd)] * has_usd),
        amount(option.inference_flops),
        figure(option.answer_tokens, ",.0f"),
        figure(option.p_front, ".2f"),
        "yes" if option.is_feasible else "no",
    )


def _questions(counts: Sequence[int | None]) -> Entry:
    """Return the questions behind a figure; several cells have several counts."""
    known = [n for n in counts if n is not None]
    if not known or len(known) < len(counts):
        return None
    low, high = min(known), max(known)
    return Figure(f"{low:,}" if low == high else f"{low:,}-{high:,}")


def _range(cost: "CostRange | None") -> Entry:
    return None if cost is None else interval(cost.mid, cost.low, cost.high, ".3g")


def _differences(answer: "Recommendation") -> str:
    level = f"{100 * answer.confidence_level:g}%"
    questions = {item.id: item.n for item in answer.evidence}
    rows = [
        (
            f"{one.first} - {one.second}",
            interval(one.value, one.low, one.high, "+.3f"),
            _questions([questions.get(cell) for cell in one.cells]),
            "shown" if one.is_shown else "not shown",
            one.basis,
        )
        for one in answer.differences
    ]
    columns = ("options", f"difference [{level}]", "n", "result", "basis")
    return table("comparisons that decide", columns, rows) if rows else ""


def _evidence(answer: "Recommendation") -> str:
    rows = [
        (
            item.id,
            item.recipe,
            figure(item.value, ".3f", title="its interval is the option's"),
            figure(item.n, ",d"),
            item.grade,
        )
        for item in answer.evidence
    ]
    columns = ("cell", "recipe", "accuracy as printed or measured", "n", "grade")
    return table("evidence", columns, rows) if rows else ""


def _list(name: str, texts: Iterable[str]) -> str:
    found = bullets(texts)
    return paragraph(name, is_strong=True) + found if found else ""
