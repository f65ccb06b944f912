"""What reinforcement learning from rewards costs, and whether there is a signal to learn from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policies import InvalidInputError

from ._generation import ENGINE_EFFICIENCY, Generation, generate
from ._gpus import Gpus, default_gpus
from ._numbers import Range, check_fraction, check_number, check_whole
from ._sizes import Model, network
from ._training import MFU
from ._workload import MAX_TOKENS

__all__ = [
    "GrpoCost",
    "GrpoSignal",
    "generations_for_signal",
    "grpo_cost",
    "grpo_signal",
    "grpo_signal_from_counts",
]

_MOST_GENERATIONS = 100_000


@dataclass(frozen=True, slots=True)
class GrpoSignal:
    """Share of prompts whose group of answers holds both right and wrong ones.

    The others have zero advantage in group-relative policy optimisation and teach nothing; TRL
    logs their share as `frac_reward_zero_std`.

    Attributes:
        share: Share of prompts with a signal, in [0, 1].
        share_at_mean_rate: The same if every prompt had the mean pass rate: an upper bound
            (Jensen, the share being concave in the rate). Equal where one rate was given.
        mean_pass_rate: Mean pass rate, in [0, 1].
        n_generations: Answers per prompt.
        n_questions: Questions that the rates are of; 1 where one rate was given.
    """

    share: float
    share_at_mean_rate: float
    mean_pass_rate: float
    n_generations: int
    n_questions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoCost:
    """What a run of group-relative policy optimisation costs.

    Attributes:
        rollout: Generation of the answers.
        rollout_flops: FLOPs of generating them.
        update_flops: FLOPs of learning from them.
        gpu_hours: Hours of one GPU for both; generation is bound by memory, learning by FLOPs.
        rollout_share: Share of the half-way time that is generation, in [0, 1].
        wall_hours: Hours of the run, if its GPUs share the work evenly.
        usd: US dollars, `None` without a price.
        gpus: What it runs on, such as `8 x H100-SXM`.
        n_passes: Forward passes' worth of learning per generated token: 3, and one each for
            probabilities of the old policy and of a reference.
        formula: How it was computed, as a sentence.
        price_note: Where the price is from; empty without one.
    """

    rollout: Generation
    rollout_flops: float
    update_flops: float
    gpu_hours: Range
    rollout_share: float
    wall_hours: Range
    usd: Range | None
    gpus: str
    n_passes: int
    formula: str
    price_note: str

    @property
    def flops(self) -> float:
        """FLOPs of generating and learning."""
        return self.rollout_flops + self.update_flops


def grpo_signal(pass_rate: float | Sequence[float], n_generations: int) -> GrpoSignal:
    """Return the share of prompts with non-zero advantage: `E[1 - p^G - (1 - p)^G]`.

    Args:
        pass_rate: Pass rate p of all prompts, or one per question. A mean over questions hides
            that most of them may be solved always or never: give one per question, and where
            they come from few answers use `grpo_signal_from_counts`.
        n_generations: Answers G per prompt, at least 2.

    Raises:
        InvalidInputError: A rate is outside [0, 1], there is none, or G is below 2.

    Source: arithmetic: all of G independent answers are right with probability p^G.

    Example:
        >>> f"{grpo_signal(0.05, 8).share:.2f} {grpo_signal([0.0, 0.1], 8).share:.2f}"
        '0.34 0.28'
    """
    rates = [pass_rate] if isinstance(pass_rate, int | float) else list(pass_rate)
    _check_generations(n_generations)
    if not rates:
        raise InvalidInputError("no pass rate is given: expected at least one")
    for rate in rates:
        check_fraction("pass rate", rate)
    mean = math.fsum(rates) / len(rates)
    share = math.fsum(_mixed(rate, n_generations) for rate in rates) / len(rates)
    # Equal rates must not come out above their own bound by rounding.
    bound = max(share, _mixed(mean, n_generations))
    return GrpoSignal(share, bound, mean, n_generations, len(rates))


def grpo_signal_from_counts(
    n_correct: Sequence[int], n_samples: int, n_generations: int
) -> GrpoSignal:
    """Return the share of prompts with a signal, from right answers among a few per question.

    A rate estimated from k answers is too often 0 or 1, so that putting it into the formula
    understates the signal. Among k >= G answers the share of groups of G without a signal is
    counted instead, which is unbiased: `(C(c, G) + C(k - c, G)) / C(k, G)` of c right ones.

    Args:
        n_correct: Right answers of each question, shape `(n,)`.
        n_samples: Answers k of each question; at least `n_generations`.
        n_generations: Answers G per prompt in training, at least 2.

    Raises:
        InvalidInputError: A count is out of range, or there are fewer answers than G.

    Source: the unbiased estimator of pass@k, arXiv 2107.03374, section 2.1, for both ends.

    Example:
        >>> f"{grpo_signal_from_counts([0, 1, 8], n_samples=8, n_generations=4).share:.3f}"
        '0.167'
    """
    _check_generations(n_generations)
    hint = "sample more answers, or ask for smaller groups"
    check_whole("answers per question", n_samples, at_least=n_generations, at_most=10**6, hint=hint)
    if not n_correct:
        raise InvalidInputError("no question is given: expected at least one")
    for count in n_correct:
        check_whole("right answers", count, at_least=0, at_most=n_samples)
    n_groups = math.comb(n_samples, n_generations)
    shares = [
        1 - (math.comb(c, n_generations) + math.comb(n_samples - c, n_generations)) / n_groups
        for c in n_correct
    ]
    mean = math.fsum(n_correct) / len(n_correct) / n_samples
    share = math.fsum(shares) / len(shares)
    bound = max(share, _mixed(mean, n_generations))
    return GrpoSignal(share, bound, mean, n_generations, len(n_correct))


def generations_for_signal(
    pass_rate: float | Sequence[float], share: float, *, at_most: int = 1024
) -> int | None:
    """Return the smallest group with which a share of prompts has a signal.

    Args:
        pass_rate: As for `grpo_signal`.
        share: Share of prompts that must have one, in [0, 1].
        at_most: Largest group to consider.

    Returns:
        The group's size, at least 2, or `None` where none up to `at_most` does: questions that
        are always or never solved stay without a signal in any group.

    Raises:
        InvalidInputError: A number is out of range.
    """
    check_fraction("share", share)
    check_whole("at_most", at_most, at_least=2, at_most=_MOST_GENERATIONS)
    if grpo_signal(pass_rate, at_most).share < share:
        return None
    low, high = 1, at_most
    while high - low > 1:
        middle = (low + high) // 2
        enough = grpo_signal(pass_rate, middle).share >= share
        low, high = (low, middle) if enough else (middle, high)
    return high


def grpo_cost(
    model: Model,
    *,
    n_prompts: int,
    n_generations: int = 8,
    prompt_tokens: float = 150.0,
    answer_tokens: float,
    step_answers: int = 32,
    gpus: Gpus | None = None,
    has_old_policy: bool = True,
    has_reference: bool = False,
) -> GrpoCost:
    """Return what one pass of group-relative policy optimisation over prompts costs.

    Each prompt is answered `n_generations` times (prefill once, decode each), then learned from
    at three forward passes' worth: `6 N` a token, `8 N` with the probabilities of the old policy
    or of a reference, `10 N` with both, attention counted as in training. Time is mostly
    generation, since decode is bound by memory.

    Args:
        model: A size, an architecture, or a known model's name.
        n_prompts: Prompts of the run, all steps together.
        n_generations: Answers per prompt, at least 2.
        prompt_tokens: Mean tokens of a prompt.
        answer_tokens: Mean tokens of an answer.
        step_answers: Answers of one step, which are generated at a time and then learned from:
            the global batch. Few of them leave a GPU waiting for its memory.
        gpus: What it runs on; 8 H100 by default. Generation and learning take turns on them.
        has_old_policy: Probabilities are computed again before the update, as TRL does whenever
            vLLM generates.
        has_reference: A reference policy is asked too, as with a KL penalty (`beta > 0`).

    Raises:
        InvalidInputError: A number is out of range, or the model does not fit the GPUs.
        UnknownNameError: No model of that name is known.

    Source: arithmetic over the formulas of training and generation. TRL 1.16 computes the old
        probabilities with vLLM to correct for its rounding (`vllm_importance_sampling_correction`,
        on by default), and asks no reference with its default `beta` of 0.
    """
    check_whole("n_prompts", n_prompts, at_most=10**12)
    _check_generations(n_generations)
    check_whole("step_answers", step_answers, at_most=10**9)
    check_number("prompt_tokens", prompt_tokens, at_most=MAX_TOKENS)
    check_number("answer_tokens", answer_tokens, at_most=MAX_TOKENS)
    machine = default_gpus() if gpus is None else gpus
    known = network(model)
    rollout = generate(
        known,
        n_prompts=n_prompts,
        n_answers=n_generations,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        gpus=machine,
        n_at_once=step_answers,
    )
    n_tokens = prompt_tokens + answer_tokens
    attention = known.attention_flops(n_tokens, n_tokens * n_tokens)
    forward = 2 * known.n_product_params * n_tokens + attention
    n_passes = 3 + has_old_policy + has_reference
    update = n_prompts * n_generations * n_passes * forward
    learning = machine.gpu_hours(update, MFU)
    gpu_hours = rollout.gpu_hours.plus(learning)
    return GrpoCost(
        rollout=rollout,
        rollout_flops=rollout.flops,
        update_flops=update,
        gpu_hours=gpu_hours,
        rollout_share=rollout.gpu_hours.mid / gpu_hours.mid,
        wall_hours=gpu_hours.scaled(1 / machine.n),
        usd=machine.usd(gpu_hours),
        gpus=str(machine),
        n_passes=n_passes,
        formula=f"{n_prompts:,} prompts x {n_generations} answers, {step_answers} at a time:"
        f" decode at {ENGINE_EFFICIENCY.low:g}-{ENGINE_EFFICIENCY.high:g} of the roofline, learning {2 * n_passes} N a token with attention",
        price_note=machine.price_note,
    )


def _mixed(rate: float, n_generations: int) -> float:
    return 1.0 - rate**n_generations - (1.0 - rate) ** n_generations


def _check_generations(n_generations: int) -> None:
    hint = "one answer alone has no others to be compared with"
    check_whole("n_generations", n_generations, at_least=2, at_most=_MOST_GENERATIONS, hint=hint)
