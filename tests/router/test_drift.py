import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration import Outcome
from policies import ArtifactCorruptError, InvalidInputError
from router.features.sparse import Vocabulary
from router.feedback._drift import DriftMonitor, DriftReport
from router.feedback._drift_reference import (
    DriftReference,
    ReferenceBins,
    drift_features,
    watched_numbers,
    words_known_without_one,
)
from router.feedback._feedback import FeedbackLog
from router.feedback._logged import LoggedDecision, LoggedOutcome
from router.feedback._wealth import BinBets, MeanBets

Floats = NDArray[np.float64]
N_RUNS = 500
N_STEPS = 2000
ALPHA = 0.05
ARMS = ("toy:direct", "toy:reasoning@64")


def upper_limit(alpha: float, n: int) -> float:
    """Return what a true rate of alpha exceeds in n runs with a chance of 0.1% only."""
    from scipy import stats

    return float(stats.binom.ppf(0.999, n, alpha)) / n


def peaks_of_inputs(
    n_reference: int, draw: Callable[[np.random.Generator, int], Floats], seed: int
) -> Floats:
    """Return the largest log wealth ever reached in runs whose values never change."""
    rng = np.random.default_rng(seed)
    bins = [ReferenceBins.measure(draw(rng, n_reference), rng) for _ in range(N_RUNS)]
    bets = BinBets(np.array([found.spacings for found in bins]))
    # Shapes (n_runs, n_edges).
    values, ties = np.moveaxis(np.array([found.edges for found in bins]), 2, 0)
    games, peaks = np.arange(N_RUNS), np.zeros(N_RUNS)
    for _ in range(N_STEPS):
        value, tie = draw(rng, N_RUNS)[:, np.newaxis], rng.random((N_RUNS, 1))
        below = (values < value) | ((values == value) & (ties < tie))
        bets.update(games, below.sum(axis=1))
        peaks = np.maximum(peaks, bets.log_wealth)
    return peaks


def counts(rng: np.random.Generator, n: int) -> Floats:
    return rng.poisson(0.7, n).astype(np.float64)


def lengths(rng: np.random.Generator, n: int) -> Floats:
    return rng.lognormal(5.0, 1.0, n)


@pytest.mark.parametrize("n_reference", [60, 500])
@pytest.mark.parametrize("draw", [counts, lengths])
def test_unchanged_prompts_raise_no_more_false_alarms_than_stated(
    n_reference: int, draw: Callable[[np.random.Generator, int], Floats]
) -> None:
    peaks = peaks_of_inputs(n_reference, draw, seed=n_reference)
    for alpha in (ALPHA, 0.5):
        rate = float((peaks >= -math.log(alpha)).mean())
        assert rate <= upper_limit(alpha, N_RUNS), (alpha, rate)


def test_a_fixed_size_test_looked_at_all_the_time_would_not_hold_its_rate() -> None:
    """The simulation is able to show too many false alarms: a chi-squared test makes them."""
    from scipy import stats

    rng = np.random.default_rng(1)
    limit = stats.chi2.ppf(1 - ALPHA, 9)
    seen, alarms = np.zeros((N_RUNS, 10)), np.zeros(N_RUNS, dtype=bool)
    for step in range(1, N_STEPS + 1):
        seen[np.arange(N_RUNS), rng.integers(0, 10, N_RUNS)] += 1
        if step % 25 == 0:
            expected = step / 10
            alarms |= ((seen - expected) ** 2 / expected).sum(axis=1) > limit
    assert alarms.mean() > 2 * ALPHA


@pytest.mark.parametrize("error", [0.0, 0.03, -0.03])
def test_probabilities_within_the_tolerance_raise_no_more_false_alarms_than_stated(
    error: float,
) -> None:
    rng = np.random.default_rng(2)
    bets = {sign: MeanBets(N_RUNS) for sign in (-1.0, 1.0)}
    games, peaks = np.arange(N_RUNS), np.zeros(N_RUNS)
    for _ in range(N_STEPS):
        p = rng.uniform(0.1, 0.9, N_RUNS)
        gap = (rng.random(N_RUNS) < p + error) - p
        for sign, bet in bets.items():
            bet.update(games, sign * gap - 0.03)
            # Half of alpha for each sign.
            peaks = np.maximum(peaks, bet.log_wealth - math.log(2))
    assert (peaks >= -math.log(ALPHA)).mean() <= upper_limit(ALPHA, N_RUNS)


@settings(max_examples=30)
@given(
    spacings=st.lists(st.integers(1, 40), min_size=2, max_size=10),
    seen=st.lists(st.integers(0, 9), max_size=60),
)
def test_bets_are_fair_at_every_moment(spacings: list[int], seen: list[int]) -> None:
    """Under the urn the mean of the next wealth is the present one, to the last digit."""
    base = np.array([spacings], dtype=np.float64)
    past = [bin_ % len(spacings) for bin_ in seen]

    def wealth_after(*more: int) -> float:
        bets = BinBets(base)
        for bin_ in (*past, *more):
            bets.update(np.array([0]), np.array([bin_]))
        return math.exp(float(bets.log_wealth[0]))

    urn = base[0] + np.bincount(past, minlength=len(spacings))
    following = [wealth_after(bin_) for bin_ in range(len(spacings))]
    assert float(urn / urn.sum() @ following) == pytest.approx(wealth_after(), rel=1e-9)


def simulated(
    n: int,
    rng: np.random.Generator,
    *,
    words: float = 1.0,
    gap: float = 0.0,
    start: int = 0,
    arm: str = ARMS[0],
) -> list[LoggedDecision]:
    entries: list[LoggedDecision] = []
    for number in range(start, start + n):
        p = float(rng.uniform(0.4, 0.8))
        is_right = rng.random() < p + gap
        entries.append(
            LoggedDecision(
                decision_id=f"d{number}",
                time_s=float(number),
                artifact_id="abc",
                arms=ARMS,
                arm=arm,
                p=(p, p),
                tokens=(5.0, 50.0),
                cost=(5.0, 50.0),
                unit="tokens",
                features={"n_bytes": words * float(rng.lognormal(5.0, 1.0)), "digit_share": 0.0},
                posterior={"math-oe": p, "other": 1.0 - p},
                outcome=LoggedOutcome(
                    float(number), Outcome.CORRECT if is_right else Outcome.WRONG, float(is_right)
                ),
            )
        )
    return entries


def watch(reference: DriftReference, entries: list[LoggedDecision]) -> DriftReport:
    monitor = DriftMonitor(ARMS, reference, tolerance=0.03)
    for entry in entries:
        monitor.update(entry)
    return monitor.report()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def reference(rng: np.random.Generator) -> DriftReference:
    return DriftReference.from_decisions(simulated(500, rng))


def test_nothing_changed_no_alarm(reference: DriftReference, rng: np.random.Generator) -> None:
    report = watch(reference, simulated(2000, rng))
    assert not report.alarm
    assert report.which == ()
    assert report.since_s is None
    assert (report.n, report.n_outcomes, report.n_reference) == (2000, 2000, 500)
    assert report.e_value < report.threshold
    assert {signal.name for signal in report.signals} == {
        "n_bytes",
        "digit_share",
        "is(math-oe)",
        *ARMS,
    }


@pytest.mark.parametrize(("factor", "within"), [(math.e, 150), (math.e**0.5, 500)])
def test_longer_prompts_are_noticed_soon(
    reference: DriftReference, rng: np.random.Generator, factor: float, within: int
) -> None:
    """Lengths longer by one standard deviation of their logarithm, and by half of one."""
    before = simulated(1000, rng)
    report = watch(reference, before + simulated(within, rng, words=factor, start=1000))
    assert report.which == ("n_bytes input",)
    assert report.since_s is not None
    assert 1000 <= report.since_s < 1000 + within
    (signal,) = (s for s in report.signals if s.name == "n_bytes")
    assert signal.size > 0.15
    assert signal.e_value == report.e_value >= report.threshold


@pytest.mark.parametrize(
    ("gap", "within", "kind"),
    [(-0.2, 400, "worse-than-predicted"), (0.15, 700, "better-than-predicted")],
)
def test_wrong_probabilities_are_noticed_with_their_arm_and_direction(
    reference: DriftReference, rng: np.random.Generator, gap: float, within: int, kind: str
) -> None:
    before = simulated(500, rng)
    after = simulated(within, rng, gap=gap, start=500, arm=ARMS[1])
    report = watch(reference, before + after)
    assert report.which == (f"{ARMS[1]} {kind}",)
    (signal,) = (s for s in report.signals if s.alarm)
    assert signal.size == pytest.approx(gap, abs=0.08)
    assert signal.since_s is not None
    assert signal.since_s >= 500


def test_an_alarm_stays_on(reference: DriftReference, rng: np.random.Generator) -> None:
    shifted = simulated(300, rng, words=5.0)
    report = watch(reference, shifted + simulated(3000, rng, start=300))
    assert report.alarm
    assert report.since_s is not None
    assert report.since_s < 300


def test_looking_changes_nothing(reference: DriftReference, rng: np.random.Generator) -> None:
    quiet, watched = (DriftMonitor(ARMS, reference) for _ in range(2))
    for entry in simulated(200, rng):
        quiet.update(entry)
        watched.update(entry)
        watched.report()
    assert quiet.report() == watched.report()


def test_errors_and_missing_outcomes_are_no_evidence(rng: np.random.Generator) -> None:
    monitor = DriftMonitor(ARMS)
    for entry in simulated(50, rng):
        monitor.update(replace(entry, outcome=LoggedOutcome(0.0, Outcome.ERROR, None)))
        monitor.update(replace(entry, outcome=None))
    report = monitor.report()
    assert (report.n, report.n_outcomes) == (100, 0)
    assert {signal.e_value for signal in report.signals} == {1.0}


def test_false_alarms_are_divided_among_all_signals(reference: DriftReference) -> None:
    report = DriftMonitor(ARMS, reference, alpha=0.1).report()
    assert sum(1.0 / signal.threshold for signal in report.signals) == pytest.approx(0.1)
    alone = DriftMonitor(ARMS, alpha=0.1).report()
    assert sum(1.0 / signal.threshold for signal in alone.signals) == pytest.approx(0.1)


def test_the_tolerance_follows_the_size_of_the_reference(
    rng: np.random.Generator, reference: DriftReference
) -> None:
    assert DriftMonitor(ARMS, reference).report().tolerance == pytest.approx(500**-0.5)
    assert DriftMonitor(ARMS).report().tolerance == 0.05
    large = DriftReference(n=10**6, bins={})
    assert DriftMonitor(ARMS, large).report().tolerance == 0.02


@pytest.mark.parametrize(
    "bad", [{"alpha": 0.0}, {"alpha": 1.0}, {"tolerance": -0.1}, {"tolerance": 1.0}]
)
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        DriftMonitor(ARMS, **bad)  # pyright: ignore[reportArgumentType]


def test_an_arm_that_is_not_watched_is_refused(rng: np.random.Generator) -> None:
    (entry,) = simulated(1, rng)
    with pytest.raises(InvalidInputError, match="does not watch"):
        DriftMonitor(["other:direct"]).update(entry)


def test_a_log_tells_the_same_as_its_decisions_one_by_one(
    tmp_path: Path, reference: DriftReference, rng: np.random.Generator
) -> None:
    entries = simulated(300, rng, words=3.0)
    with FeedbackLog.open(tmp_path / "log.sqlite") as log:
        log.record_many(entries)
        found = DriftMonitor.from_log(log, reference, tolerance=0.03).report()
        assert found == watch(reference, entries)
        with pytest.raises(InvalidInputError, match="no decision of the router 'other'"):
            DriftMonitor.from_log(log, reference, artifact_id="other")
        with pytest.raises(InvalidInputError, match="not both"):
            DriftMonitor.from_log(log, reference, n_baseline=10)


def test_the_first_decisions_of_a_log_can_be_the_reference(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    with FeedbackLog.open(tmp_path / "log.sqlite") as log:
        with pytest.raises(InvalidInputError, match="no decisions"):
            DriftMonitor.from_log(log)
        log.record_many(simulated(700, rng))
        quiet = DriftMonitor.from_log(log, n_baseline=400).report()
        log.record_many(simulated(300, rng, words=5.0, start=700))
        loud = DriftMonitor.from_log(log, n_baseline=400).report()
    assert (quiet.n, quiet.n_reference, quiet.n_outcomes) == (300, 400, 700)
    assert not quiet.alarm
    assert loud.which == ("n_bytes input",)


def test_guesses_of_the_task_are_watched_hints_are_not(rng: np.random.Generator) -> None:
    (entry,) = simulated(1, rng)
    guessed = replace(entry, posterior={"a": 0.5, "b": 0.3, "c": 0.2})
    assert watched_numbers(guessed).items() >= {"is(a)": 1.0, "is(b)": 0.0}.items()
    assert set(watched_numbers(replace(guessed, is_hinted=True))) == {"n_bytes", "digit_share"}


def test_features_say_what_they_are_named_after() -> None:
    features = drift_features("Add 12 + 30!", {b"add"})
    assert features == pytest.approx(
        {
            "n_bytes": 12.0,
            "mean_word_bytes": 7 / 3,
            "digit_share": 4 / 12,
            "operator_share": 1 / 12,
            "punctuation_share": 1 / 12,
            "non_ascii_share": 0.0,
            "unknown_word_share": 2 / 3,
        }
    )
    assert drift_features("ñ")["non_ascii_share"] == 1.0
    assert "unknown_word_share" not in drift_features("x")


@given(st.text(st.characters(), max_size=200))
def test_features_of_any_text_are_finite(text: str) -> None:
    features = drift_features(text, {b"a"})
    assert all(math.isfinite(value) for value in features.values())
    assert all(0.0 <= v <= 1.0 for name, v in features.items() if name.endswith("share"))


def test_words_seen_in_one_prompt_only_are_unknown_without_it() -> None:
    documents = [[b"a", b"b"], [b"a", b"b"], [b"a", b"c"], [b"d"]]
    vocabulary = Vocabulary.build(documents)
    assert set(vocabulary.words) == {b"a", b"b"}
    known = words_known_without_one(vocabulary.words, vocabulary.idf, len(documents))
    rebuilt = Vocabulary.build(documents[1:])
    assert known == {b"a"} == set(rebuilt.words)


def test_a_reference_uses_one_prompt_of_each_group_and_survives_writing() -> None:
    prompts = [f"{'word ' * (i % 17)} {i}" for i in range(400)]
    groups = [f"g{i // 4}" for i in range(400)]
    posteriors = np.tile([[0.7, 0.3]], (400, 1))
    reference = DriftReference.measure(
        prompts, groups=groups, known_words={b"word"}, posteriors=posteriors, task_types=["x", "y"]
    )
    assert reference.n == 100
    assert "is(x)" in reference.bins
    assert "unknown_word_share" in reference.bins
    assert DriftReference.from_bytes(reference.to_bytes()) == reference
    assert len(reference.to_bytes()) < 10_000
    again = DriftReference.measure(
        prompts, groups=groups, known_words={b"word"}, posteriors=posteriors, task_types=["x", "y"]
    )
    assert again.to_bytes() == reference.to_bytes()
    with pytest.raises(InvalidInputError, match="3 groups for 400 prompts"):
        DriftReference.measure(prompts, groups=["a", "b", "c"])


def test_too_few_prompts_watch_nothing() -> None:
    assert DriftReference.measure(["a"] * 39).bins == {}


def test_an_interval_of_the_reference_holds_its_share_of_the_sample() -> None:
    rng = np.random.default_rng(3)
    sample = rng.poisson(1.0, 999).astype(np.float64)
    bins = ReferenceBins.measure(sample, rng)
    assert bins.spacings.sum() == 1000
    found = np.bincount([bins.find(x, rng.random()) for x in sample], minlength=10)
    assert np.abs(found - 100).max() < 40


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b'{"n": 1}',
        b'{"bins": {}, "n": 1, "version": 2}',
        b'{"bins": {"x": {"spacings": [1, 2], "ties": [0.5, 0.1], "values": [1.0, 2.0]}}, "n": 1}',
        b'{"bins": {"x": {"spacings": [1, 2, 3], "ties": [0.5, 0.1], "values": [2.0, 1.0]}}, "n": 1}',
        b'{"bins": {"x": {"spacings": [0, 2], "ties": [0.5], "values": [2.0]}}, "n": 1}',
        b'{"bins": {"x": {"spacings": [1, 2], "ties": [1.5], "values": [2.0]}}, "n": 1}',
    ],
)
def test_a_damaged_reference_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactCorruptError, match=r"drift\.json"):
        DriftReference.from_bytes(data)
