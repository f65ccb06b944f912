"""From a run to answers that rules can be applied to, one question at a time."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from calibration import Outcome, RunStore, store_path
from calibration.generations import Generation, read_generations
from policies import StoreError
from policies.decoding.self_consistency import final_answer

from ._efforts import Effort, is_prompted
from ._rules import Attempt

__all__ = ["ReadCounts", "RunFacts", "SampledQuestion", "facts_of", "questions_of", "reply_text"]

_MARKERS = ("<think>", "</think>")


class RunFacts(NamedTuple):
    """What a run says about itself.

    Attributes:
        arms: Model and policy of every arm with samples.
        efforts: The efforts that `advisor data tops` noted, none in other runs.
        tasks: Provenance of the tasks: name, source, licence; only names in imported runs.
        damaged: Keys of samples whose bytes have changed on the disk.
        n_samples: Samples of all arms.
    """

    arms: tuple[tuple[str, str], ...]
    efforts: tuple[Mapping[str, Any], ...]
    tasks: tuple[Mapping[str, Any], ...]
    damaged: frozenset[str]
    n_samples: int


class SampledQuestion(NamedTuple):
    """One question with its usable answers.

    Attributes:
        question_id: Its identifier.
        group: What questions of one source share.
        task: Its task.
        prompt: The user's text.
        attempts: Answers: correct, wrong and cut ones.
    """

    question_id: str
    group: str
    task: str
    prompt: str
    attempts: tuple[Attempt, ...]


@dataclass
class ReadCounts:
    """What became of the samples that were read.

    Attributes:
        outcomes: Per effort the number of `correct`, `wrong`, `cut` and `error` samples; those of
            excluded questions and damaged ones are not among them.
        n_forced: Answers whose thought filled its budget, left out unless they are kept.
        n_copies: Answers of a longer trace under a smaller budget; they are no further samples.
        n_unreadable: Answers without a text or a length, or with a marker inside the text.
        n_damaged: Samples whose bytes have changed on the disk.
        n_excluded: Questions left out because they are to be evaluated on.
        n_questions: Questions read, without excluded ones.
    """

    outcomes: dict[int, Counter[str]] = field(default_factory=dict[int, Counter[str]])
    n_forced: int = 0
    n_copies: int = 0
    n_unreadable: int = 0
    n_damaged: int = 0
    n_excluded: int = 0
    n_questions: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    @property
    def samples_sha256(self) -> str:
        """SHA-256 over keys and outcomes of all samples read, in their order."""
        return self._digest.hexdigest()

    def seen(self, one: Generation, effort: int) -> None:
        """Count a sample."""
        self._digest.update(f"{one.key} {one.outcome}\n".encode())
        self.outcomes.setdefault(effort, Counter())[one.outcome.value] += 1


def facts_of(run: Path) -> RunFacts:
    """Return what a run says about itself.

    Raises:
        StoreError: There is no run, it cannot be read, or it holds no samples.
    """
    if not run.exists():
        raise StoreError(
            f"{run} is no run folder",
            hint=f"advisor calibrate --out {run} makes a run",
            code="no-run",
        )
    with RunStore.open(store_path(run)) as store:
        cells = store.cell_sums()
        efforts: list[dict[str, Any]] = store.get_meta("efforts") or []
        provenance: dict[str, Any] = store.get_meta("provenance") or {}
        damaged = frozenset(one.key for one in store.damaged())
    if not cells:
        raise StoreError(
            f"{run} holds no finished samples", hint="run the same command again", code="empty-run"
        )
    arms = dict.fromkeys((str(row["model"]), str(row["policy"])) for row in cells)
    known = {(str(one["model"]), str(one["policy"])) for one in efforts}
    if any(is_prompted(policy) and (model, policy) not in known for model, policy in arms):
        raise StoreError(
            f"{run} was broken off before its efforts were noted",
            hint="run the same command again",
            code="run-broken-off",
        )
    names = dict.fromkeys(str(row["task"]) for row in cells)
    by_name = {str(task["name"]): task for task in provenance.get("tasks", [])}
    tasks = tuple(by_name.get(name, {"name": name}) for name in names)
    n_samples = sum(int(row["n"]) + int(row["n_error"]) for row in cells)
    return RunFacts(tuple(arms), tuple(efforts), tasks, damaged, n_samples)


def questions_of(
    run: Path,
    efforts: Sequence[Effort],
    counts: ReadCounts,
    *,
    keep_forced: bool = False,
    damaged: frozenset[str] = frozenset(),
    excluded: "Excluded | None" = None,
) -> Iterator[SampledQuestion]:
    """Yield the questions of a run with the answers that data can be made of.

    Args:
        run: The run folder.
        efforts: Which arms, the lowest effort first.
        counts: What is left out is counted here.
        keep_forced: Whether thoughts that were broken off at their budget are kept.
        damaged: Keys to leave out.
        excluded: Tells the prompts to leave out.

    Raises:
        StoreError: The run cannot be read.
    """
    index = {one.arm: number for number, one in enumerate(efforts)}
    rows = (one for one in read_generations(store_path(run)) if one.arm in index)
    for question_id, group in groupby(rows, key=lambda one: one.question_id):
        held = list(group)
        if excluded is not None and held[0].prompt in excluded:
            counts.n_excluded += 1
            continue
        counts.n_questions += 1
        attempts = tuple(_attempts(held, index, counts, keep_forced, damaged))
        first = held[0]
        yield SampledQuestion(question_id, first.group, first.task, first.prompt, attempts)


class Excluded:
    """Prompts that must not be trained on, found again behind an appended instruction."""

    def __init__(self, prompts: Iterable[str]) -> None:
        """Take the prompts; case and white space do not count."""
        self._known = {_normal(prompt) for prompt in prompts} - {""}

    def __len__(self) -> int:
        """Return the number of distinct prompts."""
        return len(self._known)

    def __contains__(self, prompt: object) -> bool:
        """Return whether a prompt, or its first lines, is one of them.

        Instructions and lists of options are appended as lines of their own.
        """
        if not isinstance(prompt, str):
            return False
        lines = prompt.splitlines()
        return any(_normal("\n".join(lines[:n])) in self._known for n in range(1, len(lines) + 1))


def reply_text(thinking: str | None, text: str) -> str:
    r"""Return thought and answer as the assistant's turn of a training row.

    Thoughts are written literally, spaced as by the templates of Qwen3; without one, or with an
    empty one, the answer stands alone.

    Example:
        >>> reply_text("1+1=2", "2")
        '<think>\n1+1=2\n</think>\n\n2'
    """
    if thinking is None or not thinking.strip():
        return text
    return f"<think>\n{thinking.strip()}\n</think>\n\n{text.lstrip()}"


def _attempts(
    held: Sequence[Generation],
    index: Mapping[str, int],
    counts: ReadCounts,
    keep_forced: bool,
    damaged: frozenset[str],
) -> Iterator[Attempt]:
    seen: set[tuple[int, int, str | None, str | None]] = set()
    # Samples of their own first, so that what is there again is the copy.
    for one in sorted(held, key=lambda one: one.is_shared):
        if one.key in damaged:
            counts.n_damaged += 1
            continue
        effort = index[one.arm]
        counts.seen(one, effort)
        if one.outcome is Outcome.ERROR:
            continue
        if one.is_forced and not keep_forced and one.outcome is not Outcome.CUT:
            counts.n_forced += 1
            continue
        is_cut = one.outcome is Outcome.CUT
        said = (one.repeat, one.completion_tokens or 0, one.thinking, one.text)
        is_copy = one.is_shared and said in seen
        seen.add(said)
        counts.n_copies += is_copy
        if one.completion_tokens is None or (not is_cut and not _is_readable(one)):
            counts.n_unreadable += 1
            continue
        yield Attempt(
            effort=effort,
            repeat=one.repeat,
            n_tokens=one.completion_tokens,
            outcome=one.outcome,
            key=one.key,
            reply="" if is_cut else reply_text(one.thinking, one.text or ""),
            answer="" if is_cut else _answer(one),
            is_copy=is_copy,
        )


def _is_readable(one: Generation) -> bool:
    """Return whether a row can be written that a template reads as the model's own turn."""
    if not one.text:
        return False
    return not any(marker in part for marker in _MARKERS for part in (one.text, one.thinking or ""))


def _answer(one: Generation) -> str:
    """Return equal texts for equal answers: graders accept many spellings of the right one."""
    if one.outcome is Outcome.CORRECT:
        return "correct"
    return f"wrong: {final_answer(one.extracted or one.text or '')}"


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
