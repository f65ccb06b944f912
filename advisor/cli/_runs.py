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


def load_run(run: Path, model: str | None = None) -> LoadedRun:
    """Return a run's outcomes, of all models or of one, and how they were obtained.

    Raises:
        StoreError: There is no run, or its store cannot be read.
        UnknownNameError: The run has no such model.
    """
    from calibration import RunStore, store_path
    from policies import DecodingOptions, StoreError, UnknownNameError

    with RunStore.open(store_path(run)) as store:
        records = list(store.records())
        provenance: dict[str, Any] = store.get_meta("provenance") or {}
    if not records:
        raise StoreError(
            f"{run} holds no finished samples", hint="run the same advisor calibrate command again"
        )
    if model is not None:
        measured = {record.model for record in records}
        if model not in measured:
            raise UnknownNameError("model", model, measured)
        records = [record for record in records if record.model == model]
    return LoadedRun(
        records, provenance.get("backends", {}), DecodingOptions(**provenance.get("options", {}))
    )
