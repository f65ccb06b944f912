"""The page of a recommendation: what to do, why, at what price, and what is not known."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..cost import default_gpus
from ._advised_options import candidate_blocks
from ._advised_words import (
    accuracy_words,
    amount,
    chosen,
    counted,
    difference_words,
    level,
    option_words,
    order_words,
    ranged,
)
from ._blocks import Block, Column, Facts, Page, Prose, Section, Table, link_to

if TYPE_CHECKING:
    from .._recommendation import Difference, MemoryNeed, RecipeOption, Recommendation

__all__ = ["recommendation_page"]

_CONFIDENCE = {
    "measured": "Every figure that it needs is a measured or printed cell.",
    "interpolated": "It needs figures between two measured sizes.",
    "transferred": "It needs published curves, moved by your own cells of another size.",
    "rule": "It needs a rule that was stated without figures.",
    "none": "Nothing measured or published supports a choice well enough.",
}
_WEAK = {
    "rule": "not known; nothing printed or measured supports a number",
    "interpolated": "interpolated between two sizes",
    "transferred": "a published curve moved by your cells of another size",
}


def recommendation_page(answer: "Recommendation") -> Page:
    """Return the page of a recommendation, whatever it was made from."""
    asked = answer.request
    verdict = answer.verdict
    word = f"{verdict.confidence}, leaning" if verdict.is_leaning else verdict.confidence
    size = "any size" if asked.size is None else str(asked.size)
    sections = (
        Section("What to do", tuple(_to_do(answer))),
        Section("Why", tuple(_why(answer))),
        Section("The candidates", tuple(candidate_blocks(answer))),
        Section("Cautions", tuple(_cautions(answer))),
        Section("What would change it", tuple(_changes(answer))),
        Section("What to measure next", tuple(_next(answer))),
        Section("Ways to train that were considered", tuple(_methods(answer))),
        Section("What was taken for granted", (_assumptions(answer),)),
        Section("What it does not know", (Prose(tuple(_unknown(answer))),)),
        Section("Every figure that was used", tuple(_evidence(answer))),
    )
    return Page(
        f"Recommendation: {size}, {asked.task_type}",
        (f"[{word}] {verdict.text}", _CONFIDENCE[verdict.confidence]),
        tuple(section for section in sections if section.blocks),
        tuple(_notes(answer)),
        tuple(_sources(answer)),
    )


def _notes(answer: "Recommendation") -> Iterator[str]:
    verdict, option = answer.verdict, chosen(answer)
    if verdict.action == "abstain":
        text = "Nothing is recommended: measure first."
        if option is not None:
            text += f" If something must be trained today, {option_words(option)} loses least."
        yield text
    elif option is not None and option.accuracy.value is None:
        yield "No accuracy is known for what is recommended: its gain cannot be told in numbers."
    if verdict.is_leaning:
        yield "It is a leaning: the interval of the difference that decides contains 0."
    if option is not None and not option.is_feasible:
        yield f"Option {option.id} breaks what was asked for: {'; '.join(option.why_not)}."


def _to_do(answer: "Recommendation") -> Iterator[Block]:
    option = chosen(answer)
    if option is None:
        yield Prose(("There is no option to train.",), is_warning=True)
    else:
        yield Facts(tuple(_option_facts(answer, option)))
    for number, stage in enumerate(answer.plan, start=1):
        yield Prose((f"{number}. {stage.title}",))
        if stage.command:
            yield Facts((("run", stage.command),))


def _option_facts(answer: "Recommendation", option: "RecipeOption") -> Iterator[tuple[str, str]]:
    recipe, verdict = option.recipe, answer.verdict
    yield (
        "option" if verdict.option is not None else "loses least",
        f"{option.id}: {option_words(option)}",
    )
    if recipe.method.value == "sft":
        yield "share of reasoning rows", f"{100 * recipe.reasoning_ratio:.3g}%"
        if 0 < recipe.reasoning_ratio < 1:
            yield "order of stages", order_words(option)
    else:
        yield "method", recipe.method.value
    if option.reasoning_token_share:
        yield "share of answer tokens", f"{100 * option.reasoning_token_share:.0f}% in reasoning"
    yield "expected accuracy", accuracy_words(answer, option.accuracy)
    gains = list(_gains(answer, option))
    yield from gains
    if not gains:
        known = "; the differences that decide are with the candidates"
        text = "not known: no difference between it and another option could be computed"
        yield "expected gain", f"{text}{known if answer.differences else ''}"
    if verdict.expected_regret is not None:
        yield (
            "expected loss",
            f"{100 * verdict.expected_regret:.2g} points of accuracy against the better of what was compared",
        )
    yield "training", f"{amount(option.train_flops)} FLOPs, {amount(option.train_tokens)} tokens"
    yield "GPU-hours", ranged(option.gpu_hours)
    yield "hours on all GPUs", ranged(option.wall_hours)
    yield "US dollars", _money(answer, option)
    for need in option.memory:
        name = {"lora": "LoRA"}.get(need.method, need.method)
        yield f"memory of a GPU, {name}", _memory(need)
    yield "an answer", _query(option)
    if option.total_flops is not None:
        yield "training and serving", f"{amount(option.total_flops)} FLOPs over the horizon"


def _gains(answer: "Recommendation", option: "RecipeOption") -> Iterator[tuple[str, str]]:
    for one in answer.differences:
        if option.id in {one.first, one.second}:
            other = answer.option(one.second if option.id == one.first else one.first)
            about = "" if other is None else f" over {other.id}: {option_words(other)}"
            turned = _turned(one) if option.id == one.second else one
            yield "expected gain", f"{difference_words(answer, turned)}{about}"


def _turned(one: "Difference") -> "Difference":
    ends = {"value": -one.value, "low": -one.high, "high": -one.low}
    return one.model_copy(update={**ends, "first": one.second, "second": one.first})


def _why(answer: "Recommendation") -> Iterator[Block]:
    for reason in answer.verdict.reasons:
        yield Prose((reason.text,))
        rows = _behind(answer, reason.cells, reason.source)
        if rows.rows:
            yield rows
    if not answer.verdict.reasons:
        yield Prose(("No reason is on record.",), is_warning=True)


def _behind(answer: "Recommendation", cells: Sequence[str], source: str | None) -> Facts:
    """Return the figures and the source behind a statement, with what they lead to."""
    known = {item.id: item for item in answer.evidence}
    rows: list[tuple[str, str]] = []
    links: list[str] = []
    for cell in cells:
        item = known.get(cell)
        text = cell
        if item is not None:
            text = f"{item.source}, {item.cell}, {item.recipe}: {item.value:.3f} ({item.grade}, "
            text += f"{counted([item.n])})"
        rows.append(("evidence", text))
        links.append("" if item is None else link_to(item.source))
    if source:
        rows.append(("source", source))
        links.append(link_to(source))
    return Facts(tuple(rows), tuple(links))


def _cautions(answer: "Recommendation") -> Iterator[Block]:
    if answer.warnings:
        yield Facts(tuple((one.code, one.text) for one in answer.warnings))
    for conflict in answer.conflicts:
        yield Prose((f"Sources that do not agree: {conflict.text}",))
        rows = tuple(("source", source) for source in conflict.sources)
        yield Facts(rows, tuple(link_to(source) for _, source in rows))
    if not answer.warnings and not answer.conflicts:
        yield Prose(("No caution is known.",))


def _changes(answer: "Recommendation") -> Iterator[Block]:
    for one in answer.changes:
        again = f" ({one.arguments})" if one.arguments else ""
        yield Prose((f"If {one.condition}{again}: {one.text}.",))
    if not answer.changes:
        yield Prose(("No other answer to one question was found to change the verdict.",))


def _next(answer: "Recommendation") -> Iterator[Block]:
    for number, one in enumerate(answer.next_measurements, start=1):
        yield Prose((f"{number}. {one.text}",))
        cost = f"{one.n_questions:,} questions; {amount(one.train_flops)} FLOPs to train"
        answering = amount(one.measure_flops)
        rows = [("costs", f"{cost}, {answering} to answer" if answering else cost)]
        if one.value is None:
            rows.append(("worth", "not known: there is no estimate to compute it from"))
        else:
            worth = f"{100 * one.value:.2g} points of accuracy in expectation"
            if one.value_per_exaflop is not None:
                worth += f", {one.value_per_exaflop:.2g} per 1e18 FLOPs"
            rows.append(("worth", worth))
        yield Facts((*rows, *(("run", command) for command in one.commands)))
    if not answer.next_measurements:
        yield Prose(("No measurement was found that could change the verdict.",))


def _methods(answer: "Recommendation") -> Iterator[Block]:
    for one in answer.methods:
        about = (
            ("method", one.method),
            ("advice", one.status.replace("-", " ")),
            ("why", one.text),
        )
        behind = _behind(answer, one.cells, one.source)
        yield Facts((*about, *behind.rows), ("",) * len(about) + behind.links)


def _assumptions(answer: "Recommendation") -> Block:
    rows: list[tuple[str, str]] = []
    for one in answer.assumptions:
        text = f": {one.text}" if one.text else ""
        rows.append((one.name, f"{one.value} ({'given' if one.is_given else 'assumed'}){text}"))
    return Facts(tuple(rows)) if rows else Prose(("Nothing was.",))


def _unknown(answer: "Recommendation") -> Iterator[str]:
    """Say what the figures do not hold."""
    for basis, words in _WEAK.items():
        letters = [one.id for one in answer.options if one.accuracy.basis == basis]
        if letters:
            yield f"Accuracy of {', '.join(letters)}: {words}."
    unpriced = [one.id for one in answer.options if one.inference_flops is None]
    if unpriced:
        yield f"What an answer of {', '.join(unpriced)} costs is not known."
    fitted = [one.id for one in answer.options if one.inference_basis == "published-fit"]
    if fitted:
        yield f"What an answer of {', '.join(fitted)} costs is from a printed fit, a weak prior."
    uncounted = sum(item.n is None for item in answer.evidence)
    if uncounted:
        yield (
            f"Of {uncounted} of {len(answer.evidence)} figures the source prints no number of "
            "questions: how wide their intervals must be is an assumption."
        )
    if answer.verdict.expected_regret is None:
        yield "What acting now is expected to lose cannot be told."
    assumed = [one.name for one in answer.assumptions if not one.is_given]
    if assumed:
        yield f"Your own answers to {', '.join(assumed)}: they were assumed, see above."
    if all(item.source != "measured" for item in answer.evidence):
        yield "What your own data and models would show: no cell of yours was used."


def _evidence(answer: "Recommendation") -> Iterator[Block]:
    users: dict[str, list[str]] = {}
    for option in answer.options:
        for cell in option.accuracy.cells:
            users.setdefault(cell, []).append(option.id)
    columns = (
        Column("cell"),
        Column("source"),
        Column("where"),
        Column("recipe"),
        Column("accuracy", is_number=True, hint="as printed or measured; options have intervals"),
        Column("n", is_number=True, hint="questions; empty where the source prints none"),
        Column("grade"),
        Column("options"),
    )
    rows = tuple(
        (
            item.id,
            item.source,
            item.cell,
            item.recipe,
            f"{item.value:.3f}",
            "" if item.n is None else f"{item.n:,}",
            item.grade,
            ", ".join(users.get(item.id, ())),
        )
        for item in answer.evidence
    )
    if rows:
        yield Table("Cells behind the answer", columns, rows)
    else:
        yield Prose(("No figure was used.",), is_warning=True)


def _sources(answer: "Recommendation") -> Iterator[tuple[str, str]]:
    yield "document", f"recommendation, schema version {answer.schema_version}"
    yield "intervals", level(answer)
    for source in dict.fromkeys(item.source for item in answer.evidence):
        yield "evidence", source


def _money(answer: "Recommendation", option: "RecipeOption") -> str:
    if option.train_usd is None:
        return "no price is known"
    gpus = answer.request.gpus or default_gpus()
    is_assumed = answer.request.gpu_price is None and gpus.is_price_assumed
    return f"{ranged(option.train_usd)}{f' ({gpus.price_note})' if is_assumed else ''}"


def _memory(need: "MemoryNeed") -> str:
    fits = "fits"
    if not need.fits:
        enough = "sharded or not"
        if need.n_gpus_needed is not None:
            enough = f"sharded over {need.n_gpus_needed} GPUs it does"
        fits = f"does not fit; {enough}" if need.n_gpus_needed else f"does not fit, {enough}"
    size = f"{need.low_bytes / 1e9:.0f} to {need.high_bytes / 1e9:.0f} GB"
    return f"{size}, most of it {need.dominant}: {fits}"


def _query(option: "RecipeOption") -> str:
    tokens = "tokens not known"
    if option.answer_tokens is not None:
        tokens = f"{option.answer_tokens:,.0f} tokens"
    if option.inference_flops is None:
        return f"{tokens}, FLOPs not known"
    return f"{tokens}, {amount(option.inference_flops)} FLOPs ({option.inference_basis})"
