"""Configurations that run: a recipe as data files and settings for a training library."""

from ._defaults import (
    default_base_model,
    default_learning_rate,
    fit_max_length,
    fit_schedule,
)
from ._export import export_recipe, tested_version
from ._request import LIBRARIES, DataFile, Export, ExportRequest, Library
from ._training import DpoSettings, GrpoSettings, TrainingRun

__all__ = [
    "LIBRARIES",
    "DataFile",
    "DpoSettings",
    "Export",
    "ExportRequest",
    "GrpoSettings",
    "Library",
    "TrainingRun",
    "default_base_model",
    "default_learning_rate",
    "export_recipe",
    "fit_max_length",
    "fit_schedule",
    "tested_version",
]
