"""The teacher program: for one question, a direct answer and a reasoning trace.

Both answers are written for the *same* question, the paired-supervision design of
"When Does Reasoning Matter?" (arXiv 2509.22193, section 2.1), in miniature.
"""

from .questions import PocketQuestion, options_up_to_answer

__all__ = ["ANSWER_PREFIX", "write_answer", "write_steps", "write_trace"]

ANSWER_PREFIX = "Answer: "


def write_answer(question: PocketQuestion) -> str:
    """Return the final answer as the models are trained to say it."""
    return f"{ANSWER_PREFIX}{question.answer}"


def write_trace(question: PocketQuestion) -> str:
    """Return the reasoning trace: every step with its result, then the options read in order.

    The options are read up to the one that matches. Reading them is what makes the choice
    learnable at this scale: naming the matching letter at once needs a look-up by content that
    had not formed when everything else was learned.
    """
    trace = f"So {write_steps(question)}"
    return f"{trace}; {options_up_to_answer(question)}." if question.options else f"{trace}."


def write_steps(question: PocketQuestion) -> str:
    """Return every step with its result, in order, without what stands around them."""
    is_arithmetic = question.task_type in ("math-oe", "math-mc")
    equals, separator = ("=", "; ") if is_arithmetic else (" is ", ", ")
    return separator.join(f"{step.text}{equals}{step.result}" for step in question.steps)
