"""Convert chat completion requests and replies to and from Anthropic's messages. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bestroute.errors import ConfigError
from bestroute.records.chats import text_of

_MOST_TOKENS = 4096
"""Token limit of a request without one, since Anthropic requires it."""
_SAME = ("model", "temperature", "top_p", "metadata")
_NOT_SENT = ("messages", "tools", "tool_choice", "max_tokens", "max_completion_tokens", "stop", "logprobs")
_CHOICES = {"auto": {"type": "auto"}, "required": {"type": "any"}, "none": {"type": "none"}}
_ENDS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


def request_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a chat completion's request to the parameters of a message.

    Raises:
        ConfigError: If it uses an option that messages do not have, such as ``response_format``.
    """
    if unknown := [name for name in body if name not in (*_SAME, *_NOT_SENT)]:
        raise ConfigError(f"a batch of Anthropic's takes no {unknown[0]!r}; leave it out, or draw without --batch")
    system = "\n\n".join(text_of(turn["content"]) for turn in body["messages"] if turn["role"] in _SYSTEM)
    request = {name: body[name] for name in _SAME if name in body}
    request["max_tokens"] = body.get("max_tokens") or body.get("max_completion_tokens") or _MOST_TOKENS
    request["messages"] = _turns([turn for turn in body["messages"] if turn["role"] not in _SYSTEM])
    if system:
        request["system"] = system
    if stop := body.get("stop"):
        request["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if tools := body.get("tools"):
        request["tools"] = [_tool(tool.get("function", tool)) for tool in tools]
    if choice := body.get("tool_choice"):
        name = choice["function"]["name"] if isinstance(choice, Mapping) else None
        request["tool_choice"] = {"type": "tool", "name": name} if name else _CHOICES[choice]
    return request


_SYSTEM = ("system", "developer")


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    description = {"description": function["description"]} if function.get("description") else {}
    return {"name": function["name"], **description, "input_schema": schema}


def _turns(messages: list[Any]) -> list[dict[str, Any]]:
    """Return turns of users and assistants; tool results become the user's, joined in one turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] != "tool":
            turns.append(_turn(message))
            continue
        result = {
            "type": "tool_result",
            "tool_use_id": message["tool_call_id"],
            "content": text_of(message["content"]),
        }
        last = turns[-1]["content"] if turns and turns[-1]["role"] == "user" else None
        if isinstance(last, list) and last[0]["type"] == "tool_result":
            last.append(result)
        else:
            turns.append({"role": "user", "content": [result]})
    return turns


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    text = text_of(message.get("content"))
    if not (calls := message.get("tool_calls")):
        return {"role": message["role"], "content": text}
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text.strip() else []
    for call in calls:
        function = call["function"]
        arguments = json.loads(function["arguments"] or "{}")
        blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments})
    return {"role": "assistant", "content": blocks}


def chat_completion_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a message to a chat completion.

    Example:
        >>> reply = {"content": [{"type": "text", "text": "84"}], "stop_reason": "end_turn", "usage": {}}
        >>> chat_completion_of(reply)["choices"][0]["message"]["content"]
        '84'
    """
    blocks = message.get("content") or []
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": json.dumps(block["input"])},
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    reply = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
    reason = _ENDS.get(str(message.get("stop_reason")), message.get("stop_reason"))
    return {
        "id": message.get("id") or "",
        "object": "chat.completion",
        "created": 0,
        "model": message.get("model") or "",
        "choices": [{"index": 0, "message": reply, "finish_reason": reason, "logprobs": None}],
        "usage": message.get("usage"),
    }
