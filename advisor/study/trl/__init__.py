"""A study on a user's own base models: students trained by TRL through exported recipes.

Names are loaded on first use; importing this needs the standard library only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._bases import Base, base_names
    from ._data import StudyData
    from ._settings import TrlData, TrlMeasuring, TrlTraining
    from ._teacher import Teacher, TeacherPairs, write_teacher_pairs
    from ._trl_lab import TrlLab

__all__ = [
    "Base",
    "StudyData",
    "Teacher",
    "TeacherPairs",
    "TrlData",
    "TrlLab",
    "TrlMeasuring",
    "TrlTraining",
    "base_names",
    "write_teacher_pairs",
]

_HOMES = {
    "Base": "._bases",
    "StudyData": "._data",
    "Teacher": "._teacher",
    "TeacherPairs": "._teacher",
    "TrlData": "._settings",
    "TrlLab": "._trl_lab",
    "TrlMeasuring": "._settings",
    "TrlTraining": "._settings",
    "base_names": "._bases",
    "write_teacher_pairs": "._teacher",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value
