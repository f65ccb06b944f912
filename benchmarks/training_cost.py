"""Training FLOPs counted exactly beside the shortcut 6 N D, and what a table of options takes.

Nothing here is measured on a GPU: the ratios are arithmetic, the time is this machine's.
"""

import time

from advisor.cost import (
    Gpus,
    Workload,
    inference_flops,
    memory_per_gpu,
    network,
    six_nd_flops,
    smallest_n_gpus,
    training_cost,
    training_flops,
)

from ._report import Report

SIZES = ("0.5B", "1.5B", "3B", "4B", "7B", "14B", "32B")
LENGTHS = (750, 6150, 16_000, 32_000)
N_TABLES = 200


def run(report: Report) -> None:
    """Print exact / 6ND over sizes and lengths, then the time of a table of 12 options."""
    for size in SIZES:
        for n_tokens in LENGTHS:
            rows = Workload(n_rows=1, prompt_tokens=0, answer_tokens=n_tokens)
            report.add(
                f"{size} {n_tokens:,} tokens",
                training_flops(size, 0.0, rows),
                "FLOPs/row",
                baseline=("6ND", six_nd_flops(size, 0.0, rows)),
                note=network(size).basis,
            )
    for n_tokens in (750, 6150):
        rows = Workload(n_rows=1, prompt_tokens=0, answer_tokens=n_tokens)
        report.add(
            f"LoRA 3B {n_tokens:,} tokens",
            training_flops("3B", 0.0, rows, lora=True),
            "FLOPs/row",
            baseline=("full", training_flops("3B", 0.0, rows)),
        )
    _table()
    began = time.perf_counter()
    for _ in range(N_TABLES):
        _table()
    spent_ms = (time.perf_counter() - began) * 1e3 / N_TABLES
    report.add("cost table of 12 options", spent_ms, "ms", at_most=5.0)


def _table() -> None:
    """Everything that one recommendation prices, for six sizes and two ratios."""
    workload, gpus = Workload(), Gpus.parse("8xh100")
    for size in ("0.5B", "1.5B", "3B", "4B", "7B", "14B"):
        for ratio in (0.0, 0.25):
            training_cost(size, ratio, workload, gpus=gpus)
            memory_per_gpu(size, sequence_tokens=8192, gpus=gpus)
            smallest_n_gpus(size, sequence_tokens=8192, gpus=gpus)
            inference_flops(size, workload.prompt_tokens, workload.answer_tokens)
