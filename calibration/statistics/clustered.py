"""An interval of an accuracy whose answers come in clusters: repeats, shared documents."""

import math
from dataclasses import dataclass

from .intervals import Interval, check_confidence, normal_quantile, wilson_interval

__all__ = ["ClusterSums", "clustered_proportion_interval"]


@dataclass(frozen=True, slots=True)
class ClusterSums:
    """What an interval needs to know of n answers, k of them right, in C clusters.

    With n_c answers and k_c right ones in cluster c:

    Attributes:
        n: All answers.
        k: Right answers.
        n_clusters: C.
        sum_kk: Sum over clusters of k_c^2.
        sum_kn: Sum of k_c * n_c.
        sum_nn: Sum of n_c^2.
    """

    n: int
    k: int
    n_clusters: int
    sum_kk: int
    sum_kn: int
    sum_nn: int


def clustered_proportion_interval(sums: ClusterSums, confidence: float = 0.95) -> Interval:
    """Return a Wilson interval at the effective number of independent answers.

    The effective number is n over the design effect, which compares the cluster-robust variance
    `C/(C-1) * sum_c (k_c - p*n_c)^2 / n^2` with that of n independent answers; it is lowered
    once more by (z/t)^2 with t at C - 1 degrees of freedom, and never above n. Where all answers
    agree nothing tells the design effect, so the clusters themselves are counted. With one
    answer per cluster it is nearly the plain Wilson interval (z/t apart).

    Source: Korn and Graubard, Survey Methodology 24 (1998), 193-201, with the Wilson interval
    in place of Clopper-Pearson's; cluster-robust variance: Miller, arXiv 2411.00640, section 2.2.

    Args:
        sums: Counts and sums over clusters.
        confidence: Nominal coverage in (0, 1).

    Returns:
        The interval; (0, 1) below two clusters.

    Raises:
        InvalidInputError: Not `0 < confidence < 1`.

    Example:
        >>> repeated = ClusterSums(n=300, k=150, n_clusters=30, sum_kk=1500, sum_kn=1500, sum_nn=3000)
        >>> low, high = clustered_proportion_interval(repeated)
        >>> f"{low:.2f} {high:.2f}"
        '0.32 0.68'
    """
    check_confidence(confidence)
    if sums.n_clusters < 2:
        return Interval(sums.k / sums.n if sums.n else math.nan, 0.0, 1.0, confidence)
    from scipy import special

    n, clusters, p = sums.n, sums.n_clusters, sums.k / sums.n
    squares = max(0.0, sums.sum_kk - 2 * p * sums.sum_kn + p * p * sums.sum_nn)
    variance = clusters / (clusters - 1) * squares / n**2
    n_effective = p * (1 - p) / variance if variance > 0 else float(clusters)
    t = float(special.stdtrit(clusters - 1, 0.5 + confidence / 2))
    n_effective = min(n_effective * (normal_quantile(confidence) / t) ** 2, float(n))
    low, high = wilson_interval(p * n_effective, n_effective, confidence)
    return Interval(p, min(low, p), max(high, p), confidence)
