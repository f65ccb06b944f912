"""What requests may hold: checked on arrival, and shown in the OpenAPI document.

Fields that are not listed are kept and passed on, as OpenAI's servers and vLLM have many.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ._problems import ProblemError

__all__ = [
    "ChatRequest",
    "CompletionRequest",
    "FeedbackRequest",
    "ResponseRequest",
    "ThinkrouteFields",
    "check",
]

_MOST_PROBLEMS = 3
_MOST_TOKENS = 2**31 - 1
_Stop = Annotated[str, StringConstraints(min_length=1)]
_TokenId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
_Tokens = Annotated[int, Field(ge=0)]
_STRICT = ConfigDict(strict=True, frozen=True)


class ThinkrouteFields(BaseModel):
    """What a request wants of its decision; the same as headers `x-thinkroute-NAME`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    mode: Literal["auto", "ift", "reasoning"] | None = None
    """`ift` answers directly, `reasoning` thinks first."""
    budget: _Tokens | Literal["max"] | None = Field(default=None)
    """Most thinking tokens of the arms that may be chosen."""
    objective: str | dict[str, Any] | None = None
    """`default`, `cheap`, `balanced`, `best`, or an objective such as `{"target_accuracy": 0.9}`."""
    task: str | None = Field(default=None, max_length=200)
    """Task or task type, which sharpens the decision."""
    explain: bool | None = None
    """Whether the answer says why, in its field `thinkroute`."""
    conversation: str | None = Field(default=None, max_length=200)
    """Name of the conversation, where its turns do not tell."""


class StreamOptions(BaseModel):
    """How an answer is streamed."""

    model_config = _STRICT | ConfigDict(extra="allow")

    include_usage: bool | None = None


class ChatMessage(BaseModel):
    """One turn."""

    model_config = _STRICT | ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class _Sampling(BaseModel):
    model_config = _STRICT | ConfigDict(extra="allow")

    model: str = Field(min_length=1, max_length=500)
    """`thinkroute`, `thinkroute:cheap|balanced|best`, a model, or an arm such as `m:direct`."""
    stream: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    thinkroute: ThinkrouteFields | None = None


class ChatRequest(_Sampling):
    """A request to `/v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1, le=_MOST_TOKENS)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=_MOST_TOKENS)
    n: int | None = Field(default=None, ge=1, le=128)
    seed: int | None = None
    stop: _Stop | list[_Stop] | None = None
    logit_bias: dict[_TokenId, float] | None = None
    stream_options: StreamOptions | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    """A wish for the decision: `none` answers directly, `low` is cheap, `high` is best."""


class CompletionRequest(_Sampling):
    """A request to `/v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(default=None, ge=0, le=_MOST_TOKENS)
    n: int | None = Field(default=None, ge=1, le=128)


class ResponseRequest(_Sampling):
    """A request to `/v1/responses`."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1, le=_MOST_TOKENS)


class FeedbackRequest(BaseModel):
    """What became of an answer."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    decision_id: str = Field(min_length=1, max_length=100)
    """The answer's header `x-thinkroute-decision`."""
    outcome: Literal["correct", "wrong", "cut", "error"] | None = None
    score: float | None = Field(default=None, ge=0, le=1)
    """A score in [0, 1], where it is no matter of right or wrong."""


def check(model: type[BaseModel], body: object) -> None:
    """Check a JSON body.

    Raises:
        ProblemError: Something in it cannot be used; the first few such things are named.
    """
    try:
        model.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        lines = [f"{_path(one['loc'])}: {one['msg']}" for one in found]
        shown = list(dict.fromkeys(lines))[:_MOST_PROBLEMS]
        field = str(found[0]["loc"][0]) if found[0]["loc"] else None
        raise ProblemError(400, "invalid-request", "; ".join(shown), param=field) from None


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "the body"
