"""Grader `coqa`: the answer is free text, compared with the answers of several people."""

from ._grader import Grade
from .squad import accepted_answers, check_accepted, normalise, said_span, token_f1

__all__ = ["CoqaGrader"]

_CORRECT_FROM = 0.5


class CoqaGrader:
    """Token F1 with several people's answers.

    Gold is a JSON list, one text per person. The answer is read as by `squad`. `score` is the
    published measure: with one reference its F1; with several, the mean over leaving each one
    out of the best F1 with the others, so that a model is measured as each person is, who is
    compared with the others only. An answer that equals one of n references and shares no word
    with the others thus scores (n - 1) / n.

    `is_correct` is ours, not the paper's: `score >= 0.5`. CoQA publishes no verdict, and tables of
    outcomes need one. At one half, an answer that equals any reference is always correct, and so
    is `yes` for `yes, she did`, while sharing a stray word with a longer reference is not
    enough. Overlap does not see a missing `not`; compare models by the mean score where that
    matters.

    Source: Reddy et al., arXiv 1808.07042, section 5.1, and its evaluation script.
    """

    name = "coqa"
    version = 2
    is_slow = False
    runs_code = False

    def check_gold(self, gold: str) -> str | None:
        """Return a problem unless gold is a JSON list with an accepted answer."""
        return check_accepted(gold)

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        found = said_span(answer)
        accepted = accepted_answers(gold)
        if found is None or not accepted:
            return Grade(False, found, score=0.0)
        said = normalise(found)
        score = _left_out_mean([token_f1(said, normalise(text)) for text in accepted])
        return Grade(score >= _CORRECT_FROM, found, score=score)


def _left_out_mean(scores: list[float]) -> float:
    """Return the mean over leaving one score out of the best other; a lone score itself."""
    if len(scores) == 1:
        return scores[0]
    best = max(range(len(scores)), key=scores.__getitem__)
    runner_up = max(score for i, score in enumerate(scores) if i != best)
    return (scores[best] * (len(scores) - 1) + runner_up) / len(scores)
