"""One row of the table of servers: the request fields a kind of server understands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from .._backend import Capability
from .._errors import InvalidInputError
from ._json import Json

__all__ = ["BudgetClass", "Dialect", "customised", "merged", "thinking_fields", "with_thinking"]

BudgetClass = Literal["hard", "soft", "none"]

_OPEN_SERVER = frozenset({Capability.LOGPROBS, Capability.SAMPLES, Capability.LOGIT_BIAS})
# What the request itself decides, and what would make the answer unreadable or leak a secret.
_RESERVED = frozenset(
    {
        *("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature"),
        *("top_p", "seed", "logprobs", "top_logprobs", "logit_bias", "n", "stream"),
        *("stream_options", "stop", "stop_token_ids", "include_stop_str_in_output"),
        *("tools", "echo"),
    }
)
_SECRET_WORDS = ("api_key", "apikey", "authorization", "password", "secret", "access_token")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The request fields that one kind of server understands, and how it answers.

    Attributes:
        name: How users name it.
        on: Body fields that switch thinking on.
        off: Body fields that switch thinking off; `None` where the model always thinks, so that
            a request without thinking is refused.
        has_switch: Whether a request can ask for thinking at all.
        budget_path: Keys that lead to the budget in the body, outermost first; empty if the
            server takes none.
        is_budget_hard: Whether the decoder enforces it.
        least_budget: Smallest budget the server takes.
        is_budget_below_cap: Whether the budget must be smaller than the cap of all tokens.
        needs_budget: Whether thinking cannot be asked for without a budget.
        effort_path: Keys that lead to the level of effort; empty if there is none.
        efforts: The levels it takes.
        max_tokens_key: Field that caps all generated tokens together.
        sampling: Which of `temperature` and `top_p` are sent.
        sampling_thinking: The same while thinking; the others are the server's own then.
        always: Fields of every request.
        abilities: Capabilities that have nothing to do with thinking.
        version_path: Path from the server's root that tells its version; may be empty.
        thought_keys: Fields of the answer's message that hold the thought, first match first;
            empty where the thought stays hidden.
        counts_thinking: Whether the usage tells how many tokens were thought.
        counts_apart: Whether the usage leaves thinking tokens out of `completion_tokens` and
            tells them only through `total_tokens`.
        echoes_model: Whether an answer names the model exactly as the request did.
        continues: Whether `/tokenize`, `/detokenize` and `/v1/completions` take token ids, so
            that an answer can be continued from its own.
        most_stops: How many stop texts a request may name.
        penalises_switches: Whether the server runs
            `policies.backends.vllm.switch_penalty:SwitchPenaltyProcessor`.
        fix: What to start or set where a control turns out not to be honoured.
    """

    name: str
    on: Mapping[str, Json] = field(default_factory=dict[str, "Json"])
    off: Mapping[str, Json] | None = field(default_factory=dict[str, "Json"])
    has_switch: bool = True
    budget_path: tuple[str, ...] = ()
    is_budget_hard: bool = False
    least_budget: int = 0
    is_budget_below_cap: bool = False
    needs_budget: bool = False
    effort_path: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    max_tokens_key: str = "max_tokens"
    sampling: tuple[str, ...] = ("temperature", "top_p")
    sampling_thinking: tuple[str, ...] = ("temperature", "top_p")
    always: Mapping[str, Json] = field(default_factory=dict[str, "Json"])
    abilities: frozenset[Capability] = _OPEN_SERVER
    version_path: str = ""
    thought_keys: tuple[str, ...] = ("reasoning", "reasoning_content")
    counts_thinking: bool = False
    counts_apart: bool = False
    echoes_model: bool = False
    continues: bool = False
    most_stops: int = 4
    penalises_switches: bool = False
    fix: str = ""

    @property
    def budget_class(self) -> BudgetClass:
        """Whether budgets are enforced, only asked for, or not taken."""
        if not self.budget_path:
            return "none"
        return "hard" if self.is_budget_hard else "soft"

    @property
    def tells_thought(self) -> bool:
        """Whether an answer shows in any way that the model has thought."""
        return bool(self.thought_keys) or self.counts_thinking

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Everything a server of this kind can do."""
        # Whether the model can look at them is for the server to say.
        claims = {Capability.ATTACHMENTS, *self.abilities}
        if self.has_switch:
            claims.add(Capability.THINKING_SWITCH)
        if self.budget_path:
            claims.add(Capability.THINKING_BUDGET)
        if self.budget_path and self.is_budget_hard:
            claims.add(Capability.HARD_BUDGET)
        if self.continues:
            claims.add(Capability.PREFIX_CONTINUATION)
        if self.effort_path and self.efforts:
            claims.add(Capability.EFFORT)
        if self.penalises_switches:
            claims.add(Capability.SWITCH_PENALTY)
        return frozenset(claims)


def thinking_fields(
    dialect: Dialect, *, thinking: bool, budget: int | None = None, effort: str | None = None
) -> dict[str, Json]:
    """Return the body fields that switch thinking and set its budget or effort.

    Args:
        dialect: The kind of server.
        thinking: Whether the model is asked to think.
        budget: Cap on thinking tokens; the caller has checked that the dialect takes one.
        effort: Level of effort; sent only while thinking.

    Example:
        >>> from policies.backends.thinking import dialect_named
        >>> thinking_fields(dialect_named("vllm"), thinking=True, budget=64)
        {'chat_template_kwargs': {'enable_thinking': True}, 'thinking_token_budget': 64}
    """
    fields: dict[str, Json] = dict((dialect.on if thinking else dialect.off) or {})
    if budget is not None and dialect.budget_path:
        fields = merged(fields, _nested(dialect.budget_path, budget))
    if effort is not None and thinking and dialect.effort_path:
        fields = merged(fields, _nested(dialect.effort_path, effort))
    return fields


def with_thinking(
    body: Mapping[str, Json],
    dialect: Dialect,
    *,
    thinking: bool,
    budget: int | None = None,
    effort: str | None = None,
) -> dict[str, Json]:
    """Return a body that somebody else wrote, with thinking switched as asked.

    What else it holds stays: objects such as `chat_template_kwargs` keep their other keys.

    Args:
        body: Body of a chat.
        dialect: The kind of server.
        thinking: See `thinking_fields`, as for the others.
        budget: Cap on thinking tokens.
        effort: Level of effort.

    Example:
        >>> from policies.backends.thinking import dialect_named
        >>> body = {"chat_template_kwargs": {"tools_in_user": True}}
        >>> with_thinking(body, dialect_named("vllm"), thinking=False)
        {'chat_template_kwargs': {'tools_in_user': True, 'enable_thinking': False}}
    """
    return merged(body, thinking_fields(dialect, thinking=thinking, budget=budget, effort=effort))


def customised(
    dialect: Dialect,
    *,
    extra_body: Mapping[str, Json] | str | None = None,
    extra_body_on: Mapping[str, Json] | str | None = None,
    extra_body_off: Mapping[str, Json] | str | None = None,
    budget_path: Sequence[str] | str | None = None,
    is_budget_hard: bool | None = None,
    always_thinks: bool = False,
    penalises_switches: bool = False,
) -> Dialect:
    """Return a row that is altered as a user describes the server at hand.

    Args:
        dialect: Where to start from; `plain` for a server that no row fits.
        extra_body: Fields of every request, a mapping or a JSON object as text.
        extra_body_on: Fields that switch thinking on.
        extra_body_off: Fields that switch thinking off.
        budget_path: Where the budget goes, keys or one text with dots between them.
        is_budget_hard: Whether the decoder enforces the budget; `None` leaves it to the row,
            and means no for a path given here.
        always_thinks: The model cannot answer without thinking.
        penalises_switches: The server runs this package's logits processor.

    Raises:
        InvalidInputError: A value is no JSON object, sets what the request decides, or looks
            like a secret; or the row's servers take no logits processor.

    Example:
        >>> from policies.backends.thinking import dialect_named
        >>> row = customised(
        ...     dialect_named("plain"),
        ...     extra_body_on='{"think": true}',
        ...     extra_body_off='{"think": false}',
        ...     budget_path="options.think_tokens",
        ... )
        >>> thinking_fields(row, thinking=True, budget=64)
        {'think': True, 'options': {'think_tokens': 64}}
    """
    changes: dict[str, Any] = {}
    if extra_body is not None:
        changes["always"] = merged(dialect.always, _checked("extra_body", extra_body))
    if extra_body_on is not None:
        changes["on"] = merged(dialect.on, _checked("extra_body_on", extra_body_on))
        changes["has_switch"] = True
    if extra_body_off is not None:
        changes["off"] = merged(dialect.off or {}, _checked("extra_body_off", extra_body_off))
    if budget_path is not None:
        keys = budget_path.split(".") if isinstance(budget_path, str) else list(budget_path)
        if not keys or not all(keys) or keys[0] in _RESERVED:
            raise InvalidInputError(
                f"budget_path is {budget_path!r}, expected keys such as 'a.b'"
                " that the request does not set itself"
            )
        changes |= {"budget_path": tuple(keys), "is_budget_hard": False, "has_switch": True}
    if is_budget_hard is not None:
        changes["is_budget_hard"] = is_budget_hard
    if always_thinks:
        changes |= {"off": None, "has_switch": True}
    if penalises_switches:
        if not dialect.continues:
            raise InvalidInputError(
                f"penalises_switches is set, and servers of dialect {dialect.name!r} take no"
                " logits processor",
                hint="serve the model with vLLM",
            )
        changes["penalises_switches"] = True
    return replace(dialect, **changes)


def _checked(name: str, value: Mapping[str, Json] | str) -> Mapping[str, Json]:
    if isinstance(value, str):
        try:
            value = cast("Mapping[str, Json]", json.loads(value))
        except ValueError as error:
            raise InvalidInputError(f"{name} is no JSON: {error}") from error
    if not isinstance(cast("object", value), Mapping):
        raise InvalidInputError(f"{name} is no JSON object, expected one such as {{}}")
    taken = sorted(_RESERVED & set(value))
    if taken:
        raise InvalidInputError(
            f"{name} sets {', '.join(taken)}", hint="the policy and its options decide these"
        )
    secret = next((key for key in _keys(value) if _is_secret(key)), None)
    if secret is not None:
        raise InvalidInputError(
            f"{name} holds the key {secret!r}, and what is sent is stored",
            hint="pass the key as api_key",
        )
    return value


def _keys(value: object) -> list[str]:
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, object]", value)
        return [*fields, *(key for inner in fields.values() for key in _keys(inner))]
    if isinstance(value, list | tuple):
        return [key for inner in cast("Sequence[object]", value) for key in _keys(inner)]
    return []


def _is_secret(key: str) -> bool:
    return any(word in key.lower().replace("-", "_") for word in _SECRET_WORDS)


def _nested(path: Sequence[str], value: Json) -> dict[str, Json]:
    for key in reversed(path):
        value = {key: value}
    return cast("dict[str, Json]", value)


def merged(below: Mapping[str, Json], above: Mapping[str, Json]) -> dict[str, Json]:
    """Return both objects in one; where both hold an object, so do its fields."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        are_objects = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = (
            merged(cast("Mapping[str, Json]", old), cast("Mapping[str, Json]", value))
            if are_objects
            else value
        )
    return result
