"""Prefer short right answers: direct preference optimisation of a pocket model. Needs `train`.

Pairs come from a model's own answers to a question: the shortest right one is chosen, a wrong or a
longer one is rejected.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .rollouts import Answer, answer_log_probs
from .shortest import Attempts, pick_shortest
from .train import build_optimizers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

__all__ = ["Pair", "Preference", "dpo_loss", "fit_pairs", "pairs_by_length", "pairs_by_tops"]

LONGER = 1.5
"""A right answer is rejected if it is more than this many times as long as the chosen one.

Source: arXiv 2501.12599 (Kimi k1.5), long2short DPO, as the shipped `methods_matrix` has it.
"""


class Pair(NamedTuple):
    """Two answers to one question."""

    chosen: Answer
    rejected: Answer


@dataclass(frozen=True, slots=True)
class Preference:
    """Hyper-parameters of preference optimisation; rates and sizes are ours.

    Attributes:
        beta: How strongly leaving the reference is held back.
        pairs_per_step: Pairs of one optimizer step.
        learning_rate: Peak learning rate.
        warmup_steps: Steps of linear warm-up; afterwards the rate falls linearly to a tenth.
    """

    beta: float = 0.1
    pairs_per_step: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 4


def pairs_by_tops(attempts: Attempts) -> list[Pair]:
    """Return the pairs of a question by the rule of Iter-DPO: none, one or two.

    Chosen is the shortest right answer, rejected the longest wrong one, and the shortest wrong one
    too where that is shorter than the chosen one. Answers that were cut are neither. The same rule
    as `advisor data tops`, which takes whole runs.

    Source: arXiv 2502.18080, Iter-DPO.
    """
    chosen = pick_shortest(attempts)
    right = {id(answer) for answer in attempts.right}
    wrong = [one for one in attempts.answers if one.has_ended and id(one) not in right]
    if chosen is None or not wrong:
        return []
    longest, shortest = max(wrong, key=len), min(wrong, key=len)
    pairs = [Pair(chosen, longest)]
    if len(shortest) < len(chosen) and shortest is not longest:
        pairs.append(Pair(chosen, shortest))
    return pairs


def pairs_by_length(attempts: Attempts) -> list[Pair]:
    """Return the pair of a question that rejects the longest right answer; none or one.

    The longest right answer counts if it is more than 1.5 times as long as the shortest one.

    Source: arXiv 2501.12599, long2short DPO; of its rejected answers these are the right ones.
    """
    chosen = pick_shortest(attempts)
    if chosen is None:
        return []
    longest = max(attempts.right, key=len)
    return [Pair(chosen, longest)] if len(longest) > LONGER * len(chosen) else []


def dpo_loss(margins: "torch.Tensor", reference: "torch.Tensor", beta: float) -> "torch.Tensor":
    """Return the mean loss of pairs.

    Args:
        margins: log p(chosen) - log p(rejected) under the model, shape (pairs,).
        reference: The same under the frozen reference.
        beta: How strongly leaving the reference is held back.

    Source: arXiv 2305.18290, equation 7.
    """
    import torch

    return -torch.nn.functional.logsigmoid(beta * (margins - reference)).mean()


def fit_pairs(
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    pairs: Sequence[Pair],
    settings: Preference,
    *,
    on_step: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train on pairs in their order, one pass; the model as it comes is the reference.

    Args:
        model: Trained in place.
        tokenizer: Its tokenizer.
        pairs: Pairs of answers to the prompts that they shall be preferred for.
        settings: Hyper-parameters.
        on_step: Called with the steps done, all steps, and the loss.
    """
    import torch

    pad_id = int(tokenizer.pad_token_id)
    parts = [
        pairs[start : start + settings.pairs_per_step]
        for start in range(0, len(pairs), settings.pairs_per_step)
    ]
    with torch.no_grad():
        references = [_margins(model, part, pad_id) for part in parts]
    optimizers = build_optimizers(model, settings.learning_rate)
    for step, (part, reference) in enumerate(zip(parts, references, strict=True)):
        left = 1.0 - step / len(parts)
        factor = min((step + 1) / settings.warmup_steps, 0.1 + 0.9 * left)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * factor
        loss = dpo_loss(_margins(model, part, pad_id), reference, settings.beta)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if on_step is not None:
            on_step(step + 1, len(parts), loss.item())


def _margins(model: "Qwen3ForCausalLM", pairs: Sequence[Pair], pad_id: int) -> "torch.Tensor":
    """Return log p(chosen) - log p(rejected) of each pair, shape (pairs,)."""
    answers = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    likely = answer_log_probs(model, answers, pad_id)[0].sum(1)
    return likely[: len(pairs)] - likely[len(pairs) :]
