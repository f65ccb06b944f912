"""What an option costs: training FLOPs by a stated formula, inference FLOPs by printed fits."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    """

    n_examples: int = 300_000
    prompt_tokens: float = 150.0
    answer_tokens: float = 600.0
    trace_ratio: float = 10.0


def training_flops(
    size: ModelSize, reasoning_ratio: float, assumptions: TrainingAssumptions
) -> float:
    """Return FLOPs of one supervised epoch, full fine-tuning.

    6 N D with D = S ((1 - rho)(p + a) + rho (p + m a)). Attention is left out: at
    6,000 tokens that undercounts a 3B by about 15% and a 0.5B by about 27%. One formula for all
    sizes keeps options comparable, sizes of no known architecture included.

    Args:
        size: Parameters N.
        reasoning_ratio: Share rho of rows that are reasoning traces, in [0, 1].
        assumptions: S, p, a and m.

    Source: Hoffmann et al., arXiv 2203.15556, section 3.3 (C = 6 N D); the mixture's D is
        arithmetic.
    """
    return 6.0 * size.n_params * _tokens(reasoning_ratio, assumptions)


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


def _tokens(reasoning_ratio: float, assumptions: TrainingAssumptions) -> float:
    """Return training tokens D of one epoch."""
    mean_answer = assumptions.answer_tokens * (
        1.0 - reasoning_ratio + reasoning_ratio * assumptions.trace_ratio
    )
    return assumptions.n_examples * (assumptions.prompt_tokens + mean_answer)
