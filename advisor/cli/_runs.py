"""Outcomes of a run folder, for the commands that learn from them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibration import OutcomeRecord

__all__ = ["load_run"]


def load_run(run: Path) -> "tuple[list[OutcomeRecord], dict[str, dict[str, Any]]]":
    """Return a run's outcomes, and per model how its backend is built again.

    Raises:
        StoreError: There is no run, or its store cannot be read.
    """
    from calibration import RunStore, store_path
    from policies import StoreError

    with RunStore.open(store_path(run)) as store:
        records = list(store.records())
        backends: dict[str, dict[str, Any]] = store.get_meta("backends") or {}
    if not records:
        raise StoreError(
            f"{run} holds no finished samples", hint="run the same advisor calibrate command again"
        )
    return records, backends
