"""Configurations that run: a recipe as data files and settings for a training library."""

from ._chat_template import CHATML, read_chat_template
from ._defaults import (
    default_base_model,
    default_learning_rate,
    fit_max_length,
    fit_schedule,
)
from ._export import export_recipe, tested_version
from ._plan import context_tokens
from ._request import LIBRARIES, DataFile, Export, ExportRequest, Library
from ._training import DpoSettings, GrpoSettings, TrainingRun

__all__ = [
    "CHATML",
    "LIBRARIES",
    "DataFile",
    "DpoSettings",
    "Export",
    "ExportRequest",
    "GrpoSettings",
    "Library",
    "TrainingRun",
    "context_tokens",
    "default_base_model",
    "default_learning_rate",
    "export_recipe",
    "fit_max_length",
    "fit_schedule",
    "read_chat_template",
    "tested_version",
]
