"""Backend `replay`: answers that were recorded elsewhere, and never any other.

One row is one recorded completion:

    prompt              what was asked (the user's message), or
    question_id         its name in the mapping `prompts`
    model               optional; rows of other models are left out
    policy              `direct`, `reasoning@1024` or `reasoning@max`, or
    mode, budget        `ift` or `reasoning`, and the cap on thinking tokens (none: no cap)
    text, thinking      the answer; the thought, if there was one
    prompt_tokens, completion_tokens, thinking_tokens
    finish_reason       `stop`, `length`, `repetition` or `filter`
    seconds
    thinking_closed     optional, true
    sample              optional, 0: which of several samples; a request's seed asks for it
    max_tokens          optional: the row answers only requests with exactly this cap
    mean_logprob, min_logprob, margin, agreement   optional, see `Evidence`
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, cast

from .._backend import Capability, GenerationRequest, require
from .._errors import (
    BackendRequestError,
    DataFileError,
    InvalidInputError,
    MissingPrerequisiteError,
)
from .._messages import Completion, Evidence, FinishReason, Usage
from .._spec import MAX, PolicySpec
from .._vocabulary import Mode

__all__ = ["ReplayBackend"]


class _Key(NamedTuple):
    """What a request must share with a row."""

    prompt: str
    thinking: bool
    budget: int | None
    sample: int
    max_tokens: int | None

    def __str__(self) -> str:
        mode = "direct"
        if self.thinking:
            mode = f"reasoning@{MAX if self.budget is None else self.budget}"
        cap = "" if self.max_tokens is None else f", max_tokens={self.max_tokens}"
        return f"{mode}, sample {self.sample}{cap}, prompt {self.prompt[:80]!r}"


class ReplayBackend:
    """Recorded completions of one model.

    Nothing is made up: a request whose answer is not among the rows is refused, also where a
    longer trace would tell it. Deterministic; costs nothing.

    Example:
        >>> row = {"prompt": "2+3?", "policy": "direct", "text": "5", "prompt_tokens": 4}
        >>> row |= {"completion_tokens": 2, "finish_reason": "stop", "seconds": 0.1}
        >>> ReplayBackend("some-model", [row]).capabilities
        frozenset()
    """

    name = "replay"
    max_concurrency = 64

    def __init__(
        self,
        model: str,
        rows: Iterable[Mapping[str, object]] | Path | str,
        *,
        prompts: Mapping[str, str] | None = None,
    ) -> None:
        """Read the rows.

        Args:
            model: The model whose rows are used.
            rows: The rows, or the path of a JSONL or Parquet file.
            prompts: Question id to prompt, where rows have no prompt.

        Raises:
            DataFileError: A row lacks something, or two rows answer the same request.
            InvalidInputError: No row belongs to this model.
            MissingPrerequisiteError: A Parquet file needs pyarrow.
        """
        self.model = model
        path = Path(rows) if isinstance(rows, str | Path) else None
        items = _read_file(path) if path is not None else rows
        where = path if path is not None else Path("rows")
        self._answers: dict[_Key, Completion] = {}
        digest = hashlib.sha256()
        for number, row in enumerate(cast("Iterable[Mapping[str, object]]", items), start=1):
            if row.get("model", model) != model:
                continue
            try:
                key, completion = _key(row, prompts or {}), _completion(row)
            except (KeyError, TypeError, ValueError) as error:
                problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                raise DataFileError(f"row {problem}", path=where, line=number) from error
            if key in self._answers:
                raise DataFileError(f"a second row for {key}", path=where, line=number)
            self._answers[key] = completion
            digest.update(json.dumps(dict(row), sort_keys=True, default=str).encode())
        if not self._answers:
            raise InvalidInputError(f"{where} has no rows of the model {model!r}")
        self._digest = digest.hexdigest()
        self.capabilities = _capabilities(self._answers)

    def identity(self) -> Mapping[str, str]:
        """Return the model and a hash of its rows."""
        return {"backend": self.name, "model": self.model, "rows_sha256": self._digest}

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return the recorded completion of a single user message.

        A row without `max_tokens` answers requests that leave it enough room.

        Raises:
            CapabilityError: No row was recorded with what the request needs.
            BackendRequestError: The row is missing; its `code` is `not-recorded`.
        """
        needed = request.needs()
        if request.thinking:
            needed |= {Capability.THINKING_SWITCH}
        require(self, needed)
        if len(request.messages) != 1:
            raise self._missing(f"a conversation of {len(request.messages)} messages")
        key = _Key(
            prompt=request.messages[0].content,
            thinking=request.thinking,
            budget=request.thinking_budget,
            sample=(request.seed or 0) if request.temperature > 0 else 0,
            max_tokens=request.max_tokens,
        )
        exact = self._answers.get(key)
        completion = exact or self._answers.get(key._replace(max_tokens=None))
        if completion is None:
            raise self._missing(str(key))
        if completion.usage.completion_tokens > request.max_tokens and exact is None:
            raise self._missing(f"{key} (the recorded answer is longer)")
        evidence = completion.evidence
        if request.logprobs and completion.text and (evidence is None or not evidence.is_measured):
            raise self._missing(f"log-probabilities of {key}")
        return completion

    async def aclose(self) -> None:
        """Do nothing."""

    def _missing(self, what: str) -> BackendRequestError:
        error = BackendRequestError(
            f"not recorded: {what}",
            backend=self.name,
            model=self.model,
            hint="record it, or ask only what was recorded",
        )
        error.code = "not-recorded"
        return error


def _capabilities(answers: Mapping[_Key, Completion]) -> frozenset[Capability]:
    found = {
        Capability.THINKING_SWITCH: any(key.thinking for key in answers),
        Capability.THINKING_BUDGET: any(key.budget is not None for key in answers),
        Capability.HARD_BUDGET: any(key.budget is not None for key in answers),
        Capability.SAMPLES: any(key.sample for key in answers),
        Capability.LOGPROBS: any(
            answer.evidence is not None and answer.evidence.is_measured
            for answer in answers.values()
        ),
    }
    return frozenset(capability for capability, is_there in found.items() if is_there)


def _key(row: Mapping[str, object], prompts: Mapping[str, str]) -> _Key:
    prompt = row.get("prompt")
    if prompt is None:
        prompt = prompts[str(row["question_id"])]
    thinking, budget = _how(row)
    max_tokens = row.get("max_tokens")
    return _Key(
        prompt=str(prompt),
        thinking=thinking,
        budget=budget,
        sample=_integer(row.get("sample") or 0),
        max_tokens=None if max_tokens is None else _integer(max_tokens),
    )


def _how(row: Mapping[str, object]) -> tuple[bool, int | None]:
    """Return whether the row's model was thinking, and its budget."""
    policy = row.get("policy")
    if policy is None:
        budget = row.get("budget")
        is_thinking = Mode(str(row["mode"])) is Mode.REASONING
        return is_thinking, None if budget is None else _integer(budget)
    spec = PolicySpec.parse(str(policy))
    if spec == PolicySpec("direct"):
        return False, None
    if spec.budget is None or spec != PolicySpec("reasoning", budget=spec.budget):
        raise InvalidInputError(f"policy {str(spec)!r} is more than one request")
    return True, None if spec.budget == MAX else spec.budget


def _completion(row: Mapping[str, object]) -> Completion:
    thinking, thinking_tokens = row.get("thinking"), row.get("thinking_tokens")
    is_closed = row.get("thinking_closed")
    return Completion(
        text=str(row["text"]),
        finish_reason=FinishReason(str(row["finish_reason"])),
        usage=Usage(
            prompt_tokens=_integer(row["prompt_tokens"]),
            completion_tokens=_integer(row["completion_tokens"]),
            thinking_tokens=None if thinking_tokens is None else _integer(thinking_tokens),
        ),
        seconds=_number(row["seconds"]),
        thinking=None if thinking is None else str(thinking),
        thinking_closed=True if is_closed is None else bool(is_closed),
        evidence=_evidence(row),
    )


def _evidence(row: Mapping[str, object]) -> Evidence | None:
    names = [field.name for field in fields(Evidence)]
    given = {name: _number(row[name]) for name in names if row.get(name) is not None}
    if ("mean_logprob" in given) != ("min_logprob" in given):
        raise TypeError("has one of mean_logprob and min_logprob without the other")
    return Evidence(**given) if given else None


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise TypeError(f"has {value!r} where a whole number belongs")
    return int(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"has {value!r} where a number belongs")
    return float(value)


def _read_file(path: Path) -> list[Mapping[str, object]]:
    if path.suffix == ".parquet":
        return _read_parquet(path)
    rows: list[Mapping[str, object]] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataFileError(f"cannot be read: {error}", path=path) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row: object = json.loads(line)
        except ValueError as error:
            raise DataFileError(f"is no JSON: {error}", path=path, line=number) from error
        if not isinstance(row, dict):
            raise DataFileError("is no JSON object", path=path, line=number)
        rows.append(cast("dict[str, object]", row))
    return rows


def _read_parquet(path: Path) -> list[Mapping[str, object]]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPrerequisiteError(
            "reading Parquet needs the module 'pyarrow'", hint="pip install pyarrow"
        ) from error
    parquet: Any = pyarrow.parquet  # It has no types.
    try:
        return cast("list[Mapping[str, object]]", parquet.read_table(path).to_pylist())
    except (OSError, ValueError) as error:
        raise DataFileError(f"cannot be read: {error}", path=path) from error
