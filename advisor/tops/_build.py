"""From a run to training data: read, select, write, report."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from policies import InvalidInputError, UnknownNameError

from .._version import producer_version
from ._efforts import Effort, default_labels, tag_prompts
from ._reading import Excluded, ReadCounts, RunFacts, SampledQuestion, questions_of
from ._report import Tally, TopsReport
from ._rules import (
    Attempt,
    MinGap,
    PairKind,
    PreferencePair,
    preference_pairs,
    seed_answers,
    shortest_correct,
)
from ._writing import DataFile, FolderWriter

__all__ = ["MANIFEST_VERSION", "SETS", "TopsData", "TopsRules", "build_tops"]

MANIFEST_VERSION = 1
"""Version of `manifest.json`."""

_SOURCE = "arXiv 2502.18080"
_FILES = {
    "tops_sft": "tops_sft.jsonl",
    "tag": "tops_tag.jsonl",
    "iter_sft": "iter_sft.jsonl",
    "dpo": "dpo.jsonl",
}
_LLAMAFACTORY_PAIRS = "dpo_llamafactory.jsonl"
_DATASET_INFO = "dataset_info.json"
_RULE_TEXTS = {
    "tops_sft": "the shortest correct of the first sample of every effort; no system prompt",
    "tag": "the first samples of all efforts, all right and further apart in length than min_gap,"
    " sorted by length, each behind the system prompt of its level",
    "iter_sft": "the shortest correct of all samples",
    "dpo": "chosen: the shortest correct of all samples; rejected: the longest wrong one, and"
    " besides, if some wrong one is shorter than the chosen one, the shortest wrong one",
}
_STEPS = {
    "tops_sft": "self-improvement",
    "tag": "format imitation",
    "iter_sft": "Iter-SFT (8 samples)",
    "dpo": "Iter-DPO (8 samples)",
}

SETS = tuple(_FILES)
"""The sets that can be built: `tops_sft`, `tag`, `iter_sft`, `dpo`."""


@dataclass(frozen=True, slots=True)
class TopsRules:
    """What may be chosen about the paper's rules.

    Attributes:
        min_gap: How far apart in length the answers of a seed question are.
        keep_forced: Whether thoughts that the decoder broke off at their budget are used. They
            end in the middle of a sentence, and the paper's efforts have none.
        sets: Which sets are built.
    """

    min_gap: MinGap = field(default_factory=MinGap)
    keep_forced: bool = False
    sets: tuple[str, ...] = SETS

    def __post_init__(self) -> None:
        """Refuse sets that there are not.

        Raises:
            UnknownNameError: A set has another name.
            InvalidInputError: There is none.
        """
        for name in self.sets:
            if name not in SETS:
                raise UnknownNameError("set", name, SETS)
        if not self.sets:
            raise InvalidInputError("no set is wanted", hint=f"choose from {', '.join(SETS)}")


@dataclass(frozen=True, slots=True)
class TopsData:
    """What was written.

    Attributes:
        folder: The folder.
        files: The files with their counts, in the order of the manifest.
        counts: What became of the samples.
        pairs: Pairs per kind.
        n_seeds: Seed questions.
        report: What the samples say.
        missing: Wanted sets for which there was no row, each with the reason.
    """

    folder: Path
    files: tuple[DataFile, ...]
    counts: ReadCounts
    pairs: Mapping[str, int]
    n_seeds: int
    report: TopsReport
    missing: Mapping[str, str]

    def n_rows(self, name: str) -> int:
        """Return the number of rows of a set."""
        return sum(one.n_rows for one in self.files if one.name == _FILES[name])


def build_tops(
    run: Path,
    out: Path,
    facts: RunFacts,
    efforts: tuple[Effort, ...],
    rules: TopsRules | None = None,
    *,
    prompts: Mapping[str, str] | None = None,
    excluded: Excluded | None = None,
) -> TopsData:
    """Write a run's training data into a folder; nothing is asked of any model.

    The same run, efforts and rules give the same bytes. Files of an earlier build are replaced
    one by one, and the manifest is written last: a folder with one is whole. Memory grows by a
    few numbers per question.

    Args:
        run: The run folder.
        out: The folder; made if it is not there.
        facts: What the run says about itself, see `facts_of`.
        efforts: Which arms, the lowest effort first, see `choose_efforts`.
        rules: What may be chosen.
        prompts: System prompts of the levels of the tag set, by label.
        excluded: Prompts that must not be trained on.

    Raises:
        StoreError: The run cannot be read.
        InvalidInputError: `out` cannot be written.
        UnknownNameError: A prompt is given for a level that there is not.
    """
    rules = rules or TopsRules()
    labels = default_labels(efforts)
    system = tag_prompts(efforts, labels, prompts or {})
    counts, tally, kinds = ReadCounts(), Tally(len(efforts)), Counter[str]()
    with FolderWriter(out, _managed()) as writer:
        for question in questions_of(
            run,
            efforts,
            counts,
            keep_forced=rules.keep_forced,
            damaged=facts.damaged,
            excluded=excluded,
        ):
            tally.add(question)
            selected = _select(question, len(efforts), rules)
            kinds.update(pair.kind.value for pair in selected.pairs)
            for name, row in _rows(question.prompt, selected, labels, system):
                writer.add(name, row)
        files = writer.files()
        n_seeds = sum(one.n_rows for one in files if one.name == _FILES["tag"]) // len(efforts)
        report = tally.report([one.name for one in efforts], counts)
        missing = _missing(rules, files, report, counts, len(efforts))
        made = TopsData(out, files, counts, dict(kinds), n_seeds, report, missing)
        if files:
            levels = [{"name": label, "system_prompt": system[label]} for label in labels]
            document = {
                "kind": "tops-data",
                "schema_version": MANIFEST_VERSION,
                "thinkroute": producer_version(),
                "run": {
                    "samples_sha256": counts.samples_sha256,
                    "models": sorted({one.model for one in efforts}),
                    "tasks": [dict(task) for task in facts.tasks],
                },
                "efforts": [one.to_json() for one in efforts],
                "levels": levels,
                "rules": _rules_json(rules),
                **_figures_json(made),
            }
            writer.finish(document, {_DATASET_INFO: _dataset_info(files)})
    return made


class _Selection(NamedTuple):
    """What the rules take of one question."""

    tops: Attempt | None
    seeds: tuple[Attempt, ...]
    best: Attempt | None
    pairs: tuple[PreferencePair, ...]


def _select(question: SampledQuestion, n_efforts: int, rules: TopsRules) -> _Selection:
    own = [one for one in question.attempts if not one.is_copy]
    first = [one for one in question.attempts if one.repeat == 0]
    wanted = rules.sets
    return _Selection(
        tops=shortest_correct(first) if "tops_sft" in wanted else None,
        seeds=(seed_answers(first, n_efforts, rules.min_gap) or ()) if "tag" in wanted else (),
        best=shortest_correct(own) if "iter_sft" in wanted else None,
        pairs=preference_pairs(own) if "dpo" in wanted else (),
    )


def _rows(
    prompt: str, selected: _Selection, labels: tuple[str, ...], system: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of one question with the files they belong to."""
    user = {"role": "user", "content": prompt}
    if selected.tops is not None:
        yield _FILES["tops_sft"], {"messages": [user, _said(selected.tops)]}
    if selected.seeds:
        for label, seed in zip(labels, selected.seeds, strict=True):
            asked = {"role": "system", "content": system[label]}
            yield _FILES["tag"], {"messages": [asked, user, _said(seed)]}
    if selected.best is not None:
        yield _FILES["iter_sft"], {"messages": [user, _said(selected.best)]}
    for pair in selected.pairs:
        chosen, rejected = _said(pair.chosen), _said(pair.rejected)
        yield _FILES["dpo"], {"prompt": [user], "chosen": [chosen], "rejected": [rejected]}
        # LLaMA-Factory takes a list here for a row without answers, and says nothing.
        yield _LLAMAFACTORY_PAIRS, {"messages": [user], "chosen": chosen, "rejected": rejected}


def _said(attempt: Attempt) -> dict[str, str]:
    return {"role": "assistant", "content": attempt.reply}


def _dataset_info(files: tuple[DataFile, ...]) -> dict[str, Any]:
    """Return what LLaMA-Factory must be told about the files, by names without suffix."""
    tags = {"role_tag": "role", "content_tag": "content"}
    tags |= {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
    made: dict[str, Any] = {}
    for one in files:
        entry: dict[str, Any] = {"file_name": one.name, "formatting": "sharegpt", "tags": tags}
        entry["columns"] = {"messages": "messages"}
        if one.name == _LLAMAFACTORY_PAIRS:
            entry["ranking"] = True
            entry["columns"] |= {"chosen": "chosen", "rejected": "rejected"}
        if one.name != _FILES["dpo"]:
            made[Path(one.name).stem] = entry
    return made


def _managed() -> tuple[str, ...]:
    return (*_FILES.values(), _LLAMAFACTORY_PAIRS)


def _missing(
    rules: TopsRules,
    files: tuple[DataFile, ...],
    report: TopsReport,
    counts: ReadCounts,
    n_efforts: int,
) -> dict[str, str]:
    """Return why wanted sets have no rows."""
    written = {one.name for one in files}
    nothing = "no question has a correct answer that can be used"
    reasons = {
        "tops_sft": nothing,
        "iter_sft": nothing,
        "tag": f"no question is right under all efforts with lengths more than {rules.min_gap}"
        " apart",
        "dpo": "no question has both a correct and a wrong answer",
    }
    if n_efforts < 2:
        reasons["tag"] = "levels of effort need two efforts or more"
    if not report.solved.n_with:
        reasons = dict.fromkeys(reasons, nothing)
    if not counts.n_questions:
        reasons = dict.fromkeys(reasons, "there is no question left to choose from")
    return {name: reasons[name] for name in rules.sets if _FILES[name] not in written}


def _figures_json(made: TopsData) -> dict[str, Any]:
    counts = made.counts
    return {
        "counts": {
            "questions": counts.n_questions,
            "excluded_questions": counts.n_excluded,
            "forced_answers": counts.n_forced,
            "copied_answers": counts.n_copies,
            "unreadable_answers": counts.n_unreadable,
            "damaged_answers": counts.n_damaged,
            "seed_questions": made.n_seeds,
            "pairs": {kind.value: made.pairs.get(kind.value, 0) for kind in PairKind},
        },
        "report": made.report.to_json(),
        "files": [asdict(one) for one in made.files],
        "missing": dict(made.missing),
    }


def _rules_json(rules: TopsRules) -> dict[str, Any]:
    return {
        "source": _SOURCE,
        "min_gap": str(rules.min_gap),
        "keep_forced": rules.keep_forced,
        "length": "generated tokens, thought and answer together",
        "cut_answers": "neither correct nor wrong: never chosen, never rejected",
        "sets": [
            {"name": name, "step": _STEPS[name], "rule": _RULE_TEXTS[name]} for name in rules.sets
        ],
    }
