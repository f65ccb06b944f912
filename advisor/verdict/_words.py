"""Figures as text; every number here is printed, measured or computed from such."""

from ..inference import Estimate

__all__ = ["PAPER", "cells_of", "percent", "points", "short_points"]

PAPER = "arXiv 2509.22193v2"

_ABOUT = {"interpolated": "about ", "transferred": "about "}


def percent(estimate: Estimate) -> str:
    """Return an accuracy as text, such as `55.4%` or `about 52.1%` if it is not a cell's."""
    if estimate.value is None:
        return "no figure"
    return f"{_ABOUT.get(estimate.basis, '')}{100 * estimate.value:.1f}%"


def points(estimate: Estimate) -> str:
    """Return a difference with its interval as text, in percentage points."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "no figure"
    interval = f"{100 * estimate.low:+.1f} to {100 * estimate.high:+.1f}"
    return f"{short_points(estimate)} points, 90% interval {interval}"


def short_points(estimate: Estimate) -> str:
    """Return a difference as text without its interval."""
    if estimate.value is None:
        return "no figure"
    return f"{_ABOUT.get(estimate.basis, '')}{100 * estimate.value:+.1f}"


def cells_of(*estimates: Estimate) -> tuple[str, ...]:
    """Return the ids of the cells that estimates refer to, each once."""
    return tuple(dict.fromkeys(ref.id for estimate in estimates for ref in estimate.refs))
