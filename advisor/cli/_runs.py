"""Outcomes of a run folder, for the commands that learn from them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from calibration import OutcomeRecord
    from policies import DecodingOptions

__all__ = ["LoadedRun", "load_run"]


class LoadedRun(NamedTuple):
    """What a run has to say to those who learn from it.

    Attributes:
        records: All outcomes.
        backends: Per model how its backend is built again, without secrets.
        options: How the run decoded; a router must decode the same way.
    """

    records: "list[OutcomeRecord]"
    backends: dict[str, dict[str, Any]]
    options: "DecodingOptions"


def load_run(run: Path) -> LoadedRun:
    """Return a run's outcomes and how they were obtained.

    Raises:
        StoreError: There is no run, or its store cannot be read.
    """
    from calibration import RunStore, store_path
    from policies import DecodingOptions, StoreError

    with RunStore.open(store_path(run)) as store:
        records = list(store.records())
        provenance: dict[str, Any] = store.get_meta("provenance") or {}
    if not records:
        raise StoreError(
            f"{run} holds no finished samples", hint="run the same advisor calibrate command again"
        )
    return LoadedRun(
        records, provenance.get("backends", {}), DecodingOptions(**provenance.get("options", {}))
    )
