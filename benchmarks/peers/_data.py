"""The questions: pairs of models with a split of their own, and recorded runs cut into folds.

The data lie beside the repository, never in it; see `--data`. Translations of a question, and
repeats of it, are one group, and a group lies in one fold.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ._metrics import Labels
from ._protocol import ROOT, Question, Split

__all__ = ["DATA", "SETS", "PairSet", "load_set"]

DATA = ROOT.parent / "shared" / "data" / "outcomes"
N_FOLDS = 5
N_TIMED = 300
_N_SAMPLES = 10
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PairSet:
    """A cheap and a dear arm on the same questions.

    Attributes:
        name: Short name.
        title: What the arms are.
        splits: One for each fold; together their test questions are all questions.
    """

    name: str
    title: str
    splits: tuple[Split, ...]

    @property
    def tested(self) -> tuple[Question, ...]:
        """The test questions of all folds, in their order."""
        return tuple(question for split in self.splits for question in split.test)

    @property
    def labels(self) -> Labels:
        """Outcomes of the test questions of all folds, in their order."""
        tested = self.tested
        groups = np.unique([question.group for question in tested], return_inverse=True)[1]
        has_tokens = all(
            question.weak_tokens is not None and question.strong_tokens is not None
            for question in tested
        )
        return Labels(
            weak=np.array([question.weak for question in tested], dtype=np.float64),
            strong=np.array([question.strong for question in tested], dtype=np.float64),
            weak_tokens=_floats([q.weak_tokens for q in tested]) if has_tokens else None,
            strong_tokens=_floats([q.strong_tokens for q in tested]) if has_tokens else None,
            groups=groups.astype(np.int64),
        )


@dataclass(frozen=True, slots=True)
class _Recorded:
    """How one set is cut out of a table of recorded outcomes."""

    title: str
    folder: str
    modes: tuple[str, str]
    policies: tuple[str, str]
    keep: Callable[[Row], bool]
    group: Callable[[Row], str]


def _any_language(row: Row) -> str:
    return row["question_id"].split("/", 1)[1]


def _same_text(row: Row) -> str:
    return " ".join(row["prompt"].lower().split())


def _exam(row: Row, model: str) -> bool:
    # `comprehensive` repeats questions of the other exams.
    return row["task"] != "comprehensive" and row["model"].startswith(f"{model} ")


_RECORDED = {
    "renze-gpt-3.5": _Recorded(
        "10 exams, GPT-3.5, direct or chain of thought",
        "renze_ccot",
        ("direct", "cot"),
        ("direct", "cot"),
        lambda row: _exam(row, "gpt-3.5-turbo"),
        _same_text,
    ),
    "renze-gpt-4": _Recorded(
        "10 exams, GPT-4, direct or chain of thought",
        "renze_ccot",
        ("direct", "cot"),
        ("direct", "cot"),
        lambda row: _exam(row, "gpt-4"),
        _same_text,
    ),
    "zero-shot-cot": _Recorded(
        "12 tasks, text-davinci-002, direct or chain of thought",
        "zero_shot_cot_2022",
        ("direct", "cot"),
        ("direct", "cot"),
        lambda _: True,
        _same_text,
    ),
    "gmmlu-1000": _Recorded(
        "Global-MMLU, 7 languages, 32B, direct or 1,000 thinking tokens",
        "gmmlu_s1_budget",
        ("direct", "think_1000"),
        ("direct", "reasoning@1000"),
        lambda _: True,
        _any_language,
    ),
    "gmmlu-8000": _Recorded(
        "Global-MMLU, 7 languages, 32B, direct or 8,000 thinking tokens",
        "gmmlu_s1_budget",
        ("direct", "think_8000"),
        ("direct", "reasoning@8000"),
        lambda _: True,
        _any_language,
    ),
    "mgsm-14B": _Recorded(
        "MGSM, up to 11 languages, 14B, direct or 1,000 thinking tokens",
        "mgsm_sizes",
        ("direct", "think_1000"),
        ("direct", "reasoning@1000"),
        lambda row: row["model"] == "qwen2.5-14B",
        _any_language,
    ),
    "mgsm-32B": _Recorded(
        "MGSM, up to 11 languages, 32B, direct or 1,000 thinking tokens",
        "mgsm_sizes",
        ("direct", "think_1000"),
        ("direct", "reasoning@1000"),
        lambda row: row["model"] == "qwen2.5-32B",
        _any_language,
    ),
}
SETS = ("pair-A", "pair-B", *_RECORDED)
"""Names of all sets."""


def load_set(name: str, data: Path = DATA) -> PairSet:
    """Return a set by name.

    Raises:
        KeyError: There is no such set.
        OSError: The data are not there.
    """
    if name in {"pair-A", "pair-B"}:
        return _model_pair(name, data / "weak_strong_pairs" / f"data_{name[-1]}.json")
    recorded = _RECORDED[name]
    questions = _questions(recorded, data / recorded.folder / "long.parquet")
    arms = (("m", recorded.policies[0]), ("m", recorded.policies[1]))
    fold_of = np.array([fold_of_group(question.group) for question in questions])
    splits = [
        Split(
            name=f"{name}/{fold}",
            arms=arms,
            train=tuple(q for q, own in zip(questions, fold_of, strict=True) if own != fold),
            test=tuple(q for q, own in zip(questions, fold_of, strict=True) if own == fold),
            n_timed=N_TIMED if fold == 0 else 0,
        )
        for fold in range(N_FOLDS)
    ]
    return PairSet(name, recorded.title, tuple(splits))


def fold_of_group(group: str, n_folds: int = N_FOLDS) -> int:
    """Return the fold of a group, the same for ever."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8]) % n_folds


def _model_pair(name: str, path: Path) -> PairSet:
    document = json.loads(path.read_text(encoding="utf-8"))
    arms = ((document["weak"], "direct"), (document["strong"], "direct"))
    train, test = (
        tuple(
            Question(row["q"], row["task"], _key(row["q"]), row["weak"], row["strong"])
            for row in document[part]
        )
        for part in ("train", "test")
    )
    seen = {question.group for question in train} & {question.group for question in test}
    train = tuple(question for question in train if question.group not in seen)
    title = f"{document['weak']} or {document['strong']}"
    return PairSet(name, title, (Split(name, arms, train, test, N_TIMED),))


def _questions(recorded: _Recorded, path: Path) -> tuple[Question, ...]:
    """Return the questions on which both arms were measured, in a fixed order."""
    parquet: Any = import_module("pyarrow.parquet")
    by_mode: dict[str, dict[str, Row]] = {mode: {} for mode in recorded.modes}
    rows: list[Row] = parquet.read_table(path).to_pylist()
    for row in rows:
        if row["mode"] in by_mode and recorded.keep(row):
            by_mode[row["mode"]][row["question_id"]] = row
    weak, strong = (by_mode[mode] for mode in recorded.modes)
    return tuple(
        Question(
            q=weak[name]["prompt"],
            task=weak[name]["task"],
            group=_key(recorded.group(weak[name])),
            weak=float(weak[name]["correct"]),
            strong=float(strong[name]["correct"]),
            weak_tokens=float(weak[name]["completion_tokens"]),
            strong_tokens=float(strong[name]["completion_tokens"]),
            n_samples=_N_SAMPLES if "sample_ok_1" in weak[name] else 1,
        )
        for name in sorted(weak.keys() & strong.keys())
    )


def _key(text: str) -> str:
    """Return a short name for a group, so that no group holds a question's text."""
    return hashlib.sha256(" ".join(text.lower().split()).encode()).hexdigest()[:16]


def _floats(values: Iterable[float | None]) -> Any:
    return np.array([float(value) for value in values if value is not None], dtype=np.float64)
