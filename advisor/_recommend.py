"""From evidence to a verdict: which recipe to train at a size, or to measure first.

The order of the argument: the user's own cells at the size decide alone; else the published
figures, at a printed size or between two; else nothing does, and the verdict is to abstain.
Reasoning is recommended only where the interval of its gain lies above 0, because it costs many
times more to train and to serve. `docs/explanation/recommendations.md` has the whole of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from calibration.published import PublishedCorpus

from ._evidence import OwnEvidence, PublishedEvidence, own_evidence
from ._explain import (
    cells_of,
    describe_larger_ift,
    gain_reason,
    next_measurements,
    own_warnings,
    percent,
    points,
    published_warnings,
)
from ._inference import NO_ESTIMATE, Estimate, difference, nominal_size, within_range
from ._options import (
    OPEN_ENDED,
    Candidate,
    Comparison,
    compare_published,
    larger_ift,
    mixtures,
    own_candidate,
    own_comparison,
    unsupported,
)
from ._recipe import Corpus, Order
from ._recommendation import (
    Action,
    Assumptions,
    EvidenceItem,
    Reason,
    Recommendation,
    RecommendationRequest,
    RecommendationWarning,
    Verdict,
)
from ._rules import (
    cheaper_unless_shown,
    matched_flops,
    most_of_the_gain,
    multiple_choice,
    never_last,
    off_frontier,
    short_answers,
)
from ._training_cost import TrainingAssumptions

if TYPE_CHECKING:
    from calibration import Cell

__all__ = ["recommend"]

_CORPORA: tuple[PublishedCorpus, ...] = ("general", "math-centric")
_RATIO_RULE = OPEN_ENDED | {"math-mc"}
"""Task types for which a mixture is recommended without a figure: open-ended and math."""
_PREFERENCE_SIZE = 7_000_000_000


@dataclass(slots=True)
class _Draft:
    """A recommendation being put together."""

    request: RecommendationRequest
    evidence: PublishedEvidence
    own: OwnEvidence
    assumptions: TrainingAssumptions
    action: Action = "abstain"
    chosen: Candidate | None = None
    compared: Comparison | None = None
    larger: Candidate | None = None
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    reasons: list[Reason] = field(default_factory=list[Reason])
    warnings: list[RecommendationWarning] = field(default_factory=list[RecommendationWarning])
    quoted: list[Estimate] = field(default_factory=list[Estimate])

    def choose(self, action: Action, candidate: Candidate, *reasons: Reason) -> None:
        self.action, self.chosen = action, candidate
        self.reasons += reasons


def recommend(
    request: RecommendationRequest,
    *,
    cells: Sequence["Cell"] = (),
    evidence: PublishedEvidence | None = None,
) -> Recommendation:
    """Recommend a training recipe for a size and a task type.

    Deterministic and without side effects; takes milliseconds.

    Args:
        request: What is asked for.
        cells: The user's measured cells. Those of the asked task type within 10% of the asked
            size outrank published figures.
        evidence: Published figures; `None` takes those that ship with the package.

    Returns:
        The verdict with its reasons, the options it was chosen from, every figure used,
        warnings, and what to measure next. `verdict.action` is `abstain` where nothing measured
        or published supports a choice.

    Example:
        >>> from policies import ModelSize
        >>> request = RecommendationRequest(size=ModelSize.parse("3B"), task_type="math-oe")
        >>> recommend(request).verdict.action
        'sequential'
    """
    shipped = PublishedEvidence.shipped() if evidence is None else evidence
    own = own_evidence(cells, request.task_type, request.size)
    draft = _Draft(request, shipped, own, _assumptions(request, own, shipped))
    published = _published_comparisons(draft)
    mine = own_comparison(request.size, own, draft.assumptions)
    _list_own(draft)
    if own.is_comparable:
        _decide_by_own(draft, mine, cells)
    elif published:
        _decide_by_published(draft, published)
    else:
        _abstain(draft)
    if own.is_comparable:
        _list_published(draft, published)
    gain = _own_gain(own, mine)
    recipes = [candidate.recipe for candidate in draft.candidates]
    warnings, quoted = published_warnings(request, shipped, published, recipes)
    draft.quoted += quoted
    draft.warnings = [*own_warnings(request, own, gain, published), *warnings, *draft.warnings]
    return _finish(draft, gain)


def _assumptions(
    request: RecommendationRequest, own: OwnEvidence, evidence: PublishedEvidence
) -> TrainingAssumptions:
    """Return what costs are computed for: as given, else as measured, else the defaults."""
    default, table = TrainingAssumptions(), evidence.table
    ift, reasoning = own.find(0.0), own.find(1.0)
    answer, ratio = default.answer_tokens, default.trace_ratio
    if ift is not None and reasoning is not None and ift.mean_tokens > 0:
        answer = round(ift.mean_tokens, 2)
        ratio = round(max(reasoning.mean_tokens / ift.mean_tokens, 0.01), 3)
    return TrainingAssumptions(
        n_examples=request.n_examples,
        prompt_tokens=request.prompt_tokens,
        answer_tokens=answer if request.answer_tokens is None else request.answer_tokens,
        trace_ratio=ratio if request.trace_ratio is None else request.trace_ratio,
        is_exact=not own.arms and nominal_size(table, request.size) in table.sizes,
    )


def _published_comparisons(draft: _Draft) -> list[Comparison]:
    """Return one comparison per considered corpus, none outside what was published."""
    request, table = draft.request, draft.evidence.table
    if request.task_type not in table.task_types or not within_range(table, request.size):
        return []
    return [
        compare_published(draft.evidence, request, corpus, draft.assumptions)
        for corpus in _corpora(request)
    ]


def _corpora(request: RecommendationRequest) -> tuple[PublishedCorpus, ...]:
    return _CORPORA if request.corpus is None else (request.corpus,)


def _own_gain(own: OwnEvidence, mine: Comparison | None) -> Estimate:
    """Return the measured gain of pure reasoning, else of the most accurate mixture."""
    ift = own.find(0.0)
    if mine is not None:
        return mine.gain
    others = [arm.accuracy for arm in own.arms if arm.reasoning_ratio > 0]
    if ift is None or not others:
        return NO_ESTIMATE
    return difference(max(others, key=lambda accuracy: accuracy.value or 0.0), ift.accuracy)


def _list_own(draft: _Draft) -> None:
    size = draft.request.size
    draft.candidates += [own_candidate(size, arm, draft.assumptions) for arm in draft.own.arms]


def _list_published(draft: _Draft, comparisons: Sequence[Comparison]) -> None:
    """List what the paper compares, and per corpus the larger IFT that comes nearest."""
    for comparison in comparisons:
        sequential, mixed = mixtures(draft.request.size, comparison.corpus, draft.assumptions)
        draft.candidates += [comparison.ift, sequential, mixed, comparison.reasoning]
        if comparison.gain.is_above(0.0):
            corpora: list[PublishedCorpus] = [one for one in _CORPORA if one == comparison.corpus]
            found = larger_ift(
                draft.evidence, draft.request, comparison.reasoning, corpora, draft.assumptions
            )
            draft.candidates += _nearest(*found)


def _nearest(reached: Candidate | None, tied: Candidate | None) -> list[Candidate]:
    """Return the larger IFT to list, with a note on what it is there for."""
    if reached is not None:
        return [_noted(reached, "reaches the accuracy of reasoning at the asked size for less")]
    if tied is not None:
        return [_noted(tied, "cannot be told apart from reasoning at the asked size, for less")]
    return []


def _noted(candidate: Candidate, note: str) -> Candidate:
    return replace(candidate, notes=(note, "larger than asked: considered only with max_size"))


def _decide_by_published(draft: _Draft, comparisons: Sequence[Comparison]) -> None:
    request = draft.request
    _list_published(draft, comparisons)
    draft.reasons += [gain_reason(request, comparison) for comparison in comparisons]
    primary = draft.compared = _primary(draft, comparisons)
    if not primary.gain.is_above(0.0):
        draft.choose("ift", primary.ift, cheaper_unless_shown(primary))
        return
    reached, tied = larger_ift(
        draft.evidence, request, primary.reasoning, _corpora(request), draft.assumptions
    )
    reason, warning = describe_larger_ift(
        primary.reasoning, reached, tied, table=draft.evidence.table
    )
    draft.reasons.append(reason)
    draft.candidates += _nearest(reached, tied)
    if reached is not None and _is_allowed(draft, reached):
        draft.choose("scale_ift", reached, matched_flops())
        return
    draft.warnings.append(warning)
    draft.larger = reached
    if request.task_type == "general-mc" and request.priority != "accuracy":
        draft.choose("ift", primary.ift, multiple_choice())
        return
    _choose_reasoning(draft, primary)


def _primary(draft: _Draft, comparisons: Sequence[Comparison]) -> Comparison:
    """Return the comparison of the corpus to go by, and say why."""
    if len(comparisons) == 1:
        return comparisons[0]
    mc_rule = draft.request.task_type == "general-mc" and draft.request.priority != "accuracy"

    def outcome(comparison: Comparison) -> Estimate:
        pays = comparison.gain.is_above(0.0) and not mc_rule
        return (comparison.reasoning if pays else comparison.ift).accuracy

    general = next(one for one in comparisons if one.corpus == "general")
    best = max(comparisons, key=lambda one: outcome(one).value or 0.0)
    edge = difference(outcome(best), outcome(general))
    cells = cells_of(outcome(general), outcome(best))
    if best is general:
        text = f"the general corpus gives the higher accuracy, {percent(outcome(general))}"
    elif edge.is_above(0.0) or draft.request.priority == "accuracy":
        text = f"the {best.corpus} corpus gives more ({points(edge)})"
        draft.reasons.append(Reason(code="corpus-choice", text=text, cells=cells))
        return best
    else:
        text = (
            f"the {best.corpus} corpus gives {percent(outcome(best))}, which cannot be told apart "
            f"from {percent(outcome(general))} ({points(edge)}); general, because math-centric "
            "reasoning data cost general accuracy"
        )
    draft.reasons.append(Reason(code="corpus-choice", text=text, cells=cells))
    return general


def _choose_reasoning(draft: _Draft, comparison: Comparison) -> None:
    """Choose how much reasoning to train, where its gain is supported."""
    request = draft.request
    sequential, mixed = mixtures(request.size, comparison.corpus, draft.assumptions)
    below_frontier = nominal_size(draft.evidence.table, request.size).n_params < _PREFERENCE_SIZE
    if not comparison.is_own and (below_frontier or request.task_type not in OPEN_ENDED):
        draft.reasons.append(off_frontier(request.task_type))
    covered = request.task_type in _RATIO_RULE
    if request.priority == "inference":
        draft.choose("mixed", mixed, short_answers())
    elif covered and request.priority != "accuracy":
        draft.choose("sequential", sequential, most_of_the_gain())
    else:
        draft.choose(
            "reasoning",
            comparison.reasoning,
            Reason(
                code="largest-figure",
                text="training on reasoning alone is what the accuracy was "
                f"{comparison.reasoning.accuracy.basis} for; none is printed for mixtures",
                cells=cells_of(comparison.reasoning.accuracy),
            ),
        )


def _is_allowed(draft: _Draft, candidate: Candidate) -> bool:
    limit = draft.request.max_size
    return limit is not None and candidate.recipe.size <= nominal_size(draft.evidence.table, limit)


def _decide_by_own(draft: _Draft, mine: Comparison | None, cells: Sequence["Cell"]) -> None:
    request = draft.request
    sequential, mixed = mixtures(request.size, "own", draft.assumptions)
    listed = {candidate.recipe for candidate in draft.candidates}
    draft.compared = mine
    draft.candidates += [one for one in (sequential, mixed) if one.recipe not in listed]
    if mine is not None:
        draft.reasons.append(gain_reason(request, mine))
    trained = [
        arm
        for arm in draft.own.arms
        if 0 < arm.reasoning_ratio < 1 and arm.order is not Order.REASONING_THEN_IFT
    ]
    if trained:
        _decide_among_measured(draft)
    elif mine is None:
        ift = next(one for one in draft.candidates if one.recipe.reasoning_ratio == 0)
        draft.choose("ift", ift, never_last())
    elif not mine.gain.is_above(0.0):
        draft.choose("ift", mine.ift, cheaper_unless_shown(mine))
    else:
        larger = _larger_own(draft, mine.reasoning, cells)
        if larger is None:
            _choose_reasoning(draft, mine)
        else:
            draft.candidates.append(larger)
            reason, _ = describe_larger_ift(
                mine.reasoning, larger, None, table=draft.evidence.table
            )
            draft.choose("scale_ift", larger, reason)


def _decide_among_measured(draft: _Draft) -> None:
    """Choose among measured mixtures: the cheapest that is not shown to be worse than the best."""
    arms = [arm for arm in draft.own.arms if arm.order is not Order.REASONING_THEN_IFT]
    ift = next(arm for arm in arms if arm.reasoning_ratio == 0)
    best = max(arms, key=lambda arm: arm.accuracy.value or 0.0)
    gains = [arm for arm in arms if difference(arm.accuracy, ift.accuracy).is_above(0.0)]
    equal = [arm for arm in gains if not difference(best.accuracy, arm.accuracy).is_above(0.0)]
    if not equal:
        chosen = ift
    elif draft.request.priority == "accuracy":
        chosen = best
    elif draft.request.priority == "inference":
        chosen = min(equal, key=lambda arm: (arm.mean_tokens, arm.reasoning_ratio))
    else:
        chosen = min(equal, key=lambda arm: (arm.reasoning_ratio, arm.mean_tokens))
    candidate = own_candidate(draft.request.size, chosen, draft.assumptions)
    ratio = chosen.reasoning_ratio
    staged: Action = "mixed" if chosen.order is Order.MIXED else "sequential"
    action: Action = "ift" if ratio == 0 else "reasoning" if ratio == 1 else staged
    draft.choose(
        action,
        candidate,
        Reason(
            code="measured-mixtures",
            text=f"of your measured recipes {candidate.recipe.label} has "
            f"{percent(chosen.accuracy)}, the most accurate has {percent(best.accuracy)}",
            cells=cells_of(chosen.accuracy, best.accuracy, ift.accuracy),
        ),
    )


def _larger_own(draft: _Draft, target: Candidate, cells: Sequence["Cell"]) -> Candidate | None:
    """Return the user's smallest larger IFT that reaches `target` at less cost, if allowed."""
    request = draft.request
    for size in draft.own.other_sizes:
        if request.max_size is None or not request.size < size <= request.max_size:
            continue
        there = own_evidence(cells, request.task_type, size)
        arm = there.find(0.0)
        if arm is None or there.tasks != draft.own.tasks:
            continue
        larger = own_candidate(size, arm, draft.assumptions)
        value = larger.accuracy.value
        reaches = value is not None and value >= (target.accuracy.value or 0.0)
        if reaches and larger.is_cheaper(target, priority=request.priority):
            return larger
    return None


def _abstain(draft: _Draft) -> None:
    """List what could be trained without figures, and say what costs least meanwhile."""
    request, table = draft.request, draft.evidence.table
    known = request.task_type in table.task_types
    if known:
        note = f"not extrapolated beyond {table.sizes[0]} to {table.sizes[-1]}"
        text = f"{request.size} is outside the published sizes"
        corpora = _corpora(request)
        for corpus in corpora:
            _list_unsupported(draft, corpus, note)
    else:
        note = "no figure for this task type"
        text = f"no published figure is about {request.task_type}"
        if not any(candidate.recipe.corpus == "own" for candidate in draft.candidates):
            _list_unsupported(draft, "own", note)
    draft.reasons.append(
        Reason(
            code="no-evidence",
            text=f"{text}, and no measured table compares direct answers with reasoning at this "
            "size; measure first. If you must act today, direct answers (IFT) cost least to "
            "train and to serve",
        )
    )


def _list_unsupported(draft: _Draft, corpus: Corpus, note: str) -> None:
    size = draft.request.size
    sequential, mixed = mixtures(size, corpus, draft.assumptions)
    draft.candidates += [
        unsupported(size, corpus, 0.0, draft.assumptions, note),
        sequential,
        mixed,
        unsupported(size, corpus, 1.0, draft.assumptions, note),
    ]


def _finish(draft: _Draft, gain: Estimate) -> Recommendation:
    if draft.chosen is not None:
        draft.candidates.append(draft.chosen)
    unique = {candidate.recipe: candidate for candidate in reversed(draft.candidates)}
    recipes = list(dict.fromkeys(candidate.recipe for candidate in draft.candidates))
    candidates = [unique[recipe] for recipe in recipes]
    index = None if draft.chosen is None else recipes.index(draft.chosen.recipe)
    refs = [ref for c in candidates for ref in c.accuracy.refs]
    refs += [ref for estimate in draft.quoted for ref in estimate.refs]
    assumptions = draft.assumptions
    return Recommendation(
        request=draft.request,
        verdict=Verdict(
            action=draft.action,
            option=index,
            text=_verdict_text(draft),
            reasons=tuple(draft.reasons),
        ),
        options=tuple(candidate.to_option() for candidate in candidates),
        evidence=tuple(
            EvidenceItem(source=ref.source, cell=ref.cell, recipe=ref.recipe, value=ref.value)
            for ref in dict.fromkeys(refs)
        ),
        warnings=tuple(draft.warnings),
        next_measurements=tuple(next_measurements(draft.request, draft.action, draft.own, gain)),
        assumptions=Assumptions(
            n_examples=assumptions.n_examples,
            prompt_tokens=assumptions.prompt_tokens,
            answer_tokens=assumptions.answer_tokens,
            trace_ratio=assumptions.trace_ratio,
            formula=assumptions.formula,
        ),
    )


def _verdict_text(draft: _Draft) -> str:
    request, chosen = draft.request, draft.chosen
    if chosen is None:
        return (
            f"Abstain: nothing measured or published supports a recipe for {request.size} on "
            f"{request.task_type}. Measure first."
        )
    what = {
        "ift": "on direct answers (IFT)",
        "reasoning": "on reasoning traces alone",
        "sequential": "on IFT examples first, then about 25% (up to 50%) reasoning examples",
        "mixed": "on a shuffled mixture with about 25% (less than 50%) reasoning examples",
        "scale_ift": f"on direct answers (IFT), instead of {request.size} on reasoning",
    }[draft.action]
    if chosen.accuracy.value is not None and 0 < chosen.recipe.reasoning_ratio < 1:
        what = f"with the recipe {chosen.recipe.label}"
    data = "your data" if chosen.recipe.corpus == "own" else f"{chosen.recipe.corpus} corpus"
    figure = "no accuracy is known for this mixture"
    if chosen.accuracy.value is not None:
        printed = chosen.accuracy.basis == "measured" and chosen.recipe.corpus != "own"
        figure = f"{percent(chosen.accuracy)}, {'printed' if printed else chosen.accuracy.basis}"
    text = f"Train {chosen.recipe.size} {what} ({data}; {figure})."
    if draft.compared is not None:
        ift, reasoning = draft.compared.ift.accuracy, draft.compared.reasoning.accuracy
        text += (
            f" At {request.size} on {request.task_type}, IFT has {percent(ift)} and reasoning "
            f"alone {percent(reasoning)}."
        )
    if draft.larger is not None:
        recipe = draft.larger.recipe
        text += (
            f" If {recipe.size} may be trained and served, IFT on the {recipe.corpus} corpus has "
            f"{percent(draft.larger.accuracy)} for less."
        )
    return text
