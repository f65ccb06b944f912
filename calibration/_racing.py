"""Racing: measure arms side by side, in blocks, and stop each one as soon as it is decided.

`Race` is pure: it takes the outcomes of a block and says which arms need no further questions. It
asks nobody, reads no clock and draws no numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from itertools import combinations
from typing import Any

from policies import ArtifactCorruptError, ArtifactTooNewError, InvalidInputError, UnknownNameError

from ._race_state import (
    ArmResult,
    PairResult,
    PairTally,
    RaceOutcome,
    RaceResult,
    Relation,
    StopReason,
    Tally,
    read_count,
    read_fields,
)
from .statistics import anytime_difference_interval, anytime_proportion_interval

__all__ = [
    "ArmResult",
    "PairResult",
    "Race",
    "RaceOutcome",
    "RaceResult",
    "Relation",
    "StopReason",
]

SCHEMA_VERSION = 1
_KIND = "thinkroute-race"
_COST_SHARE = 0.1
"""Part of the error probability spent on costs: which arm is cheaper is seldom close."""


class Race:
    """Arms measured on the same questions, block by block, until each one is decided.

    Feed the outcomes of a block, ask the next block only of the arms still `active`, and stop when
    the race `is_over`. Questions must come in an order that does not depend on the outcomes (by a
    hash of their ids, say), so that every prefix is a random sample; none may be fed twice. Block
    size changes nothing about validity. Outcomes of arms that stopped are left out, so what they
    show keeps the guarantee of the moment they stopped.

    After each block an arm stops because it is, in this order,

    - *precise*: half the width of its anytime interval is at most `target_halfwidth`;
    - *dominated*: another arm is claimed to be cheaper and better, or, with an
      `accuracy_tolerance`, cheaper and at most that much worse;
    - *settled*: something is claimed about its accuracy against every arm that is still active.
      Not applied with a `target_halfwidth`, which asks for the accuracy of each arm and not for
      their order.

    With probability `confidence` all claims are right, at all times together: every pair of arms
    has one confidence sequence of the difference at `0.9 alpha / n_pairs` and one of the cost
    difference at `0.1 alpha / n_pairs` (Bonferroni). A claim is made when the sequence excludes
    its opposite, so that better, tie and not-inferior cost the error only once, and what follows
    from two claims costs nothing. Step-down methods save little here, since alpha enters through
    its logarithm only, and do not control the direction of claims. The accuracy part is exact, the
    cost part asymptotic; `anytime_mean_interval` says how.

    A missing outcome (an infrastructure error) leaves the question out of that arm's pairs; errors
    must not depend on how hard a question is. Equal blocks give equal decisions, whatever the
    order of questions inside a block. Not thread-safe.

    Example:
        >>> race = Race(["direct", "reasoning"])
        >>> right, wrong = RaceOutcome(True, 90.0), RaceOutcome(False, 5.0)
        >>> block = {f"q{i}": {"direct": wrong, "reasoning": right} for i in range(40)}
        >>> race.feed(block), sorted(race.result().ranking)
        (('direct', 'reasoning'), [('reasoning', 'direct')])
    """

    def __init__(
        self,
        arms: Sequence[str],
        *,
        confidence: float = 0.95,
        target_halfwidth: float | None = None,
        tie_margin: float | None = None,
        accuracy_tolerance: float | None = None,
        stop_dominated: bool = True,
    ) -> None:
        """Begin a race.

        Args:
            arms: Names of the arms, each once.
            confidence: Probability in (0, 1) that all claims are right.
            target_halfwidth: Stop an arm at this half-width of its accuracy, in (0, 1); `None`
                measures until the order is settled.
            tie_margin: Claim a tie when the difference of two arms is shown to be at most this,
                in (0, 1); `None` claims none, and arms that are equal run to the end.
            accuracy_tolerance: How much worse a cheaper arm may be and still dominate, in (0, 1).
            stop_dominated: Whether dominated arms stop; if not they run on, for a full ranking.

        Raises:
            InvalidInputError: A name appears twice, there is none, or a number is out of range.
        """
        self.arms = tuple(arms)
        if not self.arms or len(set(self.arms)) < len(self.arms):
            raise InvalidInputError(f"arms={list(arms)!r}: expected names, each once")
        if not 0 < confidence < 1:
            raise InvalidInputError(
                f"confidence={confidence!r} is not between 0 and 1", hint="write 0.95 for 95%"
            )
        for name, value in (
            ("target_halfwidth", target_halfwidth),
            ("tie_margin", tie_margin),
            ("accuracy_tolerance", accuracy_tolerance),
        ):
            if value is not None and not 0 < value < 1:
                raise InvalidInputError(f"{name}={value!r} is not between 0 and 1")
        self.confidence = confidence
        self.target_halfwidth = target_halfwidth
        self.tie_margin = tie_margin
        self.accuracy_tolerance = accuracy_tolerance
        self.stop_dominated = stop_dominated
        self._tallies = [Tally() for _ in self.arms]
        self._pairs = {key: PairTally() for key in combinations(range(len(self.arms)), 2)}
        self._n_questions = 0
        share = (1 - confidence) / max(1, len(self._pairs))
        self._accuracy_alpha = (1 - _COST_SHARE) * share
        self._cost_confidence = 1 - _COST_SHARE * share

    @property
    def active(self) -> tuple[str, ...]:
        """Arms that still need questions, in the race's order."""
        return tuple(
            arm for arm, tally in zip(self.arms, self._tallies, strict=True) if not tally.reason
        )

    @property
    def is_over(self) -> bool:
        """Whether every arm has stopped."""
        return not self.active

    @property
    def ranking(self) -> frozenset[tuple[str, str]]:
        """The order claimed so far, as `RaceResult.ranking` has it, without intervals."""
        arms = range(len(self.arms))
        return frozenset(
            (self.arms[i], self.arms[j]) for i in arms for j in arms if self._is_better(i, j)
        )

    def feed(self, block: Mapping[str, Mapping[str, RaceOutcome]]) -> tuple[str, ...]:
        """Take the outcomes of a block of questions; return the arms that stop now.

        Args:
            block: Per question id the outcome of each arm; an arm without one (an error) is left
                out of that question.

        Raises:
            UnknownNameError: An outcome belongs to no arm of the race.
            InvalidInputError: A cost is negative or not finite.
        """
        position = {arm: i for i, arm in enumerate(self.arms)}
        rows: list[dict[int, RaceOutcome]] = []
        # Floating-point sums depend on their order, decisions must not.
        for question in sorted(block):
            row: dict[int, RaceOutcome] = {}
            for arm, outcome in block[question].items():
                if arm not in position:
                    raise UnknownNameError("arm", arm, self.arms)
                if not (math.isfinite(outcome.cost) and outcome.cost >= 0):
                    raise InvalidInputError(
                        f"a cost of {outcome.cost!r} of {arm!r} on {question!r}: expected a "
                        "finite number >= 0"
                    )
                if not self._tallies[position[arm]].reason:
                    row[position[arm]] = outcome
            rows.append(row)
        self._count(rows)
        self._claim()
        return self._stop()

    def result(self) -> RaceResult:
        """Return where the race stands; costs milliseconds per pair."""
        pairs = tuple(self._pair_result(*key) for key in self._pairs)
        n_better, n_worse = dict.fromkeys(self.arms, 0), dict.fromkeys(self.arms, 0)
        for pair in pairs:
            if pair.relation in ("first-better", "second-better"):
                is_first = pair.relation == "first-better"
                n_worse[pair.first if is_first else pair.second] += 1
                n_better[pair.second if is_first else pair.first] += 1
        arms = tuple(
            ArmResult(
                arm,
                tally.n,
                anytime_proportion_interval(tally.n_correct, tally.n, self.confidence),
                tally.cost / tally.n if tally.n else math.nan,
                tally.reason,
                tally.stopped_at,
                tally.dominated_by,
                rank_low=1 + n_better[arm],
                rank_high=len(self.arms) - n_worse[arm],
            )
            for arm, tally in zip(self.arms, self._tallies, strict=True)
        )
        n_outcomes = sum(tally.n for tally in self._tallies)
        return RaceResult(arms, pairs, self._n_questions, n_outcomes, self.confidence)

    def to_json(self) -> dict[str, Any]:
        """Return everything needed to go on as if nothing had happened, as plain JSON values."""
        return {
            "kind": _KIND,
            "schema_version": SCHEMA_VERSION,
            "arms": list(self.arms),
            "confidence": self.confidence,
            "target_halfwidth": self.target_halfwidth,
            "tie_margin": self.tie_margin,
            "accuracy_tolerance": self.accuracy_tolerance,
            "stop_dominated": self.stop_dominated,
            "n_questions": self._n_questions,
            "tallies": [list(astuple(tally)) for tally in self._tallies],
            "pairs": [list(astuple(pair)) for pair in self._pairs.values()],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Race":
        """Go on with a race where `to_json` left it; the same blocks give the same decisions.

        Raises:
            ArtifactTooNewError: A newer version wrote the document.
            ArtifactCorruptError: It is no race, or something in it is missing or makes no sense.
        """
        version = document.get("schema_version")
        if document.get("kind") != _KIND or not isinstance(version, int):
            raise ArtifactCorruptError(
                "the document is not the state of a race", hint="begin the race anew"
            )
        if version > SCHEMA_VERSION:
            raise ArtifactTooNewError(
                f"the race has schema version {version}, this version reads up to {SCHEMA_VERSION}",
                hint="upgrade thinkroute",
            )
        try:
            race = cls(
                document["arms"],
                confidence=document["confidence"],
                target_halfwidth=document["target_halfwidth"],
                tie_margin=document["tie_margin"],
                accuracy_tolerance=document["accuracy_tolerance"],
                stop_dominated=document["stop_dominated"],
            )
            race._n_questions = read_count(document["n_questions"])
            tallies = [read_fields(Tally, values) for values in document["tallies"]]
            pairs = [read_fields(PairTally, values) for values in document["pairs"]]
            if len(tallies) != len(race.arms):
                raise ValueError(f"{len(tallies)} tallies of {len(race.arms)} arms")
            race._tallies = tallies
            race._pairs = dict(zip(race._pairs, pairs, strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactCorruptError(
                f"the state of the race is damaged: {error}", hint="begin the race anew"
            ) from error
        return race

    def _count(self, rows: Sequence[Mapping[int, RaceOutcome]]) -> None:
        self._n_questions += len(rows)
        for i, tally in enumerate(self._tallies):
            mine = [row[i] for row in rows if i in row]
            tally.n += len(mine)
            tally.n_correct += sum(outcome.is_correct for outcome in mine)
            tally.cost += math.fsum(outcome.cost for outcome in mine)
        for (i, j), pair in self._pairs.items():
            both = [(row[i], row[j]) for row in rows if i in row and j in row]
            if both:
                pair.add(both)

    def _claim(self) -> None:
        """Make the claims that the pairs now support, and those that follow from them."""
        threshold = math.log(2 / self._accuracy_alpha)
        for (i, j), pair in self._pairs.items():
            if self._tallies[i].reason or self._tallies[j].reason:
                continue
            if pair.relation == "undecided":
                pair.relation = pair.find_relation(threshold, self.tie_margin)
            if self.accuracy_tolerance is not None:
                pair.find_tolerable(threshold, self.accuracy_tolerance)
            if pair.cheaper is None:
                pair.cheaper = pair.find_cheaper(self._cost_confidence)
        self._derive()
        for pair in self._pairs.values():
            if pair.relation != "undecided" and pair.decided_at is None:
                pair.decided_at = self._n_questions

    def _derive(self) -> None:
        """Close the claimed order under "better than one that is better"."""
        arms = range(len(self.arms))
        is_better = [[self._is_better(i, j) for j in arms] for i in arms]
        for middle in arms:
            for i in arms:
                if is_better[i][middle]:
                    is_better[i] = [
                        is_better[i][j] or (is_better[middle][j] and i != j) for j in arms
                    ]
        for (i, j), pair in self._pairs.items():
            # Claims that contradict each other derive both directions; then neither is made.
            if pair.relation == "undecided" and is_better[i][j] != is_better[j][i]:
                pair.relation = "first-better" if is_better[i][j] else "second-better"
                pair.is_derived = True

    def _stop(self) -> tuple[str, ...]:
        before = self.active
        running = [i for i, tally in enumerate(self._tallies) if not tally.reason]
        for i in running:
            tally = self._tallies[i]
            if self.target_halfwidth is not None and tally.n:
                interval = anytime_proportion_interval(tally.n_correct, tally.n, self.confidence)
                if interval.width / 2 <= self.target_halfwidth:
                    self._halt(i, "precise")
        if self.stop_dominated:
            found = {i: self._dominator(i, running) for i in running}
            for i, dominator in found.items():
                if dominator is not None and not self._tallies[i].reason:
                    self._halt(i, "dominated")
                    self._tallies[i].dominated_by = self.arms[dominator]
        if self.target_halfwidth is None:
            left = [i for i in running if not self._tallies[i].reason]
            closed = [
                i
                for i in left
                if all(self._pair(i, j).relation != "undecided" for j in left if j != i)
            ]
            # A lone arm without a rival has an accuracy to measure, but no order to settle.
            for i in closed if len(self.arms) > 1 else ():
                self._halt(i, "settled")
        return tuple(arm for arm in before if arm not in self.active)

    def _halt(self, i: int, reason: StopReason) -> None:
        self._tallies[i].reason = reason
        self._tallies[i].stopped_at = self._n_questions

    def _dominator(self, i: int, running: Sequence[int]) -> int | None:
        """Return the best of the arms that dominate arm i, `None` if none does.

        An arm that is dominated itself dominates by being better, but not by a tolerance:
        tolerances would add up along a chain.
        """
        better = [j for j in running if j != i and self._is_cheaper(j, i) and self._is_better(j, i)]
        if not better and self.accuracy_tolerance is not None:
            better = [
                j
                for j in running
                if self._is_tolerable(j, i)
                and not any(
                    (self._is_better(k, j) and self._is_cheaper(k, j)) or self._is_tolerable(k, j)
                    for k in running
                )
            ]
        return max(
            better,
            key=lambda j: (self._tallies[j].n_correct / self._tallies[j].n, -j),
            default=None,
        )

    def _pair(self, i: int, j: int) -> PairTally:
        return self._pairs[min(i, j), max(i, j)]

    def _is_better(self, i: int, j: int) -> bool:
        if i == j:
            return False
        return self._pair(i, j).relation == ("first-better" if i < j else "second-better")

    def _is_cheaper(self, i: int, j: int) -> bool:
        return i != j and self._pair(i, j).cheaper == (0 if i < j else 1)

    def _is_tolerable(self, i: int, j: int) -> bool:
        """Whether arm i is cheaper than arm j and at most the tolerance worse."""
        if not self._is_cheaper(i, j):
            return False
        pair = self._pair(i, j)
        return pair.first_is_tolerable if i < j else pair.second_is_tolerable

    def _pair_result(self, i: int, j: int) -> PairResult:
        pair = self._pairs[i, j]
        return PairResult(
            self.arms[i],
            self.arms[j],
            pair.n,
            pair.n_first,
            pair.n_second,
            pair.relation,
            pair.decided_at,
            pair.is_derived,
            anytime_difference_interval(*pair.counts, 1 - self._accuracy_alpha),
            None if pair.cheaper is None else self.arms[(i, j)[pair.cheaper]],
        )
