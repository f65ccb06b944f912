"""Reinforcement learning of a pocket student from exact rewards: GRPO. Needs the extra `train`.

A group of answers to each question, rewarded 1 if right and 0 if not, is learned from by how much
better than its group each answer is. As small as it can be and still be the method: one clipped
policy loss, no reference model, exact accounts of its FLOPs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from .questions import PocketQuestion
from .rollouts import (
    Answer,
    answer_log_probs,
    group_flops,
    is_right,
    learning_flops,
    network_of,
    prompt_of,
    sample_answers,
)
from .train import build_optimizers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

__all__ = ["Reinforcement", "Spent", "group_advantages", "policy_loss", "reinforce"]


@dataclass(frozen=True, slots=True)
class Reinforcement:
    """Hyper-parameters of GRPO on pocket students.

    Attributes:
        questions_per_step: Questions that are sampled before the weights change.
        group: Answers per question.
        updates_per_step: Optimizer steps on them, each on an equal part.
        learning_rate: Peak learning rate.
        clip_low: How far below 1 a ratio of probabilities is learned from.
        clip_high: How far above 1.
        warmup_steps: Steps of linear warm-up.
        decay_share: Share of the FLOPs in which the rate falls linearly to a tenth.
        most_tokens: Longer answers are cut, and earn nothing.

    Source: groups and advantages arXiv 2402.03300, section 4.1; the wider clip above, the mean
        over tokens and no penalty for leaving the start arXiv 2503.14476 (DAPO), section 3. Its
        dynamic sampling is half done: groups without a signal are left out of the update, and no
        other question is sampled in their stead. Rates and sizes are ours.
    """

    questions_per_step: int = 32
    group: int = 8
    updates_per_step: int = 2
    learning_rate: float = 1e-3
    clip_low: float = 0.2
    clip_high: float = 0.28
    warmup_steps: int = 4
    decay_share: float = 0.25
    most_tokens: int = 96


class Step(NamedTuple):
    """One step: FLOPs so far, share of right answers, share of groups with a signal, tokens."""

    flops: int
    reward: float
    signal: float
    mean_tokens: float


@dataclass(slots=True)
class Spent:
    """What a run of reinforcement learning took.

    Attributes:
        sample_flops: FLOPs of sampling.
        update_flops: FLOPs of learning.
        n_answers: Sampled answers.
        n_learned: Those that were learned from.
        steps: Its steps.
    """

    sample_flops: int = 0
    update_flops: int = 0
    n_answers: int = 0
    n_learned: int = 0
    steps: list[Step] = field(default_factory=list[Step])

    @property
    def flops(self) -> int:
        """FLOPs of both."""
        return self.sample_flops + self.update_flops


def group_advantages(rewards: "torch.Tensor") -> "torch.Tensor":
    """Return how much better than its group each answer is, in standard deviations of the group.

    Groups whose rewards are all equal have advantages of 0.

    Args:
        rewards: Shape (questions, answers per question).

    Source: arXiv 2402.03300, section 4.1.2; the standard deviation is that of the population.
    """
    spread = rewards.std(1, correction=0, keepdim=True)
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / spread.where(spread > 0, 1.0)


def policy_loss(
    log_probs: "torch.Tensor",
    old: "torch.Tensor",
    advantages: "torch.Tensor",
    mask: "torch.Tensor",
    *,
    clip_low: float,
    clip_high: float,
) -> "torch.Tensor":
    """Return the clipped policy loss, a mean over all tokens of all answers.

    Args:
        log_probs: Of the answers' tokens now, shape (answers, tokens).
        old: Of the same when they were sampled.
        advantages: Shape (answers,).
        mask: 1 where there is a token, else 0.
        clip_low: Ratios below 1 - this earn nothing more.
        clip_high: Ratios above 1 + this earn nothing more.

    Source: arXiv 2503.14476, equation 8: the objective of PPO with two clips and a token mean.
    """
    ratio = (log_probs - old).exp()
    gain = advantages[:, None]
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    objective = (ratio * gain).minimum(clipped * gain)
    return -(objective * mask).sum() / mask.sum()


def reinforce(
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    questions: Iterator[PocketQuestion],
    settings: Reinforcement,
    *,
    flops: float,
    seed: int,
    on_step: Callable[[Step], None] | None = None,
) -> Spent:
    """Train a student on its own answers until a budget of FLOPs is spent.

    The last step asks as many questions as the budget still has room for at the rate of the dearest
    step so far, and is left out below a quarter of the usual number. Answers whose learning would
    break the budget are left out too, so that only the sampling of a first step can break it.

    Args:
        model: The student; trained in place.
        tokenizer: The pocket tokenizer.
        questions: Training questions, at least as many as the budget lasts for.
        settings: Hyper-parameters.
        flops: The budget, sampling included; the learning rate's schedule follows its share.
        seed: Of sampling.
        on_step: Called after every step.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    optimizers = build_optimizers(model, settings.learning_rate)
    network = network_of(model)
    pad_id = int(tokenizer.pad_token_id)
    spent, dearest = Spent(), 0.0  # FLOPs per question
    while True:
        chosen = list(islice(questions, _affordable(settings, flops - spent.flops, dearest)))
        if not chosen:
            return spent
        share = min(1.0, (spent.flops + dearest * len(chosen)) / flops)
        falling = 0.1 + 0.9 * min(1.0, (1.0 - share) / settings.decay_share)
        factor = min((len(spent.steps) + 1) / settings.warmup_steps, falling)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * factor
        groups = sample_answers(
            model,
            tokenizer,
            [prompt_of(question) for question in chosen],
            settings.group,
            generator=generator,
            most_tokens=settings.most_tokens,
        )
        rewards = _rewards(chosen, groups)
        gains = group_advantages(rewards).flatten()
        before = spent.flops
        answers = [answer for group in groups for answer in group]
        spent.sample_flops += sum(group_flops(network, group) for group in groups)
        spent.n_answers += len(answers)
        learned = gains.nonzero()[:, 0]
        learned = learned[torch.randperm(len(learned), generator=generator)]
        kept: list[tuple[Answer, float]] = []
        for place in learned.tolist():
            cost = learning_flops(network, answers[place])
            if spent.flops + cost > flops:
                break
            spent.update_flops += cost
            kept.append((answers[place], float(gains[place])))
        spent.n_learned += len(kept)
        _update(model, optimizers, kept, settings, pad_id)
        dearest = max(dearest, (spent.flops - before) / len(chosen))
        step = Step(
            spent.flops,
            rewards.mean().item(),
            (rewards.std(1, correction=0) > 0).float().mean().item(),
            sum(map(len, answers)) / len(answers),
        )
        spent.steps.append(step)
        if on_step is not None:
            on_step(step)
        if len(chosen) < settings.questions_per_step:
            return spent


def _affordable(settings: Reinforcement, left: float, dearest: float) -> int:
    """Return how many questions a step may ask, 0 if too few of them fit into what is left."""
    n = settings.questions_per_step
    if dearest > 0:
        n = min(n, int(left / dearest))
    return n if 4 * n >= settings.questions_per_step and left > 0 else 0


def _rewards(
    questions: Sequence[PocketQuestion], groups: Sequence[Sequence[Answer]]
) -> "torch.Tensor":
    """Return 1 for right and 0 for other answers, shape (questions, answers per question)."""
    import torch

    return torch.tensor(
        [
            [float(is_right(question, answer)) for answer in group]
            for question, group in zip(questions, groups, strict=True)
        ]
    )


def _update(
    model: "Qwen3ForCausalLM",
    optimizers: "Sequence[torch.optim.Optimizer]",
    kept: Sequence[tuple[Answer, float]],
    settings: Reinforcement,
    pad_id: int,
) -> None:
    """Learn once from answers with their advantages, in a few optimizer steps."""
    import torch

    size = -(-len(kept) // settings.updates_per_step)
    for start in range(0, len(kept), max(1, size)):
        answers, gains = zip(*kept[start : start + size], strict=True)
        log_probs, mask = answer_log_probs(model, answers, pad_id)
        old = torch.zeros_like(mask)
        for row, answer in enumerate(answers):
            old[row, : len(answer)] = torch.tensor(answer.log_probs)
        loss = policy_loss(
            log_probs,
            old,
            torch.tensor(gains),
            mask,
            clip_low=settings.clip_low,
            clip_high=settings.clip_high,
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
