"""Outcomes of a feedback log, merged with those of a run, to fit a router anew."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calibration import Outcome, OutcomeRecord
from policies import InvalidInputError

from ._feedback import FeedbackLog
from ._logged import LoggedDecision, hash_prompt

__all__ = ["MergedRecords", "update_records"]

TASK = "feedback"
"""Task name of prompts that are in no run."""


@dataclass(frozen=True, slots=True)
class MergedRecords:
    """A run's outcomes with those of a log.

    Attributes:
        records: All of them, the run's first.
        propensities: Probability with which the arm of each added record was chosen, in the
            order of the added records, which come last.
        n_added: Outcomes of the log that were added.
        n_same_question: Those of them whose prompt is a question of the run.
        n_guessed_type: Those of them whose task type is the router's guess.
        skipped: Outcomes of the log that were not added, by reason: `no-outcome`, `error`,
            `partial-score`, `no-prompt`, `other-arm`, `beyond-limit`.
    """

    records: list[OutcomeRecord]
    propensities: tuple[float, ...]
    n_added: int
    n_same_question: int
    n_guessed_type: int
    skipped: dict[str, int]


def update_records(
    run_records: Iterable[OutcomeRecord],
    log: FeedbackLog,
    *,
    artifact_id: str | None = None,
    max_share: float = 0.5,
) -> MergedRecords:
    """Return a run's outcomes and what a log adds to them, ready for `Router.fit`.

    Rules. A logged outcome is one more sample of the arm that was chosen, and of no other arm. A
    prompt that the run has measured is that question; another one is a question of its own in
    the task `feedback`, and equal prompts are one question, so that none is split between fitting
    and testing. Its task type is what the caller gave, else the router's guess. Refused are
    outcomes without a stored prompt (a hash cannot be learned from), of arms that the run did not
    measure (its model cannot be compared with the others), without a score, and partial scores.

    What to know. Given the prompt, which arm was chosen tells nothing about the outcome, so the
    model may learn from it. But averages over prompts are biased: an arm is logged on the prompts
    that suit it. Therefore at most `max_share` of all questions come from the log, the newest
    ones, and the run keeps measuring every arm on the same questions.

    Args:
        run_records: Outcomes of a run.
        log: A log written with `store_prompts=True`.
        artifact_id: Only decisions of this router; by default all of the log.
        max_share: Largest share of questions that may come from the log, in [0, 1).

    Raises:
        InvalidInputError: Nothing can be added, or `max_share` is out of range.
        StoreError: The log is damaged.
    """
    if not 0.0 <= max_share < 1.0:
        raise InvalidInputError(f"max_share={max_share!r} is not in [0, 1)")
    merger = _Merger(list(run_records))
    for decision in log.decisions(artifact_id=artifact_id):
        merger.add(decision)
    return merger.result(log, max_share)


class _Merger:
    """Collects what can be added."""

    def __init__(self, run_records: list[OutcomeRecord]) -> None:
        self._run = run_records
        self._questions = {record.prompt: record for record in run_records}
        self._arms = {record.arm: record for record in run_records}
        self._types: dict[str, str] = {}
        self._added: list[tuple[OutcomeRecord, float, bool]] = []
        self._skipped: Counter[str] = Counter()

    def add(self, decision: LoggedDecision) -> None:
        reason = self._refuse(decision)
        if reason is not None:
            self._skipped[reason] += 1
            return
        self._added.append(
            (
                self._record(decision),
                decision.propensity,
                decision.prompt not in self._questions and not decision.is_hinted,
            )
        )

    def result(self, log: FeedbackLog, max_share: float) -> MergedRecords:
        measured = {(record.task, record.question_id) for record in self._run}
        limit = int(max_share / (1.0 - max_share) * len(measured))
        new: dict[str, None] = {}
        kept: list[tuple[OutcomeRecord, float, bool]] = []
        for entry in reversed(self._added):
            record = entry[0]
            if (record.task, record.question_id) not in measured:
                if record.question_id not in new and len(new) >= limit:
                    self._skipped["beyond-limit"] += 1
                    continue
                new[record.question_id] = None
            kept.append(entry)
        kept.reverse()
        if not kept:
            reasons = ", ".join(f"{name}: {count}" for name, count in self._skipped.items())
            raise InvalidInputError(
                f"{log.path} adds nothing ({reasons or 'it is empty'})",
                hint="logs teach routers if prompts are stored: FeedbackLog.open(path, "
                "store_prompts=True)",
                code="nothing-to-add",
            )
        return MergedRecords(
            records=[*self._run, *(record for record, _, _ in kept)],
            propensities=tuple(propensity for _, propensity, _ in kept),
            n_added=len(kept),
            n_same_question=sum(record.task != TASK for record, _, _ in kept),
            n_guessed_type=sum(is_guess for _, _, is_guess in kept),
            skipped=dict(sorted(self._skipped.items())),
        )

    def _refuse(self, decision: LoggedDecision) -> str | None:
        outcome = decision.outcome
        if outcome is None:
            return "no-outcome"
        if outcome.outcome is None:
            return "partial-score"
        if outcome.outcome == Outcome.ERROR:
            return "error"
        if decision.prompt is None:
            return "no-prompt"
        if decision.arm not in self._arms:
            return "other-arm"
        return None

    def _record(self, decision: LoggedDecision) -> OutcomeRecord:
        prompt, outcome = decision.prompt or "", decision.outcome
        if outcome is None or outcome.outcome is None:  # what `_refuse` has let through has both
            raise InvalidInputError(f"decision {decision.decision_id!r} has no outcome")
        arm = self._arms[decision.arm]
        known = self._questions.get(prompt)
        # Not the log's own hash: that may be keyed with a salt that another log does not have.
        own = hash_prompt(prompt, b"")[:16]
        return OutcomeRecord(
            question_id=known.question_id if known else own,
            group=known.group if known else own,
            task=known.task if known else TASK,
            task_type=known.task_type if known else self._type(own, decision),
            prompt=prompt,
            model=arm.model,
            size=arm.size,
            policy=arm.policy,
            outcome=outcome.outcome,
            prompt_tokens=None,
            completion_tokens=outcome.completion_tokens,
            flops=None,
            seconds=outcome.seconds,
        )

    def _type(self, question: str, decision: LoggedDecision) -> str:
        """Return the task type of a prompt; the first decision on it settles it."""
        posterior = decision.posterior
        best = max(posterior, key=lambda name: posterior[name]) if posterior else _common(self._run)
        return self._types.setdefault(question, best)


def _common(records: Sequence[OutcomeRecord]) -> str:
    return Counter(record.task_type for record in records).most_common(1)[0][0]
