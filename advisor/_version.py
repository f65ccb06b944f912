"""The version that wrote a file."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["producer_version"]


def producer_version() -> str | None:
    """Return the version that is installed; none where the code runs from a source folder."""
    try:
        return version("thinkroute")
    except PackageNotFoundError:
        return None
