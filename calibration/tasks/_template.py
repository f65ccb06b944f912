"""Prompt templates: text with the names of columns in braces."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from policies import InvalidInputError

__all__ = ["PromptTemplate"]

_TOKEN = re.compile(r"\{\{|\}\}|\{\}|\{([^\W\d][\w .-]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    r"""A prompt with places for columns.

    `{question}` is the text of the column `question`. `{{` and `}}` are braces, and so is an
    empty pair `{}`, because a column without a name cannot be meant: `\boxed{}` stays what it
    is. Values are put in as they are; braces inside them mean nothing.

    Attributes:
        parts: Texts (at even places) and names of columns (at odd places) in turn.

    Example:
        >>> template = PromptTemplate.parse("{city}: how many people?\nUse \\boxed{}.")
        >>> template.columns
        ('city',)
        >>> print(template.render({"city": "Oslo {now}"}))
        Oslo {now}: how many people?
        Use \boxed{}.
    """

    parts: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, each once, in the order they come."""
        return tuple(dict.fromkeys(self.parts[1::2]))

    @classmethod
    def parse(cls, text: str) -> "PromptTemplate":
        """Read a template.

        Raises:
            InvalidInputError: A brace has no partner, or no column is named.
        """
        parts, literal, end = list[str](), "", 0
        for match in _TOKEN.finditer(text):
            literal += text[end : match.start()]
            end = match.end()
            token, name = match.group(), match.group(1)
            if name is not None:
                parts += [literal, name]
                literal = ""
            elif token in ("{", "}"):
                raise InvalidInputError(
                    f"the prompt template has a stray {token!r} at character {match.start() + 1}:"
                    f" {text[max(0, match.start() - 15) : match.start() + 15]!r}",
                    hint="write {column} for a column, and {{ or }} for a brace",
                    code="invalid-template",
                )
            else:
                literal += {"{{": "{", "}}": "}"}.get(token, token)
        if not parts:
            raise InvalidInputError(
                "the prompt template names no column, so every question would be the same",
                hint='name the question\'s column in braces: "{question}"',
                code="invalid-template",
            )
        return cls((*parts, literal + text[end:]))

    def render(self, values: Mapping[str, str]) -> str:
        """Return the prompt with every column's text in its place.

        Raises:
            KeyError: A column has no value.
        """
        return "".join(values[part] if index % 2 else part for index, part in enumerate(self.parts))
