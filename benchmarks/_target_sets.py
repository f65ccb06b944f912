"""The recorded sets that the router is held to, and what it is held to on each.

The data lie beside the repository, never in it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from calibration import OutcomeRecord, load_outcomes
from router import OutcomeMatrix

__all__ = ["DATA", "PAIRS", "SETS", "TargetSet", "load_matrix"]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "outcomes"

PAIRS = {"pair-A": 0.80, "pair-B": None}
"""Pairs of models with a split of their own, and the APGR asked of text alone."""


def _keep_all(record: OutcomeRecord) -> OutcomeRecord | None:
    return record


def _ten_exams(record: OutcomeRecord) -> OutcomeRecord | None:
    # The eleventh one repeats questions of the others.
    return None if record.task == "comprehensive" else record


def _by_question(record: OutcomeRecord) -> OutcomeRecord | None:
    return replace(record, group=record.question_id)


@dataclass(frozen=True, slots=True)
class TargetSet:
    """One comparison.

    Attributes:
        title: What it is.
        folder: Where the outcomes lie.
        model: The only model, as the importer names it; wildcards are fine.
        arms: Policies to choose from; all if empty.
        reference: The policy to save tokens against; the most accurate if `None`.
        targets: What is asked for, by the name of the figure.
        edit: What becomes of each record; `None` leaves it out.
        note: What to know when reading its figures.
    """

    title: str
    folder: str
    model: str
    arms: tuple[str, ...]
    reference: str | None
    targets: dict[str, float] = field(default_factory=dict[str, float])
    edit: Callable[[OutcomeRecord], OutcomeRecord | None] = _keep_all
    note: str = ""


_TWO = ("direct", "cot")
_MGSM = ("direct", "reasoning@1000")
_LEAK = "translations of a question on both sides of a fold: its numbers give it away"
_RENZE = {"saved": 0.88, "certified": 0.75, "headroom": 0.37}
_MGSM_14B = {"saved": 0.55, "certified": 0.20, "headroom": 0.18}
_MGSM_32B = {"saved": 0.75, "certified": 0.40, "headroom": 0.25}

SETS = {
    "renze-gpt-3.5": TargetSet(
        "10 exams, GPT-3.5", "renze_ccot", "gpt-3.5*", _TWO, "cot", _RENZE, _ten_exams
    ),
    "renze-gpt-4": TargetSet(
        "10 exams, GPT-4", "renze_ccot", "gpt-4*", _TWO, "cot", _RENZE, _ten_exams
    ),
    "renze-gpt-3.5-all": TargetSet(
        "the same, all four modes", "renze_ccot", "gpt-3.5*", (), "cot", {}, _ten_exams
    ),
    "renze-gpt-4-all": TargetSet(
        "the same, all four modes", "renze_ccot", "gpt-4*", (), "cot", {}, _ten_exams
    ),
    "zero-shot-cot": TargetSet(
        "12 tasks, text-davinci-002",
        "zero_shot_cot_2022",
        "*",
        _TWO,
        "cot",
        {"saved": 0.33, "certified": 0.20, "headroom": 0.45},
    ),
    "mgsm-14B": TargetSet(
        "MGSM, 11 languages, 14B", "mgsm_sizes", "qwen2.5-14B", _MGSM, _MGSM[1], _MGSM_14B
    ),
    "mgsm-32B": TargetSet(
        "MGSM, 11 languages, 32B", "mgsm_sizes", "qwen2.5-32B", _MGSM, _MGSM[1], _MGSM_32B
    ),
    "mgsm-14B-leaking": TargetSet(
        "the same, folds by question id",
        "mgsm_sizes",
        "qwen2.5-14B",
        _MGSM,
        _MGSM[1],
        _MGSM_14B,
        _by_question,
        _LEAK,
    ),
    "mgsm-32B-leaking": TargetSet(
        "the same, folds by question id",
        "mgsm_sizes",
        "qwen2.5-32B",
        _MGSM,
        _MGSM[1],
        _MGSM_32B,
        _by_question,
        _LEAK,
    ),
    "gmmlu": TargetSet(
        "Global-MMLU, 7 languages, 32B, direct and 500 to 8,000 tokens",
        "gmmlu_s1_budget",
        "*",
        (),
        "reasoning@8000",
        {"saved": 0.52, "certified": 0.45},
    ),
    "tatqa": TargetSet(
        "tables and text, code-davinci-002, direct, CoT, PoT", "tatqa_codex", "code*", (), None
    ),
}
"""All recorded sets with tokens, by name."""


def load_matrix(one: TargetSet, data: Path = DATA) -> OutcomeMatrix:
    """Return the questions of a set on which all its arms were measured, with their tokens.

    Raises:
        DataFileError: The data are not there.
    """
    path = data / one.folder / "long.parquet"
    loaded = load_outcomes(path, models=[one.model], arms=one.arms)
    edited = (one.edit(record) for record in loaded.records)
    matrix = OutcomeMatrix.from_records(record for record in edited if record is not None)
    known = ~np.isnan(matrix.correct + matrix.tokens)
    return matrix.rows(np.flatnonzero(np.logical_and.reduce(known, axis=1)))
