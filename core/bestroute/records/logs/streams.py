"""Rebuild replies from logged stream events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bestroute.records.logs.turns import decoded


def whole_reply(reply: Any) -> Any:
    r"""Return the reply that stream events add up to, for chat completions, the Responses API and Anthropic's messages.

    Args:
        reply: A list of events, or the text of server-sent events; anything else is returned with JSON parsed.

    Example:
        >>> whole_reply('data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]')["choices"]
        [{'message': {'role': 'assistant', 'content': 'a'}}]
    """
    reply = decoded(reply)
    if isinstance(reply, Mapping) and isinstance(reply.get("streamed_data"), str | list):
        reply = decoded(reply["streamed_data"])
    events = _sent(reply) if isinstance(reply, str) else reply
    if not isinstance(events, list) or not events or not all(isinstance(event, Mapping) for event in events):
        return reply
    ends = [event["response"] for event in events if event.get("type") == "response.completed" and "response" in event]
    if ends:
        return ends[-1]
    if any("delta" in choice for event in events for choice in _choices(event)):
        return _of_chunks(events)
    return _of_blocks(events) if any(event.get("type") == "message_start" for event in events) else reply


def _sent(text: str) -> list[Any] | None:
    """Parse server-sent events; ``None`` if the text is something else."""
    if not text.lstrip().startswith(("data:", "event:")):
        return None
    lines = (line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:"))
    return [event for line in lines if isinstance(event := decoded(line), Mapping)]


def _choices(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = event.get("choices")
    return [one for one in choices if isinstance(one, Mapping)] if isinstance(choices, list) else []


def _of_chunks(events: list[Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    turns: dict[str, dict[str, Any]] = {}
    for event in events:
        whole |= {name: event[name] for name in ("id", "model", "created", "usage") if event.get(name)}
        for choice in _choices(event):
            turn = turns.setdefault(str(choice.get("index", 0)), {"content": [], "calls": []})
            if isinstance(delta := choice.get("delta"), Mapping):
                _add(turn, delta)
    return {**whole, "choices": [{"message": _message(turn)} for turn in turns.values()]}


def _message(turn: Mapping[str, Any]) -> dict[str, Any]:
    calls = [{**call, **{name: "".join(call[name]) for name in ("name", "arguments")}} for call in turn["calls"]]
    message = {"role": "assistant", "content": "".join(turn["content"])}
    return {**message, "tool_calls": calls} if calls else message


def _add(turn: dict[str, Any], delta: Mapping[str, Any]) -> None:
    if isinstance(delta.get("content"), str):
        turn["content"].append(delta["content"])
    calls = delta.get("tool_calls")
    for piece in calls if isinstance(calls, list) else ():
        if not isinstance(piece, Mapping):
            continue
        so_far = turn["calls"]
        if not isinstance(place := piece.get("index"), int) or not 0 <= place < len(so_far):
            so_far.append({"id": piece.get("id"), "name": [], "arguments": []})
            place = -1
        function = piece.get("function")
        for name in ("name", "arguments"):
            text = function.get(name) if isinstance(function, Mapping) else None
            so_far[place][name] += [text] if isinstance(text, str) else []


def _of_blocks(events: list[Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    blocks: dict[str, dict[str, Any]] = {}
    for event in events:
        kind, delta = event.get("type"), event.get("delta")
        block = blocks.get(str(event.get("index")))
        if kind == "message_start" and isinstance(event.get("message"), Mapping):
            whole = dict(event["message"])
        elif kind == "content_block_start" and isinstance(event.get("content_block"), Mapping):
            blocks[str(event.get("index"))] = {**event["content_block"], "texts": [], "json": []}
        elif kind == "content_block_delta" and block is not None and isinstance(delta, Mapping):
            block["texts"].append(str(delta.get("text") or ""))
            block["json"].append(str(delta.get("partial_json") or ""))
        elif kind == "message_delta" and isinstance(event.get("usage"), Mapping):
            started = whole.get("usage")
            whole["usage"] = {**(started if isinstance(started, Mapping) else {}), **event["usage"]}
    return {**whole, "role": "assistant", "content": [_block(block) for block in blocks.values()]}


def _block(block: Mapping[str, Any]) -> dict[str, Any]:
    text = f"{block.get('text') or ''}{''.join(block['texts'])}"
    arguments = _json("".join(block["json"])) or block.get("input")
    return {
        "type": block.get("type"),
        "text": text,
        "id": block.get("id"),
        "name": block.get("name"),
        "input": arguments,
    }


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text
