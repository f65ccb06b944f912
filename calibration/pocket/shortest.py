"""Fine-tune a pocket model on its own answers: the shortest right one, or any right one.

Needs the extra `train`. The step that TOPS ends with (arXiv 2502.18080): sample answers at several
efforts, keep the shortest right one of each question, fine-tune on those (`students.fit_examples`).
Its control keeps a right answer at random, of the same questions. Not as in the paper: there are
several answers per effort, and the model that samples is also the one that is tuned.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from policies import Message, user_message
from policies.backends.pocket import render_chat
from policies.decoding.effort import INSTRUCTIONS

from .questions import PocketQuestion
from .rollouts import Answer, is_right, prompt_of
from .train import PairedExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = [
    "Attempts",
    "LengthSpread",
    "effort_prompts",
    "length_spread",
    "pick_random",
    "pick_shortest",
    "taught_answer",
]


class Attempts(NamedTuple):
    """A question and answers to it."""

    question: PocketQuestion
    answers: Sequence[Answer]

    @property
    def right(self) -> list[Answer]:
        """The right ones, in their order."""
        return [answer for answer in self.answers if is_right(self.question, answer)]


class LengthSpread(NamedTuple):
    """How much there is to shorten.

    Attributes:
        n_questions: Questions with a right answer.
        differing: Share of them whose right answers differ in length.
        mean_right: Mean tokens of right answers, a mean over questions.
        mean_shortest: Mean tokens of the shortest ones.
    """

    n_questions: int
    differing: float
    mean_right: float
    mean_shortest: float


def effort_prompts(question: PocketQuestion) -> list[str]:
    """Return the rendered prompts that ask for little, medium and much thought."""
    turn = user_message(question.prompt)
    return [
        render_chat((Message("system", instruction), *turn), thinking=True)
        for instruction in INSTRUCTIONS.values()
    ]


def pick_shortest(attempts: Attempts) -> Answer | None:
    """Return the right answer with the fewest tokens, the first of equals; `None` without any.

    Source: arXiv 2502.18080, self-improvement and Iter-SFT.
    """
    return min(attempts.right, key=len, default=None)


def pick_random(attempts: Attempts, rng: random.Random) -> Answer | None:
    """Return any right answer, `None` without one: the control of `pick_shortest`."""
    right = attempts.right
    return rng.choice(right) if right else None


def length_spread(sampled: Sequence[Attempts]) -> LengthSpread:
    """Return how much the right answers to one question differ in length."""
    lengths = [[len(answer) for answer in one.right] for one in sampled]
    solved = [one for one in lengths if one]
    n = max(1, len(solved))
    return LengthSpread(
        len(solved),
        sum(min(one) < max(one) for one in solved) / n,
        sum(sum(one) / len(one) for one in solved) / n,
        sum(map(min, solved)) / n,
    )


def taught_answer(
    question: PocketQuestion, answer: Answer, tokenizer: "PreTrainedTokenizerFast"
) -> PairedExample:
    """Return the example that teaches an answer to the plain question, whatever it was asked with."""
    prompt: list[int] = tokenizer(prompt_of(question))["input_ids"]
    return PairedExample(prompt, (([], list(answer.ids)),))
