"""Convert results to OpenAI's chat completions, complete or as chunks of a stream. Pure functions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from bestroute.engine.result import Result
from bestroute.server.api_errors import ApiErrorBody
from bestroute.server.relay import Piece, Reply, mappings
from bestroute.server.tool_turns import marked
from bestroute.server.wire import Event
from bestroute.types.sample import Delta
from bestroute.types.usage import Usage


def completion_of(result: Result, model: str, *, marks: bool) -> dict[str, Any]:
    """Return the chat completion of a result: the chosen reply as the member sent it, with the bill of all samples.

    Args:
        result: The engine's result.
        model: Model name, if the member's reply has none.
        marks: Whether ids of tool calls are marked with their author.
    """
    reply = result.payload
    given = reply.completion if isinstance(reply, Reply) else _plain(result)
    if marks and isinstance(reply, Reply):
        given = {**given, "choices": [_marked(choice, "message", reply.member) for choice in given["choices"]]}
    return {
        "id": f"chatcmpl-{result.call_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        **{name: value for name, value in given.items() if name != "usage"},
        "usage": usage_of(result),
        "bestroute": result.to_dict(),
    }


def _marked(choice: Mapping[str, Any], part: str, member: str) -> Mapping[str, Any]:
    """Return a choice, or a chunk of one, with marked ids of tool calls."""
    message = choice.get(part)
    if not isinstance(message, Mapping) or not (calls := mappings(message.get("tool_calls"))):
        return choice
    return {**choice, part: {**message, "tool_calls": marked(calls, member)}}


def _plain(result: Result) -> dict[str, Any]:
    """Return the message of a sample without a provider's reply: an interrupted stream, or a dry run."""
    reason = result.samples[result.chosen].sample.finish_reason if result.samples else None
    message = {"role": "assistant", "content": result.text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason or "stop", "logprobs": None}]}


def usage_of(result: Result) -> dict[str, Any]:
    """Return the usage of all samples together, in OpenAI's format; for a single one, as its member reported it."""
    reply = result.payload
    reported = reply.completion.get("usage") if isinstance(reply, Reply) else None
    billed = in_openai_words(result.usage)
    if len(result.samples) == 1 and isinstance(reported, Mapping) and not result.usage.estimated:
        return {**billed, **reported}
    return billed


def in_openai_words(usage: Usage) -> dict[str, Any]:
    """Return a usage in the format of chat completions.

    Example:
        >>> in_openai_words(Usage(9, 3))["total_tokens"]
        12
    """
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


class ChatWire:
    """Formats an answer as a chat completion, or as its chunks, the last of which has ``bestroute``.

    Args:
        model: Model name, if the member's reply has none.
        wants_usage: Whether a last chunk has the usage.
        marks: Whether ids of tool calls are marked with their author.
    """

    def __init__(self, model: str, *, wants_usage: bool, marks: bool) -> None:
        """Start without chunks."""
        self.model, self.wants_usage, self.marks = model, wants_usage, marks
        self._head: dict[str, Any] = {}
        self._held: list[dict[str, Any]] = []
        """Chunks from the first that ends a choice on, held back because the last one must have the bill."""

    def whole(self, result: Result) -> dict[str, Any]:
        """Return the chat completion."""
        return completion_of(result, self.model, marks=self.marks)

    def pieces(self, delta: Delta) -> Iterator[Event]:
        """Yield the chunks of one piece of an answer; final ones are held back."""
        for chunk in chunks_of(delta.payload, delta.text):
            self._head |= {name: value for name, value in chunk.items() if name not in ("choices", "usage")}
            kept = {name: value for name, value in chunk.items() if name != "usage"}
            if self.marks and isinstance(delta.payload, Piece | Reply):
                kept["choices"] = [_marked(choice, "delta", delta.payload.member) for choice in chunk["choices"]]
            if self.wants_usage:
                kept["usage"] = None
            ends = any(choice.get("finish_reason") is not None for choice in chunk["choices"])
            if self._held or ends:
                self._held.append(kept)
            else:
                yield None, self._whole(kept)

    def end(self, result: Result) -> Iterator[Event]:
        """Yield the chunks held back, and the usage if requested."""
        held = [self._whole(chunk) for chunk in self._held]
        if self.wants_usage or not held:
            usage = {"usage": usage_of(result)} if self.wants_usage else {}
            held.append(self._whole({**self._head, "choices": [], **usage}))
        held[-1]["bestroute"] = result.to_dict()
        yield from ((None, chunk) for chunk in held)
        yield None, "[DONE]"

    def failed(self, error: ApiErrorBody) -> Iterator[Event]:
        """Yield the event that ends a stream with an error."""
        yield None, error.to_json()

    def _whole(self, chunk: Mapping[str, Any]) -> dict[str, Any]:
        head = {"id": "chatcmpl", "object": "chat.completion.chunk", "created": int(time.time()), "model": self.model}
        return {**head, **chunk}


def chunks_of(payload: Any, text: str) -> Iterator[Mapping[str, Any]]:
    """Yield a member's chunk unchanged, or the chunks of an answer that was not streamed."""
    if isinstance(payload, Piece):
        yield payload.chunk
        return
    completion = payload.completion if isinstance(payload, Reply) else {}
    head = {name: value for name, value in completion.items() if name not in ("choices", "usage", "object")}
    head["object"] = "chat.completion.chunk"
    message: dict[str, Any] = {"role": "assistant", "content": text}
    choices = completion.get("choices") or [{"index": 0, "message": message, "finish_reason": "stop"}]
    for choice in choices:
        index, message = choice.get("index", 0), dict(choice["message"])
        if calls := message.get("tool_calls"):
            message["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
        begun: dict[str, Any] = {"index": index, "delta": message, "finish_reason": None}
        if choice.get("logprobs") is not None:
            begun["logprobs"] = choice["logprobs"]
        yield {**head, "choices": [begun]}
    ends = [
        {"index": c.get("index", 0), "delta": {}, "finish_reason": c.get("finish_reason") or "stop"} for c in choices
    ]
    for end in ends:
        yield {**head, "choices": [end]}
