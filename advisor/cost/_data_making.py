"""What it costs to make training data: a teacher's traces, or the model's own shortest ones."""

from dataclasses import dataclass

from policies import InvalidInputError

from ._generation import Generation, generate
from ._gpus import Gpus, default_gpus
from ._numbers import Range, check_fraction, check_number, check_whole
from ._sizes import Model, network
from ._training import TrainingCost, training_cost
from ._workload import MAX_TOKENS, Workload

__all__ = ["TeacherCost", "TopsCost", "teacher_cost", "tops_cost"]

_TEACHER_PARAMS = 22e9
"""Active parameters of the study's teacher, Qwen3-235B-A22B. Source: arXiv 2509.22193v2, 2.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherCost:
    """What it costs to have a teacher write the answers.

    Attributes:
        n_tokens: Tokens that the teacher writes.
        n_prompt_tokens: Tokens that it reads.
        flops: `2 N_active` a token, of both kinds.
        usd: Price of the tokens, `None` without one.
        formula: How it was computed, as a sentence.
    """

    n_tokens: float
    n_prompt_tokens: float
    flops: float
    usd: float | None
    formula: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopsCost:
    """What self-improvement on the shortest correct answers (TOPS) costs.

    Attributes:
        generation: Sampling of the answers, one per prompt and effort.
        training: Fine-tuning of the base on those that are kept.
        n_rows: Rows that are kept.
        flops: FLOPs of both.
        gpu_hours: Hours of one GPU for both.
        wall_hours: Hours of the run, if its GPUs share the work evenly.
        usd: US dollars, `None` without a price.
        gpus: What it runs on, such as `8 x H100-SXM`.
        formula: How it was computed, as a sentence.
        price_note: Where the price is from; empty without one.
    """

    generation: Generation
    training: TrainingCost
    n_rows: int
    flops: float
    gpu_hours: Range
    wall_hours: Range
    usd: Range | None
    gpus: str
    formula: str
    price_note: str


def teacher_cost(
    workload: Workload,
    reasoning_ratio: float,
    *,
    n_active_params: float = _TEACHER_PARAMS,
    usd_per_million_tokens: float | None = None,
    usd_per_million_prompt_tokens: float = 0.0,
) -> TeacherCost:
    """Return what a teacher's answers cost: once per row, whatever the epochs.

    Args:
        workload: Rows and lengths.
        reasoning_ratio: Share of rows that are reasoning traces, in [0, 1].
        n_active_params: Parameters of the teacher that one token passes; Qwen3-235B-A22B's by
            default.
        usd_per_million_tokens: Price of a million written tokens.
        usd_per_million_prompt_tokens: Price of a million read tokens.

    Raises:
        InvalidInputError: A number is out of range.

    Source: 2 N a token, arXiv 2001.08361, section 2.1; attention is not counted, since the
        teacher's architecture need not be known, so that long traces cost more than it says.
    """
    check_fraction("reasoning_ratio", reasoning_ratio)
    check_number("n_active_params", n_active_params, at_most=1e15)
    mean = workload.answer_tokens * (1 - reasoning_ratio + reasoning_ratio * workload.trace_ratio)
    n_tokens = workload.n_rows * mean
    n_prompt_tokens = workload.n_rows * workload.prompt_tokens
    usd = None
    if usd_per_million_tokens is not None:
        check_number("price of a million tokens", usd_per_million_tokens, at_most=1e6)
        if usd_per_million_prompt_tokens != 0:
            name = "price of a million prompt tokens"
            check_number(name, usd_per_million_prompt_tokens, at_most=1e6)
        usd = n_tokens * usd_per_million_tokens / 1e6
        usd += n_prompt_tokens * usd_per_million_prompt_tokens / 1e6
    elif usd_per_million_prompt_tokens:
        raise InvalidInputError(
            "a price of prompt tokens alone is no price of answers",
            hint="give the price of written tokens too",
        )
    return TeacherCost(
        n_tokens=n_tokens,
        n_prompt_tokens=n_prompt_tokens,
        flops=2 * n_active_params * (n_tokens + n_prompt_tokens),
        usd=usd,
        formula=f"2 x {n_active_params:.3g} active parameters a token, attention not counted",
    )


def tops_cost(
    model: Model,
    *,
    n_prompts: int = 50_000,
    n_efforts: int = 3,
    prompt_tokens: float = 150.0,
    answer_tokens: float,
    kept_answer_tokens: float | None = None,
    kept_share: float = 0.5,
    n_epochs: float = 2,
    gpus: Gpus | None = None,
) -> TopsCost:
    """Return what sampling at every effort and fine-tuning on the shortest correct costs.

    Args:
        model: A size, an architecture, or a known model's name.
        n_prompts: Prompts that are sampled.
        n_efforts: Efforts, one answer each.
        prompt_tokens: Mean tokens of a prompt.
        answer_tokens: Mean tokens of an answer, over the efforts.
        kept_answer_tokens: Mean tokens of a kept answer; as `answer_tokens` by default, which is
            an upper bound, since the shortest correct one is kept.
        kept_share: Share of prompts with a correct answer.
        n_epochs: Passes over the kept rows.
        gpus: What it runs on; 8 H100 by default.

    Raises:
        InvalidInputError: A number is out of range, or the model does not fit the GPUs.
        UnknownNameError: No model of that name is known.

    Source: the defaults are those of arXiv 2502.18080: 50K prompts, three efforts, about 26K
        rows kept (the few seed answers among them), 2 epochs.
    """
    check_whole("n_prompts", n_prompts, at_most=10**12)
    check_whole("n_efforts", n_efforts, at_most=1000)
    check_number("prompt_tokens", prompt_tokens, at_most=MAX_TOKENS)
    check_number("answer_tokens", answer_tokens, at_most=MAX_TOKENS)
    check_number("kept_share", kept_share, at_most=1.0)
    kept_tokens = answer_tokens if kept_answer_tokens is None else kept_answer_tokens
    check_number("kept_answer_tokens", kept_tokens, at_most=MAX_TOKENS)
    machine = default_gpus() if gpus is None else gpus
    known = network(model)
    generation = generate(
        known,
        n_prompts=n_prompts,
        n_answers=n_efforts,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        gpus=machine,
    )
    n_rows = max(round(n_prompts * kept_share), 1)
    rows = Workload(
        n_rows=n_rows,
        prompt_tokens=prompt_tokens,
        answer_tokens=kept_tokens,
        trace_ratio=1,
        n_epochs=n_epochs,
    )
    training = training_cost(known, 1.0, rows, gpus=machine)
    gpu_hours = generation.gpu_hours.plus(training.gpu_hours)
    return TopsCost(
        generation=generation,
        training=training,
        n_rows=n_rows,
        flops=generation.flops + training.flops,
        gpu_hours=gpu_hours,
        wall_hours=gpu_hours.scaled(1 / machine.n),
        usd=machine.usd(gpu_hours),
        gpus=str(machine),
        formula=f"{n_prompts:,} prompts x {n_efforts} efforts decoded, then {n_rows:,} rows"
        f" fine-tuned for {n_epochs:g} epochs; {training.formula}",
        price_note=machine.price_note,
    )
