"""How a router is asked: two JSON files and a process of its own.

We write `pairs.json`: questions with the outcomes of a cheap and a dear arm to learn from, and
questions without outcomes to decide. A runner, started with the interpreter of the router's own
environment, reads it and writes `result.json`: what each configuration of the router says about
every test question. No outcome of a test question ever leaves this process.
"""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["PROTOCOL", "ROOT", "Answer", "Mode", "Question", "RunnerError", "Split", "ask"]

PROTOCOL = 1
Mode = Literal["resume", "fresh", "cached"]
ROOT = Path(__file__).resolve().parents[2]


class RunnerError(RuntimeError):
    """A runner failed, or what it wrote cannot be used."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question with what both arms did.

    Attributes:
        q: Its text.
        task: Name of its task.
        group: Questions of one group never lie on both sides of a split.
        weak: Share of correct answers of the cheap arm, in [0, 1].
        strong: The dear arm's.
        weak_tokens: Generated tokens of the cheap arm; None if not recorded.
        strong_tokens: The dear arm's.
        n_samples: Answers behind each share.
    """

    q: str
    task: str
    group: str
    weak: float
    strong: float
    weak_tokens: float | None = None
    strong_tokens: float | None = None
    n_samples: int = 1


@dataclass(frozen=True, slots=True)
class Split:
    """What one fit and its decisions are made of.

    Attributes:
        name: Name of the set, and of the fold if there are several.
        arms: Model and policy of the cheap and the dear arm.
        train: Questions to learn from.
        test: Questions to decide.
        n_timed: Decisions to time one by one; 0 for none.
    """

    name: str
    arms: tuple[tuple[str, str], tuple[str, str]]
    train: tuple[Question, ...]
    test: tuple[Question, ...]
    n_timed: int

    def to_json(self) -> dict[str, Any]:
        """Return what a runner gets to see."""
        return {
            "protocol": PROTOCOL,
            "name": self.name,
            "arms": [{"model": model, "policy": policy} for model, policy in self.arms],
            "n_timed": self.n_timed,
            "train": [asdict(question) for question in self.train],
            "test": [{"q": question.q, "task": question.task} for question in self.test],
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What one configuration of a router said about the test questions of one split.

    Attributes:
        score: Who needs the dear arm most, one number per question; None if it tells nobody.
        score_by_cost: The same where calls are paid by the token; None if it is the same.
        is_strong: Its own decision at its default settings; None if it has none.
        latency_ms: `p50`, `p99` and `n` of single decisions; None if none were timed.
        fit_s: Seconds its fit took; None without one.
        note: Remarks.
    """

    score: list[float] | None
    score_by_cost: list[float] | None
    is_strong: list[bool] | None
    latency_ms: dict[str, float] | None
    fit_s: float | None
    note: str


def ask(
    command: Sequence[str | Path],
    splits: Sequence[Split],
    *,
    cache: Path,
    identity: str,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    mode: Mode = "resume",
) -> list[dict[str, Answer]] | None:
    """Return what every configuration of a router says about each split, cached where it can.

    Args:
        command: The runner; the paths of questions and results are appended.
        splits: The questions; one process answers all that are not in the cache, since some
            routers take longer to import than to decide.
        cache: Folder of results, one file for each router and split.
        identity: Everything but the split that a result depends on: router, version, runner.
        timeout_s: Seconds after which the runner is ended; what it finished is kept.
        environment: Variables to set for the runner.
        mode: `resume` runs only without a result in the cache, `fresh` always, `cached` never;
            the answer is then None.

    Raises:
        RunnerError: The runner failed, took too long, or wrote something else than asked for.
    """
    documents = [json.dumps(split.to_json(), ensure_ascii=False) for split in splits]
    kept = [cache / f"{_digest(identity, document)}.json" for document in documents]
    missing = [index for index, path in enumerate(kept) if mode == "fresh" or not path.is_file()]
    if missing and mode == "cached":
        return None
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            paths = [(folder / f"pairs-{i}.json", folder / f"result-{i}.json") for i in missing]
            for (pairs, _), index in zip(paths, missing, strict=True):
                pairs.write_text(documents[index], encoding="utf-8")
            arguments = [str(path) for both in paths for path in both]
            try:
                _run([*map(str, command), *arguments], timeout_s, environment or {})
            finally:
                for (_, result), index in zip(paths, missing, strict=True):
                    if result.is_file():
                        _keep(result, kept[index], identity, len(splits[index].test))
    return [_answers(path, len(split.test)) for path, split in zip(kept, splits, strict=True)]


def _digest(identity: str, document: str) -> str:
    return hashlib.sha256(f"{PROTOCOL}\n{identity}\n{document}".encode()).hexdigest()[:32]


def _keep(result: Path, kept: Path, identity: str, n_test: int) -> None:
    """Put a result into the cache, if it can be used."""
    try:
        written = json.loads(result.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunnerError(f"the runner wrote no JSON: {error}") from error
    _read(written, n_test)
    beside = kept.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps({"identity": identity, **written}), encoding="utf-8")
    beside.replace(kept)


def _answers(path: Path, n_test: int) -> dict[str, Answer]:
    if not path.is_file():
        raise RunnerError("the runner wrote no result")
    return _read(json.loads(path.read_text(encoding="utf-8")), n_test)


def _run(command: list[str], timeout_s: float, environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except OSError as error:
        raise RunnerError(f"the runner did not start: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise RunnerError(f"the runner was ended after {timeout_s:.0f} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise RunnerError(f"exit status {done.returncode}: {lines[-1] if lines else 'no message'}")


def _read(document: dict[str, Any], n_test: int) -> dict[str, Answer]:
    """Check what a runner wrote: lengths, types, and no NaN that would be ranked in silence."""
    if document.get("protocol") != PROTOCOL:
        raise RunnerError(f"the result does not speak protocol {PROTOCOL}")
    answers: dict[str, Answer] = {}
    variants: dict[str, Any] = document["variants"]
    for name, variant in variants.items():
        for field in ("score", "score_by_cost", "is_strong"):
            values: list[Any] | None = variant.get(field)
            if values is None:
                continue
            if len(values) != n_test:
                raise RunnerError(f"{name}: {len(values)} values of {field!r}, not {n_test}")
            if field != "is_strong" and not all(_is_finite(value) for value in values):
                raise RunnerError(f"{name}: {field!r} holds something else than finite numbers")
        answers[name] = Answer(
            score=variant.get("score"),
            score_by_cost=variant.get("score_by_cost"),
            is_strong=variant.get("is_strong"),
            latency_ms=variant.get("latency_ms"),
            fit_s=variant.get("fit_s"),
            note=variant.get("note", ""),
        )
    return answers


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < float("inf")
