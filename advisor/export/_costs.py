"""What the stages of an export cost, for its README and manifest."""

from collections.abc import Sequence

from ..cost import MemoryPerGpu, TrainingCost, Workload, memory_per_gpu, training_cost
from ..data import Mixture
from ._request import ExportRequest
from ._training import TrainingRun

__all__ = ["describe_cost", "describe_memory", "stage_cost", "stage_memory"]


def stage_cost(
    request: ExportRequest, run: TrainingRun, mixtures: Sequence[Mixture]
) -> TrainingCost | None:
    """Return what a supervised stage on pairs costs, from the tokens that were written.

    `None` for other stages: what GRPO costs depends on how much the model writes.
    """
    files = next((m.files for m in mixtures if m.files[0].name == run.files[0]), None)
    if files is None:
        return None
    n_rows = sum(file.n_rows for file in files)
    n_reasoning = sum(file.n_reasoning_rows for file in files)
    reasoning_tokens = sum(file.n_reasoning_tokens for file in files)
    direct_tokens = sum(file.n_answer_tokens for file in files) - reasoning_tokens
    n_direct = n_rows - n_reasoning
    # With one kind of rows the length of the other does not count.
    trace = reasoning_tokens / n_reasoning if n_reasoning else 1.0
    direct = direct_tokens / n_direct if n_direct else trace
    workload = Workload(
        n_rows=n_rows,
        prompt_tokens=sum(file.n_prompt_tokens for file in files) / n_rows,
        answer_tokens=direct,
        trace_ratio=max(trace / direct, 0.01),
        n_epochs=run.n_epochs,
    )
    return training_cost(
        request.size,
        n_reasoning / n_rows,
        workload,
        gpus=request.gpus,
        lora=run.is_lora,
    )


def describe_cost(cost: TrainingCost | None) -> dict[str, object] | None:
    """Return a cost as JSON values."""
    if cost is None:
        return None
    hours, wall, usd = cost.gpu_hours, cost.wall_hours, cost.usd
    return {
        "flops": cost.flops,
        "n_tokens": cost.n_tokens,
        "gpus": cost.gpus,
        "gpu_hours": [hours.low, hours.mid, hours.high],
        "wall_hours": [wall.low, wall.mid, wall.high],
        "usd": None if usd is None else [usd.low, usd.mid, usd.high],
        "price_note": cost.price_note,
        "formula": cost.formula,
    }


def stage_memory(request: ExportRequest, run: TrainingRun) -> MemoryPerGpu | None:
    """Return what each GPU must hold; `None` for GRPO, which also holds an engine."""
    if run.grpo is not None:
        return None
    # DPO reads a chosen and a rejected answer at a time.
    n_sequences = run.per_device_batch * (2 if run.dpo is not None else 1)
    return memory_per_gpu(
        request.size,
        sequence_tokens=run.max_length * n_sequences,
        gpus=request.gpus,
        method="lora" if run.is_lora else "full",
        sharding="zero3" if run.n_gpus > 1 else "none",
        fused_logits=request.library == "trl" and run.dpo is None,
    )


def describe_memory(memory: MemoryPerGpu | None) -> str:
    """Return memory per GPU as a sentence; empty where it is not known."""
    if memory is None:
        return ""
    fits = "which fits" if memory.fits else "which may fit" if memory.may_fit else "too much"
    low, high = memory.total.low / 1e9, memory.total.high / 1e9
    return (
        f"Each GPU holds {low:.0f} to {high:.0f} GB for the longest row, most of it"
        f" {memory.dominant}, {fits} {memory.device_bytes / 1e9:.0f} GB (an estimate)."
    )
