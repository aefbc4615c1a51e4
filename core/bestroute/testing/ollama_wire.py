"""Ollama's chat API of the loopback server: validation and replies. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bestroute.testing.payloads import Choice, Frame, text_pieces
from bestroute.testing.switches import Refused

_DONE_REASONS = {"length": "length"}
_NEVER = "2026-01-01T00:00:00.000000Z"


def check(body: Mapping[str, Any]) -> None:
    """Reject what the real API rejects.

    Raises:
        Refused: With status 400.
    """
    for i, message in enumerate(body["messages"]):
        if not isinstance(message.get("content", ""), str):
            raise Refused(400, f"messages.{i}.content: cannot unmarshal array into a string")
        for call in message.get("tool_calls") or []:
            if not isinstance(call["function"].get("arguments"), dict):
                raise Refused(400, f"messages.{i}.tool_calls: arguments must be an object")
    for i, tool in enumerate(body.get("tools") or []):
        if not (tool.get("function") or {}).get("name"):
            raise Refused(400, f"tools.{i}.function.name is missing")


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a request to a chat completion request; Ollama has no ``tool_choice``."""
    options, wanted = body.get("options") or {}, body.get("format")
    response_format = None
    if wanted == "json":
        response_format = {"type": "json_object"}
    elif wanted:
        response_format = {"type": "json_schema", "schema": wanted}
    return {
        "model": body["model"],
        "messages": body["messages"],
        "tools": body.get("tools"),
        "response_format": response_format,
        "stop": options.get("stop"),
        "max_tokens": options.get("num_predict"),
    }


def frames(model: str, choice: Choice, reported: Mapping[str, Any] | None, *, thinks: bool) -> Iterator[Frame]:
    """Yield the lines of a streamed reply."""
    base = {"model": model, "created_at": _NEVER}
    if thinks:
        yield Frame({**base, "message": {"role": "assistant", "content": "", "thinking": "let me see"}, "done": False})
    if choice.call is None:
        entries = iter(choice.logprobs or ())
        for piece in text_pieces(choice.text):
            entry = next(entries, None)
            logprobs = {} if entry is None else {"logprobs": [entry]}
            yield Frame(
                {**base, "message": {"role": "assistant", "content": piece}, "done": False, **logprobs}, words=1
            )
    else:
        yield Frame({**base, "message": {"role": "assistant", "content": "", **_calls(choice)}, "done": False}, words=1)
    yield Frame(_end(base, {"role": "assistant", "content": ""}, choice, reported), complete=True)


def reply(model: str, choice: Choice, reported: Mapping[str, Any] | None, *, thinks: bool) -> dict[str, Any]:
    """Return a complete reply."""
    message: dict[str, Any] = {"role": "assistant", "content": choice.text}
    if thinks:
        message["thinking"] = "let me see"
    if choice.call is not None:
        message |= _calls(choice)
    whole = _end({"model": model, "created_at": _NEVER}, message, choice, reported)
    return whole if choice.logprobs is None else {**whole, "logprobs": list(choice.logprobs)}


def _calls(choice: Choice) -> dict[str, Any]:
    assert choice.call is not None
    function = {"name": choice.call["name"], "arguments": json.loads(choice.call["arguments"])}
    return {"tool_calls": [{"function": function}]}


def _end(
    base: Mapping[str, Any], message: Mapping[str, Any], choice: Choice, reported: Mapping[str, Any] | None
) -> dict[str, Any]:
    counts = {}
    if reported is not None:
        counts = {"prompt_eval_count": reported["prompt_tokens"], "eval_count": reported["completion_tokens"]}
    times = {"total_duration": 3, "load_duration": 1, "prompt_eval_duration": 1, "eval_duration": 1}
    reason = _DONE_REASONS.get(choice.finish_reason, "stop")
    return {**base, "message": message, "done": True, "done_reason": reason, **times, **counts}


def show(model: str) -> dict[str, Any]:
    """Return the server's description of a model."""
    about = {"general.architecture": "loopback", "loopback.context_length": 8192}
    return {"details": {"family": "loopback"}, "model_info": about, "capabilities": ["completion", "tools"]}
