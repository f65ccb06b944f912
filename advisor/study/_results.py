"""What a study measured: one row per student, task type and policy, and its answers' bits."""

from dataclasses import dataclass

from ._student import Student

__all__ = ["StudentResult", "StudyCell"]


@dataclass(frozen=True, slots=True)
class StudyCell:
    """One student on one task type by one policy.

    Attributes:
        task_type: Task type.
        mode: `ift` where thinking is switched off, `reasoning` where the student may think.
        policy: Canonical policy string.
        n: Graded answers, one per question; the same questions, in the same order, for every
            student of a study.
        n_correct: Right ones.
        n_cut: Those that ran out of tokens, which count as not right.
        accuracy: n_correct / n.
        ci_low: Lower end of the 95% Wilson interval, over questions alone.
        ci_high: Upper end.
        mean_tokens: Mean generated tokens.
        mean_tokens_correct: Mean of right answers, `None` if there are none.
        mean_tokens_wrong: Mean of wrong answers that were not cut, `None` if there are none.
        think_share: Share of answers with at least one thinking token.
        mean_flops: Mean inference FLOPs per question, prompt included.
        correct: One character per question, `1` for right and `0` for not.
    """

    task_type: str
    mode: str
    policy: str
    n: int
    n_correct: int
    n_cut: int
    accuracy: float
    ci_low: float
    ci_high: float
    mean_tokens: float
    mean_tokens_correct: float | None
    mean_tokens_wrong: float | None
    think_share: float
    mean_flops: float
    correct: str


@dataclass(frozen=True, slots=True)
class StudentResult:
    """One trained and measured student.

    Attributes:
        student: Which.
        n_params: Parameters of its size.
        train_tokens: Tokens that training it alone computes, all stages.
        train_flops: FLOPs that training it alone takes, all stages, by the exact formula.
        cells: Its cells.
    """

    student: Student
    n_params: int
    train_tokens: int
    train_flops: float
    cells: tuple[StudyCell, ...]
