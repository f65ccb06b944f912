"""The experiments on training methods: which runs there are, and how one is trained.

Three questions, each answered from one starting model with equal questions on both sides:
distillation or GRPO at equal training FLOPs; the shortest right answer or any right one as the
teacher (TOPS); and preference pairs (Iter-DPO). Needs the extra `train`.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from .preferences import Pair, Preference, fit_pairs, pairs_by_length, pairs_by_tops
from .questions import POCKET_TASK_TYPES, PocketQuestion, stream_questions
from .reinforce import Reinforcement, reinforce
from .rollouts import (
    forward_flops,
    group_flops,
    learning_flops,
    network_of,
    prompt_of,
    sample_answers,
)
from .shortest import (
    Attempts,
    effort_prompts,
    length_spread,
    pick_random,
    pick_shortest,
    taught_answer,
)
from .students import (
    TUNING,
    StudentRow,
    Tuning,
    corpus_questions,
    encode_rows,
    fine_tune,
    fit_examples,
)
from .train import PairedExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

__all__ = ["Experiment", "Memory", "MethodRun", "Scale", "Trained", "base_folder", "train_run"]

Experiment: TypeAlias = Literal["grpo", "tops", "dpo"]

_METHODS: dict[Experiment, tuple[str, ...]] = {
    "grpo": ("distillation", "grpo"),
    "tops": ("shortest", "random"),
    "dpo": ("pairs-tops", "pairs-length"),
}
_MOST_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the experiments are.

    Attributes:
        start_rows: Reasoning rows of the math corpus that a weak student is made of, per size.
        budgets: Training FLOPs after the start, as those of so many supervised rows.
        n_sampled: Questions that a skills model is sampled on.
        n_per_effort: Answers per effort, for `tops`; `dpo` samples three times as many of the
            plain question.
        n_probed: Questions on which a student's start is sampled, to see how lengths differ.
        n_measured: Held-out questions per task type.
        tuning: Of the students and their distillation, per size.
        self_tuning: Of fine-tuning on own answers.
        reinforcement: Of GRPO.
        preference: Of Iter-DPO.
    """

    start_rows: dict[str, int] = field(
        default_factory=lambda: {"pocket-xs": 2048, "pocket-s": 2048}
    )
    budgets: tuple[int, ...] = (2048, 6144)
    n_sampled: int = 640
    n_per_effort: int = 3
    n_probed: int = 256
    n_measured: int = 1000
    tuning: dict[str, Tuning] = field(default_factory=lambda: dict(TUNING))
    self_tuning: Tuning = field(default_factory=lambda: Tuning(learning_rate=5e-4, warmup_steps=2))
    reinforcement: Reinforcement = field(default_factory=Reinforcement)
    preference: Preference = field(default_factory=Preference)


@dataclass(frozen=True, slots=True)
class MethodRun:
    """One run.

    Attributes:
        experiment: Which of the three.
        method: `start`, or one of the experiment's methods.
        size: Base size of the student, or name of the model with skills.
        corpus: `math`, or `skills`, which are all four task types.
        seed: Of questions, order and sampling.
        budget: For `grpo` the budget in supervised rows, else 0.
    """

    experiment: Experiment
    method: str
    size: str
    corpus: str
    seed: int
    budget: int = 0

    @property
    def id(self) -> str:
        """Return a name that is also a folder name."""
        budget = f".{self.budget}" if self.budget else ""
        return f"{self.experiment}.{self.size}.{self.method}{budget}.seed{self.seed}"

    @property
    def start(self) -> "MethodRun":
        """Return the run that it begins at; shipped models are one start for all runs."""
        if self.corpus == "skills":
            return MethodRun("tops", "start", self.size, self.corpus, seed=0)
        return MethodRun(self.experiment, "start", self.size, self.corpus, self.seed)

    @classmethod
    def plan(
        cls,
        experiments: Sequence[Experiment],
        sizes: Sequence[str],
        seeds: Sequence[int],
        scale: Scale,
    ) -> "list[MethodRun]":
        """Return every run, the start of each before what begins there."""
        runs: dict[str, MethodRun] = {}
        for experiment in experiments:
            for seed in seeds:
                for size in sizes:
                    name, corpus = (
                        (size, "math") if experiment == "grpo" else (f"{size}-skills", "skills")
                    )
                    first = cls(experiment, "start", name, corpus, seed).start
                    budgets = scale.budgets if experiment == "grpo" else (0,)
                    own = [
                        cls(experiment, method, name, corpus, seed, budget)
                        for budget in budgets
                        for method in _METHODS[experiment]
                    ]
                    runs |= {run.id: run for run in (first, *own)}
        return list(runs.values())


class Trained(NamedTuple):
    """What a run took, besides the weights that it left in the model.

    Attributes:
        train_flops: FLOPs after the start, sampling included.
        sample_flops: Those of sampling alone.
        n_steps: Optimizer steps, or steps of GRPO.
        n_examples: Rows, answers that were learned from, or pairs.
        facts: What else there is to tell, plain JSON values.
    """

    train_flops: int
    sample_flops: int
    n_steps: int
    n_examples: int
    facts: dict[str, object]


class Sampled(NamedTuple):
    """Answers to many questions, and the FLOPs of sampling them."""

    attempts: list[Attempts]
    flops: int


Memory: TypeAlias = dict[tuple[str, str, int], Sampled]


def train_run(
    run: MethodRun,
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    scale: Scale,
    tell: Callable[[str], None],
    memory: Memory | None = None,
) -> Trained:
    """Train a model that is at the run's start, in place.

    Args:
        run: Which run; `start` of a student trains a base model to it, that of a model with
            skills does nothing.
        model: The start's weights, or for the start of a student the base's.
        tokenizer: Its tokenizer.
        scale: How large everything is.
        tell: Receives lines of progress.
        memory: Answers that earlier runs of this process sampled, which are equal for all methods
            of an experiment; kept by experiment, size and seed.
    """
    if run.method == "start":
        return _start(run, model, tokenizer, scale)
    if run.experiment == "grpo":
        return _at_equal_flops(run, model, tokenizer, scale, tell)
    return _from_own_answers(run, model, tokenizer, scale, tell, {} if memory is None else memory)


def _start(
    run: MethodRun,
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    scale: Scale,
) -> Trained:
    import torch

    if run.corpus == "skills":
        return Trained(0, 0, 0, 0, {})
    questions = corpus_questions("math", scale.start_rows[run.size], seed=run.seed)
    rows = [StudentRow(question, is_reasoning=True) for question in questions]
    flops = _rows_flops(model, _encoded(rows, tokenizer))
    fine_tune(model, tokenizer, rows, scale.tuning[run.size])
    # Whether a student of the study has anything to shorten: other questions, many answers each.
    asked = corpus_questions("math", scale.n_probed, seed=2000 + run.seed)
    groups = sample_answers(
        model,
        tokenizer,
        [prompt_of(question) for question in asked],
        scale.reinforcement.group,
        generator=torch.Generator().manual_seed(run.seed),
        most_tokens=scale.reinforcement.most_tokens,
    )
    facts = _spread_facts(list(map(Attempts, asked, groups)))
    return Trained(
        flops, 0, -(-len(rows) // scale.tuning[run.size].rows_per_step), len(rows), facts
    )


def _encoded(
    rows: Sequence[StudentRow], tokenizer: "PreTrainedTokenizerFast"
) -> list[PairedExample]:
    def encode(texts: list[str]) -> list[list[int]]:
        return tokenizer(texts)["input_ids"]

    return encode_rows(rows, encode)


def _spread_facts(sampled: Sequence[Attempts]) -> dict[str, object]:
    """Return how often sampled answers are right, and how much right ones differ in length."""
    spread = length_spread(sampled)
    n_answers = sum(len(one.answers) for one in sampled)
    return {
        "n_questions": len(sampled),
        "n_answers": n_answers,
        "pass_rate": sum(len(one.right) for one in sampled) / n_answers,
        "n_solved": spread.n_questions,
        "differing": spread.differing,
        "mean_right_tokens": spread.mean_right,
        "mean_shortest_tokens": spread.mean_shortest,
    }


def _rows_flops(model: "Qwen3ForCausalLM", examples: Sequence[PairedExample]) -> int:
    from ..cost import training_flops

    network = network_of(model)
    return sum(
        training_flops(network, len(one.prompt), len(one) - len(one.prompt)) for one in examples
    )


def _at_equal_flops(
    run: MethodRun,
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    scale: Scale,
    tell: Callable[[str], None],
) -> Trained:
    """Go on with more supervised rows, or with GRPO on the same questions for the same FLOPs."""
    # Other questions than the start's: another seed of the same corpus.
    questions = corpus_questions("math", run.budget, seed=1000 + run.seed)
    rows = [StudentRow(question, is_reasoning=True) for question in questions]
    flops = _rows_flops(model, _encoded(rows, tokenizer))
    if run.method == "distillation":
        fine_tune(model, tokenizer, rows, scale.tuning[run.size])
        return Trained(
            flops, 0, -(-len(rows) // scale.tuning[run.size].rows_per_step), len(rows), {}
        )
    spent = reinforce(
        model,
        tokenizer,
        iter(questions),
        scale.reinforcement,
        flops=flops,
        seed=run.seed,
        on_step=lambda step: tell(
            f"reward {step.reward:.3f} signal {step.signal:.2f} tokens {step.mean_tokens:.0f}"
        ),
    )
    quarter = max(1, len(spent.steps) // 4)
    return Trained(
        spent.flops,
        spent.sample_flops,
        len(spent.steps),
        spent.n_learned,
        {
            "n_answers": spent.n_answers,
            "budget_flops": flops,
            "reward_first": _mean([step.reward for step in spent.steps[:quarter]]),
            "reward_last": _mean([step.reward for step in spent.steps[-quarter:]]),
            "signal": _mean([step.signal for step in spent.steps]),
        },
    )


def _sample(
    run: MethodRun, model: "Qwen3ForCausalLM", tokenizer: "PreTrainedTokenizerFast", scale: Scale
) -> Sampled:
    """Return answers to training questions: at three efforts for `tops`, to the plain question else."""
    import torch

    questions = _all_types(scale.n_sampled, seed=run.seed)
    asked = [
        effort_prompts(question) if run.experiment == "tops" else [prompt_of(question)]
        for question in questions
    ]
    groups = sample_answers(
        model,
        tokenizer,
        list(chain.from_iterable(asked)),
        scale.n_per_effort * (1 if run.experiment == "tops" else 3),
        generator=torch.Generator().manual_seed(run.seed),
        most_tokens=_MOST_TOKENS,
    )
    network = network_of(model)
    flops = sum(group_flops(network, group) for group in groups)
    rest = iter(groups)
    attempts = [
        Attempts(question, [answer for _ in prompts for answer in next(rest)])
        for question, prompts in zip(questions, asked, strict=True)
    ]
    return Sampled(attempts, flops)


def _from_own_answers(
    run: MethodRun,
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    scale: Scale,
    tell: Callable[[str], None],
    memory: Memory,
) -> Trained:
    """Sample the model, then fine-tune it on picked answers or prefer some to others."""
    key = (run.experiment, run.size, run.seed)
    if key not in memory:
        memory[key] = _sample(run, model, tokenizer, scale)
    sampled, sample_flops = memory[key]
    network = network_of(model)
    facts = _spread_facts(sampled)
    tell(str(facts))
    rng = random.Random(f"{run.id}/pick")
    if run.experiment == "tops":
        picked = [
            (
                one.question,
                pick_shortest(one) if run.method == "shortest" else pick_random(one, rng),
            )
            for one in sampled
        ]
        rows = [taught_answer(question, answer, tokenizer) for question, answer in picked if answer]
        facts["mean_taught_tokens"] = _mean([float(len(answer)) for _, answer in picked if answer])
        # Equal order for both: the seed's, not the method's.
        random.Random(run.seed).shuffle(rows)
        fit_examples(model, tokenizer, rows, scale.self_tuning)
        flops = sample_flops + _rows_flops(model, rows)
        n_steps = -(-len(rows) // scale.self_tuning.rows_per_step)
        return Trained(flops, sample_flops, n_steps, len(rows), facts)
    rule = pairs_by_tops if run.method == "pairs-tops" else pairs_by_length
    pairs: list[Pair] = [pair for one in sampled for pair in rule(one)]
    random.Random(run.seed).shuffle(pairs)
    facts["mean_chosen_tokens"] = _mean([float(len(pair.chosen)) for pair in pairs])
    facts["mean_rejected_tokens"] = _mean([float(len(pair.rejected)) for pair in pairs])
    fit_pairs(model, tokenizer, pairs, scale.preference)
    both = [answer for pair in pairs for answer in pair]
    learned = sum(learning_flops(network, one) + forward_flops(network, one) for one in both)
    n_steps = -(-len(pairs) // scale.preference.pairs_per_step)
    return Trained(sample_flops + learned, sample_flops, n_steps, len(pairs), facts)


def _all_types(n: int, *, seed: int) -> list[PocketQuestion]:
    """Return `n` different training questions, all four task types in turn."""
    streams: list[Iterator[PocketQuestion]] = [
        stream_questions(task_type, seed=1000 + seed, split="train")
        for task_type in POCKET_TASK_TYPES
    ]
    found: dict[str, PocketQuestion] = {}
    turn = 0
    while len(found) < n:
        question = next(streams[turn % len(streams)])
        turn += 1
        found.setdefault(question.prompt, question)
    return list(found.values())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def base_folder(run: MethodRun, bases: Path, shipped: Path) -> Path:
    """Return where the weights lie that a start is made of."""
    return shipped / run.size if run.corpus == "skills" else bases / run.size / "model"
