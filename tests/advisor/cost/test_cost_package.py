"""The package is light: what `advisor recommend` answers with must not load heavy libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import advisor.cost

ROOT = Path(__file__).resolve().parents[3]
PROBE = """
import json, sys
from advisor.cost import Gpus, TrainBudget, Workload, grpo_cost, memory_per_gpu, training_cost
cost = training_cost("4B", 0.25, Workload(), gpus=Gpus.parse("8xh100"))
memory_per_gpu("4B", sequence_tokens=8192)
grpo_cost("4B", n_prompts=100, answer_tokens=1000)
TrainBudget.parse("$500").verdict(cost)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_a_whole_table_needs_no_heavy_library() -> None:
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    loaded = set(json.loads(answer.stdout))
    assert not loaded & {
        "numpy", "scipy", "sklearn", "torch", "pandas", "pyarrow", "lightgbm", "transformers",
        "huggingface_hub", "datasets", "httpx", "requests", "rich", "typer",
    }  # fmt: skip


def test_every_public_name_is_there_once() -> None:
    names = advisor.cost.__all__
    assert len(names) == len(set(names))
    assert all(hasattr(advisor.cost, name) for name in names)
