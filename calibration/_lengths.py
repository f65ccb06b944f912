"""How long a model thinks if nothing stops it: the share of thoughts that end within a budget."""

from collections.abc import Iterable
from typing import NamedTuple

from ._rows import Thought
from .statistics import LengthCurve, length_curve

__all__ = ["CellLengths", "length_curves"]


class CellLengths(NamedTuple):
    """The lengths of one arm's thoughts on one task.

    Attributes:
        task: Task name.
        model: Model name.
        policy: Canonical policy string: an arm that let thoughts end by themselves up to a cap.
        curve: P(thinking tokens <= B) up to the cap.
        right: The same of the answers that were right, `None` without any.
        wrong: The same of the wrong ones.
    """

    task: str
    model: str
    policy: str
    curve: LengthCurve
    right: LengthCurve | None
    wrong: LengthCurve | None


def length_curves(
    thoughts: Iterable[Thought], max_thinking_tokens: int, *, confidence: float = 0.95
) -> list[CellLengths]:
    """Return one curve per task, model and policy, of the largest budget measured.

    From the curve on, larger budgets cannot matter where it has reached 1. Smaller budgets of the
    same model tell nothing more, since their thoughts are the beginnings of these.

    Args:
        thoughts: Thinking tokens of answers, as `RunStore.thoughts` has them.
        max_thinking_tokens: Cap of policies without a budget: the run's `DecodingOptions`.
        confidence: Nominal coverage of intervals and band.
    """
    cells: dict[tuple[str, str], dict[str, list[Thought]]] = {}
    for thought in thoughts:
        by_policy = cells.setdefault((thought.task, thought.model), {})
        by_policy.setdefault(thought.policy, []).append(thought)
    curves: list[CellLengths] = []
    for (task, model), by_policy in cells.items():
        policy = max(by_policy, key=lambda name: _cap(by_policy[name][0], max_thinking_tokens))
        held = by_policy[policy]
        cap = _cap(held[0], max_thinking_tokens)
        # Servers differ in whether they count the markers, and a cut answer may think on.
        cap = max(cap, *(one.n_tokens for one in held))

        def curve(part: list[Thought], cap: int = cap) -> LengthCurve | None:
            if not part:
                return None
            lengths = [one.n_tokens for one in part]
            return length_curve(lengths, [one.is_cut for one in part], cap, confidence)

        whole = curve(held)
        if whole is not None:
            right = curve([one for one in held if one.is_correct])
            wrong = curve([one for one in held if not one.is_correct])
            curves.append(CellLengths(task, model, policy, whole, right, wrong))
    return curves


def _cap(thought: Thought, max_thinking_tokens: int) -> int:
    budget = thought.budget
    return int(budget) if budget.isdecimal() else max_thinking_tokens
