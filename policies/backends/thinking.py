"""How each kind of OpenAI-compatible server is told to think, or not to, and for how long.

A table of data: adding a server means adding a row. Budgets are of two classes. Hard: the
decoder samples as without a budget and forces the end of the thought there, so one trace tells
every smaller budget; only these rows claim `Capability.HARD_BUDGET`. Soft: the model or the
provider decides, so a budget in tokens is refused rather than sent and hoped for.

What a row claims is what the server documents. Whether the one at hand does it, with its flags
and its model, is what `policies.backends.probe` finds out.

Source: the servers' own sources and documentation (vLLM 0.33, SGLang 0.5.23, llama.cpp server,
transformers 5.23; OpenAI, DeepSeek and DashScope SDKs), read in 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from .._backend import Capability
from .._errors import UnknownNameError
from ._json import Json

__all__ = ["DIALECTS", "Dialect", "dialect_named", "thinking_fields"]

# Servers fill what a request leaves out from the model's own generation config (Qwen3 ships
# top_k 20, top_p 0.95), so what must not shape the output is said aloud.
_NEUTRAL_SAMPLING: Mapping[str, Json] = MappingProxyType(
    {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
)
_OPEN_SERVER = frozenset({Capability.LOGPROBS, Capability.SAMPLES, Capability.LOGIT_BIAS})


@dataclass(frozen=True, slots=True)
class Dialect:
    """The request fields that one kind of server understands.

    Attributes:
        name: How users name it.
        on: Body fields that switch thinking on.
        off: Body fields that switch thinking off.
        has_switch: Whether thinking can be switched at all.
        budget_path: Keys that lead to the budget in the body, outermost first; empty if the
            server takes none.
        is_budget_hard: Whether the decoder enforces it.
        max_tokens_key: Field that caps all generated tokens together.
        always: Fields of every request.
        abilities: Capabilities that have nothing to do with thinking.
        version_path: Path from the server's root that tells its version; may be empty.
    """

    name: str
    on: Mapping[str, Json] = field(default_factory=dict[str, "Json"])
    off: Mapping[str, Json] = field(default_factory=dict[str, "Json"])
    has_switch: bool = True
    budget_path: tuple[str, ...] = ()
    is_budget_hard: bool = False
    max_tokens_key: str = "max_tokens"
    always: Mapping[str, Json] = field(default_factory=dict[str, "Json"])
    abilities: frozenset[Capability] = _OPEN_SERVER
    version_path: str = ""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Everything a server of this kind can do."""
        claims = set(self.abilities)
        if self.has_switch:
            claims.add(Capability.THINKING_SWITCH)
        if self.budget_path:
            claims.add(Capability.THINKING_BUDGET)
        if self.is_budget_hard:
            claims.add(Capability.HARD_BUDGET)
        return frozenset(claims)


def _template(*keys: str, value: bool) -> Mapping[str, Json]:
    return {"chat_template_kwargs": dict.fromkeys(keys, value)}


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            # Budgets need --reasoning-parser or --reasoning-config, else the server answers 400.
            Dialect(
                name="vllm",
                on=_template("enable_thinking", value=True),
                off=_template("enable_thinking", value=False),
                budget_path=("thinking_token_budget",),
                is_budget_hard=True,
                always={"return_token_ids": True, **_NEUTRAL_SAMPLING},
                version_path="/version",
            ),
            # Templates in the style of DeepSeek V3.1, which read another key.
            Dialect(
                name="vllm-deepseek",
                on=_template("thinking", value=True),
                off=_template("thinking", value=False),
                budget_path=("thinking_token_budget",),
                is_budget_hard=True,
                always={"return_token_ids": True, **_NEUTRAL_SAMPLING},
                version_path="/version",
            ),
            # Budgets need --enable-strict-thinking and --reasoning-parser.
            Dialect(
                name="sglang",
                on=_template("enable_thinking", "thinking", value=True),
                off=_template("enable_thinking", "thinking", value=False),
                budget_path=("custom_params", "thinking_budget"),
                is_budget_hard=True,
                always=_NEUTRAL_SAMPLING,
            ),
            # --reasoning-budget-message adds a sentence of its own at the budget.
            Dialect(
                name="llama.cpp",
                on=_template("enable_thinking", value=True),
                off=_template("enable_thinking", value=False),
                budget_path=("thinking_budget_tokens",),
                is_budget_hard=True,
                always={"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
            ),
            Dialect(
                name="transformers",
                on=_template("enable_thinking", value=True),
                off=_template("enable_thinking", value=False),
                abilities=frozenset({Capability.SAMPLES}),
            ),
            # "none" is refused by models that always reason; the thought stays hidden.
            Dialect(
                name="openai",
                off={"reasoning_effort": "none"},
                max_tokens_key="max_completion_tokens",
            ),
            # Temperature is ignored in silence while thinking, so sampling is not claimed.
            Dialect(
                name="deepseek",
                on={"thinking": {"type": "enabled"}},
                off={"thinking": {"type": "disabled"}},
                abilities=frozenset(),
            ),
            # It takes `thinking_budget`, but nobody has shown that the decoder enforces it.
            Dialect(
                name="dashscope",
                on={"enable_thinking": True},
                off={"enable_thinking": False},
                budget_path=("thinking_budget",),
                abilities=frozenset({Capability.SAMPLES}),
            ),
            # A server or model without a switch: it gets no thinking fields at all.
            Dialect(name="plain", has_switch=False),
        )
    }
)
"""Every known kind of server by name."""


def dialect_named(name: str) -> Dialect:
    """Return a row of the table.

    Raises:
        UnknownNameError: There is none of this name.
    """
    if name not in DIALECTS:
        raise UnknownNameError("dialect", name, DIALECTS)
    return DIALECTS[name]


def thinking_fields(
    dialect: Dialect, *, thinking: bool, budget: int | None = None
) -> dict[str, Json]:
    """Return the body fields that switch thinking and set its budget.

    Args:
        dialect: The kind of server.
        thinking: Whether the model is asked to think.
        budget: Cap on thinking tokens; the caller has checked that the dialect's is hard.

    Example:
        >>> thinking_fields(dialect_named("vllm"), thinking=True, budget=64)
        {'chat_template_kwargs': {'enable_thinking': True}, 'thinking_token_budget': 64}
    """
    fields: dict[str, Json] = dict(dialect.on if thinking else dialect.off)
    if budget is None or not dialect.budget_path:
        return fields
    *parents, last = dialect.budget_path
    place = fields
    for key in parents:
        inner = dict(cast("Mapping[str, Json]", place.get(key, {})))
        place[key] = inner
        place = inner
    place[last] = budget
    return fields
