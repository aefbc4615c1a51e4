"""Anthropic's Messages API of the loopback server: validation and replies. Pure functions.

It is stricter than most servers, as the real one is: ``max_tokens`` is required, ``n`` is unknown, roles begin with
the user, tools are in its own format, a tool result answers a call of the message before it, and a thinking block
carries a signature that this server has given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bestroute.testing.brain import text_of
from bestroute.testing.payloads import Choice, Frame, text_pieces
from bestroute.testing.switches import Refused

SIGNATURE = "loopback-signature"
_BLOCKS = ("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result")
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "stop": "end_turn"}


def check(body: Mapping[str, Any]) -> None:
    """Reject what the real API rejects.

    Raises:
        Refused: With status 400.
    """
    if not isinstance(body.get("max_tokens"), int):
        raise Refused(400, "max_tokens: Field required")
    for name in ("n", "response_format", "parallel_tool_calls", "stream_options"):
        if name in body:
            raise Refused(400, f"{name}: Extra inputs are not permitted")
    for i, tool in enumerate(body.get("tools") or []):
        if tool.get("type", "custom") == "custom" and not (tool.get("name") and "input_schema" in tool):
            raise Refused(400, f"tools.{i}.custom.input_schema: Field required")
    choice = body.get("tool_choice")
    if choice is not None and (not isinstance(choice, dict) or choice.get("type") not in _CHOICES):
        raise Refused(400, f"tool_choice: must be an object with a type of {', '.join(_CHOICES)}")
    called: set[str] = set()
    for i, message in enumerate(body["messages"]):
        called = _check_message(i, message, called)


_CHOICES = ("auto", "any", "tool", "none")


def _check_message(i: int, message: Mapping[str, Any], called: set[str]) -> set[str]:
    """Check a message; return the ids of its tool calls, which the next message may answer."""
    if message.get("role") not in ("user", "assistant"):
        raise Refused(400, f"messages.{i}.role: Input should be 'user' or 'assistant'")
    if i == 0 and message["role"] != "user":
        raise Refused(400, "messages.0: the first message must use the user role")
    calls = set()
    for block in _blocks(message):
        kind = block.get("type")
        if kind not in _BLOCKS:
            raise Refused(400, f"messages.{i}.content: Input tag {kind!r} does not match any of the expected tags")
        if kind == "text" and not block.get("text", "").strip():
            raise Refused(400, f"messages.{i}: text content blocks must be non-empty")
        if kind == "thinking" and block.get("signature") != SIGNATURE:
            raise Refused(400, f"messages.{i}.content: Invalid `signature` in `thinking` block")
        if kind == "tool_use":
            if not re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]):
                raise Refused(400, f"messages.{i}.content.tool_use.id: String should match '^[a-zA-Z0-9_-]+$'")
            calls.add(block["id"])
        if kind == "tool_result" and block["tool_use_id"] not in called:
            raise Refused(400, f"messages.{i}: unexpected `tool_use_id` in `tool_result`: {block['tool_use_id']}")
    return calls


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a Messages request to a chat completion request."""
    messages: list[dict[str, Any]] = []
    if body.get("system"):
        messages.append({"role": "system", "content": text_of(body["system"])})
    for message in body["messages"]:
        messages += _chat_messages(message)
    tools = [
        {"type": "function", "function": {"name": t["name"], "parameters": t["input_schema"]}}
        for t in body.get("tools") or []
        if "input_schema" in t
    ]
    choice = body.get("tool_choice") or {}
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return {
        "model": body["model"],
        "messages": messages,
        "tools": tools,
        "tool_choice": {"any": "required", "tool": {"function": {"name": choice.get("name")}}}.get(
            choice.get("type", "auto"), choice.get("type", "auto")
        ),
        "response_format": wanted or None,
        "stop": body.get("stop_sequences"),
        "max_tokens": body.get("max_tokens"),
    }


def _chat_messages(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    blocks = _blocks(message)
    for block in blocks:
        if block["type"] == "tool_result":
            yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": text_of(block.get("content"))}
    calls = [
        {"id": b["id"], "function": {"name": b["name"], "arguments": json.dumps(b["input"])}}
        for b in blocks
        if b["type"] == "tool_use"
    ]
    text = text_of(blocks)
    if calls or message["role"] == "assistant":
        yield {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
    elif not all(block["type"] == "tool_result" for block in blocks):
        yield {"role": "user", "content": text}


def usage(reported: Mapping[str, Any] | None) -> dict[str, Any]:
    """Convert a chat completion's usage to Anthropic's format, in which ``input_tokens`` excludes cached input."""
    reported = reported or {}
    details = reported.get("prompt_tokens_details") or {}
    read, write = details.get("cached_tokens", 0), details.get("cache_creation_tokens", 0)
    return {
        "input_tokens": reported.get("prompt_tokens", 0) - read - write,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write,
        "output_tokens": reported.get("completion_tokens", 0),
    }


def reply(id_: str, model: str, choice: Choice, reported: Mapping[str, Any] | None, *, thinks: bool) -> dict[str, Any]:
    """Return a Messages reply."""
    content: list[dict[str, Any]] = []
    if thinks:
        content.append({"type": "thinking", "thinking": "let me see", "signature": SIGNATURE})
    if choice.call is None:
        content.append({"type": "text", "text": choice.text})
    else:
        made = {"id": f"tool{choice.call['id']}", "name": choice.call["name"]}
        content.append({"type": "tool_use", **made, "input": json.loads(choice.call["arguments"])})
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": _STOP_REASONS.get(choice.finish_reason, choice.finish_reason),
        "stop_sequence": None,
        "usage": usage(reported),
    }


def frames(whole: Mapping[str, Any]) -> Iterator[Frame]:
    """Yield the events of a streamed reply."""
    start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield _frame("message_start", message=start)
    for index, block in enumerate(whole["content"]):
        yield from _block_frames(index, block)
    yield _frame(
        "message_delta",
        complete=True,
        delta={"stop_reason": whole["stop_reason"], "stop_sequence": None},
        usage=whole["usage"],
    )
    yield _frame("message_stop")


def _block_frames(index: int, block: Mapping[str, Any]) -> Iterator[Frame]:
    deltas: Sequence[tuple[dict[str, Any], int]]
    if block["type"] == "text":
        empty: dict[str, Any] = {"type": "text", "text": ""}
        deltas = [({"type": "text_delta", "text": piece}, 1) for piece in text_pieces(block["text"])]
    elif block["type"] == "thinking":
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [
            ({"type": "thinking_delta", "thinking": block["thinking"]}, 0),
            ({"type": "signature_delta", "signature": block["signature"]}, 0),
        ]
    else:
        empty = {**block, "input": {}}
        text = json.dumps(block["input"])
        deltas = [({"type": "input_json_delta", "partial_json": text[i : i + 6]}, 1) for i in range(0, len(text), 6)]
    yield _frame("content_block_start", index=index, content_block=empty)
    for delta, words in deltas:
        yield _frame("content_block_delta", words, index=index, delta=delta)
    yield _frame("content_block_stop", index=index)


def _frame(kind: str, words: int = 0, *, complete: bool = False, **fields: Any) -> Frame:
    return Frame({"type": kind, **fields}, event=kind, words=words, complete=complete)


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return an error's body in Anthropic's format."""
    kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}
