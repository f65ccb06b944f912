"""How each kind of OpenAI-compatible server is told to think, or not to, and for how long.

A table of data: adding a server means adding a row. Budgets are of two classes. Hard: the
decoder samples as without a budget and forces the end of the thought there, so one trace tells
every smaller budget; only these rows claim `Capability.HARD_BUDGET`. Soft: the model or the
provider decides how far a budget is kept, so each budget is a treatment of its own.

What a row claims is what the server documents. Whether the one at hand does it, with its flags
and its model, is what `policies.backends.probe` finds out.

Source: the servers' own sources and documentation (vLLM 0.32 and 0.33, SGLang 0.5.23, llama.cpp
server, transformers 5.23; SDKs and pages of OpenAI, Anthropic, Google, DeepSeek and DashScope),
read in 2026. Only the vLLM rows have been run against the server itself.
"""

from collections.abc import Mapping
from types import MappingProxyType

from .._backend import Capability
from .._errors import UnknownNameError
from ._dialect import BudgetClass, Dialect, customised, thinking_fields, with_thinking
from ._json import Json

__all__ = [
    "DIALECTS",
    "BudgetClass",
    "Dialect",
    "customised",
    "dialect_named",
    "thinking_fields",
    "with_thinking",
]

# Servers fill what a request leaves out from the model's own generation config (Qwen3 ships
# top_k 20, top_p 0.95), so what must not shape the output is said aloud. The two penalties count
# generated tokens only: with them a continued thought would not be sampled as an unbroken one.
_NO_PENALTIES: Mapping[str, Json] = MappingProxyType(
    {"presence_penalty": 0.0, "frequency_penalty": 0.0}
)
_NEUTRAL_SAMPLING: Mapping[str, Json] = MappingProxyType(
    {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, **_NO_PENALTIES}
)
_GOOGLE_BUDGET = ("extra_body", "google", "thinking_config", "thinking_budget")


def _template(*keys: str, value: bool) -> Mapping[str, Json]:
    return {"chat_template_kwargs": dict.fromkeys(keys, value)}


def _google(budget: int) -> Mapping[str, Json]:
    return {"extra_body": {"google": {"thinking_config": {"thinking_budget": budget}}}}


def _vllm(name: str, key: str) -> Dialect:
    """Return a vLLM row; templates differ in the key they read.

    A budget counts the tokens after the start marker, those in the prompt included.
    """
    return Dialect(
        name=name,
        on=_template(key, value=True),
        off=_template(key, value=False),
        budget_path=("thinking_token_budget",),
        is_budget_hard=True,
        effort_path=("reasoning_effort",),
        efforts=("minimal", "low", "medium", "high", "xhigh", "max"),
        always={"return_token_ids": True, **_NEUTRAL_SAMPLING},
        version_path="/version",
        # Of the servers here it alone tells ids, which hold the stop that the text leaves out.
        abilities=frozenset(
            {Capability.LOGPROBS, Capability.SAMPLES, Capability.LOGIT_BIAS, Capability.STOP}
        ),
        counts_thinking=True,
        echoes_model=True,
        continues=True,
        fix="start vLLM 0.19 or later with --reasoning-parser NAME of the model's family, or"
        ' --reasoning-config \'{"reasoning_start_str": "<think>", "reasoning_end_str":'
        " \"</think>\"}'; the template's switch may be enable_thinking (vllm) or thinking"
        " (vllm-deepseek)",
    )


_ROWS = (
    # Qwen3, GLM and most templates.
    _vllm("vllm", "enable_thinking"),
    # Templates in the style of DeepSeek V3.1.
    _vllm("vllm-deepseek", "thinking"),
    # `chat_template_kwargs.thinking_budget` would be a hint that most templates ignore.
    Dialect(
        name="sglang",
        on=_template("enable_thinking", "thinking", value=True),
        off=_template("enable_thinking", "thinking", value=False),
        budget_path=("custom_params", "thinking_budget"),
        is_budget_hard=True,
        effort_path=("reasoning_effort",),
        efforts=("minimal", "low", "medium", "high", "xhigh", "max"),
        always=_NEUTRAL_SAMPLING,
        counts_thinking=True,
        echoes_model=True,
        fix="start SGLang with --enable-strict-thinking --reasoning-parser NAME and a grammar"
        " backend that filters tokens (xgrammar)",
    ),
    # --reasoning-budget-message adds a sentence of its own at the budget. Thinking tokens are
    # told only by the list of log-probabilities.
    Dialect(
        name="llama.cpp",
        on=_template("enable_thinking", value=True),
        off=_template("enable_thinking", value=False),
        budget_path=("thinking_budget_tokens",),
        is_budget_hard=True,
        always={"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, **_NO_PENALTIES},
        fix="start llama-server with --jinja --reasoning-format deepseek --reasoning auto and"
        " without --reasoning-budget, a release that takes thinking_budget_tokens per request",
    ),
    Dialect(
        name="transformers",
        on=_template("enable_thinking", value=True),
        off=_template("enable_thinking", value=False),
        abilities=frozenset({Capability.SAMPLES}),
        fix="start transformers serve without --reasoning, and with a model whose chat template"
        " reads enable_thinking",
    ),
    # "none" is refused by models that always reason (then: always_thinks); the thought stays
    # hidden. Reasoning models refuse temperature and top_p while they think.
    Dialect(
        name="openai",
        off={"reasoning_effort": "none"},
        effort_path=("reasoning_effort",),
        efforts=("minimal", "low", "medium", "high", "xhigh", "max"),
        max_tokens_key="max_completion_tokens",
        sampling_thinking=(),
        thought_keys=(),
        counts_thinking=True,
        fix="use always_thinks for a model that cannot do without reasoning, and the dialect"
        " plain for one that never reasons",
    ),
    # The endpoint ignores in silence what it does not know (seed, logprobs, reasoning_effort),
    # shows no thought and counts none. Newer models refuse temperature beside top_p.
    Dialect(
        name="anthropic",
        on={"thinking": {"type": "adaptive"}},
        off={"thinking": {"type": "disabled"}},
        sampling=("temperature",),
        sampling_thinking=(),
        abilities=frozenset(),
        thought_keys=(),
        fix="use the dialect anthropic-legacy for models before 4.6, which know no adaptive"
        " thinking",
    ),
    # Models before 4.7: later ones answer 400 to a budget.
    Dialect(
        name="anthropic-legacy",
        on={"thinking": {"type": "enabled"}},
        off={"thinking": {"type": "disabled"}},
        budget_path=("thinking", "budget_tokens"),
        least_budget=1024,
        is_budget_below_cap=True,
        needs_budget=True,
        sampling=("temperature",),
        sampling_thinking=(),
        abilities=frozenset(),
        thought_keys=(),
        fix="use the dialect anthropic for models from 4.7 on, which take no budget",
    ),
    # Gemini 2.5; Pro cannot be switched off (then: always_thinks). Thoughts are not asked for,
    # since they would come tagged inside the content.
    Dialect(
        name="gemini",
        on=_google(-1),
        off=_google(0),
        budget_path=_GOOGLE_BUDGET,
        abilities=frozenset(),
        thought_keys=(),
        counts_thinking=True,
        counts_apart=True,
        fix="use always_thinks for Gemini 2.5 Pro, and the dialect gemini-3 for later models,"
        " which take a level only",
    ),
    Dialect(
        name="gemini-3",
        off=None,
        effort_path=("reasoning_effort",),
        efforts=("minimal", "low", "medium", "high"),
        abilities=frozenset(),
        thought_keys=(),
        counts_thinking=True,
        counts_apart=True,
        fix="use the dialect gemini for Gemini 2.5",
    ),
    # Temperature is ignored in silence while thinking, so sampling is not claimed.
    Dialect(
        name="deepseek",
        on={"thinking": {"type": "enabled"}},
        off={"thinking": {"type": "disabled"}},
        effort_path=("reasoning_effort",),
        efforts=("low", "high", "max"),
        sampling_thinking=(),
        abilities=frozenset(),
        counts_thinking=True,
        fix="use a model that takes the thinking field",
    ),
    # Nobody has shown that the decoder enforces the budget. Some open models think only when
    # they stream, which the server says in its refusal.
    Dialect(
        name="dashscope",
        on={"enable_thinking": True},
        off={"enable_thinking": False},
        budget_path=("thinking_budget",),
        abilities=frozenset({Capability.SAMPLES}),
        counts_thinking=True,
        fix="use a hybrid model that thinks without streaming",
    ),
    # A server or model without a switch: it gets no thinking fields at all.
    Dialect(name="plain", has_switch=False),
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType({row.name: row for row in _ROWS})
"""Every known kind of server by name."""


def dialect_named(name: str) -> Dialect:
    """Return a row of the table.

    Raises:
        UnknownNameError: There is none of this name.
    """
    if name not in DIALECTS:
        raise UnknownNameError("dialect", name, DIALECTS)
    return DIALECTS[name]
