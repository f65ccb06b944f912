"""The chat template that exported runs train with."""

__all__ = ["CHATML", "CHATML_END", "CHAT_TEMPLATE_FILE", "has_generation_markers", "keeps_thoughts"]

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


def has_generation_markers(template: str) -> bool:
    """Return whether a template marks what the assistant wrote."""
    return "endgeneration" in template


def keeps_thoughts(template: str) -> bool:
    """Return whether a template writes `<think>...</think>` in an answer as it stands.

    A template that mentions `</think>` outside of a text that it writes handles it somehow; only
    rendering could tell how, so that it counts as one that does not.
    """
    return "</think>" not in template
