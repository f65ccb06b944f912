"""Schemathesis on a running server: what its OpenAPI document promises is what it does.

Three kinds of requests are made up: wrong ones, which must be refused; all that the document allows,
most of which name things that only a model's own server knows; and plausible ones, made of these,
which must be answered.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.router.server.clients.served_process import ServedProcess

pytestmark = pytest.mark.timeout(300)

Kind = Literal["wrong", "allowed", "plausible"]

# Few tokens: every valid request really is answered by the model.
MOST_TOKENS = 4
# Little text: the model has room for 1024 tokens, and strange letters take several.
MOST_TURNS, MOST_LETTERS = 4, 30
LIMITS: Mapping[str, tuple[str, ...]] = {
    "/v1/chat/completions": ("max_tokens", "max_completion_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
# Left out, each for a reason:
# positive_data_acceptance: fields that the document does not list are passed on to a model's
#   server, which the pocket model does not have, so that random ones are refused by name; for
#   plausible requests the test itself asks for the status 200.
# ignored_auth: the server of these tests asks for no keys; test_openai_errors.py has one that does.
# use_after_free, ensure_resource_availability: no operation makes or deletes anything.
# response_schema_conformance of event streams: it holds each event against the schema, which in
#   OpenAPI 3.1 is that of the whole body; OpenAI's own client reads them in other tests.

BOUNDED = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # Smaller examples would take minutes to find.
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)


Case = schemathesis.Case[Any]
ANSWERING = list(LIMITS)
OPERATIONS = [
    *(("POST", path) for path in ANSWERING),
    ("POST", "/v1/feedback"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
]


WISHES: Mapping[str, Sequence[Any]] = {
    "mode": ("auto", "ift", "reasoning"),
    "budget": ("max", "16"),
    "objective": ("default", "cheap", "balanced", "best"),
    "task": ("math-oe", "general-mc"),
    "explain": ("true", "false"),
}


@pytest.fixture(scope="module")
def document(server: ServedProcess) -> Any:
    """Return what the server says it does."""
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_the_document_is_valid_and_every_operation_is_tried(document: Any) -> None:
    document.validate()
    found = [one.ok() for one in document.get_all_operations()]
    assert sorted((one.method.upper(), one.path) for one in found) == sorted(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_whatever_is_allowed_is_answered_or_refused_as_promised(
    document: Any, method: str, path: str
) -> None:
    _try(document[path][method], "allowed")


@pytest.mark.parametrize("path", [*ANSWERING, "/v1/feedback"])
def test_what_is_wrong_is_refused_as_promised(document: Any, path: str) -> None:
    _try(document[path]["POST"], "wrong")


@pytest.mark.parametrize("path", ANSWERING)
def test_what_is_plausible_is_answered(document: Any, path: str) -> None:
    _try(document[path]["POST"], "plausible")


def _try(operation: Any, kind: Kind) -> None:
    mode = GenerationMode.NEGATIVE if kind == "wrong" else GenerationMode.POSITIVE

    @BOUNDED
    @given(st.data())
    def answer(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if kind == "plausible":
            _make_plausible(case, operation)
        _limit(case)
        response = case.call(timeout=60)
        streamed = response.headers.get("content-type", [""])[0].startswith("text/event-stream")
        left_out = [response_schema_conformance] if streamed else []
        case.validate_response(response, checks=CHECKS, excluded_checks=left_out)
        if kind == "plausible":
            assert response.status_code == 200, (case.body, case.headers, response.text)

    answer()


def _limit(case: Case) -> None:
    """Ask a model that is there, for a short answer, wherever that leaves right and wrong as is."""
    limits = LIMITS.get(case.path)
    if limits is None or not isinstance(case.body, dict):
        return
    body = cast("dict[str, Any]", case.body)
    if isinstance(body.get("model"), str) and 0 < len(body["model"]) <= 500:
        body["model"] = "thinkroute"
    for name in limits:
        if body.get(name) is None or _is_large(body[name]):
            body[name] = MOST_TOKENS
    if _is_large(body.get("n")) and body["n"] <= 128:
        body["n"] = 2


def _is_large(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > MOST_TOKENS


def _make_plausible(case: Case, operation: Any) -> None:
    """Replace what only other models understand, and names that nobody knows."""
    headers: Any = case.headers or {}
    for header, value in list(headers.items()):
        name = header.removeprefix("x-thinkroute-")
        if name in WISHES:
            headers[header] = _pick(WISHES[name], value)
    body = cast("dict[str, Any]", case.body)
    known = operation.schema.raw_schema["components"]["schemas"]
    for name in body.keys() - _fields_of(known, case.path):
        del body[name]
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "seed"):
        if isinstance(body.get(name), float):  # To JSON Schema 72.0 is an integer, to few servers.
            body[name] = int(body[name])
    if body.get("max_tokens") == 0:  # For scoring a text that a model's own server is passed.
        body["max_tokens"] = 1
    wished: Any = body.get("thinkroute")
    for name in ("objective", "task", "budget") if isinstance(wished, dict) else ():
        if wished.get(name) is not None:
            wished[name] = 16 if name == "budget" else _pick(WISHES[name], wished[name])
    if isinstance(body.get("messages"), list):
        body["messages"] = [_plain_turn(turn) for turn in body["messages"][:MOST_TURNS]]
    for name in ("prompt", "input"):
        if isinstance(body.get(name), list):
            body[name] = str(body[name])[:MOST_LETTERS]
    if body.get("logit_bias"):
        body["logit_bias"] = {"5": 1.5}


def _fields_of(schemas: Mapping[str, Any], path: str) -> set[str]:
    name = {
        "/v1/chat/completions": "ChatRequest",
        "/v1/completions": "CompletionRequest",
        "/v1/responses": "ResponseRequest",
    }[path]
    return set(schemas[name]["properties"])


def _plain_turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    content = turn.get("content")
    role = turn["role"] if turn["role"] not in ("tool", "function") else "user"
    if isinstance(content, list):
        content = [{"type": "text", "text": str(part)[:MOST_LETTERS]} for part in content[:1]]
    return {"role": role, "content": content or ""}


def _pick(choices: Sequence[Any], value: object) -> Any:
    return choices[len(str(value)) % len(choices)]
