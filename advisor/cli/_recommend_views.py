"""The printed answer of `advisor recommend`."""

import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias

from . import _recommend_brief as brief
from ._page import GUTTER, Page, page_width
from ._plots import recommendation_plot
from ._recommend_words import (
    amount,
    cost_range,
    describe_option,
    export_command,
    flops,
    points,
    price_note,
    printed_corpus,
    recipe_words,
    rows_of_cells,
    verdict_option,
)

if TYPE_CHECKING:
    from advisor import Accuracy, Reason, RecipeOption, Recommendation

__all__ = ["Detail", "recommendation_page", "show_recommendation"]

Detail: TypeAlias = Literal["short", "usual", "full"]
"""How much is printed: verdict, options and plan; all that decides; or everything."""

_MAX_REASONS = 5
_PAPER = re.compile(r"arXiv [0-9]{4}[.][0-9]{5}(?:v[0-9]+)?")
"""How a source begins; the place in it is told alone where the paper was the last one named."""
_WORDS = {
    "measured": "every figure it needs is a measured or printed cell",
    "interpolated": "it needs figures between two measured sizes",
    "transferred": "it needs published curves, moved by your cells of another size",
    "rule": "it needs a rule that was stated without figures",
    "none": "nothing measured or published supports a choice yet",
}
_FROM = {"measured": "measured", "published-fit": "fit", "lengths": "lengths"}


def show_recommendation(answer: "Recommendation", *, detail: Detail = "usual") -> None:
    """Print a recommendation for people.

    Args:
        answer: The recommendation.
        detail: How much of it.
    """
    is_drawn = sys.stdout.isatty()
    recommendation_page(answer, width=page_width(), detail=detail, is_drawn=is_drawn).print()


def recommendation_page(
    answer: "Recommendation", *, width: int, detail: Detail = "usual", is_drawn: bool = False
) -> Page:
    """Return a recommendation as a page.

    Args:
        answer: The recommendation.
        width: Columns of a line.
        detail: How much of it.
        is_drawn: Whether the options' intervals are drawn too.
    """
    page = Page(width)
    for write in _sections(detail):
        write(page, answer)
        if is_drawn and write in {_options, _options_in_full}:
            _drawing(page, answer)
    return page


def _drawing(page: Page, answer: "Recommendation") -> None:
    page.drawing(recommendation_plot(answer, width=page.width - GUTTER))


def _sections(detail: Detail) -> "tuple[Callable[[Page, Recommendation], None], ...]":
    if detail == "short":
        return (_verdict, _options, _costs, _plan)
    if detail == "full":
        return (
            _verdict_in_full,
            _why_in_full,
            _options_in_full,
            _costs_in_full,
            _differences,
            _needs,
            _plan,
            _evidence,
            _warnings_in_full,
            _conflicts,
            _changes,
            _next,
            _methods,
            _assumptions,
            _export,
        )
    return (
        _verdict,
        _why,
        _options,
        brief.write_differences,
        _costs,
        brief.write_needs,
        _plan,
        brief.write_evidence,
        _warnings,
        brief.write_conflicts,
        _changes,
        brief.write_next,
        brief.write_methods,
        brief.write_assumed,
        brief.write_more,
    )


def _verdict(page: Page, answer: "Recommendation") -> None:
    verdict = answer.verdict
    word = f"{verdict.confidence}, leaning" if verdict.is_leaning else verdict.confidence
    is_refusal = verdict.action == "abstain"
    page.section("VERDICT")
    page.text(f"[{word}] {verdict.text}", style="bold yellow" if is_refusal else "bold green")
    rivals = "the better of direct answers and reasoning"
    words = _WORDS[verdict.confidence]
    if _has_measured_mixtures(answer):
        rivals = "the best of the other measured recipes"
        if verdict.confidence == "none":
            words = "the measured recipes are not told apart well enough"
    page.text(f"{verdict.confidence}: {words}")
    if verdict.is_leaning:
        page.text(f"leaning: {_leaning_words(answer)}")
    if verdict.expected_regret is not None:
        page.text(f"expected loss against {rivals}: {points(verdict.expected_regret)}")
    fallback = answer.option(verdict.fallback)
    if fallback is not None:
        page.text(
            f"if something must be trained today, row {fallback.id}: {describe_option(fallback)}",
            style="bold",
        )


def _leaning_words(answer: "Recommendation") -> str:
    """Return what a leaning risks: little, unless more is expected to be lost than is tolerated."""
    from ..verdict import DEFAULT_TOLERANCE

    loss, tolerance = answer.verdict.expected_regret, answer.request.tolerance
    allowed = DEFAULT_TOLERANCE if tolerance is None else tolerance
    if loss is not None and loss > allowed:
        return f"not shown beyond doubt; expected to lose {points(loss)}"
    return "not shown beyond doubt, but acting now costs little in expectation"


def _has_measured_mixtures(answer: "Recommendation") -> bool:
    """Return whether the choice was among recipes that were measured, mixtures among them."""
    return any(
        0 < option.recipe.reasoning_ratio < 1 and option.accuracy.value is not None
        for option in answer.options
    )


def _verdict_in_full(page: Page, answer: "Recommendation") -> None:
    _verdict(page, answer)
    chosen = answer.recommended
    if chosen is not None:
        page.text(f"row {chosen.id}: {describe_option(chosen)}")


def _why(page: Page, answer: "Recommendation") -> None:
    reasons = _reasons(answer)
    # The argument begins with what was measured and ends with what it led to.
    shown = reasons
    if len(reasons) > _MAX_REASONS:
        shown = [*reasons[:2], *reasons[2 - _MAX_REASONS :]]
    if shown:
        page.section("WHY", gap=False)
    said = ""
    for reason in shown:
        source = reason.source or ""
        paper, _, place = source.partition(", ")
        is_said = bool(place) and _PAPER.findall(said)[-1:] == [paper]
        said += f"{reason.text} {source}"
        page.text(_with_source(reason.text, place if is_said else source), bullet="- ")
    if len(shown) < len(reasons):
        page.text(f"left out: {len(reasons) - len(shown)} steps between (--full has all)")


def _why_in_full(page: Page, answer: "Recommendation") -> None:
    reasons = _reasons(answer)
    if reasons:
        page.section("WHY")
    for reason in reasons:
        page.text(_with_source(reason.text, reason.source or ""), bullet="- ")


def _reasons(answer: "Recommendation") -> "list[Reason]":
    """Return the steps of the argument that the verdict does not say itself."""
    verdict = answer.verdict
    return [reason for reason in verdict.reasons if reason.text not in verdict.text]


def _with_source(text: str, source: str) -> str:
    return f"{text} ({source})" if source else text


def _options(page: Page, answer: "Recommendation", *, is_full: bool = False) -> None:
    if not answer.options:
        return
    level = f"{100 * answer.confidence_level:.0f}%"
    page.section("OPTIONS")
    page.text(f"accuracy in % with {level} interval; front: probability that no option beats it")
    page.columns(
        ("", "size", "recipe", "corpus", "accuracy", "basis", "front"),
        [
            (
                _marked(answer, option),
                str(option.size),
                recipe_words(option),
                printed_corpus(option),
                _accuracy(option.accuracy),
                option.accuracy.basis,
                "-" if option.p_front is None else f"{100 * option.p_front:.0f}%",
            )
            for option in answer.options
        ],
        marked=answer.verdict.option or "",
    )
    said = " ".join(warning.text for warning in answer.warnings)
    notes = [(option.id, note) for option in answer.options for note in option.notes]
    _notes(page, [(letter, note) for letter, note in notes if is_full or note not in said])


def _options_in_full(page: Page, answer: "Recommendation") -> None:
    _options(page, answer, is_full=True)


def _notes(page: Page, notes: Iterable[tuple[str, str]]) -> None:
    """Write notes on options, each once, behind the letters that it is about."""
    letters: dict[str, list[str]] = {}
    for letter, note in notes:
        letters.setdefault(note, []).append(letter)
    for note, found in letters.items():
        page.text(note, bullet=f"{', '.join(found)}: ")


def _costs(page: Page, answer: "Recommendation", *, is_full: bool = False) -> None:
    options = answer.options
    if not options:
        return
    page.section("COSTS")
    price = price_note(answer)
    page.text(_cost_words(answer, is_full=is_full))
    has_usd = any(option.train_usd is not None for option in options)
    has_total = any(option.total_flops is not None for option in options)
    header = [
        "",
        "train",
        "GPU-hours",
        *(["USD*" if price else "USD"] * has_usd),
        "query",
        "from",
        "tokens",
    ]
    header += ["total"] * has_total
    rows: list[list[str]] = []
    for option in options:
        usd = "-" if option.train_usd is None else amount(option.train_usd.mid)
        rows.append(
            [
                _marked(answer, option),
                flops(option.train_flops),
                cost_range(option.gpu_hours),
                *([usd] * has_usd),
                flops(option.inference_flops),
                _FROM.get(option.inference_basis or "", "-"),
                "-" if option.answer_tokens is None else f"{option.answer_tokens:,.0f}",
                *([flops(option.total_flops)] * has_total),
                "yes" if option.is_feasible else "no",
            ]
        )
    page.columns([*header, "feasible"], rows, marked=answer.verdict.option or "")
    if has_usd and price:
        page.text(price, bullet="*: ")
    _notes(page, [(option.id, text) for option in options for text in option.why_not])


def _costs_in_full(page: Page, answer: "Recommendation") -> None:
    _costs(page, answer, is_full=True)


def _cost_words(answer: "Recommendation", *, is_full: bool) -> str:
    options = answer.options
    device = next((f" on {one.value}" for one in answer.assumptions if one.name == "gpu"), "")
    parts = ["FLOPs to train and per query", f"GPU-hours (best-worst){device}"]
    if any(option.inference_basis == "published-fit" for option in options):
        parts.append("fit: from a printed fit, a weak prior" if is_full else "fit: a weak prior")
    if any(option.inference_basis == "lengths" for option in options):
        parts.append("lengths: computed from the lengths below" if is_full else "lengths: computed")
    if any(option.total_flops is not None for option in options):
        parts.append("total: training and serving over the horizon")
    return "; ".join([*parts, *([answer.cost_formula] * is_full)])


def _differences(page: Page, answer: "Recommendation") -> None:
    if not answer.differences:
        return
    page.section("DIFFER")
    page.text(f"in points, with {100 * answer.confidence_level:.0f}% interval")
    page.columns(
        ("", "difference", "interval", "", "basis"),
        [
            (
                f"{one.first}-{one.second}",
                f"{100 * one.value:+.1f}",
                f"[{100 * one.low:+.1f}, {100 * one.high:+.1f}]",
                "shown" if one.is_shown else "not shown",
                one.basis,
            )
            for one in answer.differences
        ],
    )


def _needs(page: Page, answer: "Recommendation") -> None:
    """Say what the option that is to be trained needs."""
    option = verdict_option(answer)
    if option is None:
        return
    page.section("NEEDS")
    share = f"{100 * option.reasoning_token_share:.0f}% of the answer tokens"
    what = f", {share} in reasoning traces" if option.reasoning_token_share else ""
    money = "USD*" if price_note(answer) else "USD"
    usd = "" if option.train_usd is None else f", {cost_range(option.train_usd)} {money}"
    page.text(
        f"row {option.id}: {flops(option.train_tokens)} training tokens{what};"
        f" {cost_range(option.wall_hours)} hours on all GPUs{usd}"
    )
    for need in option.memory:
        if need.fits:
            fits = "fits"
        elif need.n_gpus_needed is None:
            fits = "does not fit, sharded or not"
        else:
            fits = f"does not fit; sharded over {need.n_gpus_needed} GPUs it does"
        name = {"lora": "LoRA"}.get(need.method, need.method)
        page.text(
            f"{name} fine-tuning: {need.low_bytes / 1e9:.0f}-{need.high_bytes / 1e9:.0f} GB"
            f" per GPU, most of it {need.dominant}: {fits}"
        )


def _plan(page: Page, answer: "Recommendation") -> None:
    if not answer.plan:
        return
    page.section("PLAN")
    for number, stage in enumerate(answer.plan, start=1):
        page.text(stage.title, bullet=f"{number}. ")
        if stage.command:
            page.command(stage.command, indent=3)


def _evidence(page: Page, answer: "Recommendation") -> None:
    if not answer.evidence:
        return
    users = rows_of_cells(answer)
    page.section("EVIDENCE")
    sources = dict.fromkeys(item.source for item in answer.evidence)
    page.text(f"cells behind each row; sources: {', '.join(sources)}")
    page.columns(
        ("row", "cell", "recipe", "accuracy", "grade", "n"),
        [
            (
                ",".join(users.get(item.id, ())) or "-",
                item.id,
                item.recipe,
                f"{100 * item.value:.1f}%",
                item.grade,
                "-" if item.n is None else f"{item.n:,}",
            )
            for item in answer.evidence
        ],
        stacked=("", "", "", "", "n ="),
    )


def _conflicts(page: Page, answer: "Recommendation") -> None:
    if answer.conflicts:
        page.section("CONFLICTS")
    for conflict in answer.conflicts:
        sources = dict.fromkeys(_unsaid(source, conflict.text) for source in conflict.sources)
        page.text(f"{conflict.text} ({'; '.join(sources)})", bullet="- ")


def _unsaid(source: str, text: str) -> str:
    """Return a source, or its grade alone where the text names it already."""
    name, _, grade = source.rpartition(" [")
    return grade.removesuffix("]") if name and name in text else source


def _warnings(page: Page, answer: "Recommendation") -> None:
    if answer.warnings:
        page.section("WARNINGS", gap=not answer.evidence)
    for warning in answer.warnings:
        page.text(warning.text, bullet="- ")


def _warnings_in_full(page: Page, answer: "Recommendation") -> None:
    if answer.warnings:
        page.section("WARNINGS")
    for warning in answer.warnings:
        page.text(f"{warning.text} [{warning.code}]", bullet="- ")


def _changes(page: Page, answer: "Recommendation") -> None:
    if answer.changes:
        page.section("CHANGES")
    for change in answer.changes:
        again = f" ({change.arguments})" if change.arguments else ""
        page.text(f"{change.condition}{again}: {change.text}", bullet="- ")


def _next(page: Page, answer: "Recommendation") -> None:
    if answer.next_measurements:
        page.section("MEASURE")
        page.text("what to measure next, the most valuable per FLOP first:")
    for number, one in enumerate(answer.next_measurements, start=1):
        page.text(one.text, bullet=f"{number}. ")
        cost = f"{one.n_questions:,} questions; {flops(one.train_flops)} FLOPs to train"
        if one.measure_flops is not None:
            cost += f", {flops(one.measure_flops)} to answer"
        if one.value is not None:
            cost += f"; worth {points(one.value)} of accuracy in expectation"
        if one.value_per_exaflop is not None:
            cost += f", {points(one.value_per_exaflop / 100)} per 1e18 FLOPs"
        page.text(cost, bullet="   ")
        for command in one.commands if number == 1 else ():
            page.command(command, indent=3)
    if len(answer.next_measurements) > 1:
        page.text("the commands of all: --json")


def _methods(page: Page, answer: "Recommendation") -> None:
    if answer.methods:
        page.section("METHODS")
    for one in answer.methods:
        source = f" ({one.source})" if one.source else ""
        status = one.status.replace("-", " ")
        page.text(f"{one.method}, {status}: {one.text}{source}", bullet="- ")


def _assumptions(page: Page, answer: "Recommendation") -> None:
    if answer.assumptions:
        page.section("ASSUMED")
    for one in answer.assumptions:
        origin = "given" if one.is_given else "default"
        text = f": {one.text}" if one.text else ""
        page.text(f"{one.name} = {one.value} ({origin}){text}", bullet="- ")


def _export(page: Page, answer: "Recommendation") -> None:
    chosen = answer.recommended
    page.section("EXPORT")
    if chosen is None:
        page.text("nothing is exported on an abstention; --row LETTER prints a row's command")
        return
    page.command(export_command(answer, chosen))
    page.text("or --to axolotl, --to llamafactory; another row: --row LETTER")


def _marked(answer: "Recommendation", option: "RecipeOption") -> str:
    return f"> {option.id}" if option.id == answer.verdict.option else f"  {option.id}"


def _accuracy(accuracy: "Accuracy") -> str:
    if accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return "not known"
    return f"{100 * accuracy.value:.1f} [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"
