"""Outcomes: the record of one arm on one question, and cells aggregated from them."""

from dataclasses import dataclass
from enum import StrEnum

from policies import Evidence

__all__ = ["Cell", "ImportedOutcome", "Outcome", "OutcomeRecord"]


class Outcome(StrEnum):
    """What became of one question under one arm.

    `CUT` ran out of tokens before an answer; it counts as not correct but is its own column.
    `ERROR` is infrastructure; it never counts as wrong and leaves the denominator.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    CUT = "cut"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """One arm on one question; what routers are fitted from.

    Attributes:
        question_id: Identifier of the question, equal across arms.
        group: Questions of one group (a shared document, a translation) are never split
            between fitting and testing; by default the question's own id.
        task: Name of the task the question belongs to.
        task_type: Its task type, such as `math-oe`.
        prompt: The user's text.
        model: Model that answered.
        size: Its parameter count, `None` if unknown.
        policy: Canonical policy string.
        outcome: What became of it.
        prompt_tokens: Tokens of the rendered prompt; 0 for errors, `None` if unknown.
        completion_tokens: Generated tokens, thinking included, as production would pay them; 0
            for errors, `None` if unknown.
        flops: Inference FLOPs of the request, `None` if the architecture is unknown.
        seconds: Wall time of the request; `None` if it was not measured, as for budgets that
            were told from a longer trace.
        evidence: What the answer says about its own reliability, where the run recorded it.
    """

    question_id: str
    group: str
    task: str
    task_type: str
    prompt: str
    model: str
    size: int | None
    policy: str
    outcome: Outcome
    prompt_tokens: int | None
    completion_tokens: int | None
    flops: float | None
    seconds: float | None
    evidence: Evidence | None = None

    @property
    def arm(self) -> str:
        """Model and policy as one string, such as `pocket-m:reasoning@max`."""
        return f"{self.model}:{self.policy}"


@dataclass(frozen=True, slots=True)
class ImportedOutcome:
    """One outcome that was recorded elsewhere; what is unknown is `None`, never guessed.

    Attributes:
        model: Model that answered.
        size: Its parameter count.
        policy: Canonical policy string.
        recipe: How the model was trained, "" if unknown.
        question_id: Identifier of the question, equal across arms.
        group: What questions of one source share; the question's own id by default.
        task: Task name.
        task_type: Task type.
        prompt: The user's text, "" if it was not recorded.
        gold: The right answer, "" if it was not recorded.
        repeat: Which of several answers of one arm to one question.
        outcome: What became of it.
        score: Partial credit in [0, 1].
        text: The answer.
        thinking: The thought.
        prompt_tokens: Tokens of the rendered prompt.
        completion_tokens: Generated tokens, thinking included.
        thinking_tokens: Tokens inside the thought.
        seconds: Wall time of the request.
    """

    model: str
    size: int | None
    policy: str
    recipe: str
    question_id: str
    group: str
    task: str
    task_type: str
    prompt: str
    gold: str
    repeat: int
    outcome: Outcome
    score: float | None
    text: str | None
    thinking: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    thinking_tokens: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """Outcomes of one (task, model, policy), aggregated.

    Attributes:
        task: Task name.
        task_type: Task type.
        model: Model name.
        size: Parameter count, `None` if unknown.
        policy: Canonical policy string.
        recipe: How the model was trained, where known; "" otherwise.
        n: Graded outcomes: correct, wrong and cut. Errors are not in n.
        n_correct: Correct ones.
        n_cut: Ones that ran out of tokens; counted as not correct.
        n_error: Infrastructure errors and answers that could not be judged, outside n.
        accuracy: n_correct / n in [0, 1]; NaN if n is 0.
        ci_low: Lower end of the 95% interval.
        ci_high: Upper end.
        mean_prompt_tokens: Mean prompt length over n; NaN if a prompt's is unknown.
        mean_tokens: Mean generated tokens over n, thinking included, as production would pay
            them; NaN if an answer's are unknown.
        mean_flops: Mean inference FLOPs over n; `None` if the architecture is unknown.
        mean_seconds: Mean wall time of the answers that were timed; NaN without any.
        interval: `wilson`; `clustered` where answers share questions or documents; `anytime`
            where the run decided by looking when to stop; `crossed` over training seeds and
            questions together.
        n_replayed: Answers that were told from a longer trace, part of n.
        mean_score: Mean partial credit where the grader gives it to every answer, else `None`.
        mean_usd: Mean price over n, `None` without a price.
        n_timed: Answers that were timed, at the run's load.
        p50_seconds: Median wall time of those, `None` without any.
        p95_seconds: 95th percentile.
    """

    task: str
    task_type: str
    model: str
    size: int | None
    policy: str
    recipe: str
    n: int
    n_correct: int
    n_cut: int
    n_error: int
    accuracy: float
    ci_low: float
    ci_high: float
    mean_prompt_tokens: float
    mean_tokens: float
    mean_flops: float | None
    mean_seconds: float
    interval: str = "wilson"
    n_replayed: int = 0
    mean_score: float | None = None
    mean_usd: float | None = None
    n_timed: int = 0
    p50_seconds: float | None = None
    p95_seconds: float | None = None

    @property
    def accuracy_if_cut_right(self) -> float:
        """Accuracy if every cut answer had been right: what more tokens could give at most."""
        return (self.n_correct + self.n_cut) / self.n if self.n else self.accuracy
