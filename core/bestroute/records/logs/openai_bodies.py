"""Bodies of requests and replies of OpenAI's chat completions and Responses API: what several logs hold inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bestroute.records.logs.logged_call import LoggedCall, first, logged_call, tokens
from bestroute.records.logs.turns import decoded


def call_of_bodies(request: Any, reply: Any, **known: Any) -> LoggedCall | None:
    """Return the call that a request and its reply are; ``None`` where the request asks nothing of a model.

    Args:
        request: ``{"model", "messages" or "input", "tools", ...}``.
        reply: ``{"choices" or "output" or "content", "usage", "model"}``; ``None`` where it is not known.
        known: Fields of the call that the log tells beside them; they win.
    """
    request, reply = decoded(request), decoded(reply)
    if not isinstance(request, Mapping):
        return None
    details = {
        "model": first(reply, "model") or first(request, "model"),
        "input_tokens": tokens(first(reply, "usage.prompt_tokens", "usage.input_tokens")),
        "output_tokens": tokens(first(reply, "usage.completion_tokens", "usage.output_tokens")),
        "tools": tools_of(first(request, "tools", "functions")),
        "response_format": response_format_of(request),
    }
    details |= {name: value for name, value in known.items() if value is not None}
    return logged_call(request, answer_of(reply), **details)


def answer_of(reply: Any) -> Any:
    """Return what a reply's body answers, as turns; ``None`` where there is no answer."""
    reply = decoded(reply)
    if not isinstance(reply, Mapping):
        return reply
    if choices := first(reply, "choices"):
        choice = choices[0] if isinstance(choices, list) else choices
        return first(choice, "message", "delta", "text")
    if isinstance(reply.get("output"), list):
        return _merged(reply["output"])
    if isinstance(reply.get("content"), list | str) and reply.get("role", "assistant") == "assistant":
        return {"role": "assistant", "content": reply["content"]}  # Anthropic's message
    return first(reply, "message", "output_text", "text") or reply


def _merged(items: list[Any]) -> list[Any]:
    """Join the calls of a Responses API's output into one turn, as they are in a chat."""
    calls = [item for item in items if isinstance(item, Mapping) and item.get("type") == "function_call"]
    if not calls:
        return [item for item in items if isinstance(item, Mapping) and item.get("type") == "message"]
    return [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": call.get("call_id"), "name": call.get("name"), "arguments": call.get("arguments")}
                for call in calls
            ],
        }
    ]


def tools_of(value: Any) -> tuple[Mapping[str, Any], ...]:
    """Return tools as chat completions take them.

    Example:
        >>> tools_of([{"name": "add", "input_schema": {"type": "object"}}])
        ({'type': 'function', 'function': {'name': 'add', 'parameters': {'type': 'object'}}},)
    """
    value = decoded(value)
    return tuple(_tool(decoded(tool)) for tool in value if decoded(tool)) if isinstance(value, list) else ()


def _tool(tool: Any) -> Mapping[str, Any]:
    if not isinstance(tool, Mapping):
        return {"type": "function", "function": {"name": str(tool)}}
    if "function" in tool or "name" not in tool:
        return tool
    function = {name: tool[name] for name in ("name", "description", "strict") if tool.get(name) is not None}
    schema = first(tool, "parameters", "input_schema", "inputSchema")
    return {"type": "function", "function": {**function, **({"parameters": schema} if schema else {})}}


def response_format_of(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the form that a request asks for, in the words of chat completions."""
    form: Any = first(request, "response_format")
    if form is None:
        form = first(request, "text.format")
        if first(form, "type") == "json_schema" and first(form, "schema"):
            form = {"type": "json_schema", "json_schema": {n: v for n, v in form.items() if n != "type"}}
    return form if isinstance(form, Mapping) and form.get("type") != "text" else None
