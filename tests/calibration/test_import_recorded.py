"""Imports of outcomes recorded by others: nothing lost, nothing counted twice, nothing mixed."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from calibration import Outcome, RunStore
from calibration.importers import detect_format, import_file

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "outcomes"
NAMES = (
    "gmmlu_s1_budget",
    "gsm8k_openai_2021",
    "mgsm_sizes",
    "mip_overthinking_gsm8k",
    "mmlu_pro_cot_ladder",
    "qwen3_30b_mmlupro_budget",
    "renze_9models_cot",
    "renze_ccot",
    "tatqa_codex",
    "zero_shot_cot_2022",
    "zeroeval_ladder",
)
# The largest takes half a minute.
SLOW = ("mmlu_pro_cot_ladder", "renze_ccot", "zeroeval_ladder")
TABLES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]


def table_of(name: str) -> Path:
    path = DATA / name / "long.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def columns_of(path: Path) -> dict[str, list[Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    wanted = ("question_id", "model", "mode", "correct", "n_samples", "completion_tokens")
    names = [n for n in parquet.read_schema(path).names if n in wanted]
    return parquet.read_table(path, columns=names).to_pydict()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", TABLES)
def test_a_recorded_table_arrives_whole_and_only_once(name: str, tmp_path: Path) -> None:
    path = table_of(name)
    columns = columns_of(path)
    n_rows = len(columns["question_id"])
    samples = [int(n) for n in columns.get("n_samples", [1] * n_rows)]
    with RunStore.create(tmp_path / "run.sqlite") as store:
        first = import_file(path, store)
        again = import_file(path, store)
        records = list(store.records())
    assert detect_format(path) == "long"
    assert (first.rows, first.skipped) == (sum(samples), ())
    assert (again.rows, again.n_outcomes) == (0, first.n_outcomes)
    assert len(records) == sum(samples)
    assert first.questions == len(set(columns["question_id"]))
    assert first.arms == len(set(zip(columns["model"], columns["mode"], strict=True)))

    # Accuracy and tokens per arm, computed from the columns without the importer. Modes and
    # policies have different names, so the arms are matched by their questions and sums.
    expected: dict[tuple[str, str], list[float]] = {}
    for i, key in enumerate(zip(columns["model"], columns["mode"], strict=True)):
        sums = expected.setdefault(key, [0, 0.0])
        sums[0] += samples[i]
        sums[1] += columns["correct"][i] * samples[i]
    found: dict[tuple[str, str], list[float]] = {}
    for record in records:
        sums = found.setdefault((record.model, record.policy), [0, 0.0])
        sums[0] += 1
        sums[1] += record.outcome is Outcome.CORRECT
    assert Counter((m, n, round(k)) for (m, _), (n, k) in found.items()) == Counter(
        (m, n, round(k)) for (m, _), (n, k) in expected.items()
    )
    if "n_samples" in columns:
        assert first.share_with_tokens == 0.0  # Means over ten answers are no counts.
    else:
        tokens = sum(record.completion_tokens or 0 for record in records)
        assert tokens == sum(columns["completion_tokens"])


def test_modes_of_one_question_stay_apart(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run.sqlite") as store:
        summary = import_file(table_of("gmmlu_s1_budget"), store)
        per_question = Counter(record.question_id for record in store.records())
    budgets = {f"reasoning@{n}" for n in (500, 1000, 2000, 4000, 8000)}
    assert set(summary.policies) == {"direct", *budgets}
    assert set(per_question.values()) == {6}
