"""The published figures as a rule by task type: does reasoning help, yes or no?

They end at 0.5B, far above pocket models, so that the advisor does not use them there. Read as
rules they can still be wrong or right.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from calibration.published import PublishedCorpus, PublishedTable
from calibration.statistics import wilson_interval
from policies import ModelSize

from ...inference import Z
from ._figures import Figure
from ._held import HeldStudy, Problem
from ._published_trial import PublishedProblem, printed_gain

__all__ = ["SignRule", "sign_rules"]

_CORPORA: dict[str, PublishedCorpus] = {"general": "general", "math": "math-centric"}


@dataclass(frozen=True, slots=True)
class SignRule:
    """How often a rule tells the sign of the gain of reasoning.

    Attributes:
        rule: The rule.
        task_type: Task type; "" for all of them.
        right: Share of right signs among problems whose own sign is shown; the interval is
            Wilson's over problems, which are not independent.
        n_open: Problems whose sign is not shown at 90%.
    """

    rule: str
    task_type: str
    right: Figure
    n_open: int


def sign_rules(study: HeldStudy, table: PublishedTable) -> tuple[SignRule, ...]:
    """Return how often the published signs are those of a study, all seeds and questions."""
    found: list[SignRule] = []
    task_types = ["", *dict.fromkeys(problem.task_type for problem in study.problems)]
    for name, size in (("smallest size", table.sizes[0]), ("largest size", table.sizes[-1])):
        rule = f"the published sign at the {name}, {size}"
        found += [_rule(study, table, rule, size, task_type) for task_type in task_types]
    majority = "the sign of most published sizes"
    found += [_rule(study, table, majority, None, task_type) for task_type in task_types]
    return tuple(one for one in found if one.right.n + one.n_open)


def _rule(
    study: HeldStudy, table: PublishedTable, rule: str, size: ModelSize | None, task_type: str
) -> SignRule:
    hits: list[bool] = []
    n_open = 0
    for problem, guess in _guesses(study, table, size):
        if task_type not in {"", problem.task_type}:
            continue
        gain, error = study.held(problem).gap("reasoning", "ift")
        if abs(gain) <= Z * error:
            n_open += 1
        else:
            hits.append(guess * gain > 0)
    if not hits:
        return SignRule(rule, task_type, Figure(None, None, None, 0, 0), n_open)
    interval = wilson_interval(sum(hits), len(hits))
    share = sum(hits) / len(hits)
    right = Figure(share, interval.low, interval.high, len(hits), len(hits))
    return SignRule(rule, task_type, right, n_open)


def _guesses(
    study: HeldStudy, table: PublishedTable, size: ModelSize | None
) -> Iterator[tuple[Problem, float]]:
    """Yield each problem that a published corpus and task type speak for, with a signed guess."""
    for problem in study.problems:
        corpus = _CORPORA.get(problem.corpus)
        if corpus is None or problem.task_type not in table.task_types:
            continue
        sizes = table.sizes if size is None else (size,)
        gains = [
            printed_gain(table, PublishedProblem(corpus, problem.task_type, one)) for one in sizes
        ]
        yield problem, float(sum((gain > 0) - (gain < 0) for gain in gains))
