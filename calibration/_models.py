"""What is known about a model besides how to reach it: size, architecture, recipe."""

from dataclasses import dataclass
from pathlib import Path

from policies import Backend, ModelSize

from .cost import Architecture

__all__ = ["ModelFacts", "describe_model"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about a model that measured tables carry.

    Attributes:
        model: Name in tables.
        size: Parameter count, `None` if unknown.
        architecture: Shape of the network, `None` if unknown; FLOPs need it.
        recipe: How it was trained, "" if unknown.
    """

    model: str
    size: ModelSize | None = None
    architecture: Architecture | None = None
    recipe: str = ""


def describe_model(
    backend: Backend,
    *,
    config: Path | None = None,
    size: ModelSize | None = None,
    recipe: str = "",
) -> ModelFacts:
    """Return what is known about a backend's model.

    Args:
        backend: A backend; one that runs local weights has a `directory` with `config.json`.
        config: The model's `config.json`, where the backend has none.
        size: Parameter count, if there is no configuration; otherwise it is counted.
        recipe: How the model was trained.

    Raises:
        DataFileError: The configuration cannot be read.
    """
    directory = getattr(backend, "directory", None)
    if config is None and isinstance(directory, Path):
        config = directory / "config.json"
    architecture = Architecture.from_config(config) if config is not None else None
    if size is None and architecture is not None:
        size = ModelSize(architecture.n_params)
    return ModelFacts(backend.model, size, architecture, recipe)
