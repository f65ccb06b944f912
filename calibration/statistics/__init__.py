"""Intervals and paired comparisons; importing this needs the standard library only."""

from .intervals import (
    Interval,
    clopper_pearson_interval,
    clustered_mean_interval,
    clustered_stderr,
    wilson_interval,
)
from .paired import mcnemar_exact, paired_difference_interval, paired_proportions_interval

__all__ = [
    "Interval",
    "clopper_pearson_interval",
    "clustered_mean_interval",
    "clustered_stderr",
    "mcnemar_exact",
    "paired_difference_interval",
    "paired_proportions_interval",
    "wilson_interval",
]
