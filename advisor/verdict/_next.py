"""What to measure next, ranked by what it is worth per FLOP."""

import math
from collections.abc import Sequence

from policies import Mode, ModelSize

from .._recommendation import NextMeasurement
from ..inference import (
    NO_ESTIMATE,
    Estimate,
    Z,
    conformal_quantile,
    prior_gain,
    questions_needed,
    transfer_errors,
    value_of_sample,
    within_range,
)
from ._choice import Draft
from ._comparison import Facts

__all__ = ["calibrate_command", "next_measurements", "prior_of"]

_SEEN_GAIN = 0.05
"""Smallest gain that a proposed measurement can show."""

_DISCORDANCE = 0.3
"""Share of questions that only one of two arms gets right; an assumption."""

_EXA = 1e18
_MOST = 3


def prior_of(draft: Draft, facts: Facts) -> Estimate:
    """Return what is believed about the gain now, for what a measurement could change.

    The gain that decides, if it is the user's or of a corpus that the user named; else the
    published corpora with the distance between them, because which one resembles the user's data
    was not said or neither does.
    """
    question = facts.question
    is_mine = draft.gain.basis in {"transferred", "interpolated"} and facts.pairs
    own = draft.compared is not None and draft.compared.own is not None
    named = question.request.corpus is not None and question.is_corpus_published
    if draft.gain.value is not None and (own or is_mine or named):
        return draft.gain
    size = draft.compared.size if draft.compared is not None else question.size
    if size is None or question.family is None:
        return draft.gain
    if not within_range(facts.evidence.table, size):
        return draft.gain
    corpora = ("general", "math-centric")
    prior = prior_gain(facts.evidence.table, corpora, question.family, size)
    return prior if prior.value is not None else draft.gain


def next_measurements(draft: Draft, facts: Facts) -> list[NextMeasurement]:
    """Return what to measure to be surer, the most valuable per FLOP first."""
    question = facts.question
    size = draft.compared.size if draft.compared is not None else question.size
    if size is None:
        size = facts.evidence.table.sizes[0]
    prior = prior_of(draft, facts)
    found = [
        _pair(facts, prior, one, size, few=draft.gain)
        for one in _sizes(facts, size)
        if one == size or question.family is not None
    ]
    found.sort(key=lambda item: -(item.value_per_exaflop or 0.0))
    found = found[:_MOST]
    if draft.chosen is not None and draft.action in {"sequential", "mixed", "distil"}:
        found.append(_mixture(facts, draft, size))
    return found


def _sizes(facts: Facts, target: ModelSize) -> list[ModelSize]:
    """Return the sizes at which a pair would say something about the target."""
    measured = {pair.size for pair in facts.pairs}
    smaller = [size for size in facts.evidence.table.sizes if size < target]
    return [size for size in (*smaller, target) if size not in measured or size == target]


def _pair(
    facts: Facts, prior: Estimate, size: ModelSize, target: ModelSize, *, few: Estimate
) -> NextMeasurement:
    build, question = facts.build, facts.question
    is_own = size == target and facts.own_at(size).is_comparable
    n = questions_needed(_SEEN_GAIN)
    if is_own and few.value is not None:
        n = questions_needed(max(abs(few.value), 0.02))
    ift = build.pure(size, question.corpus, 0.0, NO_ESTIMATE)
    reasoning = build.pure(size, question.corpus, 1.0, NO_ESTIMATE)
    train = 0.0 if is_own else ift.cost.flops + reasoning.cost.flops
    measure = None
    if ift.assumed_inference is not None and reasoning.assumed_inference is not None:
        measure = n * (ift.assumed_inference + reasoning.assumed_inference)
    value = per_exaflop = None
    if prior.value is not None:
        standard_error = math.sqrt(_DISCORDANCE / n)
        sd, after = prior.sd, standard_error
        if size != target:
            carried = conformal_quantile(transfer_errors(facts.evidence.table)) / Z
            after = math.hypot(carried, standard_error)
        after = sd * after / math.hypot(sd, after)
        value = value_of_sample(prior.value, sd, after)
        spent = train + (measure or 0.0)
        per_exaflop = 100 * value / (spent / _EXA) if spent else None
    if is_own:
        text = f"more questions for your pair at {size}: {n} show a difference of the size you saw"
    elif size < target:
        text = (
            f"a {size} pair trained on your data, one on direct answers and one on reasoning: "
            f"carried up to {target}; where that was tried, the sign was right in 79 of 80 cases (96% "
            "with 2.5 points of noise)"
        )
    else:
        text = f"the {size} pair itself, trained on your data: no carrying over"
    return NextMeasurement(
        text=f"{text}; {n} questions show {100 * _SEEN_GAIN:g} points" if not is_own else text,
        commands=_pair_commands(question.task_type, size, target, n),
        n_questions=n,
        train_flops=train,
        measure_flops=measure,
        value=None if value is None else round(value, 6),
        value_per_exaflop=None if per_exaflop is None else float(f"{per_exaflop:.3g}"),
    )


def _mixture(facts: Facts, draft: Draft, size: ModelSize) -> NextMeasurement:
    chosen = draft.chosen
    assert chosen is not None
    n = questions_needed(_SEEN_GAIN)
    label = chosen.recipe.label
    task = facts.question.task_type
    return NextMeasurement(
        text=f"the trained {label} model against an IFT model of its size: no accuracy is printed "
        "for mixtures, so its value cannot be told",
        commands=(
            calibrate_command(task, str(size), "ift", Mode.IFT, n),
            calibrate_command(task, str(size), label, Mode.REASONING, n),
            _recommend_command(task, str(size), str(size), ["ift", label]),
        ),
        n_questions=n,
        train_flops=chosen.cost.flops + facts.build.pure(size, "own", 0.0, NO_ESTIMATE).cost.flops,
        measure_flops=None,
        value=None,
        value_per_exaflop=None,
    )


def calibrate_command(task_type: str, size: str, recipe: str, mode: Mode, n: int) -> str:
    """Return the `advisor calibrate` command that measures one trained model."""
    policy = "direct" if mode is Mode.IFT else "reasoning@max"
    return (
        f"advisor calibrate --backend openai --base-url URL --model YOUR-MODEL --size {size} "
        f"--recipe {recipe} --tasks YOUR-QUESTIONS.jsonl --task-type {task_type} "
        f"--policies {policy} --limit {n} --out {_folder(task_type, size, recipe)}"
    )


def _pair_commands(task_type: str, size: ModelSize, target: ModelSize, n: int) -> tuple[str, ...]:
    return (
        calibrate_command(task_type, str(size), "ift", Mode.IFT, n),
        calibrate_command(task_type, str(size), "reasoning", Mode.REASONING, n),
        _recommend_command(task_type, str(target), str(size), ["ift", "reasoning"]),
    )


def _recommend_command(task_type: str, target: str, size: str, recipes: Sequence[str]) -> str:
    tables = " ".join(f"--table {_folder(task_type, size, recipe)}" for recipe in recipes)
    return f"advisor recommend --size {target} --task {task_type} {tables}"


def _folder(task_type: str, size: str, recipe: str) -> str:
    return f"runs/{task_type}-{size}-{recipe.replace('@', '-')}"
