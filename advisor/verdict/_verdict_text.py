"""The verdict in one paragraph, and the word for how sure it is."""

from .._recommendation import Confidence
from ._comparison import Facts
from ._draft import Draft
from ._words import percent

__all__ = ["confidence", "verdict_text"]


def verdict_text(draft: Draft, facts: Facts) -> str:
    """Return the verdict as a paragraph: what to train, and the figures behind it."""
    question, chosen = facts.question, draft.chosen
    size = question.size or "any size"
    if chosen is None:
        text = f"Abstain: {size} on {question.task_type}."
        why = [reason.text for reason in draft.reasons if reason.code != "fallback"]
        if why:
            text = f"Abstain for {size} on {question.task_type}: {why[-1]}."
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
        verb = "reaches reasoning" if draft.larger is not None else "is not shown to be worse"
        text += (
            f" If {larger.size} may be trained and served, its IFT ({percent(larger.accuracy)}) "
            f"{verb}, for less."
        )
    return text


def confidence(draft: Draft) -> Confidence:
    """Return the weakest basis that the verdict needs."""
    if draft.chosen is None:
        return "none"
    if draft.chosen.accuracy.value is None or draft.needs_rule:
        return "rule"
    if draft.gain.value is not None:
        return draft.gain.basis
    return draft.chosen.accuracy.basis
