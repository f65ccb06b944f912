"""Words and figures of the printed answer of `advisor recommend`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advisor import CostRange, RecipeOption, Recommendation

__all__ = [
    "amount",
    "cost_range",
    "describe_option",
    "export_command",
    "flops",
    "points",
    "price_note",
    "printed_corpus",
    "recipe_words",
    "rows_of_cells",
    "verdict_option",
]

_EXPORT = "advisor export"
_DATA = {"tops": "TOPS.jsonl", "iter-sft": "TOPS.jsonl", "dpo": "PREFERENCES.jsonl"}
_USUAL_BASES = frozenset({"0.5B", "1.5B", "3B", "7B", "14B"})
"""Sizes that `advisor export` knows a base model of; its module is too heavy to be asked."""
_LEAST_AMOUNT = 0.001


def export_command(answer: "Recommendation", option: "RecipeOption") -> str:
    """Return the command that writes an option as files that a training library runs.

    For the option to be trained it is the one in the plan. Words in capitals are to be replaced:
    the user's data, and the model to start from where it is not the usual base of the size.
    """
    planned = [one.command for one in answer.plan if (one.command or "").startswith(_EXPORT)]
    if option.id == answer.verdict.option and planned and planned[0]:
        return planned[0]
    request, recipe = answer.request, option.recipe
    method = recipe.method.value
    parts = [f"{_EXPORT} --to trl --size {option.size} --task {request.task_type}"]
    if request.corpus is not None:
        parts.append(f"--corpus {recipe.corpus}")
    if method == "sft":
        parts.append(f"--ratio {recipe.reasoning_ratio:g} --order {recipe.order.value}")
    else:
        parts.append(f"--method {method}")
    if request.have in {"ift", "reasoning"} or str(option.size) not in _USUAL_BASES:
        parts.append("--base-model YOUR-MODEL")
    if request.gpus is not None:
        parts.append(f"--gpus {request.gpus.n} --gpu {request.gpus.name}")
    if request.gpu_price is not None:
        parts.append(f"--gpu-price {request.gpu_price:g}")
    name = f"{option.size}-{recipe.label if method == 'sft' else method}".replace("@", "-")
    parts.append(f"--data {_DATA.get(method, 'PAIRS.jsonl')} --out train/{name}")
    return " ".join(parts)


def describe_option(option: "RecipeOption") -> str:
    """Return an option in words, such as `3B, IFT -> 25% reasoning, general corpus`."""
    return f"{option.size}, {recipe_words(option)}, {printed_corpus(option)} corpus"


def recipe_words(option: "RecipeOption") -> str:
    """Return a recipe in few words."""
    recipe = option.recipe
    if recipe.method.value != "sft":
        return recipe.method.value.upper()
    share = f"{100 * recipe.reasoning_ratio:.3g}% reasoning"
    words = {
        "ift": "IFT",
        "reasoning": "reasoning",
        f"mixed@{recipe.reasoning_ratio:g}": f"mixed, {share}",
        f"ift_then_reasoning@{recipe.reasoning_ratio:g}": f"IFT -> {share}",
    }
    return words.get(recipe.label, recipe.label)


def verdict_option(answer: "Recommendation") -> "RecipeOption | None":
    """Return the option to be trained: the advice, or what loses least if there is none."""
    return answer.recommended or answer.option(answer.verdict.fallback)


def rows_of_cells(answer: "Recommendation") -> dict[str, list[str]]:
    """Return the letters of the options that rest on each cell, by its id."""
    found: dict[str, list[str]] = {}
    for option in answer.options:
        for cell in option.accuracy.cells:
            found.setdefault(cell, []).append(option.id)
    return found


def price_note(answer: "Recommendation") -> str:
    """Return what to know about money that no price of the user's is behind, or nothing."""
    from ..cost import default_gpus

    request = answer.request
    gpus = request.gpus or default_gpus()
    is_assumed = request.gpu_price is None and gpus.is_price_assumed
    return gpus.price_note if is_assumed else ""


def flops(value: float | None) -> str:
    """Return FLOPs such as `4.2e18`, or `-` if they are not known."""
    if not value:
        return "-" if value is None else "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def printed_corpus(option: "RecipeOption") -> str:
    """Return the corpus of an option as the command line calls it."""
    return {"math-centric": "math"}.get(option.recipe.corpus, option.recipe.corpus)


def points(share: float) -> str:
    """Return a share of 1 in percentage points."""
    value = 100 * share
    return "under 0.01 points" if 0 <= value < 0.01 else f"{value:.2g} points"


def cost_range(cost: "CostRange | None") -> str:
    """Return a cost as `expected (best-worst)`, `-` if it is not known."""
    if cost is None:
        return "-"
    if cost.high < _LEAST_AMOUNT:
        return amount(cost.high)
    low, mid, high = map(amount, (cost.low, cost.mid, cost.high))
    return f"{mid} ({low}-{high})"


def amount(value: float) -> str:
    """Return hours or dollars in few digits; those of models of a test's size as `<0.001`."""
    if 0 < value < _LEAST_AMOUNT:
        return f"<{_LEAST_AMOUNT:g}"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
