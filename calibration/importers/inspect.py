"""Format `inspect`: logs of inspect_ai, `.eval` archives and `.json` files.

Source: inspect_ai 0.3.285, `log/_log.py` (EvalLog, EvalSample), `log/_recorders/eval.py` (members
of the archive), `model/_model_output.py` (ModelUsage, StopReason) and `scorer/_metric.py`
(C, I, P, N). Deviation: partial credit is never rounded; only full credit is correct.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies import MAX, DataFileError, PolicySpec, UnknownNameError

from .._outcomes import ImportedOutcome, Outcome
from ._archive import Archive
from ._head import FileHead
from ._json_stream import read_members
from ._record import (
    UNKNOWN_TASK_TYPE,
    ImportHints,
    SkippedRow,
    UnusableRowError,
    as_list,
    as_mapping,
    count_of,
    number_of,
    outcome_of_score,
    share_of,
    text_of,
)

__all__ = ["missing", "read"]

_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_CUT_REASONS = ("max_tokens", "model_length")
_HEADERS = ("header.json", "_journal/start.json")
_ATTACHMENT = "attachment://"
_EFFORT_OFF = ("none",)


def missing(head: FileHead, hints: ImportHints) -> list[str]:
    """Return what the file lacks to be of this format; nothing if it is."""
    del hints  # These logs say everything that is needed.
    if head.kind == "zip":
        has_header = any(name in head.names for name in _HEADERS)
        has_samples = any(name.startswith("samples/") for name in head.names)
        return [] if has_header or has_samples else ["members header.json and samples/"]
    if head.kind == "json":
        return [f"key {name}" for name in ("version", "eval") if name not in head.names]
    return ["a ZIP archive or one JSON object"]


def read(path: Path, head: FileHead, hints: ImportHints) -> Iterator[ImportedOutcome | SkippedRow]:
    """Yield the outcomes of a log, one per sample and epoch.

    An error of a sample is an `error`; a limit, or a completion that ran out of tokens, is
    `cut`, whatever the scorer made of it; a sample without a score is skipped.

    Raises:
        DataFileError: The log is damaged, or several scores and no `hints.metric`.
        UnknownNameError: There is no scorer of the name.
    """
    samples = _from_archive(path) if head.kind == "zip" else _from_json(path)
    try:
        log = _Log.of(path, next(samples)[1], hints)
    except UnusableRowError as error:
        raise DataFileError(
            f"the log's header: {error.reason}", path=path, hint="is it a log that inspect wrote?"
        ) from error
    for where, sample in samples:
        try:
            yield log.outcome(sample)
        except UnusableRowError as error:
            yield SkippedRow(error.reason, where)


def _from_archive(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the header and then the samples of an archive."""
    with Archive(path) as archive:
        name = next((name for name in _HEADERS if name in archive.names), None)
        if name is None:
            raise DataFileError(
                "the archive has no header.json", path=path, hint="was the log written to its end?"
            )
        yield name, as_mapping(archive.read_json(name))
        for name in archive.members("samples", ".json"):
            yield name, as_mapping(archive.read_json(name))


def _from_json(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the header and then the samples of a JSON log; the header may follow them."""
    header = {key: value for key, value in read_members(path, "samples") if key != "samples"}
    yield "header", header
    number = 0
    for key, value in read_members(path, "samples"):
        if key == "samples":
            number += 1
            yield f"sample {number}", as_mapping(value)


@dataclass(frozen=True, slots=True)
class _Log:
    """What the header says of all samples."""

    path: Path
    model: str
    task: str
    task_type: str
    policy: str
    scorer: str | None
    key: str | None

    @classmethod
    def of(cls, path: Path, header: Mapping[str, Any], hints: ImportHints) -> "_Log":
        spec = as_mapping(header.get("eval"))
        model = text_of(spec.get("model")) or hints.model
        if not model:
            raise DataFileError("nothing says which model answered", path=path, hint="give --model")
        scorer, key = _choose_scorer(header, hints.metric)
        return cls(
            path=path,
            model=model,
            task=text_of(spec.get("task")) or hints.task or path.stem,
            task_type=hints.task_type or UNKNOWN_TASK_TYPE,
            policy=_policy(header, model, hints),
            scorer=scorer,
            key=key,
        )

    def outcome(self, sample: Mapping[str, Any]) -> ImportedOutcome:
        """Return a sample's outcome.

        Raises:
            UnusableRowError: It has no score, or no usable one.
        """
        identifier, epoch = text_of(sample.get("id")), count_of(sample.get("epoch"), "epoch")
        if not identifier:
            raise UnusableRowError("the sample has no id")
        if sample.get("invalidation"):
            raise UnusableRowError("the sample was marked as invalid")
        outcome, score = self._judge(sample)
        question = f"{self.task}/{identifier}"
        output = as_mapping(sample.get("output"))
        thinking, text = _texts(output, as_mapping(sample.get("attachments")))
        usage = as_mapping(as_mapping(sample.get("model_usage")).get(self.model))
        prompt_tokens, completion_tokens, thinking_tokens = _tokens(usage)
        seconds = number_of(sample.get("working_time", sample.get("total_time")), "working_time")
        return ImportedOutcome(
            model=self.model,
            size=None,
            policy=self.policy,
            recipe="",
            question_id=question,
            group=question,
            task=self.task,
            task_type=self.task_type,
            prompt=_prompt(sample),
            gold=text_of(sample.get("target")),
            # Epochs count from one.
            repeat=max((epoch or 1) - 1, 0),
            outcome=outcome,
            score=score,
            text=text,
            thinking=thinking,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            thinking_tokens=thinking_tokens,
            seconds=seconds if seconds is None or seconds >= 0 else None,
        )

    def _judge(self, sample: Mapping[str, Any]) -> tuple[Outcome, float | None]:
        limit = as_mapping(sample.get("limit"))
        # Whom a person or the infrastructure stopped could not answer.
        if sample.get("error") or limit.get("type") == "operator":
            return Outcome.ERROR, None
        choices = as_list(as_mapping(sample.get("output")).get("choices"))
        reason = as_mapping(choices[0]).get("stop_reason") if choices else None
        if reason == "content_filter":
            return Outcome.ERROR, None
        if limit or reason in _CUT_REASONS:
            return Outcome.CUT, None
        return outcome_of_score(self._score(as_mapping(sample.get("scores"))))

    def _score(self, scores: Mapping[str, Any]) -> float:
        if not scores:
            raise UnusableRowError("the sample was not scored")
        name = self.scorer
        if name is None and len(scores) > 1:
            raise DataFileError(
                f"several scores and no rule which one decides: {', '.join(scores)}",
                path=self.path,
                hint="choose one with --metric SCORER",
            )
        name = next(iter(scores)) if name is None else name
        if name not in scores:
            raise UnusableRowError(f"the sample has no score of {name!r}")
        value = as_mapping(scores[name]).get("value")
        if isinstance(value, dict):
            value = self._part(name, as_mapping(as_mapping(scores[name])["value"]))
        if isinstance(value, str) and value in _LETTERS:
            return _LETTERS[value]
        if isinstance(value, list):
            raise UnusableRowError(f"the score of {name!r} is a list")
        return share_of(value, f"the score of {name}")

    def _part(self, name: str, values: Mapping[str, Any]) -> Any:
        key = self.key
        if key is None and len(values) == 1:
            key = next(iter(values))
        if key is None:
            raise DataFileError(
                f"the scorer {name!r} gives several values: {', '.join(values)}",
                path=self.path,
                hint=f"choose one with --metric {name}.KEY",
            )
        return values.get(key)


def _choose_scorer(header: Mapping[str, Any], wanted: str | None) -> tuple[str | None, str | None]:
    """Return scorer and key: the wanted one, the log's headline, or the first of several."""
    results = as_mapping(header.get("results"))
    scorers = as_list(as_mapping(header.get("eval")).get("scorers"))
    names = [name for one in scorers if (name := text_of(as_mapping(one).get("name")))]
    # A scorer of a library is called `library/name`, its scores just `name`.
    names = [name.rpartition("/")[2] for name in names]
    if wanted is not None:
        scorer, _, key = wanted.partition(".")
        if names and wanted in names:
            return wanted, None
        if names and scorer not in names:
            raise UnknownNameError("metric", wanted, names)
        return scorer, key or None
    headline = text_of(as_mapping(results.get("headline")).get("scorer"))
    if headline in names:
        return headline, None
    return (names[0] if names else None), None


def _policy(header: Mapping[str, Any], model: str, hints: ImportHints) -> str:
    """Return the policy of all samples.

    It is told from the header alone: a rule that looked at single answers would sort them into
    arms by what became of them.
    """
    config = as_mapping(as_mapping(header.get("eval")).get("model_generate_config"))
    config = {**config, **as_mapping(as_mapping(header.get("plan")).get("config"))}
    budget = count_of(config.get("reasoning_tokens"), "reasoning_tokens")
    if budget:
        return str(PolicySpec("reasoning", budget))
    effort = text_of(config.get("reasoning_effort")).lower()
    if effort and effort not in _EFFORT_OFF:
        return str(PolicySpec("reasoning", MAX, (("effort", effort),)))
    if hints.policy is not None:
        return str(PolicySpec.parse(hints.policy))
    usage = as_mapping(as_mapping(as_mapping(header.get("stats")).get("model_usage")).get(model))
    if count_of(usage.get("reasoning_tokens"), "reasoning_tokens"):
        return str(PolicySpec("reasoning", MAX))
    steps = as_list(as_mapping(header.get("plan")).get("steps"))
    solvers = {text_of(as_mapping(s).get("solver")).rpartition("/")[2] for s in steps}
    return "cot" if "chain_of_thought" in solvers else "direct"


def _tokens(usage: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Return prompt, completion and thinking tokens; a usage of all zeros is none.

    Cached tokens are counted apart from the input's, and belong to the prompt.
    """
    if not any(usage.values()):
        return None, None, None
    cached = ("input_tokens_cache_read", "input_tokens_cache_write")
    prompt = count_of(usage.get("input_tokens"), "input_tokens")
    if prompt is not None:
        prompt += sum(count_of(usage.get(name), name) or 0 for name in cached)
    return (
        prompt or None,
        count_of(usage.get("output_tokens"), "output_tokens"),
        count_of(usage.get("reasoning_tokens"), "reasoning_tokens"),
    )


def _prompt(sample: Mapping[str, Any]) -> str:
    """Return the user's text, with the options of a multiple choice."""
    value = sample.get("input")
    if isinstance(value, list):
        users = [m for m in map(as_mapping, as_list(sample["input"])) if m.get("role") == "user"]
        value = "\n".join(_content(message.get("content"), "text") for message in users)
    prompt = _attached(text_of(value), as_mapping(sample.get("attachments")))
    options = as_list(sample.get("choices"))
    listed = [f"{chr(ord('A') + i)}) {text_of(option)}" for i, option in enumerate(options[:26])]
    return "\n".join([prompt, *listed])


def _texts(
    output: Mapping[str, Any], attachments: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    """Return thought and answer of the last completion."""
    choices = as_list(output.get("choices"))
    if not choices:
        return None, None
    content = as_mapping(as_mapping(choices[0]).get("message")).get("content")
    thinking = _content(content, "reasoning")
    text = _content(content, "text")
    return _attached(thinking, attachments) or None, _attached(text, attachments)


def _content(content: object, kind: str) -> str:
    if isinstance(content, str):
        return text_of(content) if kind == "text" else ""
    parts = [as_mapping(part) for part in as_list(content)]
    return "\n".join(text_of(part.get(kind)) for part in parts if part.get("type") == kind)


def _attached(text: str, attachments: Mapping[str, Any]) -> str:
    """Return a long text that the log keeps apart."""
    if not text.startswith(_ATTACHMENT):
        return text
    return text_of(attachments.get(text.removeprefix(_ATTACHMENT))) or text
