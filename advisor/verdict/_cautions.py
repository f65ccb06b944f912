"""What could turn a recommendation into a mistake: warnings, and sources that disagree."""

from collections.abc import Sequence

from calibration.published import Conflict as PublishedConflict
from calibration.published import load_conflicts
from policies import ModelSize

from .._recipe import Order, Recipe
from .._recommendation import Conflict, RecommendationWarning
from ..cost import memory_per_gpu, smallest_n_gpus
from ..evidence import MeasuredStudy, OwnEvidence, arm_gap, own_evidence
from ..inference import Estimate, difference, gain_at, nominal_size, within_range
from ._comparison import Facts
from ._draft import Draft
from ._words import PAPER, points, short_points

__all__ = ["conflicts", "study_not_used", "warnings"]

_REASONING_ACTIONS = frozenset(
    {"reasoning", "mixed", "sequential", "distil", "tops", "rl_after_distillation", "grpo"}
)
_DEFAULT_LENGTHS = "TRL cuts at 1,024, LLaMA-Factory at 2,048, axolotl drops the row"
_SMALL = 3_300_000_000
"""Up to here the mixture of short and long chains was tried: Qwen2.5-3B."""

_GENERAL = ("general-oe", "general-mc")
_NEVER_LAST = (
    "never train IFT after reasoning: no gain, and it can cost the reasoning (a rule without "
    "figures: arXiv 2509.22193 v1, vendor documentation)"
)
_FEW_ROWS = 100_000
"""Rows below which accuracies of the published corpora (300,000 and more) are told to be theirs."""


def warnings(draft: Draft, facts: Facts) -> tuple[list[RecommendationWarning], list[Estimate]]:
    """Return warnings, and the estimates whose figures they quote."""
    quoted: list[Estimate] = []
    found: dict[str, str] = {}
    if facts.view is not None:
        found |= _about_study(draft, facts)
        found |= _about_samples(draft, facts) | _about_own(draft, facts)
        found |= _about_published(draft, facts)
        return [RecommendationWarning(code=code, text=text) for code, text in found.items()], []
    trains_reasoning = draft.action in _REASONING_ACTIONS
    if trains_reasoning:
        found["truncation"] = _truncation(draft, facts)
    found["ift-after-reasoning"] = _NEVER_LAST
    if draft.action == "mixed":
        found["mixed-above-half"] = (
            "shuffled with more than 50% reasoning rows the model always reasons, and the short "
            f"answers are gone ({PAPER}, section 5, rule)"
        )
    if facts.question.corpus == "math-centric" and trains_reasoning:
        text, quoted = _general_loss(draft, facts)
        found["general-accuracy-loss"] = text
    elif trains_reasoning and facts.question.corpus in {"own", "code"}:
        found["forgetting"] = (
            "training on one domain forgets others (arXiv 2507.00432, abstract): measure general "
            "tasks too, and not at an early checkpoint (arXiv 2604.06628)"
        )
    found |= _about_samples(draft, facts)
    found |= _about_own(draft, facts)
    found |= _about_published(draft, facts)
    found |= _about_memory(draft, facts)
    return [RecommendationWarning(code=code, text=text) for code, text in found.items()], quoted


def study_not_used(study: MeasuredStudy, size: ModelSize | None) -> RecommendationWarning:
    """Return that a study says nothing of a size."""
    sizes = ", ".join(f"{name} ({ModelSize(n)})" for name, n in study.sizes.items())
    return RecommendationWarning(
        code="study-not-used",
        text=f"{study.source} has {sizes}: it says nothing of {size}, and was not used",
    )


def _about_study(draft: Draft, facts: Facts) -> dict[str, str]:
    """Return what to know of a choice among the recipes of a study."""
    found: dict[str, str] = {}
    view, chosen = facts.view, draft.chosen
    if view is None:
        return found
    if view.n_seeds < 2:
        found["one-seed"] = (
            f"{view.source} trained one seed: intervals are over questions alone, and another seed "
            "may lie outside of them"
        )
    size = facts.question.size
    if size is not None and draft.compared is not None and not facts.own_at(size).is_study:
        named = ", ".join(f"{name} ({ModelSize(n)})" for name, n in view.sizes.items())
        found["between-study-sizes"] = (
            f"{view.source} trained {named} and nothing at {size}: only direct answers and"
            " reasoning alone are interpolated, its mixtures are not; ask for a size beside it to"
            " see what they reach"
        )
    if chosen is not None and chosen.recipe.reasoning_ratio > 0:
        lost = [text for task_type in _GENERAL if (text := _lost(chosen.recipe, facts, task_type))]
        if lost:
            found["general-accuracy-loss"] = (
                f"against direct answers of the same corpus {chosen.recipe.label} costs "
                f"{' and '.join(lost)}"
            )
    found["ift-after-reasoning"] = _NEVER_LAST
    if any(one.recipe.order is Order.REASONING_THEN_IFT for one in draft.candidates):
        found["ift-after-reasoning"] = (
            "arXiv 2509.22193 v1 advises against IFT after reasoning, without figures; here it was "
            "measured, and its figures decide"
        )
    return found


def _lost(recipe: Recipe, facts: Facts, task_type: str) -> str:
    """Return what a recipe is shown to lose on a task type that was not asked for, if it does."""
    view = facts.view
    if view is None or task_type == facts.question.task_type:
        return ""
    own = own_evidence(view.cells(task_type), task_type, recipe.size, view=view)
    key = (recipe.reasoning_ratio, recipe.order)
    mine = next((arm for arm in own.arms if (arm.reasoning_ratio, arm.order) == key), None)
    ift = own.find(0.0)
    if mine is None or ift is None:
        return ""
    gap, _ = arm_gap(mine, ift, own.tasks, ())
    return f"{points(gap)} on {task_type}" if gap.is_below(0.0) else ""


def _truncation(draft: Draft, facts: Facts) -> str:
    question, request = facts.question, facts.question.request
    share = draft.chosen.cost.reasoning_token_share if draft.chosen is not None else 1.0
    ratio = draft.chosen.recipe.reasoning_ratio if draft.chosen is not None else 1.0
    rows = ""
    if 0 < ratio < 1:
        rows = f"{ratio:.0%} of the rows are {share:.0%} of the answer tokens; "
    if request.trace_p99_tokens is not None:
        return (
            f"{rows}set the maximum length to at least {request.trace_p99_tokens:,} tokens, the "
            f"99% quantile of your rows; by default {_DEFAULT_LENGTHS}"
        )
    mean = question.workload.prompt_tokens + question.workload.reasoning_tokens
    return (
        f"{rows}rows with a trace have about {mean:,.0f} tokens: set the maximum length to the 99% "
        f"quantile of yours (--trace-length FILE); by default {_DEFAULT_LENGTHS}"
    )


def _general_loss(draft: Draft, facts: Facts) -> tuple[str, list[Estimate]]:
    """Return what math-centric reasoning costs in general ability, with its figures.

    Source: arXiv 2509.22193v2, Table 1.
    """
    table = facts.evidence.table
    size = draft.chosen.size if draft.chosen is not None else facts.question.size
    inside = size is not None and within_range(table, size)
    sizes = [size] if inside and size is not None else [table.sizes[0], table.sizes[-1]]
    quoted: list[Estimate] = []
    parts: list[str] = []
    for one in sizes:
        for task_type in ("general-oe", "general-mc"):
            change = gain_at(table, "math-centric", task_type, one)
            if change.value is None or (task_type == "general-mc" and change.value >= 0):
                continue
            quoted.append(change)
            doubt = "" if change.is_below(0.0) else " (within the uncertainty)"
            parts.append(f"{short_points(change)} points on {task_type} at {one}{doubt}")
    text = (
        "reasoning data of a math-centric corpus cost general accuracy against direct answers "
        f"of the same corpus: {', '.join(parts)}"
    )
    return text, quoted


def _about_samples(draft: Draft, facts: Facts) -> dict[str, str]:
    found: dict[str, str] = {}
    size = facts.question.size
    own = facts.own_at(size) if size is not None else OwnEvidence()
    few = [arm for arm in own.arms if arm.n < 100]
    if few:
        smallest = min(arm.n for arm in few)
        found["few-questions"] = (
            f"an arm of yours has {smallest} answers: the intervals are shown, and the verdict is "
            "only a leaning; 5 points need 737 questions, 3 points 2,056"
        )
    if facts.question.task_type == "math-oe" and facts.view is None:
        found["aime-sized"] = (
            "AIME's 30 questions decide nothing (standard error up to 9 points): take many samples "
            "of each, or more questions"
        )
    return found


def _about_own(draft: Draft, facts: Facts) -> dict[str, str]:
    found: dict[str, str] = {}
    question, size = facts.question, facts.question.size
    if size is None:
        return found
    own = facts.own_at(size)
    if own.arms and not own.is_comparable:
        have = " and ".join(sorted({_mode_of(arm.reasoning_ratio) for arm in own.arms}))
        found["measured-incomplete"] = (
            f"your cells for {question.task_type} at {size} measure {have} alone, or on tasks the "
            "other side did not answer: no comparison"
        )
    if own.by_decoding and own.is_comparable:
        found["decoding-not-training"] = (
            "your cells name no training recipe, so they compare two ways of asking one trained "
            "model, not two trained models; pass --recipe to advisor calibrate"
        )
    above = [pair.size for pair in facts.pairs if pair.size > size]
    below = [pair.size for pair in facts.pairs if pair.size < size]
    if above and not below and not own.is_comparable:
        sizes = ", ".join(map(str, above))
        found["measured-larger"] = (
            f"your pair at {sizes} is not carried down to {size}: that was worse than a coin flip "
            "where it was tried; measure a smaller one"
        )
    elif own.other_sizes and not own.arms and not facts.pairs:
        sizes = ", ".join(map(str, own.other_sizes))
        found["measured-other-size"] = (
            f"your cells for {question.task_type} are at {sizes}, without a pair of recipes that "
            f"could be carried to {size}"
        )
    if own.n_unused or own.n_unsized:
        found["cells-not-used"] = (
            f"{own.n_unused} cells at this size were not used (other budgets, policies, models or "
            f"tasks than those compared), {own.n_unsized} name no size"
        )
    return found


def _mode_of(ratio: float) -> str:
    return "direct answers" if ratio == 0 else "reasoning"


def _about_published(draft: Draft, facts: Facts) -> dict[str, str]:
    found: dict[str, str] = {}
    question, table = facts.question, facts.evidence.table
    if question.is_proxy:
        moves = "a smaller pair of yours would move"
        if draft.compared is not None and draft.compared.basis == "transferred":
            moves = "your smaller pair moves"
        found["proxy-family"] = (
            f"nothing was published for {question.task_type!r}; {moves} the curve of "
            f"{question.family}, which shares its answer format (the paper finds format, not "
            "domain, to matter: a rule)"
        )
    elif question.family is None:
        names = ", ".join(table.task_types)
        found["unknown-task-type"] = (
            f"no published figure is about {question.task_type!r}; published: {names}"
        )
    if question.size is not None:
        nominal = nominal_size(table, question.size)
        if nominal != question.size:
            found["nominal-size"] = (
                f"{question.size.n_params:,} parameters are read as the student printed as "
                f"{nominal}"
            )
        if not within_range(table, question.size):
            found["outside-published-range"] = (
                f"{question.size} is outside the published sizes {table.sizes[0]} to "
                f"{table.sizes[-1]}; figures are not extrapolated"
            )
    uses = draft.compared is not None and draft.compared.own is None
    n_rows = facts.question.workload.n_rows
    if uses and n_rows < _FEW_ROWS:
        found["few-rows"] = (
            "the published students saw 300,000 (math) or 1.3 million (general) pairs; nobody "
            f"printed what {n_rows:,} rows reach: --n-examples changes costs, not accuracies"
        )
    if uses:
        found["no-printed-error-bars"] = (
            f"{PAPER} prints no error bars: intervals assume the usual test sets asked once, and "
            "your data will differ by more"
        )
    if any(candidate.inference_basis == "published-fit" for candidate in draft.candidates):
        found["weak-inference-fit"] = (
            f"inference FLOPs are from fits of {PAPER}, Figure 14, whose panels were inferred: a "
            "weak prior"
        )
    return found


def _about_memory(draft: Draft, facts: Facts) -> dict[str, str]:
    """Return whether the recommended training does not fit the GPUs that were asked for."""
    if draft.chosen is None:
        return {}
    gpus = facts.question.gpus
    tokens = facts.sequence_tokens(draft.chosen.recipe.reasoning_ratio)
    size = nominal_size(facts.evidence.table, draft.chosen.size)
    known = facts.build.network(draft.chosen.size)
    need = memory_per_gpu(known, sequence_tokens=tokens, gpus=gpus)
    if need.fits:
        return {}
    enough = smallest_n_gpus(known, sequence_tokens=tokens, gpus=gpus)
    cure = "no number of them is enough; shorten the rows" if enough is None else f"take {enough}"
    return {
        "memory": f"full fine-tuning of {size} on {gpus} may need "
        f"{need.total.high / 1e9:.0f} GB per GPU for rows of {tokens:,} tokens, mostly "
        f"{need.dominant}: {cure}, use LoRA, or a loss that never holds all logits"
    }


def conflicts(draft: Draft, facts: Facts, cells: Sequence[str]) -> list[Conflict]:
    """Return the sources that disagree about what the verdict rests on.

    Args:
        draft: The verdict.
        facts: What it rests on.
        cells: Ids of every figure that is used.
    """
    found = [*_corpora(draft, facts), *_own_against_published(draft, facts)]
    found += [
        _written(conflict)
        for conflict in load_conflicts()
        if _matters(conflict, draft, facts, cells)
    ]
    return found


def _matters(conflict: PublishedConflict, draft: Draft, facts: Facts, cells: Sequence[str]) -> bool:
    topics = set(conflict.topics)
    # What a study measured needs no rule of the literature, and disagrees with none here.
    if "test-time" in topics or draft.action == "abstain" or facts.view is not None:
        return False
    trains = draft.action in _REASONING_ACTIONS
    if "numbers" in topics:
        return bool({*conflict.first.cells, *conflict.second.cells} & set(cells))
    if "ratio" in topics:
        size = draft.chosen.size if draft.chosen is not None else None
        is_small = size is not None and size.n_params <= _SMALL
        return trains and is_small and facts.question.family in {None, "math-oe", "math-mc"}
    if "order" in topics:
        return draft.action in {"sequential", "distil"}
    if "rl" in topics:
        return draft.action in {"grpo", "rl_after_distillation", "distil"}
    if "corpus" in topics:
        return trains and facts.question.corpus == "math-centric" and "cost" not in topics
    return trains and "cost" in topics and facts.question.family == "general-mc"


def _written(conflict: PublishedConflict) -> Conflict:
    first, second = conflict.first, conflict.second
    return Conflict(
        id=conflict.id,
        text=f"{conflict.about}: {first.claim} ({first.source}); but {second.claim} "
        f"({second.source}). {conflict.meaning}",
        sources=(f"{first.source} [{first.grade}]", f"{second.source} [{second.grade}]"),
    )


def _corpora(draft: Draft, facts: Facts) -> list[Conflict]:
    """Return the conflict of the two published corpora, where they point in opposite directions."""
    question = facts.question
    size = draft.compared.size if draft.compared is not None else question.size
    if size is None or question.family is None:
        return []
    table = facts.evidence.table
    gains = [(corpus, gain_at(table, corpus, question.family, size)) for corpus in table.corpora]
    values = [gain.value for _, gain in gains if gain.value is not None]
    if len(values) < 2 or values[0] * values[1] >= 0:
        return []
    text = "; ".join(f"{corpus} corpus {points(gain)}" for corpus, gain in gains)
    return [
        Conflict(
            id="conflicts/corpora",
            text=f"reasoning minus IFT at {size} on {question.family}: {text}. The corpus that "
            "yours resembles decides",
            sources=tuple(f"{PAPER}, Table 1, {corpus} [printed]" for corpus, _ in gains),
        )
    ]


def _own_against_published(draft: Draft, facts: Facts) -> list[Conflict]:
    compared = draft.compared
    if compared is None or compared.own is None:
        return []
    found: list[Conflict] = []
    for corpus in facts.question.prior:
        theirs = facts.published_of(compared.size, corpus)
        if theirs is None or compared.gain.value is None or theirs.gain.value is None:
            continue
        gap = difference(compared.gain, theirs.gain)
        if compared.gain.value * theirs.gain.value < 0 and (gap.is_above(0) or gap.is_below(0)):
            found.append(
                Conflict(
                    id=f"conflicts/own-against-{corpus}",
                    text=f"your measurement ({points(compared.gain)}) points the other way than "
                    f"the {corpus} corpus of {PAPER} ({points(theirs.gain)}); yours decides",
                    sources=("your cells [measured]", f"{PAPER}, Table 1, {corpus} [printed]"),
                )
            )
    return found
