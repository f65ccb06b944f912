"""What routing saved against always reasoning, and how far that can be believed.

What always reasoning would have used is an expectation of the router, except where the reasoning
arm itself answered: there it is what was used, and nothing was saved. On those requests the
expectation is checked, and the savings are told once more, scaled by what the check found. The
check is of prompts that the router sent to the reasoning arm; on the others it may err otherwise,
which no log can tell.

A cap that the client set binds every arm, so no arm is expected to use more. Requests that ended
with an error saved nothing: what they used is told apart. What accuracy was lost is not in the log.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import (
    ClusterSums,
    clustered_mean_interval,
    clustered_proportion_interval,
)

from ._ratios import Floats, Resampled, Statistic
from ._saving_statistics import log_ratio, mean_saving, rescaled_remainder, rescaled_saving
from ._savings_document import (
    ArmSavings,
    Compared,
    Estimate,
    Quantiles,
    ReferenceCheck,
    Savings,
    Verdict,
)
from ._served import ServedRow

__all__ = ["savings"]

MIN_CHECKED = 30
"""Answers of the reference arm from which its expectation is judged and the savings rescaled."""

MIN_CLUSTERS = 15
"""Conversations that they must come from."""


def savings(rows: Iterable[ServedRow], *, confidence: float = 0.95, seed: int = 0) -> Savings:
    """Return what the requests of a log saved against always reasoning.

    Intervals are bootstrapped over conversations; they tell how much other requests of the same
    kind would differ, not whether the expectation is right: that is `Savings.check`. Equal rows
    and seeds give equal results.

    Args:
        rows: The requests.
        confidence: Nominal coverage of the intervals, in (0, 1).
        seed: Seed of the bootstrap.

    Raises:
        InvalidInputError: The confidence is out of range.
        StoreError: The log that the rows come from is damaged.
    """
    table = _Table(rows)
    everything = np.arange(table.n)
    arms = Counter(table.arms)
    positions: dict[str, list[int]] = {arm: [] for arm in arms}
    for position, arm in enumerate(table.arms):
        positions[arm].append(position)
    context = _Context(table, confidence, seed)
    return Savings(
        n=table.n,
        first_s=min(table.times, default=None),
        last_s=max(table.times, default=None),
        confidence=confidence,
        total=context.arm("*", everything),
        arms=tuple(
            context.arm(arm, np.array(positions[arm], dtype=np.intp))
            for arm, _ in sorted(arms.items(), key=lambda item: (-item[1], item[0]))
        ),
        check=context.check(),
        not_compared=dict(sorted(Counter(filter(None, table.reasons)).items())),
    )


class _Table:
    """The rows as columns; what is not known is NaN."""

    def __init__(self, rows: Iterable[ServedRow]) -> None:
        self.arms: list[str] = []
        self.reasons: list[str] = []
        self.times: list[float] = []
        errors: list[str] = []
        clusters: dict[tuple[str, str], int] = {}
        numbers: list[tuple[float, ...]] = []
        found: list[int] = []
        for row in rows:
            request = row.request
            # Without a conversation each request is one of its own.
            key = ("c", request.conversation) if request.conversation else ("r", str(len(found)))
            found.append(clusters.setdefault(key, len(clusters)))
            self.arms.append(request.arm)
            errors.append(request.error)
            self.times.append(request.time_s)
            values, reason = _numbers(row)
            numbers.append(values)
            self.reasons.append(reason)
        self.n = len(found)
        self.errors = np.array(errors, dtype=np.str_)
        self.clusters = np.array(found, dtype=np.int64)
        columns = np.array(numbers, dtype=np.float64).reshape(self.n, len(_COLUMNS))
        self.column = dict(zip(_COLUMNS, columns.T, strict=True))


_COLUMNS = (
    *("used", "reference", "expected", "is_alone", "completion", "usd", "compared_usd"),
    *("reference_usd", "flops", "reference_flops", "score", "is_unscored", "added_s", "decision_s"),
    *("could_escalate", "has_escalated"),
)


def _numbers(row: ServedRow) -> tuple[tuple[float, ...], str]:
    """Return a row's `_COLUMNS`, and why its tokens cannot be compared, "" if they can."""
    request, nan = row.request, math.nan
    has_escalated = "escalated" in request.reasons
    is_alone = request.arm != "" and request.arm == request.reference_arm and not has_escalated
    completion = nan if request.usage is None else float(request.usage.completion_tokens)
    expected = _or_nan(request.reference_tokens)
    cap = _or_nan(request.max_tokens)
    if request.finish_reason == "length":
        cap = completion
    # `fmin` takes what is known of the two.
    capped = float(np.fmin(expected, cap)) if not math.isnan(expected) else nan
    reason = ""
    if request.error or request.status >= 400:
        reason = "error"
    elif math.isnan(completion):
        reason = "no-usage"
    elif math.isnan(expected) and not is_alone:
        reason = "no-reference"
    is_fine = not reason
    # How a cap would have changed other costs than tokens is not known.
    is_whole = reason != "error" and not capped < expected
    usd, flops = _or_nan(request.usd), _or_nan(request.expected_flops)
    score = nan if row.outcome is None else _or_nan(row.outcome.score)
    values = (
        completion if is_fine else nan,
        (completion if is_alone else capped) if is_fine else nan,
        capped if is_fine else nan,
        float(is_alone),
        completion,
        usd,
        usd if is_whole else nan,
        (usd if is_alone else _or_nan(request.reference_usd)) if is_whole else nan,
        flops if is_whole else nan,
        (flops if is_alone else _or_nan(request.reference_flops)) if is_whole else nan,
        score,
        float(row.outcome is not None and row.outcome.score is None),
        request.added_s,
        request.decision_s if request.decision_s > 0 else nan,
        float(has_escalated or "look-first" in request.reasons),
        float(has_escalated),
    )
    return values, reason


class _Context:
    """Estimates over parts of a table."""

    def __init__(self, table: _Table, confidence: float, seed: int) -> None:
        self._table = table
        self._confidence = confidence
        self._seed = seed

    def arm(self, name: str, rows: NDArray[np.intp]) -> ArmSavings:
        """Return what is known of some rows."""
        column = {key: values[rows] for key, values in self._table.column.items()}
        errors = self._table.errors[rows]
        codes: list[str] = np.unique(errors[errors != ""]).tolist()
        could = rows[column["could_escalate"] > 0]
        return ArmSavings(
            arm=name,
            n=len(rows),
            n_clusters=len(np.unique(self._table.clusters[rows])),
            tokens=self._compared(rows, column["used"], column["reference"]),
            flops=self._compared(rows, column["flops"], column["reference_flops"]),
            usd=self._compared(rows, column["compared_usd"], column["reference_usd"]),
            all_tokens=float(np.nansum(column["completion"])),
            all_usd=float(np.nansum(column["usd"])),
            failed_tokens=float(np.nansum(column["completion"][errors != ""])),
            errors={code: self._rate(rows, errors == code) for code in codes},
            escalated=(
                self._rate(could, self._table.column["has_escalated"][could] > 0)
                if len(could)
                else None
            ),
            score=self._score(rows, column["score"]),
            n_unscored=int(column["is_unscored"].sum()),
            added_s=_quantiles(column["added_s"]),
            decision_s=_quantiles(column["decision_s"]),
        )

    def check(self) -> ReferenceCheck:
        """Return whether the expectation held where the reference arm answered."""
        column = self._table.column
        is_compared = ~np.isnan(column["used"]) & ~np.isnan(column["reference"])
        is_checked = is_compared & (column["is_alone"] > 0) & ~np.isnan(column["expected"])
        n = int(is_checked.sum())
        used, expected = column["used"], column["expected"]
        is_other = is_compared & (column["is_alone"] == 0)
        is_alone = is_compared & (column["is_alone"] > 0)
        parts = {
            "checked_used": np.where(is_checked, used, 0.0),
            "checked_expected": np.where(is_checked, expected, 0.0),
            "alone_used": np.where(is_alone, used, 0.0),
            "other_used": np.where(is_other, used, 0.0),
            "other_expected": np.where(is_other, expected, 0.0),
            "n": is_compared.astype(np.float64),
        }
        sums = {name: float(values.sum()) for name, values in parts.items()}
        ratio = saved = share = None
        verdict: Verdict = "too-few"
        if n:
            own = self._drawn(np.flatnonzero(is_checked), [used, expected])
            ratio = self._of(own, log_ratio(0, 1), n, _exp)
            if n >= MIN_CHECKED and own.n_clusters >= MIN_CLUSTERS and ratio is not None:
                verdict = _verdict(ratio)
                drawn = self._drawn(np.flatnonzero(is_compared), list(parts.values()))
                n_all = int(sums["n"])
                share = self._of(drawn, rescaled_remainder, n_all, _one_less_exp)
                saved = self._of(drawn, rescaled_saving, n_all, lambda mean: mean * n_all)
        return ReferenceCheck(
            n=n,
            expected_tokens=sums["checked_expected"],
            used_tokens=sums["checked_used"],
            ratio=ratio,
            verdict=verdict,
            saved_tokens=saved,
            saved_share=share,
        )

    def _compared(self, rows: NDArray[np.intp], used: Floats, reference: Floats) -> Compared:
        is_known = ~np.isnan(used) & ~np.isnan(reference)
        used, reference, n = used[is_known], reference[is_known], int(is_known.sum())
        saved = share = None
        if n:
            columns = np.stack([used, reference, np.ones(n)], axis=1)
            _, clusters = np.unique(self._table.clusters[rows[is_known]], return_inverse=True)
            drawn = Resampled(columns, clusters, seed=self._seed)
            saved = self._of(drawn, mean_saving, n, lambda mean: mean * n)
            share = self._of(drawn, log_ratio(0, 1), n, _one_less_exp)
        return Compared(n, float(used.sum()), float(reference.sum()), saved, share)

    def _drawn(self, rows: NDArray[np.intp], columns: list[Floats]) -> Resampled:
        """Draw the conversations of some rows."""
        _, clusters = np.unique(self._table.clusters[rows], return_inverse=True)
        data = np.stack([values[rows] for values in columns], axis=1)
        return Resampled(data, clusters, seed=self._seed)

    def _of(
        self, drawn: Resampled, statistic: Statistic, n: int, back: Callable[[float], float]
    ) -> Estimate | None:
        """Return an estimate, brought back from the scale on which the interval is made."""
        value, low, high = drawn.interval(statistic, self._confidence)
        if math.isnan(value):
            return None
        low, high = sorted((back(low), back(high)))  # NaN stays NaN
        return Estimate(back(value), low, high, n, drawn.n_clusters)

    def _rate(self, rows: NDArray[np.intp], is_so: NDArray[np.bool_]) -> Estimate:
        _, clusters = np.unique(self._table.clusters[rows], return_inverse=True)
        n_in = np.bincount(clusters).astype(np.int64)
        k_in = np.bincount(clusters, is_so.astype(np.float64)).astype(np.int64)
        found = clustered_proportion_interval(
            ClusterSums(
                n=len(rows),
                k=int(k_in.sum()),
                n_clusters=len(n_in),
                sum_kk=int(k_in @ k_in),
                sum_kn=int(k_in @ n_in),
                sum_nn=int(n_in @ n_in),
            ),
            self._confidence,
        )
        return Estimate(found.estimate, found.low, found.high, len(rows), len(n_in))

    def _score(self, rows: NDArray[np.intp], scores: Floats) -> Estimate | None:
        is_told = ~np.isnan(scores)
        told, rows = scores[is_told], rows[is_told]
        if not len(told):
            return None
        if np.isin(told, (0.0, 1.0)).all():
            return self._rate(rows, told > 0)
        clusters: list[int] = self._table.clusters[rows].tolist()
        found = clustered_mean_interval(told.tolist(), clusters, self._confidence)
        low, high = max(found.low, 0.0), min(found.high, 1.0)
        return Estimate(found.estimate, low, high, len(told), len(set(clusters)))


def _verdict(ratio: Estimate) -> Verdict:
    if ratio.high < 1.0:
        return "too-high"
    return "too-low" if ratio.low > 1.0 else "consistent"


def _exp(value: float) -> float:
    """Return the exponential; with one conversation that outweighs all, an end may be infinite."""
    return math.exp(value) if value < 700.0 else math.inf


def _one_less_exp(value: float) -> float:
    return 0.0 - math.expm1(value) if value < 700.0 else -math.inf


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _quantiles(values: Floats) -> Quantiles | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    p50, p95 = np.quantile(known, [0.5, 0.95]).tolist()
    return Quantiles(p50, p95, len(known))
