"""Outcomes: the record of one arm on one question, and cells aggregated from them."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Cell", "Outcome", "OutcomeRecord"]


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
        prompt_tokens: Tokens of the rendered prompt; 0 for errors.
        completion_tokens: Generated tokens, thinking included; 0 for errors.
        flops: Inference FLOPs of the request, `None` if the architecture is unknown.
        seconds: Wall time of the request.
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
    prompt_tokens: int
    completion_tokens: int
    flops: float | None
    seconds: float

    @property
    def arm(self) -> str:
        """Model and policy as one string, such as `pocket-m:reasoning@max`."""
        return f"{self.model}:{self.policy}"


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
        n_error: Infrastructure errors, outside n.
        accuracy: n_correct / n in [0, 1]; NaN if n is 0.
        ci_low: Lower end of the 95% Wilson interval.
        ci_high: Upper end.
        mean_prompt_tokens: Mean prompt length over n.
        mean_tokens: Mean generated tokens over n, thinking included.
        mean_flops: Mean inference FLOPs over n; `None` if the architecture is unknown.
        mean_seconds: Mean wall time over n.
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
