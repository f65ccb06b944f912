"""The training files of a recipe, written stage by stage, with the plan of each stage."""

import hashlib
from array import array
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from policies import InvalidInputError

from .._recipe import Method, Order, Recipe
from ..data import (
    ANSWERS,
    Mixture,
    Pair,
    Pairs,
    TokenCounter,
    hash_file,
    load_counter,
    nearest_rank,
    prompt_hash,
    read_pairs,
    read_prompt_hashes,
    row_tokens,
    write_mixture,
)
from ._defaults import fit_max_length
from ._plan import StagePlan, base_model_of, context_tokens, plan_grpo, plan_stage
from ._request import DataFile, ExportRequest
from ._rows import PromptRows, write_answers, write_preferences, write_prompts
from ._training import TrainingRun

__all__ = ["Staged", "write_stages"]

_Note = Callable[[str], None]
_LONG = 200
"""Characters from which a text is worth remembering how long it is."""


class _Remembering:
    """A counter that counts a long text once: rows are measured before they are written."""

    def __init__(self, counter: TokenCounter) -> None:
        self.name = counter.name
        self.is_exact = counter.is_exact
        self.upper_factor = counter.upper_factor
        self._counter = counter
        self._known: dict[bytes, int] = {}

    def count(self, text: str) -> int:
        if len(text) < _LONG:
            return self._counter.count(text)
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._counter.count(text)
        return found


@dataclass(slots=True)
class Staged:
    """What was written, and how it will be trained on.

    Attributes:
        counter: What counted tokens.
        runs: Stages, in order.
        files: Training files, in training order.
        mixtures: The mixtures of supervised stages on pairs, with the files of their stage.
        sources: What is known about each data file, for the manifest.
        notes: What a reader should know, a sentence each.
    """

    counter: TokenCounter
    runs: list[TrainingRun] = field(default_factory=list[TrainingRun])
    files: list[DataFile] = field(default_factory=list[DataFile])
    mixtures: list[Mixture] = field(default_factory=list[Mixture])
    sources: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    notes: list[str] = field(default_factory=list[str])

    def add(self, plan: StagePlan, files: Sequence[DataFile]) -> None:
        """Add a stage."""
        self.runs.append(plan.run)
        self.files += files
        self.notes += [note for note in plan.notes if note not in self.notes]


def write_stages(request: ExportRequest, folder: Path, note: _Note) -> Staged:
    """Write the training files into a folder and return them with the stages.

    Args:
        request: What is exported.
        folder: An empty folder.
        note: Told what is being done, a line at a time.

    Raises:
        DataFileError: A data file cannot be used.
        InvalidInputError: The recipe does not fit the data, the model or the machine.
    """
    staged = Staged(_Remembering(load_counter(request.tokenizer)))
    base_model = base_model_of(request)
    excluded: frozenset[str] = frozenset()
    for path in request.exclude:
        excluded |= read_prompt_hashes(path)
    match request.recipe.method:
        case Method.SFT:
            _mixtures(request, folder, base_model, excluded, staged, note)
        case Method.GRPO:
            pairs = _read(request.data[0], excluded, staged, needs=())
            _grpo(request, folder, ("1_grpo", base_model), pairs, staged, note)
        case _:
            _other_rows(request, folder, base_model, excluded, staged, note)
    if request.then == "grpo":
        pairs = _read(request.data[-1], excluded, staged)
        stage = (f"{len(staged.runs) + 1}_grpo", staged.runs[-1].output_dir)
        _grpo(request, folder, stage, pairs, staged, note)
    return staged


def _mixtures(
    request: ExportRequest,
    folder: Path,
    base_model: str,
    excluded: frozenset[str],
    staged: Staged,
    note: _Note,
) -> None:
    """Write one stage of supervised training, or one per domain."""
    recipe = request.recipe
    names, trained = ["1_sft"], frozenset[str]()
    if recipe.order is Order.DOMAIN_GENERAL_THEN_MATH:
        names = ["1_general", "2_math"]
        recipe = recipe.model_copy(update={"order": Order.MIXED})
    limit, needs = context_tokens(base_model), _needed(recipe)
    for name, path in zip(names, request.data, strict=True):
        pairs = _read(path, excluded, staged, needs=needs)
        repeated = pairs.prompt_hashes() & trained if trained else frozenset[str]()
        if repeated:
            staged.notes.append(
                f"{path.name}: {len(repeated):,} prompts were in the stage before and are left out"
            )
            excluded |= repeated
            pairs = read_pairs(path, exclude=excluded, needs=needs)
        if name != names[-1]:
            trained = pairs.prompt_hashes()
        note(f"measuring {len(pairs):,} pairs of {path} with {staged.counter.name}")
        pairs, max_length = _fitting(request, pairs, excluded, limit, staged)
        note(f"writing the rows of stage {name}")
        mixture = write_mixture(
            pairs,
            recipe,
            folder,
            counter=staged.counter,
            seed=request.seed,
            n_rows=request.n_rows,
            subfolder="mix" if len(names) == 1 else f"mix/{name}",
        )
        files = [_as_file(file) for file in mixture.files]
        ratio = mixture.reasoning_ratio
        plan = plan_stage(request, (name, base_model), files, ratio=ratio, max_length=max_length)
        staged.mixtures.append(mixture)
        staged.add(plan, files)
        base_model = plan.run.output_dir


def _needed(recipe: Recipe) -> tuple[str, ...]:
    """Return the answers that a mixture is made of."""
    return ("ift",) * (recipe.reasoning_ratio < 1.0) + ("reasoning",) * (
        recipe.reasoning_ratio > 0.0
    )


def _read(
    path: Path, excluded: frozenset[str], staged: Staged, *, needs: Collection[str] = ANSWERS
) -> Pairs:
    pairs = read_pairs(path, exclude=excluded, needs=needs)
    known = [source["path"] for source in staged.sources]
    if str(path) not in known:
        counts = {
            "n_lines": pairs.n_lines,
            "n_pairs": len(pairs),
            "n_broken": pairs.n_broken,
            "n_cut": pairs.n_cut,
            "n_duplicates": pairs.n_duplicates,
            "n_excluded": pairs.n_excluded,
        }
        staged.sources.append({"path": str(path), "sha256": pairs.sha256, **counts})
        staged.notes += [f"{path.name}: {text}" for text in pairs.notes]
    return pairs


def _fitting(
    request: ExportRequest,
    pairs: Pairs,
    excluded: frozenset[str],
    limit: int | None,
    staged: Staged,
) -> tuple[Pairs, int]:
    """Return the pairs that fit into the longest row, and that length.

    A pair is left out if either of its answers that the recipe may use is too long, so that
    direct and reasoning rows keep prompts of the same kind.
    """
    longest = array("Q", (_longest(pair, request.recipe, staged.counter) for pair in pairs))
    ordered = sorted(longest)
    p99 = nearest_rank(ordered, 0.99)
    max_length = fit_max_length(p99, ordered[-1], request.max_length, limit)
    n_long = sum(length > max_length for length in longest)
    if not n_long:
        return pairs, max_length
    too_long = {
        prompt_hash(pair.prompt)
        for pair, length in zip(pairs, longest, strict=True)
        if length > max_length
    }
    staged.notes.append(
        f"{n_long:,} of {len(pairs):,} pairs are longer than {max_length:,} tokens and left out:"
        " cut rows would lose their answer"
    )
    staged.sources[-1]["n_too_long"] = n_long
    kept = read_pairs(pairs.path, exclude=excluded | too_long, needs=_needed(request.recipe))
    return kept, max_length


def _longest(pair: Pair, recipe: Recipe, counter: TokenCounter) -> int:
    answers = [counter.count(pair.ift)] * (recipe.reasoning_ratio < 1.0)
    answers += [counter.count(pair.reasoning)] * (recipe.reasoning_ratio > 0.0)
    return row_tokens(counter.count(pair.prompt) + max(answers), counter)


def _as_file(file: object) -> DataFile:
    names = DataFile.__dataclass_fields__
    return DataFile(**{name: getattr(file, name) for name in names})


def _grpo(
    request: ExportRequest,
    folder: Path,
    stage: tuple[str, str],
    pairs: Pairs,
    staged: Staged,
    note: _Note,
) -> None:
    note(f"writing the prompts of stage {stage[0]}")
    prompts: PromptRows = write_prompts(pairs, folder, "mix/grpo.jsonl", staged.counter)
    if prompts.n_answers:
        staged.notes.append(
            f"the reward finds {prompts.n_readable:,} of {prompts.n_answers:,} reasoning answers of"
            " the data right"
        )
    elif request.max_length is None:
        raise InvalidInputError(
            f"{pairs.path} has no reasoning answers that tell how long completions may get",
            hint="give --max-length, in tokens",
            code="no-lengths",
        )
    else:
        staged.notes.append(
            "the data have no reasoning answers: the reward was not tried on any, and "
            "--max-length is taken as given"
        )
    staged.add(plan_grpo(request, stage, prompts), [prompts.file])


def _other_rows(
    request: ExportRequest,
    folder: Path,
    base_model: str,
    excluded: frozenset[str],
    staged: Staged,
    note: _Note,
) -> None:
    """Write the rows of TOPS, iterated SFT or DPO."""
    method = request.recipe.method
    is_dpo = method is Method.DPO
    name = "1_dpo" if is_dpo else "1_sft"
    source = request.data[0]
    note(f"writing the rows of stage {name}")
    if is_dpo:
        file, n_excluded = write_preferences(
            *(source, folder, "mix/preferences.jsonl", staged.counter, excluded),
            as_lists=request.library == "trl",
        )
    else:
        file, n_excluded = write_answers(
            source, folder, "mix/answers.jsonl", staged.counter, excluded
        )
    staged.sources.append(
        {"path": str(source), "sha256": hash_file(source), "n_excluded": n_excluded}
    )
    # No row is left out here, so that the longest decides.
    longest = file.max_tokens
    max_length = fit_max_length(longest, longest, request.max_length, context_tokens(base_model))
    ratio = request.recipe.reasoning_ratio
    plan = plan_stage(request, (name, base_model), [file], ratio=ratio, max_length=max_length)
    staged.add(plan, [file])
