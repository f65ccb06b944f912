"""What to measure next, ranked by what it is worth per FLOP."""

import math
from collections.abc import Sequence

from policies import Mode, ModelSize

from .._recommendation import NextMeasurement
from ..evidence import OwnEvidence, StudyView
from ..inference import (
    NO_ESTIMATE,
    Estimate,
    carrying_sd,
    prior_gain,
    questions_needed,
    transfer_signs,
    value_of_sample,
    within_range,
)
from ._candidate import Candidate, unique
from ._comparison import Facts
from ._draft import Draft

__all__ = ["calibrate_command", "next_measurements", "prior_of"]

_SEEN_GAIN = 0.05
"""Smallest gain that a proposed measurement can show."""

_DISCORDANCE = 0.3
"""Share of questions that only one of two arms gets right; an assumption."""

_EXA = 1e18
_MOST = 3
_LEAST_VALUE = 0.0005
"""Expected gain in accuracy below which a measurement is not worth a line."""


def prior_of(draft: Draft, facts: Facts) -> Estimate:
    """Return what is believed about the gain now, for what a measurement could change.

    The belief that decided; where nothing supports a decision, the published corpora with the
    distance between two of them.
    """
    if draft.gain.value is not None:
        return draft.gain
    question, table = facts.question, facts.evidence.table
    size = question.size
    if size is None or question.family is None or not within_range(table, size):
        return draft.gain
    return prior_gain(table, table.corpora, question.family, size)


def next_measurements(draft: Draft, facts: Facts) -> list[NextMeasurement]:
    """Return what to measure to be surer, the most valuable per FLOP first."""
    question = facts.question
    size = draft.compared.size if draft.compared is not None else question.size
    if draft.is_forced or size is None:
        return []
    if question.teacher is None and not facts.own_at(size).is_comparable:
        return [] if facts.pass_rate is not None else [_signal(facts, size)]
    if draft.lacks_reasoning:
        return [_reasoning(facts, size)]
    if facts.view is not None and facts.own_at(size).is_study:
        return _seeds(draft, facts.view, facts.own_at(size))
    prior, most = prior_of(draft, facts), _most_valuable(draft)
    found = [
        _pair(facts, prior, one, size, most)
        for one in _sizes(facts, size)
        if one == size or question.family is not None
    ]
    worthwhile = [
        one for one in found if one is not None and (one.value is None or one.value >= _LEAST_VALUE)
    ]
    worthwhile.sort(key=lambda item: -(item.value_per_exaflop or 0.0))
    found = worthwhile[:_MOST]
    chosen = draft.chosen
    is_mixture = draft.action in {"sequential", "mixed", "distil"}
    if chosen is not None and is_mixture and chosen.accuracy.value is None:
        found.append(_mixture(facts, chosen, size))
    return found


def _seeds(draft: Draft, view: StudyView, own: OwnEvidence) -> list[NextMeasurement]:
    """Return that a study needs more seeds, where its recipes are not told apart.

    One more seed of every recipe at the size is what its FLOPs are for.
    """
    if draft.chosen is not None and not draft.is_leaning:
        return []
    return [
        NextMeasurement(
            text=f"more than the {view.n_seeds} seeds of {view.source}: recipes that are not told "
            "apart differ by less than its seeds do, or by less than its questions show",
            commands=(),
            n_questions=max(arm.n for arm in own.arms) // view.n_seeds,
            train_flops=sum(one.cost.flops for one in unique(draft.candidates)),
            measure_flops=None,
            value=None,
            value_per_exaflop=None,
        )
    ]


def _sizes(facts: Facts, target: ModelSize) -> list[ModelSize]:
    """Return the sizes at which a pair would say something about the target."""
    if facts.own_at(target).is_comparable:
        return [target]
    measured = {pair.size for pair in facts.pairs}
    table = facts.evidence.table
    inside = within_range(table, target)
    smaller = [size for size in table.sizes if size < target] if inside else []
    return [size for size in (*smaller, target) if size not in measured]


def _most_valuable(draft: Draft) -> float | None:
    """Return the most that a measurement can be worth: what acting now is expected to lose.

    Infinite for an abstention without an estimate; `None` where what is recommended has no figure,
    so that neither is known.
    """
    if draft.chosen is None:
        return math.inf if draft.regret is None else draft.regret
    is_known = draft.chosen.accuracy.value is not None and draft.regret is not None
    is_here = draft.compared is None or draft.compared.size == draft.chosen.size
    return draft.regret if is_known and is_here else None


def _pair(
    facts: Facts, prior: Estimate, size: ModelSize, target: ModelSize, most: float | None
) -> NextMeasurement | None:
    """Return the proposal to measure a pair, `None` if as many questions were already asked."""
    build, question = facts.build, facts.question
    own = facts.own_at(size)
    is_more = size == target and own.is_comparable
    n = questions_needed(_SEEN_GAIN)
    asked = min((arm.n for arm in own.arms), default=0) if is_more else 0
    if is_more:
        n = questions_needed(max(abs(own.gain.value or 0.0), 0.02))
        if n <= asked:
            return None
    ift = build.pure(size, question.corpus, 0.0, NO_ESTIMATE)
    reasoning = build.pure(size, question.corpus, 1.0, NO_ESTIMATE)
    train = 0.0 if is_more else ift.cost.flops + reasoning.cost.flops
    measure = None
    if ift.assumed_inference is not None and reasoning.assumed_inference is not None:
        measure = (n - asked) * (ift.assumed_inference + reasoning.assumed_inference)
    value = per_exaflop = None
    carried = 0.0 if size == target else carrying_sd(facts.evidence.table, target)
    if prior.value is not None and carried is not None and most is not None:
        standard_error = math.sqrt(_DISCORDANCE / (n - asked))
        error = math.hypot(carried, standard_error)
        after = prior.sd * error / math.hypot(prior.sd, error)
        value = min(most, value_of_sample(prior.value, prior.sd, after))
        spent = train + (measure or 0.0)
        per_exaflop = 100 * value / (spent / _EXA) if spent else None
    return NextMeasurement(
        text=_pair_text(facts, size, target, n, is_more=is_more),
        commands=_more_commands(facts, own, size, n)
        if is_more
        else _pair_commands(facts, size, target, n),
        n_questions=n,
        train_flops=train,
        measure_flops=measure,
        value=None if value is None else round(value, 6),
        value_per_exaflop=None if per_exaflop is None else float(f"{per_exaflop:.3g}"),
    )


def _pair_text(facts: Facts, size: ModelSize, target: ModelSize, n: int, *, is_more: bool) -> str:
    shows = f"{n} questions show {100 * _SEEN_GAIN:g} points"
    if is_more:
        return f"more questions for your pair at {size}: {n} show a difference of the size you saw"
    if size == target:
        return f"the {size} pair itself, trained on your data: no carrying over; {shows}"
    signs = transfer_signs(facts.evidence.table)
    return (
        f"a {size} pair trained on your data, one on direct answers and one on reasoning, carried "
        f"up to {target}: where that was tried, the sign was right in {signs.n_right} of {signs.n} "
        f"cases; {shows}"
    )


def _signal(facts: Facts, size: ModelSize) -> NextMeasurement:
    """Return the pre-check of reinforcement learning: is there anything to learn from?"""
    task = facts.question.task_type
    command = (
        "advisor calibrate --backend openai --base-url URL --model YOUR-MODEL --tasks "
        f"TRAINING-QUESTIONS.jsonl --task-type {task} --policies reasoning@max --limit 100 "
        f"--repeats 8 --out runs/{task}-{size}-signal"
    )
    request = facts.question.request
    again = f"advisor recommend --size {size} --task {task}"
    if request.answer_format is not None:
        again += f" --format {request.answer_format}"
    if request.corpus is not None:
        again += f" --corpus {'math' if request.corpus == 'math-centric' else request.corpus}"
    again += " --teacher none --pass-rate SHARE-RIGHT"
    return NextMeasurement(
        text="8 answers to each of 100 training prompts: what share of them is right, and do a "
        "third of the prompts have both right and wrong ones?",
        commands=(command, again),
        n_questions=100,
        train_flops=0.0,
        measure_flops=None,
        value=None,
        value_per_exaflop=None,
    )


def _reasoning(facts: Facts, size: ModelSize) -> NextMeasurement:
    """Return the proposal to measure what is missing beside the user's other recipes."""
    n, label = questions_needed(_SEEN_GAIN), "reasoning"
    tokens = facts.sequence_tokens(1.0)
    pure = facts.build.pure(size, facts.question.corpus, 1.0, NO_ESTIMATE)
    return NextMeasurement(
        text=f"reasoning alone at {size}, trained on your data: it is missing beside your recipes",
        commands=(
            calibrate_command(
                facts.question.task_type, str(size), label, Mode.REASONING, n, tokens
            ),
            f"{_recommend_command(facts, str(size), str(size), [label])} --table YOUR-TABLES",
        ),
        n_questions=n,
        train_flops=pure.cost.flops,
        measure_flops=None,
        value=None,
        value_per_exaflop=None,
    )


def _mixture(facts: Facts, chosen: Candidate, size: ModelSize) -> NextMeasurement:
    n = questions_needed(_SEEN_GAIN)
    label = chosen.recipe.label
    task, tokens = facts.question.task_type, facts.sequence_tokens(1.0)
    return NextMeasurement(
        text=f"the trained {label} model against an IFT model of its size: no accuracy is printed "
        "for mixtures, so its value cannot be told",
        commands=(
            calibrate_command(task, str(size), "ift", Mode.IFT, n, tokens),
            calibrate_command(task, str(size), label, Mode.REASONING, n, tokens),
            _recommend_command(facts, str(size), str(size), ["ift", label]),
        ),
        n_questions=n,
        train_flops=chosen.cost.flops + facts.build.pure(size, "own", 0.0, NO_ESTIMATE).cost.flops,
        measure_flops=None,
        value=None,
        value_per_exaflop=None,
    )


def calibrate_command(
    task_type: str, size: str, recipe: str, mode: Mode, n: int, max_tokens: int
) -> str:
    """Return the `advisor calibrate` command that measures one model.

    A student that was trained to think has no switch for it: it is asked plainly, with room for
    its thought. Only a model without a recipe is asked in a mode.
    """
    policy = "direct" if recipe or mode is Mode.IFT else "reasoning@max"
    named = f"--recipe {recipe} " if recipe else ""
    if recipe and mode is Mode.REASONING:
        named += f"--max-answer-tokens {max_tokens} "
    folder = _folder(task_type, size, recipe or policy)
    return (
        f"advisor calibrate --backend openai --base-url URL --model YOUR-MODEL --size {size} "
        f"{named}--tasks YOUR-QUESTIONS.jsonl --task-type {task_type} "
        f"--policies {policy} --limit {n} --out {folder}"
    )


def _pair_commands(facts: Facts, size: ModelSize, target: ModelSize, n: int) -> tuple[str, ...]:
    task, tokens = facts.question.task_type, facts.sequence_tokens(1.0)
    return (
        calibrate_command(task, str(size), "ift", Mode.IFT, n, tokens),
        calibrate_command(task, str(size), "reasoning", Mode.REASONING, n, tokens),
        _recommend_command(facts, str(target), str(size), ["ift", "reasoning"]),
    )


def _more_commands(facts: Facts, own: OwnEvidence, size: ModelSize, n: int) -> tuple[str, ...]:
    """Return how more questions are asked of the arms that the user's gain compares."""
    task = facts.question.task_type
    others = [arm for arm in own.arms if arm.reasoning_ratio > 0]
    best = max(others, key=lambda arm: (arm.reasoning_ratio == 1.0, arm.accuracy.value or 0.0))
    label = {1.0: "reasoning"}.get(
        best.reasoning_ratio, f"{best.order.value}@{best.reasoning_ratio:g}"
    )
    tokens = facts.sequence_tokens(1.0)
    names = ["", ""] if own.by_decoding else ["ift", label]
    folders = ["direct", "reasoning@max"] if own.by_decoding else names
    return (
        calibrate_command(task, str(size), names[0], Mode.IFT, n, tokens),
        calibrate_command(task, str(size), names[1], Mode.REASONING, n, tokens),
        _recommend_command(facts, str(size), str(size), folders),
    )


def _recommend_command(facts: Facts, target: str, size: str, recipes: Sequence[str]) -> str:
    """Return the same question with the new tables; what was said besides is said again."""
    request, task = facts.question.request, facts.question.task_type
    tables = " ".join(f"--table {_folder(task, size, recipe)}" for recipe in recipes)
    said = {
        "--format": request.answer_format,
        "--corpus": request.corpus,
        "--objective": request.objective,
        "--max-size": request.max_size,
        "--teacher": request.teacher,
        "--have": request.have,
    }
    again = "".join(f" {name} {value}" for name, value in said.items() if value is not None)
    return f"advisor recommend --size {target} --task {task}{again} {tables}".replace(
        "--corpus math-centric", "--corpus math"
    )


def _folder(task_type: str, size: str, recipe: str) -> str:
    return f"runs/{task_type}-{size}-{recipe.replace('@', '-')}"
