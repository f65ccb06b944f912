"""Put a recommendation together: verdict, options, evidence, cautions, and what comes next."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

from policies import Mode

from .._recipe import Method, Recipe
from .._recommendation import (
    Accuracy,
    Confidence,
    CostRange,
    Difference,
    EvidenceItem,
    MemoryNeed,
    RecipeOption,
    Recommendation,
    Stage,
    Verdict,
)
from .._request import RecommendationRequest
from ..cost import Range, memory_per_gpu, smallest_n_gpus
from ..evidence import OwnEvidence, PublishedEvidence, check_cells, own_evidence, own_pairs
from ..inference import Estimate, Point, difference, front_probabilities, nominal_size
from ._candidate import Builder, Candidate, unique
from ._cautions import conflicts, warnings
from ._changes import changes
from ._choice import Draft, decide
from ._comparison import Facts
from ._methods import adapt, advise_methods
from ._next import calibrate_command, next_measurements, prior_of
from ._question import check_task, resolve
from ._words import percent

if TYPE_CHECKING:
    from calibration import Cell, OutcomeRecord

__all__ = ["recommend"]

_SHOWN = 12
"""Options are listed up to here; the rest of many sizes would hide the answer."""


def recommend(
    request: RecommendationRequest,
    *,
    cells: "Sequence[Cell]" = (),
    records: "Sequence[OutcomeRecord]" = (),
    evidence: PublishedEvidence | None = None,
) -> Recommendation:
    """Recommend a training recipe for a size and a task type.

    Deterministic and without side effects; takes a few hundredths of a second.

    Args:
        request: What is asked for.
        cells: The user's measured cells. Those of the asked task type within 10% of the asked
            size outrank published figures; pairs of recipes at smaller sizes move them.
        records: The answers behind the cells; where they hold both arms of a comparison, it is
            made question by question.
        evidence: Published figures; `None` takes those that ship with the package.

    Returns:
        The verdict with its reasons, the options it was chosen from, every figure used,
        warnings, and what to measure next. `verdict.action` is `abstain` where nothing measured
        or published supports a choice, or nothing fits the budgets.

    Raises:
        UnknownNameError: The task type is unknown and its format was not said.
        InvalidInputError: A cell's accuracy is impossible, or a budget in money has no price.

    Example:
        >>> request = RecommendationRequest(size=ModelSize.parse("3B"), task_type="math-oe")
        >>> recommend(request).verdict.action
        'sequential'
    """
    shipped = PublishedEvidence.shipped() if evidence is None else evidence
    check_cells(cells)
    check_task(request, shipped.table, frozenset(cell.task_type for cell in cells))

    def ask(asked: RecommendationRequest, with_cells: "tuple[Cell, ...]") -> tuple[Draft, Facts]:
        facts = _facts(asked, with_cells, tuple(records), shipped)
        draft = decide(facts)
        adapt(draft, facts)
        return draft, facts

    draft, facts = ask(request, tuple(cells))
    _set_fallback(draft, facts)
    document = _document(draft, facts)
    return document.model_copy(update={"changes": tuple(changes(draft, facts, ask))})


def _facts(
    request: RecommendationRequest,
    cells: "tuple[Cell, ...]",
    records: "tuple[OutcomeRecord, ...]",
    evidence: PublishedEvidence,
) -> Facts:
    own = OwnEvidence()
    if request.size is not None:
        own = own_evidence(cells, request.task_type, request.size, records)
    pairs = tuple(own_pairs(cells, request.task_type))
    question = resolve(request, evidence, own, has_pairs=bool(pairs))
    return Facts(question, evidence, cells, records, pairs, Builder(question, evidence))


def _set_fallback(draft: Draft, facts: Facts) -> None:
    """Choose what loses least if something must be trained today, where that is not yet said.

    By the sign of what is believed about the gain; direct answers where nothing is.
    """
    if draft.action != "abstain" or draft.fallback is not None:
        return
    feasible = [one for one in draft.candidates if one.is_feasible]
    prior = prior_of(draft, facts)
    wants_reasoning = (prior.value or 0.0) > facts.question.tolerance
    order = [0.25, 0.0, 1.0] if wants_reasoning else [0.0, 0.25, 1.0]
    ranked = sorted(feasible, key=lambda one: order.index(one.recipe.reasoning_ratio))
    draft.fallback = ranked[0] if ranked else None


def _document(draft: Draft, facts: Facts) -> Recommendation:
    named = [one for one in (draft.chosen, draft.fallback) if one is not None]
    candidates = _listed(unique([*draft.candidates, *named]), named)
    letters = {one.recipe: ascii_uppercase[index] for index, one in enumerate(candidates)}
    cautions, quoted = warnings(draft, facts)
    methods = advise_methods(draft, facts)
    estimates = [*(one.accuracy for one in candidates), draft.gain, *draft.quoted, *quoted]
    refs = {ref.id: ref for estimate in estimates for ref in estimate.refs}
    return Recommendation(
        request=facts.question.request,
        verdict=Verdict(
            action=draft.action,
            option=None if draft.chosen is None else letters[draft.chosen.recipe],
            text=_verdict_text(draft, facts),
            confidence=_confidence(draft),
            is_leaning=draft.is_leaning and draft.chosen is not None,
            expected_regret=None if draft.regret is None else round(draft.regret, 6),
            fallback=_fallback_letter(draft, letters),
            reasons=tuple(draft.reasons),
        ),
        options=_options(candidates, facts),
        differences=tuple(_differences(draft, candidates, letters)),
        plan=tuple(_plan(draft, facts)),
        methods=tuple(methods),
        evidence=tuple(
            EvidenceItem(
                id=ref.id,
                source=ref.source,
                cell=ref.cell,
                recipe=ref.recipe,
                value=ref.value,
                grade="measured" if ref.source == "measured" else "printed",
                n=ref.n,
            )
            for ref in refs.values()
        ),
        conflicts=tuple(conflicts(draft, facts, list(refs))),
        warnings=tuple(cautions),
        changes=(),
        next_measurements=tuple(next_measurements(draft, facts)),
        assumptions=facts.question.assumptions,
        cost_formula=candidates[0].cost.formula if candidates else "",
    )


def _fallback_letter(draft: Draft, letters: dict[Recipe, str]) -> str | None:
    if draft.action != "abstain" or draft.fallback is None:
        return None
    return letters[draft.fallback.recipe]


def _listed(candidates: list[Candidate], named: Sequence[Candidate]) -> list[Candidate]:
    """Return the options to list: all of a few, else the front and what the verdict names."""
    if len(candidates) <= _SHOWN:
        return candidates
    chances = _front(candidates)
    keep = [
        one
        for one, chance in zip(candidates, chances, strict=True)
        if one.recipe in {other.recipe for other in named} or (chance or 0.0) >= 0.05
    ]
    return keep[:_SHOWN] if all(one in keep[:_SHOWN] for one in named) else keep


def _front(candidates: Sequence[Candidate]) -> list[float | None]:
    feasible = [one for one in candidates if one.is_feasible]
    points = [Point(one.accuracy, (one.cost.flops, one.inference_flops)) for one in feasible]
    chances = dict(zip((one.recipe for one in feasible), front_probabilities(points), strict=True))
    return [chances.get(one.recipe) for one in candidates]


def _options(candidates: Sequence[Candidate], facts: Facts) -> tuple[RecipeOption, ...]:
    return tuple(
        _option(one, ascii_uppercase[index], chance, facts)
        for index, (one, chance) in enumerate(zip(candidates, _front(candidates), strict=True))
    )


def _option(one: Candidate, letter: str, chance: float | None, facts: Facts) -> RecipeOption:
    estimate, cost = one.accuracy, one.cost
    return RecipeOption(
        id=letter,
        size=one.size,
        recipe=one.recipe,
        accuracy=Accuracy(
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            basis=estimate.basis,
            cells=tuple(dict.fromkeys(ref.id for ref in estimate.refs)),
        ),
        train_flops=_digits(cost.flops),
        train_tokens=_digits(cost.n_tokens),
        reasoning_token_share=round(cost.reasoning_token_share, 4),
        gpu_hours=_range(cost.gpu_hours),
        wall_hours=_range(cost.wall_hours),
        train_usd=None if cost.usd is None else _range(cost.usd),
        memory=_memory(one, facts),
        answer_tokens=None if one.answer_tokens is None else _digits(one.answer_tokens),
        inference_flops=None if one.inference_flops is None else _digits(one.inference_flops),
        inference_basis=one.inference_basis,
        total_flops=None if one.total_flops is None else _digits(one.total_flops),
        is_feasible=one.is_feasible,
        why_not=one.broken,
        p_front=chance,
        notes=one.notes,
    )


def _memory(one: Candidate, facts: Facts) -> tuple[MemoryNeed, ...]:
    """Return what one GPU holds, for full fine-tuning and LoRA, one longest row at a time."""
    question = facts.question
    tokens = facts.sequence_tokens(one.recipe.reasoning_ratio)
    nominal = nominal_size(facts.evidence.table, one.size)
    needs: list[MemoryNeed] = []
    for method in ("full", "lora"):
        need = memory_per_gpu(nominal, sequence_tokens=tokens, gpus=question.gpus, method=method)
        enough = smallest_n_gpus(nominal, sequence_tokens=tokens, gpus=question.gpus, method=method)
        needs.append(
            MemoryNeed(
                method=method,
                low_bytes=_digits(need.total.low),
                high_bytes=_digits(need.total.high),
                dominant=need.dominant,
                fits=need.fits,
                n_gpus_needed=enough,
            )
        )
    return tuple(needs)


def _differences(
    draft: Draft, candidates: Sequence[Candidate], letters: dict[Recipe, str]
) -> list[Difference]:
    found: list[Difference] = []

    def add(better: Candidate, other: Candidate, gap: Estimate) -> None:
        if gap.value is None or gap.low is None or gap.high is None:
            return
        if better.recipe not in letters or other.recipe not in letters:
            return
        found.append(
            Difference(
                better=letters[better.recipe],
                other=letters[other.recipe],
                value=gap.value,
                low=gap.low,
                high=gap.high,
                is_shown=gap.is_above(0.0) or gap.is_below(0.0),
                basis=gap.basis,
                cells=tuple(dict.fromkeys(ref.id for ref in gap.refs)),
            )
        )

    compared = draft.compared
    if compared is not None:
        add(compared.reasoning, compared.ift, compared.gain)
        for larger in (draft.larger, draft.tied):
            if larger is not None:
                gap = difference(compared.reasoning.accuracy, larger.accuracy)
                add(compared.reasoning, larger, gap)
    return found


def _confidence(draft: Draft) -> Confidence:
    """Return the weakest basis that the verdict needs."""
    if draft.chosen is None:
        return "none"
    if draft.chosen.accuracy.value is None:
        return "rule"
    if draft.gain.value is not None:
        return draft.gain.basis
    return draft.chosen.accuracy.basis


def _verdict_text(draft: Draft, facts: Facts) -> str:
    question, chosen = facts.question, draft.chosen
    size = question.size or "any size"
    if chosen is None:
        text = f"Abstain: {size} on {question.task_type}."
        if draft.reasons:
            text = f"Abstain for {size} on {question.task_type}: {draft.reasons[-1].text}."
        if draft.fallback is not None:
            recipe = draft.fallback.recipe
            text += f" What loses least if you must act today: {recipe.size} {recipe.label}."
        return text
    ratio = chosen.recipe.reasoning_ratio
    what = {
        "ift": "on direct answers (IFT)",
        "reasoning": "on reasoning traces alone",
        "sequential": f"on IFT rows first, then about {ratio:.0%} (up to 50%) reasoning rows",
        "mixed": f"on a shuffled mixture with about {ratio:.0%} (less than 50%) reasoning rows",
        "scale_ift": "on direct answers (IFT): a larger model instead of reasoning",
        "distil": "further: distil reasoning rows, 25-50% of all, onto the IFT model you have",
        "grpo": "by reinforcement learning with checked answers (GRPO), after the pre-check",
        "tops": "further on its own shortest correct answers (TOPS)",
        "rl_after_distillation": "further by reinforcement learning (GRPO)",
        "backtracking": "on traces with retracted steps, written by a search program",
        "abstain": "",
    }[draft.action]
    if chosen.accuracy.value is not None and 0 < ratio < 1:
        what = f"with the recipe {chosen.recipe.label}"
    if draft.action == "ift" and question.have == "ift":
        what = "no further: keep the model trained on direct answers"
    data = "your data" if chosen.recipe.corpus == "own" else f"{chosen.recipe.corpus} corpus"
    figure = "no accuracy is known for it"
    if chosen.accuracy.value is not None:
        figure = f"{percent(chosen.accuracy)}, {chosen.accuracy.basis}"
    text = f"Train {chosen.size} {what} ({data}; {figure})."
    if draft.compared is not None:
        ift, reasoning = draft.compared.ift.accuracy, draft.compared.reasoning.accuracy
        text += (
            f" At {draft.compared.size} on {question.task_type}, IFT has {percent(ift)} and "
            f"reasoning alone {percent(reasoning)}."
        )
    larger = draft.larger or draft.tied
    if larger is not None and draft.action != "scale_ift" and not larger.is_feasible:
        verb = "reaches reasoning" if draft.larger is not None else "ties with reasoning"
        text += (
            f" If {larger.size} may be trained and served, its IFT ({percent(larger.accuracy)}) "
            f"{verb} for less."
        )
    return text


def _plan(draft: Draft, facts: Facts) -> list[Stage]:
    """Return what to run, in order."""
    chosen, question = draft.chosen, facts.question
    if chosen is None:
        return []
    size, task, recipe = str(chosen.size), question.task_type, chosen.recipe
    corpus = {"math-centric": "math"}.get(recipe.corpus, recipe.corpus)
    folder = f"train/{task}-{size}"
    export = (
        f"advisor export --to trl --size {size} --task {task} --data PAIRS.jsonl --out {folder}"
    )
    stages: list[Stage] = []
    if draft.action == "tops":
        stages.append(
            Stage(
                title="sample every effort and keep the shortest correct answers",
                command="advisor data tops --backend openai --base-url URL --model YOUR-MODEL "
                "--tasks TRAINING-QUESTIONS.jsonl --efforts reasoning@1024,reasoning@4096,"
                f"reasoning@max --out data/{task}-tops",
            )
        )
    elif recipe.method is Method.GRPO:
        stages.append(
            Stage(
                title="pre-check: 8 samples of 100 training prompts; go on if 5% to 95% are right",
                command="advisor calibrate --backend openai --base-url URL --model YOUR-MODEL "
                f"--tasks TRAINING-QUESTIONS.jsonl --task-type {task} --policies reasoning@max "
                f"--limit 100 --repeats 8 --out runs/{task}-{size}-signal",
            )
        )
        stages.append(
            Stage(title="write the data and the configuration", command=f"{export} --method grpo")
        )
    else:
        if recipe.reasoning_ratio > 0 and question.teacher is not None:
            title = (
                f"let {question.teacher} answer each training prompt with and without thinking; "
                "keep the correct ones as PAIRS.jsonl (prompt, ift, reasoning)"
            )
            stages.append(Stage(title=title, command=None))
        arguments = f" --ratio {recipe.reasoning_ratio:g}"
        if draft.action == "distil":
            n_rows = round(recipe.reasoning_ratio * question.workload.n_rows)
            arguments = f" --ratio 1 --n-rows {n_rows} --base-model YOUR-IFT-MODEL"
        elif 0 < recipe.reasoning_ratio < 1:
            arguments += f" --order {recipe.order.value}"
        if recipe.corpus != "own":
            arguments += f" --corpus {corpus}"
        title = "write the mixture in order and the configuration"
        stages.append(Stage(title=title, command=export + arguments))
    stages.append(Stage(title="train", command=f"bash {folder}/launch.sh"))
    stages.append(
        Stage(
            title="measure what was trained, then ask again with --table",
            command=_measure(task, size, recipe.label, recipe.reasoning_ratio),
        )
    )
    return stages


def _measure(task: str, size: str, label: str, ratio: float) -> str:
    mode = Mode.IFT if ratio == 0 else Mode.REASONING
    return calibrate_command(task, size, label, mode, 737)


def _range(value: Range) -> CostRange:
    return CostRange(low=_digits(value.low), mid=_digits(value.mid), high=_digits(value.high))


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
