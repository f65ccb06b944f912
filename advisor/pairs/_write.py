"""From a run in which a teacher answered directly and with a thought, to a file of pairs."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from calibration import RunStore, store_path
from calibration.generations import Generation, read_generations
from policies import InvalidInputError

from .._version import producer_version
from ..data import TraceLengths, load_counter, measure_lengths, prompt_key, read_pairs
from ..tops import Excluded, FolderWriter, RunFacts
from ._answers import Candidate, Keep, PairRules, Status, choose, is_kept, judge
from ._arms import PairArms
from ._figures import Fate, FateTable, ModeFigures, ModeTally

__all__ = ["MANIFEST_VERSION", "PairCounts", "RunPairs", "manifest_path", "write_pairs"]

MANIFEST_VERSION = 1
"""Version of the manifest beside the pairs."""

_RULE_TEXTS = {
    Keep.BOTH_CORRECT: "questions with a right direct and a right reasoning answer",
    Keep.REASONING_CORRECT: "questions with a right reasoning answer; a wrong direct one is taken"
    " where there is no right one",
    Keep.ANY: "questions with two whole answers, right or wrong",
}


@dataclass(slots=True)
class PairCounts:
    """What became of the questions.

    Attributes:
        n_questions: Questions with an answer of one of the two arms, without excluded ones.
        n_excluded: Questions left out because they are to be evaluated on.
        n_duplicates: Questions left out because an earlier one has the same prompt.
        n_without_prompt: Questions left out because the run has no prompt of theirs.
        n_kept: Pairs.
        n_solutions: Pairs with a right answer to compare with.
    """

    n_questions: int = 0
    n_excluded: int = 0
    n_duplicates: int = 0
    n_without_prompt: int = 0
    n_kept: int = 0
    n_solutions: int = 0


@dataclass(frozen=True, slots=True)
class RunPairs:
    """What was written.

    Attributes:
        path: The file of pairs; it was not touched if nothing is kept.
        manifest: The manifest beside it.
        sha256: Hash of the file, "" if nothing is kept.
        run_id: Hash of keys and outcomes of all samples of the two arms: another run, or the
            same one with more answers, has another.
        arms: Which arms.
        rules: What was chosen by.
        counts: What became of the questions.
        kept_by_task: Pairs per task.
        fates: Questions by what became of their two answers.
        ift: How the direct mode did.
        reasoning: How the reasoning mode did.
        lengths: Lengths of the pairs; `None` if nothing is kept.
        n_counted: Pairs with all three lengths from the run.
    """

    path: Path
    manifest: Path
    sha256: str
    run_id: str
    arms: PairArms
    rules: PairRules
    counts: PairCounts
    kept_by_task: Mapping[str, int]
    fates: tuple[Fate, ...]
    ift: ModeFigures
    reasoning: ModeFigures
    lengths: TraceLengths | None
    n_counted: int

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's figures as a JSON object."""
        rules, counts = self.rules, self.counts
        return {
            "arms": {"ift": self.arms.ift._asdict(), "reasoning": self.arms.reasoning._asdict()},
            "rules": {
                "keep": rules.keep.value,
                "kept": _RULE_TEXTS[rules.keep],
                "pick": rules.pick.value,
                "keep_forced": rules.keep_forced,
                "token_counts": rules.token_counts,
                "never": "answers that ran out of tokens or failed",
            },
            "counts": {**asdict(counts), "kept_by_task": dict(self.kept_by_task)},
            "questions": [
                {"ift": one.ift.value, "reasoning": one.reasoning.value, "n": one.n}
                | {"n_kept": one.n_kept}
                for one in self.fates
            ],
            "accuracy": {"ift": self.ift.to_json(), "reasoning": self.reasoning.to_json()},
            "lengths": _lengths_json(self.lengths, self.n_counted) if self.lengths else None,
        }


def manifest_path(out: Path) -> Path:
    """Return where the manifest of a file of pairs lies: `PAIRS.manifest.json`.

    Raises:
        InvalidInputError: The file's name does not end in `.jsonl`.
    """
    if out.suffix != ".jsonl" or not out.stem:
        raise InvalidInputError(
            f"{out} is no name of a JSONL file", hint="name it such as PAIRS.jsonl"
        )
    return out.with_suffix(".manifest.json")


def write_pairs(
    run: Path,
    out: Path,
    facts: RunFacts,
    arms: PairArms,
    rules: PairRules | None = None,
    *,
    excluded: Excluded | None = None,
) -> RunPairs:
    """Write a run's answers as pairs, one line per question; nothing is asked of any model.

    The same run, arms and rules give the same bytes. A file that is there is replaced at once,
    and the manifest is written last; if nothing is kept, neither is touched. A line has
    `prompt`, `ift` and `reasoning`, `solution` if there is a right answer that is one text,
    `prompt_tokens`, `ift_tokens` and `reasoning_tokens` where the run knows all three and both
    answers are one model's, and `task` and `question` to find it again.

    Args:
        run: The run folder.
        out: The file, named `*.jsonl`.
        facts: What the run says about itself, see `facts_of`.
        arms: Which arms, see `choose_arms`.
        rules: What may be chosen.
        excluded: Prompts that must not be trained on.

    Raises:
        StoreError: The run cannot be read.
        InvalidInputError: `out` is no name of a JSONL file or cannot be written.
    """
    rules = rules or PairRules()
    manifest = manifest_path(out)
    reader = _Reader(arms, rules, facts.damaged, excluded, _known(run, arms, rules))
    with FolderWriter(out.parent, [out.name], manifest.name) as writer:
        for row in reader.rows(run):
            writer.add(out.name, row)
        files = writer.files()
        lengths = None
        if files:
            # As the file will be read by those that train on it; nothing may be left out there.
            pairs = read_pairs(writer.written(out.name), strict=True)
            lengths = measure_lengths(pairs, load_counter(None))
        written = reader.result(out, manifest, files[0].sha256 if files else "", lengths)
        if files:
            writer.finish(_manifest(written, facts, out.name), {})
    return written


class _Known(NamedTuple):
    """What the run knows besides texts."""

    solutions: Mapping[str, str]
    """Right answer by sample."""
    prompt_tokens: Mapping[str, int]
    """Length of the rendered prompt by question, as the reasoning arm read it."""


class _Reader:
    """Goes through a run once, one question at a time."""

    def __init__(
        self,
        arms: PairArms,
        rules: PairRules,
        damaged: frozenset[str],
        excluded: Excluded | None,
        known: _Known,
    ) -> None:
        self._arms, self._rules, self._damaged = arms, rules, damaged
        self._excluded, self._known = excluded, known
        self._counts, self._fates = PairCounts(), FateTable()
        self._ift, self._reasoning = ModeTally(), ModeTally()
        self._by_task: Counter[str] = Counter()
        self._n_counted = 0
        self._seen: set[bytes] = set()
        self._digest = hashlib.sha256()

    def rows(self, run: Path) -> Iterator[dict[str, Any]]:
        """Yield the lines of the file."""
        names = {self._arms.ift.name, self._arms.reasoning.name}
        samples = (one for one in read_generations(store_path(run)) if one.arm in names)
        for question, group in groupby(samples, key=lambda one: one.question_id):
            held = list(group)
            if self._excluded is not None and held[0].prompt in self._excluded:
                self._counts.n_excluded += 1
                continue
            row = self._row(question, held)
            if row is not None:
                self._counts.n_kept += 1
                self._by_task[held[0].task] += 1
                yield row

    def result(
        self, out: Path, manifest: Path, sha256: str, lengths: TraceLengths | None
    ) -> RunPairs:
        """Return what the run says, after all rows."""
        return RunPairs(
            path=out,
            manifest=manifest,
            sha256=sha256,
            run_id=self._digest.hexdigest(),
            arms=self._arms,
            rules=self._rules,
            counts=self._counts,
            kept_by_task=dict(sorted(self._by_task.items())),
            fates=self._fates.rows(),
            ift=self._ift.figures(*self._arms.ift),
            reasoning=self._reasoning.figures(*self._arms.reasoning),
            lengths=lengths,
            n_counted=self._n_counted,
        )

    def _row(self, question: str, held: list[Generation]) -> dict[str, Any] | None:
        """Return the line of a question, `None` if it is left out."""
        self._counts.n_questions += 1
        direct = self._choose(held, is_direct=True)
        reasoning = self._choose(held, is_direct=False)
        prompt = held[0].prompt
        keeps = is_kept(direct, reasoning, self._rules.keep) and self._is_new(prompt)
        self._fates.add(direct.status, reasoning.status, is_kept=keeps)
        if not keeps:
            return None
        row: dict[str, Any] = {"prompt": prompt, "ift": direct.text, "reasoning": reasoning.text}
        solution = self._known.solutions.get(reasoning.key)
        if solution is not None:
            self._counts.n_solutions += 1
            row["solution"] = solution
        if self._rules.token_counts and self._arms.is_one_model:
            lengths = {
                "prompt_tokens": self._known.prompt_tokens.get(question),
                "ift_tokens": direct.n_tokens,
                "reasoning_tokens": reasoning.n_tokens,
            }
            # All or none: a ratio of a counted length and a guessed one means nothing.
            if all(lengths.values()):
                self._n_counted += 1
                row |= lengths
        return row | {"task": held[0].task, "question": question}

    def _choose(self, held: list[Generation], *, is_direct: bool) -> Candidate:
        """Count one mode's samples and choose among them."""
        arm = self._arms.ift if is_direct else self._arms.reasoning
        tally = self._ift if is_direct else self._reasoning
        candidates: list[Candidate] = []
        for one in held:
            if one.arm != arm.name:
                continue
            if one.key in self._damaged:
                candidates.append(Candidate(Status.DAMAGED, one.repeat, one.key))
                continue
            self._digest.update(f"{one.key} {one.outcome}\n".encode())
            tally.add(one.group, one.outcome, one.completion_tokens)
            candidates.append(
                judge(
                    one,
                    is_direct=is_direct,
                    must_think=arm.must_think,
                    keep_forced=self._rules.keep_forced,
                )
            )
        return choose(candidates, self._rules)

    def _is_new(self, prompt: str) -> bool:
        """Return whether a prompt can be trained on and was not there before."""
        if not prompt.strip():
            self._counts.n_without_prompt += 1
            return False
        key = prompt_key(prompt)
        if key in self._seen:
            self._counts.n_duplicates += 1
            return False
        self._seen.add(key)
        return True


def _known(run: Path, arms: PairArms, rules: PairRules) -> _Known:
    """Return what the store keeps beside the texts; right answers only where they counted."""
    with RunStore.open(store_path(run)) as store:
        solutions: dict[str, str] = {}
        if rules.keep is not Keep.ANY:
            solutions = {
                one.key: one.gold.strip()
                for one in store.answers()
                if one.outcome == "correct" and _is_one_text(one.gold)
            }
        prompt_tokens: dict[str, int] = {}
        if rules.token_counts and arms.is_one_model:
            prompt_tokens = {
                one.question_id: one.prompt_tokens
                for one in store.records()
                if one.prompt_tokens and one.arm == arms.reasoning.name
            }
    return _Known(solutions, prompt_tokens)


def _is_one_text(gold: str) -> bool:
    """Return whether a right answer is a text, and neither a list of texts nor tests of code."""
    if not gold.strip():
        return False
    try:
        return not isinstance(json.loads(gold), list | dict)
    except (ValueError, RecursionError):
        return True


def _manifest(written: RunPairs, facts: RunFacts, name: str) -> dict[str, Any]:
    return {
        "kind": "pairs",
        "schema_version": MANIFEST_VERSION,
        "thinkroute": producer_version(),
        "file": {"name": name, "n_rows": written.counts.n_kept, "sha256": written.sha256},
        "run": {"id": written.run_id, "tasks": [dict(task) for task in facts.tasks]},
        **written.to_json(),
    }


def _lengths_json(lengths: TraceLengths, n_counted: int) -> dict[str, Any]:
    ratio = lengths.trace_ratio
    return {
        "mean_prompt_tokens": lengths.mean_prompt_tokens,
        "mean_ift_tokens": lengths.mean_ift_tokens,
        "mean_reasoning_tokens": lengths.mean_reasoning_tokens,
        "trace_ratio": None if ratio is None else asdict(ratio),
        "p50_tokens": lengths.p50_tokens,
        "p90_tokens": lengths.p90_tokens,
        "p99_tokens": lengths.p99_tokens,
        "max_tokens": lengths.max_tokens,
        "n_counted_by_teacher": n_counted,
        "others_counted_by": None if n_counted == lengths.n else lengths.counter_name,
    }
