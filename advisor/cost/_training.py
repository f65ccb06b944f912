"""What supervised fine-tuning costs: FLOPs, GPU-hours, wall time, money."""

from dataclasses import dataclass

from ._gpus import Gpus, default_gpus
from ._network import Network
from ._numbers import Range, check_fraction, check_number, check_whole
from ._sizes import Model, network
from ._workload import RowLength, Workload

__all__ = [
    "MFU",
    "TrainingCost",
    "six_nd_flops",
    "token_share",
    "training_cost",
    "training_flops",
]

MFU = Range(0.25, 0.40, 0.50)
"""Share of a GPU's peak that training reaches, recomputation not counted as work.

Source: packed Qwen2.5-7B on 32 A800 reaches 0.50-0.55 (lmms-engine), Llama-3 405B 0.38-0.43 (its
authors), clusters 0.35-0.45 by hearsay, unpacked eager code below 0.15. Not measured here.
"""

LORA_RANK = 16
"""Rank that LoRA costs assume; `peft`'s own default is 8, recipes use 8 to 64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCost:
    """What one training run costs.

    Attributes:
        flops: FLOPs of the run, exact for its coefficients; recomputation is not counted.
        n_tokens: Tokens read, prompts and epochs included.
        reasoning_token_share: Share of answer tokens that are in reasoning traces, in [0, 1].
        gpu_hours: Hours of one GPU, over the range of `mfu`.
        wall_hours: Hours of the run, if its GPUs share the work evenly.
        usd: US dollars, over the same range; `None` without a price.
        six_nd_flops: The same run by `6 N D` (`4 N D` for LoRA), for comparison.
        formula: How `flops` came about, as a sentence.
        gpus: What it runs on, such as `8 x H100-SXM`.
        mfu: Share of the peak that is reached.
        price_note: Where the price is from; empty without one.
    """

    flops: float
    n_tokens: float
    reasoning_token_share: float
    gpu_hours: Range
    wall_hours: Range
    usd: Range | None
    six_nd_flops: float
    formula: str
    gpus: str
    mfu: Range
    price_note: str

    @property
    def over_six_nd(self) -> float:
        """FLOPs / those of `6 N D`: above 1 the shortcut undercounts."""
        return self.flops / self.six_nd_flops


def token_share(reasoning_ratio: float, trace_ratio: float) -> float:
    """Return the share of answer tokens, in [0, 1], that are in reasoning traces.

    Args:
        reasoning_ratio: Share rho of rows that are reasoning traces, in [0, 1].
        trace_ratio: Length m of a reasoning answer / of a direct one.

    Raises:
        InvalidInputError: No share, or a ratio that is not positive.

    Source: arithmetic, rho m / (1 - rho + rho m).

    Example:
        >>> f"{token_share(0.25, 10):.2f} {token_share(0.5, 10):.2f}"
        '0.77 0.91'
    """
    check_fraction("reasoning_ratio", reasoning_ratio)
    check_number("trace_ratio", trace_ratio, at_most=10_000)
    reasoning = reasoning_ratio * trace_ratio
    return reasoning / (1.0 - reasoning_ratio + reasoning)


def training_flops(
    model: Model,
    reasoning_ratio: float,
    workload: Workload,
    *,
    lora: bool = False,
    lora_rank: int = LORA_RANK,
) -> float:
    """Return the FLOPs of supervised fine-tuning on a mixture, over all epochs.

    `S E ((1 - rho) T_ift + rho T_reasoning)`, where T is the mean cost of a row: three forward
    passes over prompt and answer as one causal sequence (`calibration.cost.training_flops`),
    attention included and logits at every position. Whether the loss counts prompts changes
    nothing: their positions are computed either way. Packed sequences are taken to be masked from
    each other.

    LoRA skips the gradients of frozen matrices, a third of their work (2 of forward, 2 of
    backward instead of 4), but none of attention's, which has no weights; its adapters are
    trained in full. So it costs about 2/3: `4 N D`.

    Args:
        model: A size, an architecture, or a known model's name.
        reasoning_ratio: Share rho of rows that are reasoning traces, in [0, 1].
        workload: S, E and the lengths.
        lora: Train adapters on every matrix of the layers instead of all weights.
        lora_rank: Rank of the adapters.

    Raises:
        InvalidInputError: A number is out of range.
        UnknownNameError: No model of that name is known.

    Source: backward = 2 x forward, arXiv 2203.15556, appendix F; the rest is arithmetic.

    Example:
        >>> rows = Workload(n_rows=300_000, trace_ratio=8)
        >>> f"{training_flops('3B', 0.0, rows):.1e} {training_flops('3B', 1.0, rows):.1e}"
        '4.2e+18 3.1e+19'
    """
    check_fraction("reasoning_ratio", reasoning_ratio)
    check_whole("lora_rank", lora_rank, at_most=100_000)
    known, rank = network(model), lora_rank if lora else 0
    ift = _row_flops(known, workload.ift_row, rank)
    reasoning = _row_flops(known, workload.reasoning_row, rank)
    mean = (1.0 - reasoning_ratio) * ift + reasoning_ratio * reasoning
    return workload.n_rows * workload.n_epochs * mean


def six_nd_flops(
    model: Model, reasoning_ratio: float, workload: Workload, *, lora: bool = False
) -> float:
    """Return `6 N D`, or `4 N D` for LoRA: the usual shortcut, for comparison.

    It leaves attention out, and so undercounts long rows, most of all on small models: exact
    counts are 1.27 times as high for rows of 6,150 tokens at 0.5B and 1.05 at 14B, and 2.4 and
    1.5 times for 32,000 tokens. N is all parameters that a token passes; where embedding and
    output projection are two matrices, as from 7B up, it counts the lookup as a product, and
    overcounts short rows: the exact count is 0.94 times as high for 750 tokens at 7B.

    Args:
        model: A size, an architecture, or a known model's name.
        reasoning_ratio: Share of rows that are reasoning traces, in [0, 1].
        workload: Rows, lengths and epochs.
        lora: Train adapters; the gradients of frozen weights are not computed.

    Raises:
        InvalidInputError: A number is out of range.
        UnknownNameError: No model of that name is known.

    Source: C = 6 N D of arXiv 2203.15556 (Hoffmann et al.).
    """
    check_fraction("reasoning_ratio", reasoning_ratio)
    per_token = (4 if lora else 6) * network(model).n_active_params
    return per_token * workload.n_tokens(reasoning_ratio)


def training_cost(
    model: Model,
    reasoning_ratio: float,
    workload: Workload,
    *,
    gpus: Gpus | None = None,
    lora: bool = False,
    mfu: Range = MFU,
) -> TrainingCost:
    """Return what supervised fine-tuning costs: FLOPs, GPU-hours, wall time and money.

    `GPU-hours = FLOPs / (peak x MFU x 3600)`. Recomputation of activations takes time but is no
    work that MFU counts, so it is inside the range. After 20 steps of a real run, ask again with
    its own MFU.

    Args:
        model: A size, an architecture, or a known model's name.
        reasoning_ratio: Share of rows that are reasoning traces, in [0, 1].
        workload: Rows and lengths.
        gpus: What it runs on; 8 H100 by default.
        lora: Train adapters instead of all weights.
        mfu: Share of the peak that is reached; in (0, 1].

    Raises:
        InvalidInputError: A number is out of range.
        UnknownNameError: No model of that name is known.
    """
    machine = default_gpus() if gpus is None else gpus
    known = network(model)
    flops = training_flops(known, reasoning_ratio, workload, lora=lora)
    shortcut = six_nd_flops(known, reasoning_ratio, workload, lora=lora)
    gpu_hours = machine.gpu_hours(flops, mfu)
    return TrainingCost(
        flops=flops,
        n_tokens=workload.n_tokens(reasoning_ratio),
        reasoning_token_share=token_share(reasoning_ratio, workload.trace_ratio),
        gpu_hours=gpu_hours,
        wall_hours=gpu_hours.scaled(1 / machine.n),
        usd=machine.usd(gpu_hours),
        six_nd_flops=shortcut,
        formula=_formula(known, lora=lora, ratio=flops / shortcut),
        gpus=str(machine),
        mfu=mfu,
        price_note=machine.price_note,
    )


def _row_flops(known: Network, row: RowLength, lora_rank: int) -> float:
    """Mean FLOPs of one row; full fine-tuning where the rank is 0."""
    linear, adapters = 6 * known.n_product_params, 0.0
    if lora_rank:
        linear = 4 * known.n_product_params
        adapters = 6 * lora_rank * known.active_adapter_params
    attention = known.attention_flops(row.mean_tokens, row.mean_square)
    return (linear + adapters) * row.mean_tokens + 3 * attention


def _formula(known: Network, *, lora: bool, ratio: float) -> str:
    tuning, shortcut = ("LoRA", "4ND") if lora else ("full fine-tuning", "6ND")
    return (
        f"matrix products {known.detail}, causal attention included; {tuning};"
        f" {ratio:.2f} x {shortcut}"
    )
