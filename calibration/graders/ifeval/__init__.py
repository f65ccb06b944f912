"""Grader `ifeval`: does the answer follow instructions that a program can check?"""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, validate_call

from .._grader import Grade
from . import _layout as layout
from . import _words as words

__all__ = ["INSTRUCTIONS", "IfevalGold", "IfevalGrader", "follows"]

INSTRUCTIONS: Mapping[str, Callable[..., bool]] = MappingProxyType(
    {
        "change_case:capital_word_frequency": words.has_capital_words,
        "change_case:english_capital": words.is_english_capitals,
        "change_case:english_lowercase": words.is_english_lowercase,
        "combination:repeat_prompt": layout.repeats_prompt,
        "combination:two_responses": layout.gives_two_responses,
        "detectable_content:number_placeholders": layout.has_placeholders,
        "detectable_content:postscript": layout.has_postscript,
        "detectable_format:constrained_response": layout.is_constrained,
        "detectable_format:json_format": layout.is_json,
        "detectable_format:multiple_sections": layout.has_sections,
        "detectable_format:number_bullet_lists": layout.has_bullets,
        "detectable_format:number_highlighted_sections": layout.has_highlights,
        "detectable_format:title": layout.has_title,
        "keywords:existence": words.has_keywords,
        "keywords:forbidden_words": words.avoids_words,
        "keywords:frequency": words.has_keyword_count,
        "keywords:letter_frequency": words.has_letter_count,
        "language:response_language": words.is_in_language,
        "length_constraints:nth_paragraph_first_word": words.begins_paragraph_with,
        "length_constraints:number_paragraphs": words.has_paragraphs,
        "length_constraints:number_sentences": words.has_sentences,
        "length_constraints:number_words": words.has_words,
        "punctuation:no_comma": words.avoids_commas,
        "startend:end_checker": layout.ends_with,
        "startend:quotation": layout.is_quoted,
    }
)
"""The check behind each of the 25 instructions; its keyword arguments are the parameters."""


class IfevalGold(BaseModel):
    """What an answer is judged by, as the JSON text of a gold answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt: str
    """The question, for people to read."""
    instruction_id_list: list[str]
    """Names from `INSTRUCTIONS`."""
    kwargs: list[dict[str, JsonValue]]
    """The parameters of each instruction, without nulls."""


class IfevalGrader:
    """Check every instruction of a prompt against the answer as it stands ("strict").

    Correct if all are followed (prompt-level strict accuracy); `score` is the share that are
    followed, and `extracted` names those that are not. An empty answer follows none.

    Source: Zhou et al., arXiv 2311.07911, section 2.

    Raises:
        MissingPrerequisiteError: The extra `ifeval` is not installed.
    """

    name = "ifeval"
    version = 1
    is_slow = True
    runs_code = False

    def __init__(self) -> None:
        """Load the language detector, so that a missing library is told at once."""
        words.language_of("a")

    def check_gold(self, gold: str) -> str | None:
        """Return a problem unless gold lists known instructions with their parameters."""
        try:
            parsed = IfevalGold.model_validate_json(gold)
        except ValidationError as error:
            return _first_problem("gold", error)
        if not parsed.instruction_id_list:
            return "it has no instructions"
        if len(parsed.instruction_id_list) != len(parsed.kwargs):
            return "instruction_id_list and kwargs differ in length"
        for name, parameters in zip(parsed.instruction_id_list, parsed.kwargs, strict=True):
            if name not in INSTRUCTIONS:
                return f"unknown instruction {name!r}"
            try:
                follows("", name, parameters)
            except ValidationError as error:
                return _first_problem(name, error)
        return None

    def grade(self, answer: str, gold: str) -> Grade:
        """Judge one answer."""
        parsed = IfevalGold.model_validate_json(gold)
        instructions = list(zip(parsed.instruction_id_list, parsed.kwargs, strict=True))
        broken = [
            name
            for name, parameters in instructions
            if not answer.strip() or not follows(answer, name, parameters)
        ]
        score = (len(instructions) - len(broken)) / len(instructions)
        return Grade(not broken, ", ".join(broken) or None, score)


def follows(answer: str, instruction: str, parameters: Mapping[str, JsonValue]) -> bool:
    """Return whether an answer follows one instruction.

    Args:
        answer: The visible answer.
        instruction: A name from `INSTRUCTIONS`.
        parameters: The instruction's parameters.

    Raises:
        KeyError: There is no such instruction.
        pydantic.ValidationError: The parameters are not those of the instruction.
    """
    return _checked(instruction)(answer, **parameters)


@cache
def _checked(instruction: str) -> Callable[..., bool]:
    return validate_call(config=ConfigDict(strict=True))(INSTRUCTIONS[instruction])


def _first_problem(place: str, error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join([place, *map(str, first['loc'])])}: {first['msg']}"
