"""Drift: have the prompts changed, and are the predicted probabilities still right?

The monitor may be looked at after every decision, for as long as the router runs: the chance that
it *ever* raises a false alarm is at most alpha. Half of alpha goes to the prompts, half to the
probabilities; within each half it is divided among the signals (Bonferroni), since signals depend
on each other in unknown ways.

What counts as a false alarm: an alarm on an input signal although calibration prompts and logged
prompts come independently from one distribution; or an alarm on an arm although the mean of
outcome minus p, over the prompts that go to the arm, is within the tolerance at all times. Not
covered: feedback that arrives sooner, or more often, for wrong answers than for right ones; it
looks like miscalibration. One prompt sent over and over is a change of the prompts and reported.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from policies import InvalidInputError

from .._stored import read_folder
from ._drift_reference import DRIFT_MEMBER, DriftReference, tie_of, watched_numbers
from ._feedback import FeedbackLog
from ._logged import LoggedDecision
from ._wealth import BinBets, MeanBets

__all__ = ["DriftMonitor", "DriftReport", "DriftSignal", "load_reference"]

ALPHA = 0.05
_MIN_TOLERANCE = 0.02
_TOLERANCE_WITHOUT_REFERENCE = 0.05

SignalKind = Literal["input", "worse-than-predicted", "better-than-predicted"]
_SIGNS: tuple[tuple[SignalKind, float], ...] = (
    ("worse-than-predicted", -1.0),
    ("better-than-predicted", 1.0),
)


@dataclass(frozen=True, slots=True)
class DriftSignal:
    """One thing that is watched.

    Attributes:
        name: The number (`n_bytes`, `is(math-oe)`, ...) or the arm.
        kind: `input`, or how the arm's outcomes differ from its predictions.
        e_value: Largest evidence so far: the wealth of a gambler who bets on a change from 1.
        threshold: Evidence at which the alarm is raised.
        n: Observations.
        size: How large the difference is now. Input: share of recent prompts (about 400) that
            would have to be others, in [0, 1]. Arm: mean of outcome minus p over all outcomes.
        alarm: Whether the evidence has ever reached the threshold.
        since_s: When it first did, seconds since 1970; `None` if never.
    """

    name: str
    kind: SignalKind
    e_value: float
    threshold: float
    n: int
    size: float
    alarm: bool
    since_s: float | None


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What the monitor knows.

    Attributes:
        alarm: Whether any signal has raised the alarm.
        which: Names of the signals that have, strongest first.
        e_value: Evidence of the signal nearest to (or farthest above) its threshold.
        threshold: That signal's threshold.
        since_s: When the first alarm was raised, seconds since 1970; `None` without one.
        n: Decisions that were seen.
        n_outcomes: Outcomes that were seen.
        n_reference: Prompts of the reference; 0 if prompts are not watched.
        alpha: Chance of ever raising a false alarm, at most.
        tolerance: Difference between outcomes and probabilities that is no drift.
        signals: All of them, strongest first.
    """

    alarm: bool
    which: tuple[str, ...]
    e_value: float
    threshold: float
    since_s: float | None
    n: int
    n_outcomes: int
    n_reference: int
    alpha: float
    tolerance: float
    signals: tuple[DriftSignal, ...]

    def to_json(self) -> dict[str, Any]:
        """Return one JSON object."""
        return asdict(self)


class _Tracker:
    """Largest evidence and first alarm of each signal."""

    def __init__(self, n_signals: int, threshold: float) -> None:
        self.log_threshold = math.log(threshold)
        self.peak = np.zeros(n_signals)
        self.since: list[float | None] = [None] * n_signals

    def see(self, signals: Sequence[int], log_wealth: Sequence[float], time_s: float) -> None:
        for signal, value in zip(signals, log_wealth, strict=True):
            self.peak[signal] = max(self.peak[signal], value)
            if value >= self.log_threshold and self.since[signal] is None:
                self.since[signal] = time_s


class DriftMonitor:
    """Watches decisions and outcomes as they come; not safe to share among threads."""

    def __init__(
        self,
        arms: Sequence[str],
        reference: DriftReference | None = None,
        *,
        alpha: float = ALPHA,
        tolerance: float | None = None,
    ) -> None:
        """Begin to watch.

        Args:
            arms: Names of the router's arms.
            reference: What prompts looked like at calibration; `None` watches outcomes only.
            alpha: Chance of ever raising a false alarm, in (0, 1).
            tolerance: Difference between mean outcome and mean p that is no drift. No model is
                perfectly calibrated; by default two standard errors of an accuracy on the n
                prompts of the reference, `1 / sqrt(n)`, but at least 0.02; 0.05 without one.

        Raises:
            InvalidInputError: A value is out of range.
        """
        if not 0.0 < alpha < 1.0:
            raise InvalidInputError(f"alpha={alpha!r} is not between 0 and 1")
        if tolerance is None:
            tolerance = _default_tolerance(reference)
        if not 0.0 <= tolerance < 1.0:
            raise InvalidInputError(f"tolerance={tolerance!r} is not in [0, 1)")
        self._arms = {arm: position for position, arm in enumerate(arms)}
        self._alpha = alpha
        self._tolerance = tolerance
        self._n_reference = reference.n if reference is not None else 0
        self._bins = (
            {} if reference is None else {name: reference.bins_of(name) for name in reference.bins}
        )
        self._position = {name: position for position, name in enumerate(self._bins)}
        self._spacings = np.zeros((len(self._bins), _width(self._bins.values())))
        for row, found in enumerate(self._bins.values()):
            self._spacings[row, : len(found.spacings)] = found.spacings
        # A half whose signals do not exist leaves its share to the other one.
        share = alpha / 2 if self._bins else alpha
        self._inputs = BinBets(self._spacings)
        self._seen_inputs = _Tracker(len(self._bins), max(len(self._bins), 1) / share)
        n_means = len(_SIGNS) * len(self._arms)
        self._means = MeanBets(n_means)
        self._seen_means = _Tracker(n_means, max(n_means, 1) / share)
        self._gaps = np.zeros(len(self._arms))
        self._n_decisions = 0

    @classmethod
    def from_log(
        cls,
        log: FeedbackLog,
        reference: DriftReference | None = None,
        *,
        artifact_id: str | None = None,
        n_baseline: int = 0,
        alpha: float = ALPHA,
        tolerance: float | None = None,
    ) -> Self:
        """Return a monitor that has seen a whole log: decisions and outcomes as they arrived.

        Args:
            log: The log.
            reference: What prompts looked like at calibration.
            artifact_id: The router to watch; by default the one that decided last.
            n_baseline: Take the reference from the first so many decisions instead, and watch
                the prompts of the others; outcomes are watched from the first one.
            alpha: See `DriftMonitor`.
            tolerance: See `DriftMonitor`.

        Raises:
            InvalidInputError: The log has no decision of the router, or both a reference and a
                baseline are given.
            StoreError: The log is damaged.
        """
        if reference is not None and n_baseline:
            raise InvalidInputError("give a reference or a baseline, not both")
        artifact_id = artifact_id or next(iter(log.artifact_ids()), None)
        decisions = log.decisions(artifact_id=artifact_id)
        baseline = list(islice(decisions, max(n_baseline, 1)))
        if artifact_id is None or not baseline:
            raise InvalidInputError(
                f"the log has no decision of the router {artifact_id!r}"
                if artifact_id
                else "the log has no decisions",
                hint=f"it has those of: {', '.join(log.artifact_ids()) or 'none'}",
            )
        if n_baseline:
            reference = DriftReference.from_decisions(baseline)
        monitor = cls(baseline[0].arms, reference, alpha=alpha, tolerance=tolerance)
        for decision in [] if n_baseline else baseline:
            monitor.update_input(decision)
        for decision in decisions:
            monitor.update_input(decision)
        for decision in log.with_outcomes(artifact_id=artifact_id):
            monitor.update_outcome(decision)
        return monitor

    def update(self, decision: LoggedDecision) -> None:
        """Take in a decision and, if it is known, its outcome.

        Raises:
            InvalidInputError: The decision is about other arms.
        """
        self.update_input(decision)
        if decision.outcome is not None:
            self.update_outcome(decision)

    def update_input(self, decision: LoggedDecision) -> None:
        """Take in the prompt of a decision, once."""
        self._n_decisions += 1
        names: list[str] = []
        found: list[int] = []
        for name, value in watched_numbers(decision).items():
            if name in self._bins and math.isfinite(value):
                names.append(name)
                found.append(self._bins[name].find(value, tie_of(decision.decision_id, name)))
        if not names:
            return
        games = np.array([self._position[name] for name in names], dtype=np.int64)
        self._inputs.update(games, np.array(found, dtype=np.int64))
        self._seen_inputs.see(
            games.tolist(), self._inputs.log_wealth[games].tolist(), decision.time_s
        )

    def update_outcome(self, decision: LoggedDecision) -> None:
        """Take in the outcome of a decision, once; errors of the infrastructure are left out.

        Raises:
            InvalidInputError: The decision is about other arms.
        """
        outcome = decision.outcome
        if decision.arm not in self._arms:
            raise InvalidInputError(
                f"the monitor does not watch the arm {decision.arm!r}",
                hint=f"it watches: {', '.join(self._arms)}",
            )
        if outcome is None or outcome.score is None:
            return
        arm = self._arms[decision.arm]
        gap = outcome.score - decision.p[decision.position]
        self._gaps[arm] += gap
        games = np.array([arm, len(self._arms) + arm], dtype=np.int64)
        values = np.array([sign * gap - self._tolerance for _, sign in _SIGNS])
        self._means.update(games, values)
        self._seen_means.see(games.tolist(), self._means.log_wealth[games].tolist(), outcome.time_s)

    def report(self) -> DriftReport:
        """Return what is known now; asking changes nothing."""
        signals = [*self._input_signals(), *self._outcome_signals()]
        signals.sort(key=lambda signal: (-signal.e_value / signal.threshold, signal.name))
        raised = [signal for signal in signals if signal.alarm]
        return DriftReport(
            alarm=bool(raised),
            which=tuple(f"{signal.name} {signal.kind}" for signal in raised),
            e_value=signals[0].e_value if signals else 1.0,
            threshold=signals[0].threshold if signals else math.inf,
            since_s=min((s.since_s for s in raised if s.since_s is not None), default=None),
            n=self._n_decisions,
            n_outcomes=int(self._means.n[: len(self._arms)].sum()),
            n_reference=self._n_reference,
            alpha=self._alpha,
            tolerance=self._tolerance,
            signals=tuple(signals),
        )

    def _input_signals(self) -> Iterable[DriftSignal]:
        for name, row in self._position.items():
            counts = self._inputs.counts[row]
            recent = counts / max(float(counts.sum()), 1e-300)
            expected = self._spacings[row] / self._spacings[row].sum()
            size = 0.5 * float(np.abs(recent - expected).sum()) if counts.any() else 0.0
            yield _signal(self._seen_inputs, row, name, "input", int(self._inputs.n[row]), size)

    def _outcome_signals(self) -> Iterable[DriftSignal]:
        for half, (kind, _) in enumerate(_SIGNS):
            for arm, position in self._arms.items():
                game = half * len(self._arms) + position
                n = int(self._means.n[game])
                gap = float(self._gaps[position]) / n if n else 0.0
                yield _signal(self._seen_means, game, arm, kind, n, gap)


def load_reference(path: str | Path) -> DriftReference | None:
    """Return the reference stored in a router's folder, `None` if it has none.

    Raises:
        ArtifactError: There is no router, a newer version wrote it, or it was changed.
    """
    artifact = read_folder(Path(path))
    data = artifact.members.get(DRIFT_MEMBER)
    return None if data is None else DriftReference.from_bytes(data)


def _signal(
    tracker: _Tracker, row: int, name: str, kind: SignalKind, n: int, size: float
) -> DriftSignal:
    peak, since_s = float(tracker.peak[row]), tracker.since[row]
    return DriftSignal(
        name=name,
        kind=kind,
        # Beyond this a float cannot hold it, and nobody doubts.
        e_value=math.exp(min(peak, 700.0)),
        threshold=math.exp(tracker.log_threshold),
        n=n,
        size=size,
        alarm=since_s is not None,
        since_s=since_s,
    )


def _width(all_bins: Iterable[Any]) -> int:
    return max((len(found.spacings) for found in all_bins), default=1)


def _default_tolerance(reference: DriftReference | None) -> float:
    if reference is None or reference.n == 0:
        return _TOLERANCE_WITHOUT_REFERENCE
    return max(_MIN_TOLERANCE, 1.0 / math.sqrt(reference.n))
