"""What a router's manifest says about its content."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from .features.sparse import SPARSE_VERSION
from .features.text import TEXT_VERSION
from .model._model import MODEL_VERSION

__all__ = ["FEATURE_VERSIONS", "DataDocument", "RouterDocument"]

FEATURE_VERSIONS = {"text": TEXT_VERSION, "sparse": SPARSE_VERSION, "model": MODEL_VERSION}
"""Versions of everything that turns a prompt into probabilities."""

Count = Annotated[int, Field(ge=0)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataDocument(_Document):
    """The outcomes a router was fitted from."""

    sha256: str
    """Hash of the outcome matrix."""
    n_questions: Count
    """Questions with at least one graded outcome."""
    n_groups: Count
    """Groups of questions."""
    n_fitted: Count
    """Questions that the model was fitted on."""
    n_calibration: Count
    """Questions held back to certify the guarantee."""
    n_errors: Count
    """Records left out because the infrastructure failed."""


class RouterDocument(_Document):
    """The manifest of a router artifact, without the bookkeeping of its members."""

    created: str
    """When the router was fitted, ISO 8601."""
    producer: str
    """Distribution and version that fitted it."""
    seed: int
    """Seed of the fit."""
    data: DataDocument
    """Where its knowledge comes from."""
    arms: list[str]
    """Names of the arms, `model:policy`."""
    task_types: list[str]
    """Task types it tells apart."""
    tasks: dict[str, str]
    """Task type of every task it was fitted on."""
    features: dict[str, int]
    """Versions of its features and model."""
    objective: dict[str, Any]
    """Default objective."""
    backends: dict[str, dict[str, Any]]
    """How each model is reached; no secrets."""
    prices: dict[str, dict[str, float]]
    """US dollars per token by model."""
    contenders: list[dict[str, Any]]
    """Blends of learners that were compared, with their errors."""
    guarantee: dict[str, Any] | None = None
    """What is promised about the default objective, if anything."""
    options: dict[str, Any] | None = None
    """How the outcomes were decoded; completions decode the same way unless told otherwise."""

    @property
    def features_version(self) -> str:
        """Feature versions as one string, such as `model-1.sparse-1.text-1`."""
        return ".".join(f"{name}-{version}" for name, version in sorted(self.features.items()))
