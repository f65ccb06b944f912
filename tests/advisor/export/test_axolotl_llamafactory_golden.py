"""Every file for axolotl and LLaMA-Factory, compared with what was reviewed.

`tests/train/test_schema_*.py` read the same files with the real libraries.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from advisor import Method, Order, Recipe
from advisor.export import ExportRequest, Library, export_recipe
from policies import ModelSize

GOLDEN = Path(__file__).parents[2] / "golden" / "export"
DOMAIN = Order.DOMAIN_GENERAL_THEN_MATH
SEQUENTIAL = Order.IFT_THEN_REASONING
CASES: dict[str, dict[str, Any]] = {
    "sequential": {"reasoning_ratio": 0.25, "order": SEQUENTIAL},
    "mixed_packed": {"reasoning_ratio": 0.5, "packing": True},
    "domains": {"reasoning_ratio": 1.0, "order": DOMAIN},
    "lora": {"reasoning_ratio": 1.0, "is_lora": True},
    "one_gpu": {"reasoning_ratio": 0.0, "n_gpus": 1},
    "lora_one_gpu": {"reasoning_ratio": 1.0, "is_lora": True, "n_gpus": 1},
    "dpo": {"reasoning_ratio": 1.0, "method": Method.DPO},
}
GRPO: dict[str, dict[str, Any]] = {
    "sequential_then_grpo": {"reasoning_ratio": 0.5, "order": SEQUENTIAL, "then": "grpo"},
    "grpo": {"reasoning_ratio": 1.0, "method": Method.GRPO},
}
ALL: list[tuple[Library, str]] = [
    *(("axolotl", case) for case in (*CASES, *GRPO)),
    *(("llamafactory", case) for case in CASES),
]


@pytest.mark.parametrize(("library", "case"), ALL)
def test_the_files_are_those_that_were_reviewed(
    library: Library,
    case: str,
    pairs_file: Callable[..., Path],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    asked = dict((CASES | GRPO)[case])
    names = ("reasoning_ratio", "order", "method")
    how = {name: asked.pop(name) for name in names if name in asked}
    recipe = Recipe(size=ModelSize.parse("3B"), corpus="general", **how)
    data = (pairs_file(n=640),)
    if recipe.order is DOMAIN:
        data = (*data, pairs_file(n=640, name="math.jsonl"))
    if recipe.method is Method.DPO:
        rows = [{"prompt": f"Q{i}", "chosen": f"A{i}", "rejected": f"B{i}"} for i in range(640)]
        data = (tmp_path / "dpo.jsonl",)
        data[0].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    out = tmp_path / "out"
    wanted = ExportRequest(
        library=library, recipe=recipe, task_type="math-oe", data=data, out=out, **asked
    )
    export_recipe(wanted)
    paths = [*out.glob("*.yaml"), *out.glob("ds_*.json"), *out.rglob("dataset_info.json")]
    names_out = {path.relative_to(out).as_posix(): path for path in (*paths, out / "launch.sh")}
    found = {name: path.read_text("utf-8") for name, path in names_out.items()}
    folder = GOLDEN / library / case
    if request.config.getoption("--update-golden"):
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            path.unlink()
        for name, text in found.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
    assert folder.is_dir(), f"{folder} is missing: run pytest with --update-golden"
    reviewed = {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert reviewed == found


def test_every_library_has_reviewed_files() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(get_args(Library))
