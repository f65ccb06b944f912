"""The OpenAPI document, and a page that shows it without loading anything from elsewhere."""

import html
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response

from ._schema import ChatRequest, CompletionRequest, FeedbackRequest, ResponseRequest
from ._wishes import HEADERS, TIERS

__all__ = ["docs_page", "openapi_document"]

_REF = "#/components/schemas/{model}"
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_TOLD = {
    "x-thinkroute-decision": "Name of the decision, for /v1/feedback.",
    "x-thinkroute-arm": "What answers, model:policy.",
    "x-thinkroute-budget": "Cap on thinking tokens.",
    "x-thinkroute-p": "Expected probability of a right answer.",
    "x-thinkroute-saved-tokens": "Expected tokens saved against always reasoning.",
}
_STATUSES = {
    "400": "Something in the request cannot be used.",
    "401": "The key is missing or wrong.",
    "404": "There is no such model.",
    "413": "The request is too large.",
    "415": "The body is not application/json.",
    "429": "Too many requests, or the caller's caps are used up; see Retry-After.",
    "500": "The server failed.",
    "502": "The model's server failed.",
    "503": "No server can answer now; see Retry-After.",
    "504": "The model's server took too long.",
}
_ANSWERS: tuple[tuple[str, str, type[BaseModel], str], ...] = (
    ("/v1/chat/completions", "chat", ChatRequest, "Answer a conversation."),
    ("/v1/completions", "completion", CompletionRequest, "Answer a prompt, or several."),
    ("/v1/responses", "response", ResponseRequest, "Answer by the Responses API."),
)


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the server."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, Any] = {}
    for path, name, model, summary in _ANSWERS:
        paths[path] = {"post": _answering(name, _schema(model, schemas), summary)}
    paths["/v1/feedback"] = {"post": _feedback(_schema(FeedbackRequest, schemas))}
    paths["/v1/models"] = {"get": _getting("listModels", "List the models.", _object("data"))}
    paths["/v1/models/{name}"] = {
        "get": {
            **_getting("showModel", "Show a model.", _object("id"), also=("404",)),
            "parameters": [
                {
                    "name": "name",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "minLength": 1},
                }
            ],
        }
    }
    paths["/healthz"] = {"get": _text("healthz", "The process answers.", "text/plain")}
    ready = _getting("readyz", "It can serve.", _object("ready"), also=())
    ready["responses"]["503"] = _json("It cannot serve now.", _object("ready"))
    paths["/readyz"] = {"get": ready}
    paths["/metrics"] = {"get": _text("metrics", "For Prometheus.", "text/plain")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "thinkroute",
            "version": _version(),
            "description": "An OpenAI-compatible endpoint that decides, per query, whether the"
            " model thinks and for how long.",
        },
        "security": [{}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schema(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, str]:
    document = model.model_json_schema(ref_template=_REF)
    schemas.update(document.pop("$defs", {}))
    schemas[model.__name__] = document
    return {"$ref": _REF.format(model=model.__name__)}


def _object(field: str) -> dict[str, Any]:
    return {"type": "object", "required": [field]}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _errors(*statuses: str) -> dict[str, Any]:
    return {
        status: _json(_STATUSES[status], {"$ref": _REF.format(model="Error")})
        for status in statuses
    }


def _answering(name: str, schema: dict[str, str], summary: str) -> dict[str, Any]:
    told = {
        header: {"description": text, "schema": {"type": "string"}}
        for header, text in _TOLD.items()
    }
    answer: dict[str, Any] = {
        "description": "The answer; server-sent events with `stream`.",
        "headers": told,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    }
    wanted = [
        {
            "name": header,
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": f"The same as thinkroute.{field} in the body.",
        }
        for header, field in HEADERS.items()
    ]
    return {
        "operationId": name,
        "summary": summary,
        "description": f"Models: thinkroute, {', '.join(f'thinkroute:{tier}' for tier in TIERS)},"
        " a model, or an arm by name; GET /v1/models lists them.",
        "parameters": wanted,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": answer, **_errors(*_STATUSES)},
    }


def _feedback(schema: dict[str, str]) -> dict[str, Any]:
    return {
        "operationId": "feedback",
        "summary": "Tell what became of an answer.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": _json("It is written down.", _object("recorded")),
            **_errors("400", "401", "404", "413", "415", "500", "503"),
        },
    }


def _getting(
    name: str, summary: str, schema: dict[str, Any], also: tuple[str, ...] = ("401",)
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": _json(summary, schema), **_errors(*also)},
    }


def _text(name: str, summary: str, kind: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": {kind: {"schema": {"type": "string"}}}}
        },
    }


def docs_page() -> Response:
    """Return a page that lists the paths and their fields."""
    document = openapi_document()
    parts: list[str] = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(
                f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
                f"<p>{html.escape(operation['summary'])}"
                f" {html.escape(operation.get('description', ''))}</p>"
            )
            body = operation.get("requestBody")
            if body is not None:
                reference = body["content"]["application/json"]["schema"]["$ref"]
                parts.append(_fields(document["components"]["schemas"][reference.split("/")[-1]]))
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>thinkroute API</title>"
        "<meta name=viewport content='width=device-width'>"
        "<main><h1>thinkroute API</h1><p>The whole document, for tools:"
        f" <a href=/openapi.json>/openapi.json</a>.</p>{''.join(parts)}</main></html>"
    )
    return HTMLResponse(
        page,
        headers={
            "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'",
            "x-content-type-options": "nosniff",
        },
    )


def _fields(schema: dict[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = "".join(
        f"<li><code>{html.escape(name)}</code>{' (required)' if name in needed else ''}</li>"
        for name in schema["properties"]
    )
    return f"<ul>{rows}</ul>"


def _version() -> str:
    """Return the installed version; where the code runs from a source folder there is none."""
    try:
        return version("thinkroute")
    except PackageNotFoundError:
        return "source"
