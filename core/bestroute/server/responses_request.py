"""A request of the Responses API as the chat completion's request that asks the same. Pure.

Nothing is stored here, so what rests on an earlier response is refused; callers send the conversation each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bestroute.server.api_errors import RequestError

_STORED = ("previous_response_id", "conversation", "prompt", "background")
_OWN = ("input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens", "include", "store")
_OWN_TOO = ("truncation", "max_tool_calls", "metadata", "stream_options", "n", *_STORED)
"""Fields with a different format, or about storing and truncating conversations on OpenAI's servers."""
_TEXTS = ("input_text", "output_text", "text", "summary_text")
_LOGPROBS = "message.output_text.logprobs"


def from_responses(body: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the body of a Responses API request to that of a chat completion.

    Raises:
        RequestError: Status 400, if it is invalid or unsupported by members.
    """
    for name in _STORED:
        if body.get(name):
            raise RequestError(
                400,
                f"{name} depends on data stored by OpenAI; nothing is stored here, send all of it as input",
                param=name,
            )
    chat = {name: value for name, value in body.items() if name not in (*_OWN, *_OWN_TOO)}
    chat["messages"] = [*_instructions(body), *_messages(body.get("input"))]
    if body.get("tools"):
        chat["tools"] = [_tool(tool, i) for i, tool in enumerate(_listed(body["tools"], "tools"))]
    if body.get("tool_choice") is not None:
        chat["tool_choice"] = _tool_choice(body["tool_choice"])
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = body["max_output_tokens"]
    chat |= _of_text(body.get("text")) | _of_reasoning(body.get("reasoning"))
    included = body.get("include") or []
    if not isinstance(included, list):
        raise RequestError(400, "include must be a list", param="include")
    if _LOGPROBS in included or body.get("top_logprobs"):
        chat["logprobs"] = True
    return chat


def _instructions(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = body.get("instructions")
    if given is None:
        return []
    if not isinstance(given, str):
        raise RequestError(400, "instructions must be a text", param="instructions")
    return [{"role": "system", "content": given}]


def _messages(given: Any) -> list[dict[str, Any]]:
    """Return chat messages; the calls of one turn are joined in one message, with the text before them."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages: list[dict[str, Any]] = []
    for item in _listed(given, "input"):
        kind = item.get("type") or "message"
        if kind == "message":
            role = item.get("role")
            if not isinstance(role, str):
                raise RequestError(400, "a message of input needs a role", param="input")
            messages.append({"role": role, "content": _content(item.get("content"))})
        elif kind in ("function_call", "custom_tool_call"):
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(_call(item, kind))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            content = _content(item.get("output"))
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
        elif kind != "reasoning":  # reasoning is private to its author
            raise RequestError(
                400, f"input holds an item of the type {kind!r:.80}, which no member takes", param="input"
            )
    return messages


def _call(item: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind == "custom_tool_call":
        custom = {"name": item.get("name"), "input": item.get("input")}
        return {"id": item.get("call_id"), "type": "custom", "custom": custom}
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _content(content: Any) -> Any:
    """Return a message's content, as one text if it is only text."""
    if not isinstance(content, list):
        return content
    blocks = [_block(block) for block in _listed(content, "input")]
    if all(block["type"] == "text" for block in blocks):
        return "".join(str(block["text"]) for block in blocks)
    return blocks


def _block(block: Mapping[str, Any]) -> dict[str, Any]:
    kind = block.get("type")
    if kind in _TEXTS:
        return {"type": "text", "text": block.get("text")}
    if kind == "input_image" and isinstance(block.get("image_url"), str):
        detail = {"detail": block["detail"]} if block.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": block["image_url"], **detail}}
    if kind == "input_file":
        names = ("file_data", "filename", "file_id")
        return {"type": "file", "file": {name: block[name] for name in names if block.get(name) is not None}}
    if kind in ("input_audio", "refusal", "image_url"):
        return dict(block)
    raise RequestError(400, f"input holds content of the type {kind!r:.80}, which no member takes", param="input")


def _tool(tool: Mapping[str, Any], place: int) -> dict[str, Any]:
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        raise RequestError(
            400, f"tools[{place}]: {kind!r:.80} runs on OpenAI's own servers; members take functions", param="tools"
        )
    return {"type": kind, kind: {name: value for name, value in tool.items() if name != "type" and value is not None}}


def _tool_choice(choice: Any) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return {"type": kind, kind: {"name": choice.get("name")}}
    if kind == "allowed_tools":
        tools = [_tool_choice(tool) for tool in _listed(choice.get("tools"), "tool_choice")]
        return {"type": kind, kind: {"mode": choice.get("mode"), "tools": tools}}
    raise RequestError(
        400, f"tool_choice of the type {kind!r:.80} names a tool that no member has", param="tool_choice"
    )


def _of_text(text: Any) -> dict[str, Any]:
    if text is None:
        return {}
    if not isinstance(text, Mapping):
        raise RequestError(400, "text must be an object", param="text")
    chat: dict[str, Any] = {}
    form = text.get("format")
    if isinstance(form, Mapping) and form.get("type") == "json_schema":
        schema = {name: value for name, value in form.items() if name != "type" and value is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif isinstance(form, Mapping) and form.get("type") != "text":
        chat["response_format"] = dict(form)
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    return chat


def _of_reasoning(reasoning: Any) -> dict[str, Any]:
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else None
    return {} if effort is None else {"reasoning_effort": effort}


def _listed(values: Any, param: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in a list.

    Raises:
        RequestError: If it is not a list of objects.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise RequestError(400, f"{param} must be a text or a list of objects", param=param)
    for value in values:
        if not isinstance(value, Mapping):
            raise RequestError(400, f"{param} must hold objects alone", param=param)
        yield value
