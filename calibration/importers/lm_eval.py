"""Format `lm-eval`: the samples that lm-evaluation-harness logs with `--log_samples`.

Source: lm_eval 0.4.13, `evaluator.py` and `loggers/evaluation_tracker.py`: one JSON object per
question and filter in `samples_TASK_TIME.jsonl`, beside `results_TIME.json` with the model.
Token counts are not in these files, so they stay unknown.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies import MAX, DataFileError, PolicySpec, UnknownNameError

from .._outcomes import ImportedOutcome, Outcome
from ._head import FileHead
from ._record import (
    UNKNOWN_TASK_TYPE,
    ImportHints,
    SkippedRow,
    UnusableRowError,
    as_list,
    as_mapping,
    count_of,
    outcome_of_score,
    share_of,
    text_of,
)
from ._rows import read_rows

__all__ = ["missing", "read"]

_KEYS = ("doc_id", "doc", "filtered_resps")
_METRICS = (
    *("exact_match", "acc", "acc_norm", "math_verify", "pass@1", "pass_at_1"),
    *("prompt_level_strict_acc", "em", "f1"),
)
"""Metrics in the order in which they are preferred."""
_FILTERS = ("strict-match", "none", "flexible-extract")
"""Filters in the order in which they are preferred."""
_QUESTION_KEYS = ("question", "prompt", "problem", "query", "input")
_NAME = re.compile(r"samples_(.+)_(\d{4}-\d\d-\d\dT[\d.-]+)")
_MAX_RESULTS_BYTES = 64 * 2**20
_VOTE = re.compile(r"maj@(\d{1,4})")
_OPEN, _CLOSE = "<think>", "</think>"


def missing(head: FileHead, hints: ImportHints) -> list[str]:
    """Return what the file lacks to be of this format; nothing if it is."""
    del hints  # The model is asked for only once the format is known.
    if head.kind != "jsonl":
        return ["JSON objects, one a line"]
    return [f"key {name}" for name in _KEYS if name not in head.names]


def read(path: Path, head: FileHead, hints: ImportHints) -> Iterator[ImportedOutcome | SkippedRow]:
    """Yield the outcomes of one metric and filter.

    Of several metrics and filters the first of `_METRICS` and `_FILTERS` decides, the metric
    before the filter, unless `hints.metric` names another. Only full credit is correct.

    Raises:
        DataFileError: A line is damaged; the model is not known; nothing says which score counts.
        UnknownNameError: There is no such metric.
    """
    run = _Run.find(path, hints)
    metric, filter_name = _choose(path, head, hints.metric)
    for line, row in read_rows(path, head.kind):
        if _filter_of(row) != filter_name:
            continue
        try:
            yield _outcome(row, metric, filter_name, run, hints)
        except UnusableRowError as error:
            yield SkippedRow(error.reason, str(line))


@dataclass(frozen=True, slots=True)
class _Run:
    """What the file's name and the results beside it say."""

    model: str
    size: int | None
    task: str
    policy: str | None

    @classmethod
    def find(cls, path: Path, hints: ImportHints) -> "_Run":
        match = _NAME.fullmatch(path.stem)
        task, time = match.groups() if match else (None, None)
        results: Mapping[str, Any] = {}
        if time:
            results = _results(path.with_name(f"results_{time}.json"))
        config = as_mapping(results.get("config"))
        model = results.get("model_name") or hints.model or results.get("model_source")
        if not isinstance(model, str) or not model:
            raise DataFileError(
                "nothing says which model answered",
                path=path,
                hint="lay the results_*.json of the run beside it, or give --model",
            )
        size = config.get("model_num_parameters")
        arguments = config.get("model_args")
        return cls(
            text_of(model),
            size if isinstance(size, int) and 0 < size < 2**53 else None,
            text_of(task or hints.task or path.stem),
            _policy_of(arguments),
        )


def _results(path: Path) -> Mapping[str, Any]:
    if not path.is_file() or path.stat().st_size > _MAX_RESULTS_BYTES:
        return {}
    try:
        return as_mapping(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise DataFileError(
            "not a results file of lm-eval", path=path, hint="move it away and give --model"
        ) from error


def _policy_of(arguments: object) -> str | None:
    """Return the policy where the model's arguments switch thinking on or off."""
    if isinstance(arguments, str):
        pairs = (part.partition("=") for part in arguments.split(","))
        given: Mapping[str, Any] = {name.strip(): value.strip() for name, _, value in pairs}
    else:
        given = as_mapping(arguments)
    switch = str(given.get("enable_thinking", "")).lower()
    if switch == "false":
        return "direct"
    is_on = switch == "true" or bool(given.get("think_end_token"))
    return str(PolicySpec("reasoning", MAX)) if is_on else None


def _filter_of(row: Mapping[str, Any]) -> str:
    value = row.get("filter")
    return value if isinstance(value, str) else "none"


def _choose(path: Path, head: FileHead, wanted: str | None) -> tuple[str, str]:
    """Return the metric and the filter that decide."""
    found: set[tuple[str, str]] = set()
    for _, row in read_rows(path, head.kind):
        name = _filter_of(row)
        listed = [m for m in as_list(row.get("metrics")) if isinstance(m, str)]
        found |= {(m, name) for m in listed or _METRICS if m in row}
    if not found:
        raise DataFileError("no line has a metric", path=path, hint="was it scored?")
    names = sorted(",".join(pair) for pair in found)
    if wanted is not None:
        metric, _, filter_name = wanted.partition(",")
        pairs = {p for p in found if p[0] == metric and filter_name in {"", p[1]}}
        if not pairs:
            raise UnknownNameError("metric", wanted, names)
        found = pairs
    metric = _first({m for m, _ in found}, _METRICS)
    filters = {f for m, f in found if m == metric}
    filter_name = _first(filters, _FILTERS) if metric is not None else None
    if metric is None or filter_name is None:
        raise DataFileError(
            f"several scores and no rule which one decides: {', '.join(names)}",
            path=path,
            hint="choose one with --metric METRIC,FILTER",
        )
    return metric, filter_name


def _first(found: set[str], order: tuple[str, ...]) -> str | None:
    if len(found) == 1:
        return next(iter(found))
    return next((name for name in order if name in found), None)


def _outcome(
    row: Mapping[str, Any], metric: str, filter_name: str, run: _Run, hints: ImportHints
) -> ImportedOutcome:
    document = count_of(row.get("doc_id"), "doc_id")
    if document is None:
        raise UnusableRowError("'doc_id' is empty")
    if metric not in row:
        raise UnusableRowError(f"the metric {metric!r} is not there")
    answers = _answers(row)
    share = share_of(row[metric], metric)
    if share not in {0.0, 1.0} and len(answers) > 1:
        raise UnusableRowError(f"{metric!r} is a mean over several answers")
    outcome: Outcome
    score: float | None
    outcome, score = outcome_of_score(share)
    thinking, text = _split(answers[0]) if len(answers) == 1 else (None, None)
    if thinking is not None and text is None:
        # A thought that never closed was scored with whatever happens to stand in it.
        outcome, score = Outcome.CUT, None
    identifier = f"{run.task}/{document}"
    return ImportedOutcome(
        model=run.model,
        size=run.size,
        policy=_policy(row, filter_name, run, hints),
        recipe="",
        question_id=identifier,
        group=identifier,
        task=run.task,
        task_type=hints.task_type or UNKNOWN_TASK_TYPE,
        prompt=_prompt(row),
        gold=text_of(row.get("target")),
        repeat=0,
        outcome=outcome,
        score=score,
        text=text,
        thinking=thinking,
        prompt_tokens=None,
        completion_tokens=None,
        thinking_tokens=None,
        seconds=None,
    )


def _policy(row: Mapping[str, Any], filter_name: str, run: _Run, hints: ImportHints) -> str:
    if _is_likelihood(row):
        # Options were compared and nothing was generated, whatever the model's switches say.
        return "loglikelihood"
    policy = run.policy or (hints.policy and str(PolicySpec.parse(hints.policy))) or "direct"
    vote = _VOTE.fullmatch(filter_name)
    return f"sc(n={int(vote[1])})/{policy}" if vote else policy


def _is_likelihood(row: Mapping[str, Any]) -> bool:
    return not any(isinstance(text, str) for text in _resps(row))


def _resps(row: Mapping[str, Any]) -> list[Any]:
    """Return all answers of a row; comparing options gives pairs instead of texts."""
    return [one for request in as_list(row.get("resps")) for one in as_list(request)]


def _answers(row: Mapping[str, Any]) -> list[str]:
    return [text_of(one) for one in _resps(row) if isinstance(one, str)]


def _split(answer: str) -> tuple[str | None, str | None]:
    """Return (thought, text); no text if the thought never closed."""
    begin = answer.find(_OPEN)
    thought, mark, text = answer.partition(_CLOSE)
    if mark:
        return thought.removeprefix(_OPEN).strip(), text.strip()
    if begin >= 0 and not answer[:begin].strip():
        return answer[begin + len(_OPEN) :].strip(), None
    return None, answer


def _prompt(row: Mapping[str, Any]) -> str:
    """Return the question alone where the data set has it, else what was sent.

    What was sent holds examples and template marks, which differ from model to model.
    """
    document = as_mapping(row.get("doc"))
    for key in _QUESTION_KEYS:
        if isinstance(document.get(key), str) and document[key].strip():
            return text_of(document[key])
    arguments: Any = row.get("arguments")
    if isinstance(arguments, dict):
        return text_of(as_mapping(as_mapping(row["arguments"]).get("gen_args_0")).get("arg_0"))
    first = as_list(arguments)[:1]
    return text_of(next(iter(as_list(first[0])), "")) if first else ""
