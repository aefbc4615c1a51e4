"""Request and reply bodies of OpenAI's chat completions and Responses API, which several log formats include."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from bestroute.records.logs.logged_call import LoggedCall, first, logged_call, tokens
from bestroute.records.logs.streams import whole_reply
from bestroute.records.logs.turns import answer_text, decoded, turns_of
from bestroute.types.usage import read_usage

_NO_CHAT = re.compile(r"/(embeddings|moderations|images|audio|rerank)\b")
_BODY = ("choices", "error", "usage", "object", "generations", "candidates")
"""Fields of a provider's reply body, which an application's own output does not have."""


def call_of_bodies(request: Any, reply: Any, *, url: Any = None, **known: Any) -> LoggedCall | None:
    """Return the call of a request and its reply; ``None`` if the request is not for a chat model.

    Args:
        request: ``{"model", "messages" or "input", "tools", ...}``.
        reply: ``{"choices" or "output" or "content", "usage", "model"}``; ``None`` if unknown.
        url: URL of the request, if logged.
        known: Fields of the call from elsewhere in the log; they take precedence.
    """
    request, reply = decoded(request), whole_reply(reply)
    if not isinstance(request, Mapping) or _is_no_chat(request, reply, url):
        return None
    usage = read_usage(first(reply, "usage"))
    details = {
        "model": first(reply, "model") or first(request, "model"),
        "input_tokens": usage.input if usage else tokens(first(reply, "usage.prompt_tokens", "usage.input_tokens")),
        "output_tokens": usage.output
        if usage
        else tokens(first(reply, "usage.completion_tokens", "usage.output_tokens")),
        "others": other_answers(reply),
        "tool_choice": tool_choice_of(request),
        "tools": tools_of(first(request, "tools", "functions")),
        "response_format": response_format_of(request),
    }
    details |= {name: value for name, value in known.items() if value is not None}
    return logged_call(request, answer_of(reply), **details)


def _is_no_chat(request: Mapping[str, Any], reply: Any, url: Any) -> bool:
    """Return whether a request is for embeddings, images and the like."""
    if isinstance(url, str) and _NO_CHAT.search(url):
        return True
    data = first(reply, "data")
    if isinstance(data, list) and isinstance(data[0], Mapping) and "embedding" in data[0]:
        return True
    return "messages" not in request and "embed" in str(request.get("model")).lower()


def other_answers(reply: Any) -> tuple[str, ...]:
    """Return the answers of the choices after the first."""
    choices = first(reply, "choices")
    messages = [first(one, "message", "text") for one in choices[1:]] if isinstance(choices, list) else []
    turns = [turns_of({"role": "assistant", "content": one} if isinstance(one, str) else one) for one in messages]
    return tuple(text for found in turns if found and (text := answer_text(found[-1])))


def own_answer(output: Any) -> Any:
    """Return an application's output as turns; an object of its own becomes its JSON."""
    answered = answer_of(output)
    if turns_of(answered) and not (isinstance(answered, list) and all(isinstance(one, str) for one in answered)):
        return answered
    inner = decoded(output)
    values = list(inner.values()) if isinstance(inner, Mapping) else inner if isinstance(inner, list) else [inner]
    if all(value in (None, "", [], {}) for value in values):
        return None
    if isinstance(inner, Mapping) and any(name in inner for name in _BODY):
        return None
    content = output if isinstance(output, str) else json.dumps(inner, ensure_ascii=False)
    return {"role": "assistant", "content": content}


def answer_of(reply: Any) -> Any:
    """Return the answer in a reply's body, as turns; ``None`` if there is none."""
    whole = whole_reply(reply)
    if isinstance(reply, str) and not isinstance(whole, Mapping) and not (whole != reply and turns_of(whole)):
        return {"role": "assistant", "content": reply}
    reply = whole
    if not isinstance(reply, Mapping):
        return reply
    if choices := first(reply, "choices"):
        choice = choices[0] if isinstance(choices, list) else choices
        answer = first(choice, "message", "delta", "text")
        return {"role": "assistant", "content": answer} if isinstance(answer, str) else answer
    if isinstance(reply.get("output"), list):
        return _merged(reply["output"])
    if isinstance(reply.get("content"), list | str) and reply.get("role", "assistant") == "assistant":
        return {"role": "assistant", "content": reply["content"]}  # Anthropic's message
    return first(reply, "message", "output_text", "text") or reply


def _merged(items: list[Any]) -> list[Any]:
    """Join the calls of a Responses API output into one turn, as in a chat."""
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
    """Return tools in the format of chat completions.

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
    schema = decoded(first(tool, "parameters", "input_schema", "inputSchema"))
    return {"type": "function", "function": {**function, **({"parameters": schema} if schema else {})}}


def tool_choice_of(request: Mapping[str, Any]) -> Any:
    """Return a request's tool choice in the format of chat completions; ``None`` if it has none.

    Example:
        >>> tool_choice_of({"tool_choice": {"type": "any"}}), tool_choice_of({"tool_choice": "auto"})
        ('required', 'auto')
        >>> tool_choice_of({"tool_choice": {"type": "tool", "name": "add"}})
        {'type': 'function', 'function': {'name': 'add'}}
    """
    wanted = decoded(request.get("tool_choice"))
    if isinstance(wanted, Mapping) and isinstance(wanted.get("name"), str):
        return {"type": "function", "function": {"name": wanted["name"]}}
    if isinstance(wanted, Mapping) and wanted.get("type") in ("any", "auto", "none"):
        wanted = wanted["type"]
    if isinstance(wanted, str):
        return "required" if wanted == "any" else wanted or None
    return wanted if isinstance(wanted, Mapping) and wanted else None


def response_format_of(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a request's response format in the format of chat completions."""
    form: Any = first(request, "response_format")
    if form is None:
        form = first(request, "text.format")
        if first(form, "type") == "json_schema" and first(form, "schema"):
            form = {"type": "json_schema", "json_schema": {n: v for n, v in form.items() if n != "type"}}
    return form if isinstance(form, Mapping) and form.get("type") != "text" else None
