"""Means over the answers of a trial, with intervals over what was asked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from calibration.statistics import clustered_mean_interval, wilson_interval

__all__ = ["Figure", "mean_figure", "ratio_figure", "share_figure"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean with a 95% interval; all `None` where nothing was counted.

    Attributes:
        value: The mean.
        low: Lower end; `None` where fewer than two problems leave it open.
        high: Upper end, as `low`.
        n: What was counted.
        n_problems: Problems that it comes from, the unit of the interval.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    n_problems: int


def mean_figure(values: Sequence[float], clusters: Sequence[str]) -> Figure:
    """Return a mean; answers about one problem are one cluster.

    Args:
        values: What is averaged.
        clusters: The problem that each value is about.

    Source: `calibration.statistics.clustered_mean_interval`.
    """
    n_clusters = len(set(clusters))
    if not values:
        return Figure(None, None, None, 0, 0)
    mean = sum(values) / len(values)
    if n_clusters < 2:
        return Figure(mean, None, None, len(values), n_clusters)
    found = clustered_mean_interval(values, clusters)
    return Figure(mean, found.low, found.high, len(values), n_clusters)


def share_figure(hits: Sequence[bool], clusters: Sequence[str]) -> Figure:
    """Return a share; Wilson's interval over problems where all answers agree."""
    found = mean_figure([float(hit) for hit in hits], clusters)
    if found.value is None:
        return found
    if found.value in {0.0, 1.0} or found.low is None or found.high is None:
        interval = wilson_interval(found.value * found.n_problems, found.n_problems)
        return Figure(found.value, interval.low, interval.high, found.n, found.n_problems)
    return Figure(found.value, max(0.0, found.low), min(1.0, found.high), found.n, found.n_problems)


def ratio_figure(logs: Sequence[float], clusters: Sequence[str]) -> Figure:
    """Return a geometric mean of ratios from their natural logarithms."""
    found = mean_figure(logs, clusters)
    if found.value is None:
        return found
    low, high = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return Figure(math.exp(found.value), low, high, found.n, found.n_problems)
