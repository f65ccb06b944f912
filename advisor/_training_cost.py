"""What an option costs: training FLOPs by a stated formula, inference FLOPs by printed fits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from calibration.cost import Architecture, known_architecture
from calibration.cost import training_flops as sequence_training_flops
from calibration.published import InferenceFit
from policies import ModelSize

__all__ = [
    "TrainingAssumptions",
    "inference_flops",
    "reasoning_token_share",
    "training_flops",
]


@dataclass(frozen=True, slots=True)
class TrainingAssumptions:
    """The training set that training costs are computed for.

    The same for every option of one recommendation, so that costs compare; none of it is
    printed in the paper.

    Attributes:
        n_examples: Rows of the training set, one epoch.
        prompt_tokens: Mean prompt length.
        answer_tokens: Mean length of a direct answer.
        trace_ratio: Length of a reasoning trace with its answer / of a direct answer.
            Source: arXiv 2509.22193v2 prints 5-20x (abstract); 10 is their geometric mean.
        is_exact: Every option is one of the paper's students, so that its architecture is known.
    """

    n_examples: int = 300_000
    prompt_tokens: float = 150.0
    answer_tokens: float = 600.0
    trace_ratio: float = 10.0
    is_exact: bool = False

    @property
    def formula(self) -> str:
        """Return how training FLOPs are computed, as text."""
        if self.is_exact:
            return "exact matrix products of the Qwen2.5 student of that size, full fine-tuning"
        return "6 N D, full fine-tuning, attention not counted"


_STUDENTS = {
    500_000_000: "Qwen2.5-0.5B",
    1_500_000_000: "Qwen2.5-1.5B",
    3_000_000_000: "Qwen2.5-3B",
    7_000_000_000: "Qwen2.5-7B",
    14_000_000_000: "Qwen2.5-14B",
}
"""Students by printed size. Source: arXiv 2509.22193v2, section 2.1."""


def training_flops(
    size: ModelSize, reasoning_ratio: float, assumptions: TrainingAssumptions
) -> float:
    """Return FLOPs of one supervised epoch, full fine-tuning.

    With S rows, prompts of p, direct answers of a and traces of m a tokens: exactly from the
    architecture of the published student of this size, S ((1 - rho) T(p, a) + rho T(p, m a));
    or, for any size, 6 N D with D = S ((1 - rho)(p + a) + rho (p + m a)), which leaves attention
    out and so undercounts a 6,000-token trace by 9-20%.

    Args:
        size: Parameters N.
        reasoning_ratio: Share rho of rows that are reasoning traces, in [0, 1].
        assumptions: S, p, a, m, and which of the two.

    Source: T is `calibration.cost.training_flops`; 6 N D is C = 6 N D of Hoffmann et al., arXiv
        2203.15556; the mixture is arithmetic.
    """
    p, a = assumptions.prompt_tokens, assumptions.answer_tokens
    trace = a * assumptions.trace_ratio
    if assumptions.is_exact:
        direct = sequence_training_flops(_student(size), round(p), round(a))
        reasoning = sequence_training_flops(_student(size), round(p), round(trace))
    else:
        direct = 6.0 * size.n_params * (p + a)
        reasoning = 6.0 * size.n_params * (p + trace)
    mean = (1.0 - reasoning_ratio) * direct + reasoning_ratio * reasoning
    return assumptions.n_examples * mean


def reasoning_token_share(reasoning_ratio: float, assumptions: TrainingAssumptions) -> float:
    """Return the share of answer tokens, in [0, 1], that are in reasoning traces.

    Source: arithmetic, rho m / (1 - rho + rho m): 25% of rows at m = 10 are 77% of the tokens.
    """
    reasoning = reasoning_ratio * assumptions.trace_ratio
    return reasoning / (1.0 - reasoning_ratio + reasoning)


def inference_flops(
    fits: Sequence[InferenceFit], task_type: str, recipe: str, size: ModelSize
) -> float | None:
    """Return inference FLOPs per query by the printed fit, `None` where none was printed.

    The caller keeps `size` within the fitted range.

    Args:
        fits: Printed fits.
        task_type: Task family.
        recipe: `ift` or `reasoning`; mixtures were not fitted.
        size: Size of the student.

    Source: arXiv 2509.22193v2, Figure 14.
    """
    for fit in fits:
        if (fit.task_type, fit.recipe) == (task_type, recipe):
            return fit.flops(size)
    return None


def _student(size: ModelSize) -> Architecture:
    """Return the architecture of the published student nearest in size."""
    nearest = min(_STUDENTS, key=lambda n_params: abs(math.log(n_params / size.n_params)))
    return known_architecture(_STUDENTS[nearest])
