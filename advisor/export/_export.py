"""Write a folder that trains a recipe: data, configurations, launch script, README, manifest."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from policies import DataFileError, InvalidInputError, StoreError

from .._recipe import Method
from ..data import hash_file, put_folder, sync_path
from . import _reward
from ._chat_template import CHAT_TEMPLATE_FILE, CHATML, read_chat_template
from ._costs import describe_cost, stage_cost
from ._manifest import MANIFEST_FILE, build_manifest, is_export
from ._readme import write_readme
from ._request import Export, ExportRequest, Library
from ._stages import Staged, write_stages
from ._training import TrainingRun

__all__ = ["export_recipe", "tested_version"]

LAUNCH_FILE = "launch.sh"
REWARDS_FILE = "rewards.py"
_TRAINED = "out"


class Writer(Protocol):
    """What a module that writes configurations for one library has."""

    LIBRARY: str
    VERSION: str

    def configs(self, run: TrainingRun) -> dict[str, str]:
        """Return configuration files by name."""
        ...

    def launch(self, run: TrainingRun) -> str:
        """Return the command that starts a run in the export folder."""
        ...

    def requirements(self, run: TrainingRun) -> tuple[str, ...]:
        """Return what has to be installed, as requirements for pip."""
        ...


def export_recipe(
    request: ExportRequest,
    *,
    note: Callable[[str], None] = lambda _: None,
    now: datetime | None = None,
    is_dry_run: bool = False,
) -> Export:
    """Write the export folder of a recipe; it appears whole or not at all.

    Deterministic for a given request, data and time. Data are read line by line, two or three
    times, and may be larger than memory: about 400 bytes per pair are held. Counting tokens is
    what takes the time.

    Args:
        request: What to export.
        note: Told what is being done, a line at a time.
        now: Time for the manifest; `None` is the present.
        is_dry_run: Do everything but leave nothing on the disk.

    Raises:
        InvalidInputError: The recipe must not be trained, or does not fit data, model or machine.
        DataFileError: A data file cannot be used.
        StoreError: The folder is there already, or cannot be written.
    """
    out = request.out
    _check_replaceable(out, force=request.force)
    try:
        with _room(None if is_dry_run else out.absolute().parent) as room:
            fresh = Path(room) / out.name
            fresh.mkdir()
            export = _fill(request, fresh, note, now or datetime.now(UTC), is_dry_run=is_dry_run)
            if not is_dry_run:
                for path in [*fresh.rglob("*"), fresh]:
                    sync_path(path)
                put_folder(fresh, out, Path(room) / "replaced")
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written: {error.strerror or error}", hint="choose another --out"
        ) from error
    return export


def _fill(
    request: ExportRequest,
    folder: Path,
    note: Callable[[str], None],
    now: datetime,
    *,
    is_dry_run: bool,
) -> Export:
    writer = _writer(request.library)
    template = _chat_template(request)
    staged = write_stages(request, folder, note)
    if request.recipe.method is not Method.GRPO and request.recipe.method is not Method.DPO:
        (folder / CHAT_TEMPLATE_FILE).write_text(template, "utf-8")
    if any(run.grpo is not None for run in staged.runs):
        shutil.copyfile(_reward.__file__, folder / REWARDS_FILE)
    for run in staged.runs:
        for name, text in writer.configs(run).items():
            (folder / name).write_text(text, "utf-8")
    commands = tuple(writer.launch(run) for run in staged.runs)
    _write_launch(folder / LAUNCH_FILE, commands)
    reasoning = _achieved(staged)
    costs = [stage_cost(request, run, staged.mixtures) for run in staged.runs]
    manifest = build_manifest(
        request,
        staged,
        library={"name": writer.LIBRARY, "version": writer.VERSION},
        cost={run.name: describe_cost(cost) for run, cost in zip(staged.runs, costs, strict=True)},
        reasoning=reasoning,
        created=now,
    )
    export = Export(
        folder=request.out,
        library=request.library,
        library_version=writer.VERSION,
        recipe=request.recipe,
        runs=tuple(staged.runs),
        commands=commands,
        files=tuple(staged.files),
        reasoning_ratio=reasoning["ratio"],
        reasoning_token_share=reasoning["token_share"],
        counter_name=staged.counter.name,
        is_exact=staged.counter.is_exact,
        notes=tuple(staged.notes),
        manifest=manifest,
        is_dry_run=is_dry_run,
    )
    requirements = dict.fromkeys(text for run in staged.runs for text in writer.requirements(run))
    readme = write_readme(request, export, costs, tuple(requirements))
    (folder / "README.md").write_text(readme, "utf-8")
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest["files"] = {path.relative_to(folder).as_posix(): hash_file(path) for path in written}
    # Last, so that a folder with a manifest is complete.
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return replace(export, manifest=manifest)


def tested_version(library: Library) -> str:
    """Return the version of a training library that exports are tested with."""
    return _writer(library).VERSION


def _writer(library: Library) -> Writer:
    return cast("Writer", import_module(f"._{library}", __package__))


def _chat_template(request: ExportRequest) -> str:
    """Return the template to train with.

    Raises:
        DataFileError: The given one cannot be read.
        InvalidInputError: It does not mark answers, or may take thoughts out of them.
    """
    if request.chat_template is not None:
        return read_chat_template(request.chat_template)
    _check_chatml(request.base_model)
    return CHATML


def _check_chatml(base_model: str | None) -> None:
    """Refuse a local model whose tokenizer does not know the marks of the exporter's template."""
    tokenizer = Path(base_model).expanduser() / "tokenizer.json" if base_model else None
    if tokenizer is None or not tokenizer.is_file():
        return
    try:
        text = tokenizer.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataFileError(f"cannot be read: {error}", path=tokenizer) from error
    if "<|im_start|>" not in text or "<|im_end|>" not in text:
        raise InvalidInputError(
            f"the tokenizer of {base_model!r} has no <|im_start|> and <|im_end|>",
            hint="give --chat-template with the marks of that model",
            code="no-chatml",
        )


def _achieved(staged: Staged) -> dict[str, float | None]:
    """Return the share of reasoning rows and tokens over all supervised stages on pairs."""
    files = [file for mixture in staged.mixtures for file in mixture.files]
    n_rows, n_tokens = sum(f.n_rows for f in files), sum(f.n_answer_tokens for f in files)
    if not n_rows or not n_tokens:
        return {"ratio": None, "token_share": None}
    return {
        "ratio": sum(file.n_reasoning_rows for file in files) / n_rows,
        "token_share": sum(file.n_reasoning_tokens for file in files) / n_tokens,
    }


def _write_launch(path: Path, commands: tuple[str, ...]) -> None:
    lines = [
        "#!/usr/bin/env bash",
        "# Trains all stages, one after the other; stops at the first that fails.",
        "set -euo pipefail",
        'cd "$(dirname "$0")"',
        *commands,
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    path.chmod(0o755)


def _room(parent: Path | None) -> "tempfile.TemporaryDirectory[str]":
    """Return a folder to work in, on the disk of the target unless nothing is kept."""
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=parent, prefix=".export-")


def _check_replaceable(out: Path, *, force: bool) -> None:
    """Refuse to overwrite anything but an export of ours that was not trained yet."""
    if not out.name or out.is_symlink() or (out.exists() and not out.is_dir()):
        raise StoreError(f"{out} is not a folder to write", hint="choose another --out")
    if not out.exists() or not any(out.iterdir()):
        return
    if not force:
        raise StoreError(f"{out} is not empty", hint="choose another --out, or give --force")
    if not is_export(out):
        raise StoreError(
            f"{out} holds something else than an export and is not replaced",
            hint="choose another --out",
        )
    if (out / _TRAINED).exists():
        raise StoreError(
            f"{out / _TRAINED} may hold trained models and is not replaced",
            hint="move it away, or choose another --out",
        )
