"""Candidates as the options of a recommendation, with the front among them."""

from collections.abc import Sequence
from string import ascii_uppercase

from .._recommendation import Accuracy, CostRange, MemoryNeed, RecipeOption
from ..cost import Range, memory_per_gpu, smallest_n_gpus
from ..inference import Point, front_probabilities
from ._candidate import Candidate
from ._comparison import Facts

__all__ = ["cost_formula", "letter", "listed", "options"]

_SHOWN = 12
"""Options are listed up to here; the rest of many sizes would hide the answer."""


def letter(index: int) -> str:
    """Return the name of an option: A to Z, then AA, AB, ..."""
    first, last = divmod(index, len(ascii_uppercase))
    return (letter(first - 1) if first else "") + ascii_uppercase[last]


def listed(candidates: list[Candidate], named: Sequence[Candidate]) -> list[Candidate]:
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


def options(candidates: Sequence[Candidate], facts: Facts) -> tuple[RecipeOption, ...]:
    """Return candidates as the options A, B, ... of a recommendation."""
    return tuple(
        _option(one, letter(index), chance, facts)
        for index, (one, chance) in enumerate(zip(candidates, _front(candidates), strict=True))
    )


def cost_formula(candidates: Sequence[Candidate]) -> str:
    """Return how the costs of supervised training came about, the same way for all."""
    studied = next((one.cost.formula for one in candidates if one.cost.basis == "study"), "")
    known = [one for one in candidates if one.cost.over_six_nd is not None]
    if studied or not known:
        return studied
    ratios = [one.cost.over_six_nd or 0.0 for one in known]
    text = "matrix products of each size with causal attention; full fine-tuning"
    guessed = sorted({one.size for one in known if one.cost.basis != "exact"})
    if guessed:
        bases = sorted({one.cost.basis for one in known} - {"exact"})
        text += f"; {', '.join(map(str, guessed))} {' and '.join(bases)} from known architectures"
    return f"{text}; {min(ratios):.2f}-{max(ratios):.2f} x 6ND"


def _front(candidates: Sequence[Candidate]) -> list[float | None]:
    feasible = [one for one in candidates if one.is_feasible]
    points = [Point(one.accuracy, (one.cost.flops, one.inference_flops)) for one in feasible]
    chances = dict(zip((one.recipe for one in feasible), front_probabilities(points), strict=True))
    return [chances.get(one.recipe) for one in candidates]


def _option(one: Candidate, name: str, chance: float | None, facts: Facts) -> RecipeOption:
    estimate, cost = one.accuracy, one.cost
    return RecipeOption(
        id=name,
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
    known = facts.build.network(one.size)
    needs: list[MemoryNeed] = []
    for method in ("full", "lora"):
        need = memory_per_gpu(known, sequence_tokens=tokens, gpus=question.gpus, method=method)
        enough = smallest_n_gpus(known, sequence_tokens=tokens, gpus=question.gpus, method=method)
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


def _range(value: Range) -> CostRange:
    return CostRange(low=_digits(value.low), mid=_digits(value.mid), high=_digits(value.high))


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
