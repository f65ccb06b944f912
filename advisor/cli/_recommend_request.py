"""From the flags of `advisor recommend` to its question; contradictions are refused first."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from policies import InvalidInputError, InvalidSizeError, ModelSize

if TYPE_CHECKING:
    from advisor import RecommendationRequest
    from advisor.cost import Traffic

__all__ = ["Flags", "TraceAnswer", "read_request", "read_traces"]

_ANY = "any"
_LARGEST_TOLERANCE = 0.5
_LENGTH = re.compile(r"([0-9]+(?:[.,][0-9]+)*)(k?)( ?tokens)?", re.IGNORECASE)
_RATIO = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?x", re.IGNORECASE)
_LASTING = re.compile(r"\sfor\s", re.IGNORECASE)
_CONTRADICTION, _BAD = "contradiction", "invalid-input"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What was typed, `None` where a flag was left out; see `_recommend_options`."""

    size: str
    task: str
    answer_format: str | None = None
    corpus: str | None = None
    have: str | None = None
    teacher: str | None = None
    objective: str | None = None
    tolerance: float | None = None
    max_size: str | None = None
    train_budget: str | None = None
    infer_budget: str | None = None
    traffic: str | None = None
    horizon_days: float | None = None
    gpu: str | None = None
    gpu_price: float | None = None
    trace_length: str | None = None
    tokenizer: str | None = None
    n_examples: int | None = None
    pass_rate: float | None = None
    row: str | None = None
    is_short: bool = False
    is_full: bool = False
    as_json: bool = False


class TraceAnswer(NamedTuple):
    """What `--trace-length` says.

    Attributes:
        fields: Fields of a request.
        notes: Sentences for people, about lines that were left out among others.
    """

    fields: dict[str, Any]
    notes: tuple[str, ...]


def read_request(flags: Flags, sizes: Mapping[str, int] | None = None) -> "RecommendationRequest":
    """Return the question that flags ask, without what a file of traces would say.

    Args:
        flags: What was typed.
        sizes: Parameters by the names that sizes have in a study.

    Raises:
        InvalidInputError: A value is out of range, or two contradict each other.
        InvalidSizeError: A size is neither a number nor a name in `sizes`.
        UnknownNameError: A corpus, GPU or the like that does not exist.
    """
    from advisor import RecommendationRequest
    from advisor.cost import Gpus, InferBudget, TrainBudget

    _check_contradictions(flags)
    traffic, days = _traffic(flags)
    named = sizes or {}
    return RecommendationRequest(
        size=None if flags.size.strip().lower() == _ANY else _size(flags.size, named),
        task_type=flags.task,
        answer_format=_word(flags.answer_format),
        corpus=_word(flags.corpus),
        objective=_word(flags.objective),
        max_size=None if flags.max_size is None else _size(flags.max_size, named),
        train_budget=None if flags.train_budget is None else TrainBudget.parse(flags.train_budget),
        infer_budget=None if flags.infer_budget is None else InferBudget.parse(flags.infer_budget),
        queries_per_day=None if traffic is None else traffic.queries_per_day,
        horizon_days=flags.horizon_days or days,
        gpus=None if flags.gpu is None else Gpus.parse(flags.gpu),
        gpu_price=flags.gpu_price,
        teacher=_teacher(flags.teacher),
        have=_word(flags.have),
        n_examples=flags.n_examples,
        pass_rate=flags.pass_rate,
        tolerance=flags.tolerance,
    )


def _size(text: str, named: Mapping[str, int]) -> ModelSize:
    """Return a size that is a number or the name of one."""
    name = text.strip()
    if name in named:
        return ModelSize(named[name])
    try:
        return ModelSize.parse(text)
    except InvalidSizeError as error:
        if named:
            error.hint = f"{error.hint}; or a size of the study: {', '.join(named)}"
        elif name.lower().startswith("pocket-"):
            error.hint = f"{error.hint}; sizes by name need their study: --table STUDY"
        raise


def _word(value: str | None) -> Any:
    """Return a name as the request knows it, which checks it."""
    return None if value is None else value.strip().lower()


def _teacher(value: str | None) -> str | None:
    if value is None:
        return None
    name = value.strip()
    if not name:
        raise InvalidInputError("--teacher '' is no name", hint="name a model, or write none")
    return "none" if name.lower() == "none" else name


def _traffic(flags: Flags) -> "tuple[Traffic | None, float | None]":
    """Return the traffic, and the days that it says itself.

    Raises:
        InvalidInputError: It is none, or says other days than `--horizon-days`.
    """
    from advisor.cost import Traffic

    if flags.traffic is None:
        return None, None
    try:
        traffic = Traffic.parse(flags.traffic)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"--traffic {flags.traffic}: {error.message}", hint=error.hint, code=error.code
        ) from error
    days = traffic.days if _LASTING.search(flags.traffic) else None
    if days is not None and flags.horizon_days not in {None, days}:
        raise InvalidInputError(
            f"--traffic {flags.traffic!r} counts {days:g} days, --horizon-days"
            f" {flags.horizon_days:g}",
            hint="say the days once",
            code=_CONTRADICTION,
        )
    return traffic, days


def _check_contradictions(flags: Flags) -> None:
    """Refuse what only the command line can see; the request checks the rest.

    Raises:
        InvalidInputError: Two flags contradict each other, or one has no effect.
    """

    def refuse(message: str, hint: str, code: str = _CONTRADICTION) -> None:
        raise InvalidInputError(message, hint=hint, code=code)

    if flags.as_json and flags.is_short:
        refuse("--short shortens the printed answer, --json prints all of it", "give one of them")
    if flags.is_full and (flags.as_json or flags.is_short):
        other = "--json" if flags.as_json else "--short"
        refuse(f"--full and {other} are two forms of one answer", "give one of them")
    forms = {"--json": flags.as_json, "--short": flags.is_short, "--full": flags.is_full}
    other = next((name for name, is_given in forms.items() if is_given), None)
    if flags.row is not None and other is not None:
        refuse(f"--row prints one command, {other} an answer", "give one of them")
    numbers = {
        "--horizon-days": flags.horizon_days,
        "--gpu-price": flags.gpu_price,
        "--n-examples": flags.n_examples,
    }
    for name, value in numbers.items():
        if value is not None and not 0 < value < math.inf:
            refuse(f"{name} {value:g} is not a positive number", "give one above 0", _BAD)
    if flags.tokenizer is not None and (
        flags.trace_length is None or _tokens(flags.trace_length) is not None
    ):
        refuse(
            f"--tokenizer {flags.tokenizer!r} counts the tokens of traces, but there are none",
            "give --trace-length a JSONL of traces, or leave --tokenizer out",
        )
    if flags.tolerance is not None and _LARGEST_TOLERANCE < flags.tolerance <= 100:
        refuse(
            f"--tolerance {flags.tolerance:g} would accept any loss",
            "it is a share of 1: 0.01 is one point",
            _BAD,
        )
    if flags.pass_rate is not None and 1 < flags.pass_rate <= 100:
        refuse(
            f"--pass-rate {flags.pass_rate:g} is more than every answer",
            f"it is a share of 1: {flags.pass_rate / 100:g} for {flags.pass_rate:g}%",
            _BAD,
        )


def read_traces(trace_length: str, *, tokenizer: str | None = None) -> TraceAnswer:
    """Return what `--trace-length` says of the training data.

    Args:
        trace_length: Mean tokens of a trace (`6000`, `6k`), a multiple of a direct answer
            (`8x`), or the path of a JSONL of traces or pairs, which is read.
        tokenizer: Folder or hub name of what counts the tokens in the file.

    Raises:
        InvalidInputError: It is neither.
        DataFileError: The file cannot be read, or has no usable line.
        MissingPrerequisiteError: A tokenizer was asked for whose library is not installed.
    """
    from advisor.cost import Workload
    from advisor.data import load_counter, measure_lengths

    usual = Workload().answer_tokens
    ratio = _ratio(trace_length)
    if ratio is not None:
        if not ratio:
            raise InvalidInputError(
                f"--trace-length {trace_length!r} is no multiple of a direct answer",
                hint="write 8x for a trace that is eight times as long",
            )
        return TraceAnswer({"trace_ratio": ratio, "trace_source": "--trace-length"}, ())
    tokens = _tokens(trace_length)
    if tokens is not None:
        source = f"--trace-length, {tokens:,.0f} tokens"
        return TraceAnswer(_against_usual(tokens, usual, source), ())
    path = Path(trace_length)
    if not path.exists():
        raise InvalidInputError(
            f"--trace-length {trace_length!r} is neither a number nor a file",
            hint="write 6000 (tokens), 8x (times a direct answer) or the path of a JSONL",
        )
    lengths = measure_lengths(path, load_counter(tokenizer))
    source = f"{path.name}, {lengths.n:,} traces, counted by {lengths.counter_name}"
    notes = tuple(f"{path.name}: {text}" for text in lengths.notes)
    fields: dict[str, Any] = {"trace_p99_tokens": lengths.p99_tokens}
    if lengths.mean_prompt_tokens is not None:
        fields["prompt_tokens"] = lengths.mean_prompt_tokens
    if lengths.trace_ratio is None or lengths.mean_ift_tokens is None:
        fields |= _against_usual(lengths.mean_reasoning_tokens, usual, source)
    else:
        fields |= {
            "answer_tokens": lengths.mean_ift_tokens,
            "trace_ratio": lengths.trace_ratio.estimate,
            "trace_source": source,
        }
    return TraceAnswer(fields, notes)


def _against_usual(tokens: float, usual: float, source: str) -> dict[str, Any]:
    """Return the fields of a mean trace length where direct answers were not measured."""
    if tokens <= usual:
        raise InvalidInputError(
            f"{source}: a trace of {tokens:,.0f} tokens is not longer than a direct answer, which"
            f" is taken to have {usual:,.0f}",
            hint=f"write {tokens:g}x for a multiple of a direct answer, or give a JSONL of pairs,"
            " which measures both",
        )
    against = f"{source}, against direct answers of {usual:,.0f}"
    return {"trace_ratio": tokens / usual, "trace_source": against}


def _ratio(text: str) -> float | None:
    match = _RATIO.fullmatch(text.strip())
    return float(match[1]) if match else None


def _tokens(text: str) -> float | None:
    """Return a number of tokens, `None` for what is none; a ratio counts as a number too."""
    match = _LENGTH.fullmatch(text.strip()) or _RATIO.fullmatch(text.strip())
    if match is None:
        return None
    digits = match[1]
    if re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+", digits):
        digits = digits.replace(",", "")
    try:
        value = float(digits)
    except ValueError:
        return None
    return value * 1000 if match.re is _LENGTH and match[2] else value
