"""Questions that a model will be evaluated on and must not be trained on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from calibration import ColumnMapping, RunStore, load_tasks, store_path
from calibration.tasks import get_benchmark
from policies import DataFileError, UnknownNameError

__all__ = ["evaluation_tasks", "prompts_to_exclude"]

_PROMPT_NAMES = ("prompt", "question", "problem", "input", "query")
_HELD_OUT = "held-out split"


def evaluation_tasks(tasks: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the tasks that are known to be for evaluation, each with what tells so.

    Args:
        tasks: Provenance of tasks: a name, and a source where it is known.
    """
    found: dict[str, str] = {}
    for task in tasks:
        name, source = str(task["name"]), str(task.get("source") or "")
        try:
            found[name] = get_benchmark(name).source
        except UnknownNameError:
            if source.endswith(_HELD_OUT):
                found[name] = source
    return found


def prompts_to_exclude(source: str, *, data: Sequence[str | Path] = ()) -> Iterator[str]:
    """Yield the prompts of a run folder, of a file of questions, or of a task.

    A `.jsonl` file needs no gold answers: one object per line with a `prompt` (or `question`,
    `problem`, `input`, `query`), or with `messages`, whose first user turn counts.

    Args:
        source: Path or name.
        data: Local files of benchmarks, as `load_tasks` takes them.

    Raises:
        StoreError: A run cannot be read.
        DataFileError: A file cannot be read, or a line has no prompt.
        UnknownNameError: It is neither a task nor a file nor a run.
    """
    path = Path(source)
    if store_path(path).is_file():
        with RunStore.open(store_path(path)) as store:
            yield from dict.fromkeys(record.prompt for record in store.records())
    elif path.suffix.lower() == ".jsonl":
        yield from _prompts_of_lines(path)
    else:
        for task in load_tasks(
            [source], limit=None, seed=0, columns=ColumnMapping(instruction=""), data=data
        ):
            yield from (question.prompt for question in task.questions)


def _prompts_of_lines(path: Path) -> Iterator[str]:
    hint = f"give each line a {' or '.join(_PROMPT_NAMES[:2])}, or messages"
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    prompt = _prompt_of(json.loads(line))
                except (ValueError, RecursionError) as error:
                    raise DataFileError(
                        f"no JSON: {error}", path=path, line=number, hint=hint
                    ) from error
                if prompt is None:
                    raise DataFileError("no prompt in this line", path=path, line=number, hint=hint)
                yield prompt
    except (OSError, UnicodeDecodeError) as error:
        raise DataFileError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}",
            path=path,
            hint="check the path",
        ) from error


def _prompt_of(row: object) -> str | None:
    if not isinstance(row, dict):
        return None
    cells = cast("dict[str, object]", row)
    for name in _PROMPT_NAMES:
        if isinstance(cells.get(name), str):
            return str(cells[name])
    turns = cells.get("messages", cells.get("prompt"))
    for turn in cast("list[object]", turns) if isinstance(turns, list) else ():
        said = cast("dict[str, object]", turn) if isinstance(turn, dict) else {}
        if said.get("role") == "user" and isinstance(said.get("content"), str):
            return str(said["content"])
    return None
