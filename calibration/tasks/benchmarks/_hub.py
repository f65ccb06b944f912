"""Rows of data sets on the Hugging Face hub, through the library `datasets`."""

# datasets and pyarrow have no types that pyright could use.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

import logging
from collections.abc import Iterator
from typing import Any

from policies import MissingPrerequisiteError

from .._reading import BATCH_ROWS, RowFilter, rows_of_batches
from .._row import Row
from ._benchmark import HubDataset

__all__ = ["hub_rows"]

_LOGGER = logging.getLogger("thinkroute.calibration")


def hub_rows(benchmark: str, dataset: HubDataset, keep: tuple[RowFilter, ...]) -> Iterator[Row]:
    """Yield the rows of a data set that pass every filter; downloaded once, then cached.

    No code of the data set's repository is run.

    Args:
        benchmark: Name of the benchmark, for messages.
        dataset: Which data set.
        keep: Which rows.

    Raises:
        MissingPrerequisiteError: The library `datasets` is not installed, the hub cannot be
            reached, or the data set is not there.
        DataFileError: A row cannot be read.
    """
    loaded = _load(benchmark, dataset)
    _LOGGER.info("%s: %d rows from %s", benchmark, len(loaded), dataset)
    batches = loaded.with_format("arrow").iter(batch_size=BATCH_ROWS)
    yield from rows_of_batches(str(dataset), batches, keep)


def _load(benchmark: str, dataset: HubDataset) -> Any:
    try:
        import httpx
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise MissingPrerequisiteError.extra("benchmarks", "datasets") from error
    try:
        return load_dataset(
            dataset.path, name=dataset.config, split=dataset.split, revision=dataset.revision
        )
    except (OSError, ValueError, RuntimeError, DatasetsError, httpx.HTTPError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise MissingPrerequisiteError(
            f"{benchmark} cannot be loaded from the Hugging Face hub, data set {dataset}:"
            f" {lines[0][:200]}",
            hint=f"check the connection, or give a file of it: --data {benchmark}=PATH",
            code="benchmark-unavailable",
        ) from error
