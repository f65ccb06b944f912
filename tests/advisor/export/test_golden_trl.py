"""Every file for TRL that configures or starts a run, compared with what was reviewed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisor import Method, Order, Recipe
from advisor.export import ExportRequest, export_recipe
from policies import ModelSize

GOLDEN = Path(__file__).parents[2] / "golden" / "export" / "trl"
DOMAIN = Order.DOMAIN_GENERAL_THEN_MATH
CASES: dict[str, dict[str, Any]] = {
    "ift": {"reasoning_ratio": 0.0},
    "reasoning": {"reasoning_ratio": 1.0},
    "mixed": {"reasoning_ratio": 0.5, "order": Order.MIXED},
    "sequential": {"reasoning_ratio": 0.25, "order": Order.IFT_THEN_REASONING},
    "domains": {"reasoning_ratio": 1.0, "order": DOMAIN},
    "sequential_then_grpo": {
        "reasoning_ratio": 0.5,
        "order": Order.IFT_THEN_REASONING,
        "then": "grpo",
    },
    "grpo": {"reasoning_ratio": 1.0, "method": Method.GRPO},
    "dpo": {"reasoning_ratio": 1.0, "method": Method.DPO},
    "lora_one_gpu": {"reasoning_ratio": 1.0, "is_lora": True, "n_gpus": 1},
    "packed": {"reasoning_ratio": 0.5, "order": Order.MIXED, "packing": True},
}


@pytest.mark.parametrize("case", CASES)
def test_the_files_are_those_that_were_reviewed(
    case: str, pairs_file: Callable[..., Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    asked = dict(CASES[case])
    names = ("reasoning_ratio", "order", "method")
    how = {name: asked.pop(name) for name in names if name in asked}
    recipe = Recipe(size=ModelSize.parse("3B"), corpus="general", **how)
    data = (pairs_file(n=640),)
    if recipe.order is DOMAIN:
        data = (*data, pairs_file(n=640, name="math.jsonl"))
    if recipe.method is Method.DPO:
        rows = [{"prompt": f"Q{i}", "chosen": f"A{i}", "rejected": f"B{i}"} for i in range(640)]
        data = (tmp_path / "dpo.jsonl",)
        data[0].write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    export_recipe(
        ExportRequest(
            library="trl", recipe=recipe, task_type="math-oe", data=data, out=out, **asked
        )
    )
    names_out = [*out.glob("*.yaml"), out / "launch.sh", *out.glob("*.jinja")]
    found = {path.name: path.read_text("utf-8") for path in names_out}
    folder = GOLDEN / case
    if request.config.getoption("--update-golden"):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, text in found.items():
            (folder / name).write_text(text, "utf-8")
    assert folder.is_dir(), f"{folder} is missing: run pytest with --update-golden"
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == found
