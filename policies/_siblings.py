"""Make sure that `policies`, `calibration`, `router` and `advisor` are the ones installed together.

These are names that other people use too. A `router.py` in the folder of a user's script takes
the place of our package, and another distribution that ships `router/` overwrites it without a
word; both end in an error far from its cause unless somebody looks.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from ._errors import MissingPrerequisiteError

__all__ = ["check_sibling"]

_HERE = Path(__file__).resolve().parent.parent
_MARKER = (b"__distribution__", b"thinkroute")
"""Our `__init__.py` files hold `__distribution__ = "thinkroute"`."""


def check_sibling(package_name: str) -> None:
    """Raise unless importing `package_name` gives the package of this distribution.

    The package is looked up but not imported, so no foreign code runs. Takes well under a
    millisecond; has no side effects.

    Args:
        package_name: `policies`, `calibration`, `router` or `advisor`.

    Raises:
        MissingPrerequisiteError: Another file took the package's name, another distribution
            overwrote it, or it is missing. Also an `ImportError`; `code` is `shadowed-package`
            or `missing-package`, `path` the file found.

    Example:
        >>> from policies import check_sibling
        >>> check_sibling("policies")
    """
    found = _find(package_name)
    ours = _HERE / package_name / "__init__.py"
    if found is None:
        raise MissingPrerequisiteError(
            f"the package {package_name!r} of thinkroute is missing from {_HERE}",
            hint="pip install --force-reinstall thinkroute",
            code="missing-package",
        )
    if found.parent != ours.parent:
        raise _shadowed(
            f"thinkroute needs its own package {package_name!r} from {ours}, "
            f"but Python found {found}",
            found,
            hint="rename or move that file, or start Python from another folder",
        )
    if not _has_marker(found):
        raise _shadowed(
            f"{found} is not the package {package_name!r} of thinkroute: "
            "another distribution has overwritten it",
            found,
            hint="uninstall that distribution or use a virtual environment of its own, then "
            "pip install --force-reinstall thinkroute",
        )


def _find(package_name: str) -> Path | None:
    """Return the file that importing a top-level name would run, or has run."""
    loaded = sys.modules.get(package_name)
    spec: ModuleSpec | None
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(package_name)
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).resolve()
    # A namespace package has no file; a script that imports itself by name has no spec.
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    place = places[0] if places else getattr(loaded, "__file__", None)
    return Path(place).resolve() if place is not None else None


def _has_marker(found: Path) -> bool:
    """Return whether the file is ours; one inside an archive cannot be read and passes."""
    try:
        content = found.read_bytes()
    except OSError:
        return True
    return all(part in content for part in _MARKER)


def _shadowed(message: str, found: Path, *, hint: str) -> MissingPrerequisiteError:
    """Return the error with the file found, as `ImportError` keeps it."""
    error = MissingPrerequisiteError(message, hint=hint, code="shadowed-package")
    error.path = str(found)
    return error
