"""CoQA: a conversation about a story; each question is asked with the turns before it."""

import json
from collections.abc import Iterator

from .._row import Row
from ._benchmark import Benchmark, Draft, HubDataset

__all__ = ["COQA"]

_REQUEST = (
    "Read the story and the conversation about it, then answer the last question as briefly as"
    " you can. Put the answer, and only it, inside \\boxed{}."
)


def _read(row: Row) -> Iterator[Draft]:
    """Yield a question a turn; the earlier turns carry the answers of the data set."""
    story = row.text("story")
    questions = row.texts("questions")
    answers = row.texts_in("answers", "input_text")
    if len(answers) != len(questions):
        raise row.problem(
            f"{len(questions)} questions have {len(answers)} answers", "correct the row"
        )
    others = _other_annotators(row, len(questions))
    turns = list[str]()
    for question, answer, more in zip(questions, answers, others, strict=True):
        turns.append(f"Q: {question}")
        conversation = "\n".join(turns)
        prompt = f"{_REQUEST}\n\nStory: {story}\n\nConversation:\n{conversation}\nA:"
        accepted = list(dict.fromkeys([answer, *more]))
        yield Draft(prompt, json.dumps(accepted, ensure_ascii=False), source=story)
        turns.append(f"A: {answer}")


def _other_annotators(row: Row, n_turns: int) -> list[list[str]]:
    """Return the further accepted answers of each turn, where a copy of the data has them."""
    if not row.has("additional_answers"):
        return [[] for _ in range(n_turns)]
    annotators: list[list[str]] = []
    for annotator in row.mapping("additional_answers").values():
        annotators.append(row.texts_of("additional_answers", annotator, "input_text"))
        if len(annotators[-1]) != n_turns:
            raise row.problem(
                f"{n_turns} questions have {len(annotators[-1])} additional answers",
                "correct the row",
            )
    return [[texts[turn] for texts in annotators] for turn in range(n_turns)]


COQA = Benchmark(
    name="coqa",
    task_type="general-oe",
    grader="coqa",
    version=1,
    source="Reddy et al. 2019, arXiv 1808.07042, stanfordnlp.github.io/coqa, validation split",
    licence="several, by domain of the story: CC-BY-SA-4.0, Apache-2.0, MSR-LA and others",
    hub=(HubDataset("stanfordnlp/coqa", "validation"),),
    stems=(("coqa", "coqa_validation", "coqa_dev"),),
    read=_read,
)
