"""Rerun the experiments on training methods: `python -m calibration.pocket.methods --help`.

Needs the extra `train`. Every run is trained, exported to ONNX and measured by the same harness as
any model, and its result is a file: what has one is not run again. A result is bound to the base
model and the settings that it was made with: others are refused, not mixed. `--collect` writes the
table of all results that there are.
"""

import argparse
import asyncio
import base64
import csv
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from policies import DecodingOptions, InvalidInputError, build_policy
from policies.backends.pocket import PocketBackend

from .._arm import Arm
from .._models import describe_model
from .._outcomes import Outcome, OutcomeRecord
from .._plan import Plan
from .._run import run_plan
from .._store import RunStore
from ..statistics import wilson_interval
from ..tasks import load_tasks
from .methods_runs import Memory, MethodRun, Scale, base_folder, train_run
from .onnx_weights import write_onnx

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM

__all__ = ["COLUMNS", "collect", "main", "measure_model", "packed", "perform"]

COLUMNS = (
    *(
        "experiment",
        "method",
        "size",
        "corpus",
        "seed",
        "budget",
        "task_type",
        "mode",
        "policy",
        "temperature",
    ),
    *("n", "n_correct", "n_cut", "accuracy", "ci_low", "ci_high", "mean_tokens"),
    *("train_flops", "sample_flops", "n_steps", "n_examples", "answers"),
)
"""Columns of the table.

`train_flops` are those after the start, sampling included, and for a student's start what making
it took; `answers` are the questions' bits, right or not, in base64.
"""

_SCHEMA_VERSION = 1
_MEASURE_SEED = 20_251
"""Learning rates of the methods were chosen on questions of seed 7, those of students on seed 1;
nothing was chosen on these. Streams share few questions: 8% of open mathematics and 3% of general
open-ended questions, short ones that any stream draws, and none with options."""
_SHARED = ("scale", "measured", "versions")
"""What all results of a table have in common."""
_POLICY = "reasoning@max"
_GREEDY = DecodingOptions(max_answer_tokens=16, max_thinking_tokens=200)
_SAMPLED = replace(_GREEDY, temperature=1.0, seed=1)
"""Students are asked in both ways; models with skills hardly err when they decode greedily, so they
are asked at a temperature of 1.

Source: of that temperature: evaluation of arXiv 2502.18080.
"""


def perform(
    run: MethodRun,
    out: Path,
    *,
    bases: Path,
    shipped: Path,
    onnx: Path,
    scale: Scale,
    memory: Memory | None = None,
) -> Path:
    """Train and measure one run unless its result is there; return the result's file.

    Args:
        run: Which run.
        out: Receives `results/ID.json`, and `starts/ID` with a start's weights.
        bases: Folder of base models, each in `SIZE/model`.
        shipped: Folder of the shipped models' safetensors.
        onnx: Folder of the shipped models' ONNX form, whose graphs are reused.
        scale: How large everything is.
        memory: Answers that earlier runs of this process sampled.

    Raises:
        InvalidInputError: A base model, or the weights of the run's start, are missing; or there is
            a result that another base model or other settings have made.
        RuntimeError: Some question could not be asked.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    target = out / "results" / f"{run.id}.json"
    base = base_folder(run, bases, shipped)
    _require_model(base, run)
    binding = _binding(base, scale)
    if target.exists():
        _require_same(target, binding)
        return target
    torch.set_num_threads(1)
    is_student = run.corpus != "skills"
    folder = base
    if is_student and run.method != "start":
        folder = out / "starts" / run.start.id
        _require_model(folder, run)
    model: Qwen3ForCausalLM = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    began = time.process_time()
    trained = train_run(
        run, model, tokenizer, scale, lambda line: _tell(f"{run.id}: {line}"), memory
    )
    took = time.process_time() - began
    if is_student and run.method == "start":
        model.save_pretrained(out / "starts" / run.id)
        tokenizer.save_pretrained(str(out / "starts" / run.id))
    cells = measure_model(model, onnx / run.size, run=run, n=scale.n_measured)
    result = {
        "schema_version": _SCHEMA_VERSION,
        "run": asdict(run),
        **binding,
        "begins_sha256": _sha256(folder),
        "versions": _versions(),
        "train_cpu_seconds": round(took, 1),
        "measure_cpu_seconds": round(time.process_time() - began - took, 1),
        **trained._asdict(),
        "cells": cells,
    }
    _write(target, json.dumps(result, indent=1) + "\n")
    shown = " ".join(
        f"{one['task_type']} {one['accuracy']:.3f} @{one['mean_tokens']:.0f}" for one in cells
    )
    _tell(f"{run.id}: {shown} ({took:.0f} CPU seconds of training)")
    return target


def _require_model(folder: Path, run: MethodRun) -> None:
    if not (folder / "config.json").is_file():
        raise InvalidInputError(
            f"{folder} holds no model, and {run.id} begins there",
            hint="pre-train bases with: python -m calibration.pocket.base; starts are runs of the "
            "same experiment, whose weights lie in --out",
            code="start-missing",
        )


def _binding(base: Path, scale: Scale) -> dict[str, Any]:
    """Return what a result depends on besides its run, as JSON values; budgets are the run's."""
    settings = asdict(scale)
    del settings["budgets"]
    measured = {"seed": _MEASURE_SEED, "greedy": asdict(_GREEDY), "sampled": asdict(_SAMPLED)}
    binding = {"base_sha256": _sha256(base), "scale": settings, "measured": measured}
    return json.loads(json.dumps(binding))


def _require_same(target: Path, binding: Mapping[str, Any]) -> None:
    """Refuse to go on with results that another base or other settings have made."""
    found = json.loads(target.read_text(encoding="utf-8"))
    for name, value in binding.items():
        if found.get(name) != value:
            what = "another base model" if name == "base_sha256" else f"another {name}"
            raise InvalidInputError(
                f"{target} was made with {what}: it has {_differing(found.get(name), value)}",
                hint="give another --out, or what it was made with",
                code="other-study",
            )


def _differing(found: object, wanted: object) -> str:
    """Return what was found where it differs from what is wanted, with the name of the place."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        old, new = cast("dict[str, object]", found), cast("dict[str, object]", wanted)
        name = next(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))
        return f"{name} {_differing(old.get(name), new.get(name))}"
    return f"{found!r}, now it is {wanted!r}"


def _sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformers", "onnx", "onnxruntime-genai")}


def measure_model(
    model: "Qwen3ForCausalLM", like: Path, *, run: MethodRun, n: int
) -> list[dict[str, Any]]:
    """Return the cells of a model, asked by the ordinary harness through its ONNX form.

    Args:
        model: The trained model.
        like: ONNX folder of the same shape and tokenizer.
        run: Which run; students of mathematics are asked mathematics alone.
        n: Held-out questions per task type.
    """
    is_student = run.corpus != "skills"
    names = ["pocket-math-oe", "pocket-math-mc"] if is_student else ["pocket"]
    cells: list[dict[str, Any]] = []
    weights = {name: one.detach().numpy() for name, one in model.named_parameters()}
    with TemporaryDirectory() as temporary:
        write_onnx(weights, like, Path(temporary) / "model")
        folder = Path(temporary)
        for decoding in (_GREEDY, _SAMPLED) if is_student else (_SAMPLED,):
            records = asyncio.run(_ask(folder, run.size, names, n, decoding))
            cells += _cells(records, decoding.temperature)
    return cells


async def _ask(
    folder: Path, size: str, names: Sequence[str], n: int, decoding: DecodingOptions
) -> list[OutcomeRecord]:
    name = f"run-{decoding.temperature:g}.sqlite"
    backend = PocketBackend(size, directory=folder / "model")
    try:
        facts = describe_model(backend)
        arms = (Arm(backend, build_policy(_POLICY), facts),)
        tasks = tuple(load_tasks(names, limit=n, seed=_MEASURE_SEED))
        with RunStore.create(folder / name) as store:
            summary = await run_plan(Plan(tasks, arms, decoding), store)
    finally:
        await backend.aclose()
    if summary.n_asked < summary.n_total or summary.n_error:
        raise RuntimeError(f"{size}: not every question was answered: {summary}")
    # In the order of the tasks, so that bits of different runs belong together.
    place = {q.id: i for task in tasks for i, q in enumerate(task.questions)}
    with RunStore.open(folder / name) as store:
        return sorted(store.records(), key=lambda one: place[one.question_id])


def _cells(records: Iterable[OutcomeRecord], temperature: float) -> list[dict[str, Any]]:
    groups: dict[str, list[OutcomeRecord]] = {}
    for record in records:
        groups.setdefault(record.task_type, []).append(record)
    cells: list[dict[str, Any]] = []
    for task_type, own in sorted(groups.items()):
        right = [one.outcome is Outcome.CORRECT for one in own]
        interval = wilson_interval(sum(right), len(right))
        cells.append(
            {
                "task_type": task_type,
                "mode": "reasoning",
                "policy": _POLICY,
                "temperature": temperature,
                "n": len(right),
                "n_correct": sum(right),
                "n_cut": sum(one.outcome is Outcome.CUT for one in own),
                "accuracy": sum(right) / len(right),
                "ci_low": interval.low,
                "ci_high": interval.high,
                "mean_tokens": sum(one.completion_tokens or 0 for one in own) / len(own),
                "answers": packed(right),
            }
        )
    return cells


def packed(bits: Sequence[bool]) -> str:
    """Return bits in base64, the first one in the highest place of the first byte."""
    padded = [*bits, *([False] * (-len(bits) % 8))]
    octets = bytes(
        sum(bit << (7 - place) for place, bit in enumerate(padded[start : start + 8]))
        for start in range(0, len(padded), 8)
    )
    return base64.b64encode(octets).decode("ascii")


def collect(out: Path, folder: Path) -> int:
    """Write `methods.csv` and its manifest `methods.json` from the results; return the rows.

    Raises:
        InvalidInputError: There are no results, or they were not all made with the same settings,
            software and base models.
    """
    found = [json.loads(one.read_text("utf-8")) for one in sorted((out / "results").glob("*.json"))]
    if not found:
        raise InvalidInputError(
            f"{out / 'results'} holds no results", hint="run the experiments first"
        )
    bases: dict[str, str] = {}
    for result in found:
        _require_alike(found[0], result, bases)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    n_rows = 0
    for result in found:
        for cell in result["cells"]:
            writer.writerow({key: _rounded(value) for key, value in _row(result, cell).items()})
            n_rows += 1
    facts = {
        MethodRun(**result["run"]).id: {
            **{name: result[name] for name in ("begins_sha256", "train_cpu_seconds")},
            **result["facts"],
        }
        for result in found
    }
    manifest = {
        "kind": "pocket-methods",
        "schema_version": _SCHEMA_VERSION,
        "sha256": hashlib.sha256(text.getvalue().encode()).hexdigest(),
        "bases": bases,
        **{name: found[0][name] for name in _SHARED},
        "runs": facts,
    }
    _write(folder / "methods.csv", text.getvalue())
    _write(folder / "methods.json", json.dumps(manifest, indent=1) + "\n")
    return n_rows


def _require_alike(
    first: Mapping[str, Any], result: Mapping[str, Any], bases: dict[str, str]
) -> None:
    """Refuse a result that does not belong to the first one; note its base model by size."""
    size = result["run"]["size"]
    of_size = bases.setdefault(size, result["base_sha256"])
    pairs = [(f"base model of {size}", of_size, result["base_sha256"])]
    pairs += [(name, first[name], result[name]) for name in _SHARED]
    for name, wanted, found in pairs:
        if wanted != found:
            raise InvalidInputError(
                f"{MethodRun(**result['run']).id} was made with another {name} than the results "
                f"beside it: {_differing(found, wanted)}",
                hint="collect results of one study alone",
                code="other-study",
            )


def _row(result: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, Any]:
    return {**result, **result["run"], **cell}


def _rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(","))


def main() -> None:
    """Parse the command line, run what has no result yet, and collect."""
    parser = argparse.ArgumentParser(prog="python -m calibration.pocket.methods")
    parser.add_argument("--out", type=Path, required=True, help="results and starts")
    parser.add_argument("--bases", type=Path, required=True, help="base models, SIZE/model each")
    parser.add_argument("--models", type=Path, default=Path("models"), help="shipped safetensors")
    parser.add_argument("--onnx", type=Path, default=Path("policies/pocket_models"))
    parser.add_argument("--experiments", default="tops,dpo,grpo")
    parser.add_argument("--sizes", default="pocket-xs,pocket-s")
    parser.add_argument("--seeds", type=_numbers, default=(1, 2))
    parser.add_argument("--budgets", type=_numbers, help="supervised rows, for grpo")
    parser.add_argument("--collect", type=Path, help="folder that receives the table")
    options = parser.parse_args()
    scale = Scale() if options.budgets is None else Scale(budgets=options.budgets)
    runs = MethodRun.plan(
        options.experiments.split(","), options.sizes.split(","), options.seeds, scale
    )
    memory: Memory = {}
    try:
        for run in runs:
            perform(
                run,
                options.out,
                bases=options.bases,
                shipped=options.models,
                onnx=options.onnx,
                scale=scale,
                memory=memory,
            )
        if options.collect is not None:
            _tell(f"{collect(options.out, options.collect)} rows in {options.collect}")
    except InvalidInputError as error:
        parser.exit(3, f"error: {error}\n")


if __name__ == "__main__":
    main()
