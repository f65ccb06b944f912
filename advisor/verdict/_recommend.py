"""Put a recommendation together: verdict, options, evidence, cautions, and what comes next."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._recipe import Order, Recipe
from .._recommendation import (
    Difference,
    EvidenceItem,
    Recommendation,
    Verdict,
)
from .._request import RecommendationRequest
from ..evidence import OwnEvidence, PublishedEvidence, check_cells, own_evidence, own_pairs
from ..inference import Estimate, difference
from ._candidate import Builder, Candidate, unique
from ._cautions import conflicts, warnings
from ._changes import changes
from ._choice import decide
from ._comparison import Facts
from ._draft import Draft
from ._methods import advise_methods
from ._next import next_measurements, prior_of
from ._options import cost_formula, letter, listed, options
from ._plan import plan
from ._question import check_task, resolve
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
        >>> from policies import ModelSize
        >>> request = RecommendationRequest(size=ModelSize.parse("3B"), task_type="math-oe")
        >>> recommend(request).verdict.action
        'sequential'
    """
    shipped = PublishedEvidence.shipped() if evidence is None else evidence
    check_cells(cells)
    check_task(request, shipped.table, frozenset(cell.task_type for cell in cells))

    def ask(asked: RecommendationRequest, with_cells: "tuple[Cell, ...]") -> tuple[Draft, Facts]:
        facts = _facts(asked, with_cells, tuple(records), shipped)
        return decide(facts), facts

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
