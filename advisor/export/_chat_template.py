"""The chat template that exported runs train with."""

from pathlib import Path

from policies import DataFileError, InvalidInputError

__all__ = [
    "CHATML",
    "CHATML_END",
    "CHAT_TEMPLATE_FILE",
    "read_chat_template",
]

CHAT_TEMPLATE_FILE = "chat_template.jinja"
"""Name of the template in an export folder."""

CHATML_END = "<|im_end|>"
"""End of a turn, which the trained model ends its answers with."""

CHATML = """\
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- generation %}
            {{- message.content + '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""Turns between `<|im_start|>` and `<|im_end|>`, thoughts left in, answers marked.

Written by the exporter instead of taken from the base model for two reasons. Loss on answers
alone needs `{% generation %}` marks; TRL 1.16 adds them only to templates that it knows to the
letter, and that of the Qwen2.5 base models is none of them. And templates of models that reason
take `<think>` out of earlier or of all answers, so that a model would be trained on answers
without their traces.
"""


def _marks_answers(template: str) -> bool:
    """Return whether a template marks what the assistant wrote."""
    return "endgeneration" in template


def _keeps_thoughts(template: str) -> bool:
    """Return whether a template writes `<think>...</think>` in an answer as it stands.

    A template that mentions `</think>` outside of a text that it writes handles it somehow; only
    rendering could tell how, so that it counts as one that does not.
    """
    return "</think>" not in template


def read_chat_template(path: Path) -> str:
    """Return a user's template.

    Raises:
        DataFileError: It cannot be read.
        InvalidInputError: It does not mark answers, or may take thoughts out of them.
    """
    try:
        template = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataFileError(f"cannot be read: {error}", path=path) from error
    if not _marks_answers(template):
        raise InvalidInputError(
            f"the chat template {str(path)!r} does not mark answers, so prompts would be trained"
            " on too",
            hint="put {% generation %} and {% endgeneration %} around what the assistant writes",
            code="template-without-marks",
        )
    if not _keeps_thoughts(template):
        raise InvalidInputError(
            f"the chat template {str(path)!r} treats </think> specially, so reasoning could be"
            " taken out of the answers that are trained on",
            hint="write the content of the assistant's messages as it stands",
            code="template-drops-thoughts",
        )
    return template
