"""The tools of a Responses request, which are flat there, as a chat has them."""

from typing import Final

from ._fields import Field, JsonObject

__all__ = ["tools_of"]

_NO_BUILT_IN: Final = (
    "tools that OpenAI runs are not supported: describe a function and run it yourself"
)


def tools_of(request: Field) -> JsonObject:
    """Return `tools`, `tool_choice` and `parallel_tool_calls` of the chat, where there are any.

    `allowed_tools` becomes the shorter list of tools that it stands for, which every server
    understands. A chat without tools has no place for the other two fields.

    Raises:
        InvalidInputError: A tool is no function, or the choice is none of them.
    """
    tools = [_tool(tool) for tool in request["tools"].items()] if request["tools"].is_given else []
    chat: JsonObject = {}
    names = [name for name, _ in tools]
    choice = request["tool_choice"]
    if choice.is_given and isinstance(choice.value, str):
        chat["tool_choice"] = choice.choice(("none", "auto", "required"))
        if chat["tool_choice"] == "required" and not tools:
            raise choice.error("is 'required', but there are no tools")
    elif choice.is_given:
        kind = choice["type"].choice(("function", "allowed_tools"), _NO_BUILT_IN)
        if kind == "function":
            function: JsonObject = {"name": _known(choice["name"], names)}
            chat["tool_choice"] = {"type": kind, "function": function}
        else:
            allowed = [_allowed(tool, names) for tool in choice["tools"].items()]
            tools = [tool for tool in tools if tool[0] in allowed]
            chat["tool_choice"] = choice["mode"].choice(("auto", "required"))
    if request["parallel_tool_calls"].is_given:
        chat["parallel_tool_calls"] = request["parallel_tool_calls"].flag()
    return {"tools": [tool for _, tool in tools], **chat} if tools else {}


def _tool(tool: Field) -> tuple[str, JsonObject]:
    kind = tool["type"].choice(("function",), _NO_BUILT_IN)
    if tool["function"].is_given and not tool["name"].is_given:
        raise tool["name"].error(
            "is missing", "tools are flat in this API: name and parameters stand beside type"
        )
    name = tool["name"].text()
    function: JsonObject = {"name": name}
    if tool["description"].is_given:
        function["description"] = tool["description"].text()
    if tool["parameters"].is_given:
        function["parameters"] = dict(tool["parameters"].fields())
    if tool["strict"].is_given:
        function["strict"] = tool["strict"].flag()
    return name, {"type": kind, "function": function}


def _allowed(tool: Field, names: list[str]) -> str:
    tool["type"].choice(("function",), _NO_BUILT_IN)
    return _known(tool["name"], names)


def _known(name: Field, names: list[str]) -> str:
    if name.text() not in names:
        raise name.error(f"is {name.text()[:60]!r}, which is none of the tools")
    return name.text()
