"""The teacher program: for one question, a direct answer and a reasoning trace.

Both answers are written for the *same* question, the paired-supervision design of
"When Does Reasoning Matter?" (arXiv 2509.22193, section 2.1), in miniature.
"""

from .questions import PocketQuestion

__all__ = ["ANSWER_PREFIX", "write_answer", "write_trace"]

ANSWER_PREFIX = "Answer: "


def write_answer(question: PocketQuestion) -> str:
    """Return the final answer as the models are trained to say it."""
    return f"{ANSWER_PREFIX}{question.answer}"


def write_trace(question: PocketQuestion) -> str:
    """Return the reasoning trace: every step with its result, then the option that matches.

    The option's letter directly follows the value it belongs to. With a word in between, the
    look-up "which letter stands before this value" formed an order of magnitude later in
    training.
    """
    if question.task_type in ("math-oe", "math-mc"):
        lines = [f"{step.text}={step.result}" for step in question.steps]
        if question.options:
            lines.append(f"{question.steps[-1].result} {question.answer}")
        return f"So {'; '.join(lines)}."
    lines = [f"{step.text} is {step.result}" for step in question.steps]
    if question.options:
        lines.append(f"{question.steps[-1].result} {question.answer}")
    return f"So {', '.join(lines)}."
