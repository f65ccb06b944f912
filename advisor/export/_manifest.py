"""What an export folder says about itself, for programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import cast

from policies import StoreError

from .._version import producer_version
from ._request import ExportRequest
from ._stages import Staged

__all__ = ["KIND", "MANIFEST_FILE", "SCHEMA_VERSION", "build_manifest", "is_export"]

KIND = "thinkroute-recipe-export"
"""What tells an export folder from any other."""

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 1
"""Version of the manifest's shape."""


def build_manifest(
    request: ExportRequest,
    staged: Staged,
    *,
    library: Mapping[str, str],
    cost: Mapping[str, object],
    reasoning: Mapping[str, float | None],
    created: datetime,
) -> dict[str, object]:
    """Return the manifest without the checksums of files.

    Args:
        request: What was exported.
        staged: What was written.
        library: Name and tested version of the training library.
        cost: What training costs.
        reasoning: `ratio` by rows and `token_share` by trainable tokens, as achieved.
        created: When.
    """
    counter = staged.counter
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "created": created.isoformat(timespec="seconds"),
        "producer": f"thinkroute {producer_version() or '(not installed)'}",
        "recipe": {**request.recipe.model_dump(mode="json"), "label": request.recipe.label},
        "task_type": request.task_type,
        "why": request.why,
        "library": dict(library),
        "data": staged.sources,
        "mixture": {
            "files": [asdict(file) for file in staged.files],
            "reasoning_ratio": reasoning["ratio"],
            "reasoning_token_share": reasoning["token_share"],
            "counter": counter.name,
            "is_exact": counter.is_exact,
            "seed": request.seed,
        },
        "runs": [
            {**asdict(run), "method": run.method.value, "n_steps": run.n_steps}
            for run in staged.runs
        ],
        "cost": dict(cost),
        "notes": staged.notes,
    }


def is_export(folder: Path) -> bool:
    """Return whether a folder holds an export of ours.

    Raises:
        StoreError: It has a manifest that cannot be read.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return False
    try:
        found: object = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}", hint="choose another folder") from error
    return isinstance(found, dict) and cast("dict[str, object]", found).get("kind") == KIND
