"""Put a recommendation together: verdict, options, evidence, cautions, and what comes next."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from policies import ModelSize

from .._recipe import Order, Recipe, read_label
from .._recommendation import (
    Difference,
    EvidenceItem,
    Recommendation,
    Verdict,
)
from .._request import SMALLEST, RecommendationRequest
from ..evidence import (
    MeasuredStudy,
    OwnEvidence,
    PublishedEvidence,
    StudyView,
    check_cells,
    own_evidence,
    own_pairs,
)
from ..inference import Estimate, difference
from ._candidate import Builder, Candidate, unique
from ._cautions import conflicts, study_not_used, warnings
from ._changes import changes
from ._choice import decide
from ._comparison import Facts
from ._draft import Draft
from ._methods import advise_methods
from ._next import next_measurements, prior_of
from ._options import cost_formula, letter, listed, options
from ._plan import plan
from ._question import check_sizes, check_task, resolve
from ._reasons import fallback_reason, keep_model
from ._verdict_text import confidence, verdict_text

if TYPE_CHECKING:
    from calibration import Cell, OutcomeRecord

__all__ = ["recommend"]


def recommend(
    request: RecommendationRequest,
    *,
    cells: "Sequence[Cell]" = (),
    records: "Sequence[OutcomeRecord]" = (),
    study: MeasuredStudy | None = None,
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
        study: A study of recipes, see `advisor.study`: at its sizes the choice is among the recipes
            that it measured, by their figures. Its students of the asked corpus count, by
            default of its first. A study of sizes below 0.1B says nothing of larger ones.
        evidence: Published figures; `None` takes those that ship with the package.

    Returns:
        The verdict with its reasons, the options it was chosen from, every figure used,
        warnings, and what to measure next. `verdict.action` is `abstain` where nothing measured
        or published supports a choice, or nothing fits the budgets.

    Raises:
        UnknownNameError: The task type is unknown and its format was not said, or the study has
            no such corpus.
        InvalidInputError: A cell's accuracy is impossible, a budget in money has no price, or a
            size lies below 0.1B and no cell reaches it.

    Example:
        >>> from policies import ModelSize
        >>> request = RecommendationRequest(size=ModelSize.parse("3B"), task_type="math-oe")
        >>> recommend(request).verdict.action
        'sequential'
    """
    shipped = PublishedEvidence.shipped() if evidence is None else evidence
    check_cells(cells)
    measured = {cell.task_type for cell in cells}
    measured.update(() if study is None else study.task_types)
    check_task(request, shipped.table, frozenset(measured))
    check_sizes(request, _measured_sizes(cells, study))
    used = study if study is not None and _speaks_for(study, request) else None

    def ask(asked: RecommendationRequest, with_cells: "tuple[Cell, ...]") -> tuple[Draft, Facts]:
        view = None if used is None else used.on(asked.corpus or used.corpora[0])
        facts = _facts(asked, with_cells, tuple(records), shipped, view)
        return decide(facts), facts

    draft, facts = ask(request, tuple(cells))
    _set_fallback(draft, facts)
    document = _document(draft, facts)
    if study is not None and used is None:
        unused = study_not_used(study, request.size)
        document = document.model_copy(update={"warnings": (unused, *document.warnings)})
    return document.model_copy(update={"changes": tuple(changes(draft, facts, ask))})


def _measured_sizes(cells: "Sequence[Cell]", study: MeasuredStudy | None) -> dict[int, str]:
    """Return the sizes that were measured, in parameters, and what to call them.

    Below the published sizes only trained students count: how one model answers in two ways says
    nothing there about training it, as no published rule reaches so far down.
    """
    found = {
        cell.size: str(ModelSize(cell.size))
        for cell in cells
        if cell.size and (cell.size >= SMALLEST or read_label(cell.recipe) is not None)
    }
    if study is not None:
        found |= {n: f"{name} ({ModelSize(n)})" for name, n in study.sizes.items()}
    return found


def _speaks_for(study: MeasuredStudy, request: RecommendationRequest) -> bool:
    """Return whether a study says something of a size: no small model does of a published one."""
    if request.size is None or request.size.n_params < SMALLEST:
        return True
    return max(study.sizes.values()) >= SMALLEST


def _facts(
    request: RecommendationRequest,
    cells: "tuple[Cell, ...]",
    records: "tuple[OutcomeRecord, ...]",
    evidence: PublishedEvidence,
    view: StudyView | None,
) -> Facts:
    task_type, size = request.task_type, request.size
    every = cells if view is None else (*cells, *view.cells(task_type))
    own = OwnEvidence()
    if size is not None:
        own = own_evidence(every, task_type, size, records, view)
    pairs = tuple(
        pair
        for pair in own_pairs(every, task_type, view)
        if size is None or size.n_params < SMALLEST or pair.size.n_params >= SMALLEST
    )
    shape = own
    if view is not None and not own.arms:
        shape = own_evidence(every, task_type, _nearest(view, size), view=view)
    question = resolve(request, evidence, own, shape=shape, has_pairs=bool(pairs), view=view)
    builder = Builder(question, evidence)
    return Facts(question, evidence, cells, records, pairs, builder, view)


def _nearest(view: StudyView, size: ModelSize | None) -> ModelSize:
    """Return the size of a study that is nearest to another; its smallest to none."""
    sizes = sorted(view.sizes.values())
    if size is None:
        return ModelSize(sizes[0])
    return ModelSize(min(sizes, key=lambda n: abs(math.log(n / size.n_params))))


def _set_fallback(draft: Draft, facts: Facts) -> None:
    """Choose what to train if something must be trained today, where the verdict is to abstain.

    The side that loses least; direct answers, which cost least, where nothing is believed or the
    gain is within the tolerance. Nothing, where a trained model is there to be kept.
    """
    if draft.action != "abstain":
        return
    if facts.question.have != "base":
        draft.fallback = None
        draft.reasons.append(keep_model())
        return
    prior = prior_of(draft, facts)
    if draft.fallback is None:
        safe = [
            one
            for one in draft.candidates
            if one.is_feasible and one.recipe.order is not Order.REASONING_THEN_IFT
        ]
        # Of recipes with reasoning the one with least of it, which costs least.
        ranked = sorted(safe, key=lambda one: one.recipe.reasoning_ratio)
        reasoning = [one for one in ranked if one.recipe.reasoning_ratio > 0]
        wants_reasoning = (prior.value or 0.0) > facts.question.tolerance
        if draft.side is not None:
            wants_reasoning = draft.side == "reasoning"
        draft.fallback = next(iter(reasoning if wants_reasoning and reasoning else ranked), None)
    if draft.fallback is not None:
        draft.reasons.append(fallback_reason(draft.fallback, prior))


def _document(draft: Draft, facts: Facts) -> Recommendation:
    named = [one for one in (draft.chosen, draft.fallback) if one is not None]
    candidates = listed(unique([*draft.candidates, *named]), named)
    letters = {one.recipe: letter(index) for index, one in enumerate(candidates)}
    cautions, quoted = warnings(draft, facts)
    methods = advise_methods(draft, facts)
    believed = [prior_of(draft, facts)] if draft.chosen is None else []
    quoted = [*draft.quoted, *quoted, *believed]
    estimates = [*(one.accuracy for one in candidates), draft.gain, *quoted]
    refs = {ref.id: ref for estimate in estimates for ref in estimate.refs}
    # An option that is not listed may still be cited.
    cited = {cell for reason in draft.reasons for cell in reason.cells}
    unlisted = [ref for one in draft.candidates for ref in one.accuracy.refs]
    refs |= {ref.id: ref for ref in unlisted if ref.id in cited}
    return Recommendation(
        request=facts.question.request,
        verdict=Verdict(
            action=draft.action,
            option=None if draft.chosen is None else letters[draft.chosen.recipe],
            text=verdict_text(draft, facts),
            confidence=confidence(draft),
            is_leaning=draft.is_leaning and draft.chosen is not None,
            expected_regret=None if draft.regret is None else round(draft.regret, 6),
            fallback=_fallback_letter(draft, letters),
            reasons=tuple(draft.reasons),
        ),
        options=options(candidates, facts),
        differences=tuple(_differences(draft, candidates, letters)),
        plan=tuple(plan(draft, facts)),
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
        cost_formula=cost_formula(candidates),
    )


def _fallback_letter(draft: Draft, letters: dict[Recipe, str]) -> str | None:
    if draft.action != "abstain" or draft.fallback is None:
        return None
    return letters[draft.fallback.recipe]


def _differences(
    draft: Draft, candidates: Sequence[Candidate], letters: dict[Recipe, str]
) -> list[Difference]:
    found: list[Difference] = []

    def add(first: Candidate, second: Candidate, gap: Estimate) -> None:
        if gap.value is None or gap.low is None or gap.high is None:
            return
        if first.recipe not in letters or second.recipe not in letters:
            return
        found.append(
            Difference(
                first=letters[first.recipe],
                second=letters[second.recipe],
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
        others = [one for one in (draft.larger, draft.tied) if one is not None]
        for larger in others:
            gap = difference(compared.reasoning.accuracy, larger.accuracy)
            add(compared.reasoning, larger, gap)
    if draft.next_best is not None and draft.chosen is not None:
        gap = difference(draft.chosen.accuracy, draft.next_best.accuracy)
        add(draft.chosen, draft.next_best, gap)
    return found
