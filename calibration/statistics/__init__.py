"""Intervals, comparisons and sequential tests; importing this needs the standard library only."""

from .betting import (
    Wealth,
    bet_against_mean,
    betting_p_values,
    betting_upper_bound,
    binomial_p_values,
    hoeffding_bentkus_p_values,
    largest_standing,
)
from .censoring import AccuracyBounds, LengthCurve, accuracy_bounds, length_curve
from .clustered import ClusterSums, clustered_proportion_interval
from .crossed import CrossedMean, crossed_difference, crossed_mean, crossed_proportion
from .equivalence import Equivalence, PairedCounts, equivalence_test, same_distribution
from .intervals import (
    Interval,
    clopper_pearson_interval,
    clustered_mean_interval,
    clustered_stderr,
    wilson_interval,
)
from .multiplicity import benjamini_hochberg, holm
from .paired import mcnemar_exact, paired_difference_interval, paired_proportions_interval
from .sequential import (
    BURN_IN,
    AnytimeTest,
    anytime_difference_interval,
    anytime_mean_interval,
    anytime_paired_test,
    anytime_proportion_interval,
    log_bets_against,
)

__all__ = [
    "BURN_IN",
    "AccuracyBounds",
    "AnytimeTest",
    "ClusterSums",
    "CrossedMean",
    "Equivalence",
    "Interval",
    "LengthCurve",
    "PairedCounts",
    "Wealth",
    "accuracy_bounds",
    "anytime_difference_interval",
    "anytime_mean_interval",
    "anytime_paired_test",
    "anytime_proportion_interval",
    "benjamini_hochberg",
    "bet_against_mean",
    "betting_p_values",
    "betting_upper_bound",
    "binomial_p_values",
    "clopper_pearson_interval",
    "clustered_mean_interval",
    "clustered_proportion_interval",
    "clustered_stderr",
    "crossed_difference",
    "crossed_mean",
    "crossed_proportion",
    "equivalence_test",
    "hoeffding_bentkus_p_values",
    "holm",
    "largest_standing",
    "length_curve",
    "log_bets_against",
    "mcnemar_exact",
    "paired_difference_interval",
    "paired_proportions_interval",
    "same_distribution",
    "wilson_interval",
]
