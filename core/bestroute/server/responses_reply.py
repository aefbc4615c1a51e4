"""Convert results to OpenAI's responses, complete or as events of a stream. Pure functions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from bestroute.engine.result import Result
from bestroute.server.api_errors import ApiErrorBody
from bestroute.server.chat_reply import chunks_of, completion_of, usage_of
from bestroute.server.relay import Piece, Reply
from bestroute.server.tool_turns import marked
from bestroute.server.wire import Event
from bestroute.types.sample import Delta

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""Request fields that a response repeats, with their defaults."""
_THOUGHTS = ("reasoning_content", "reasoning")


class ResponsesWire:
    """Formats an answer as a response, or as its events.

    Args:
        body: Body of the request.
        marks: Whether ids of tool calls are marked with their author.
    """

    def __init__(self, body: Mapping[str, Any], *, marks: bool) -> None:
        """Start without items."""
        self._body, self._marks = body, marks
        self._created = int(time.time())
        self._number = 0
        self._model: str = str(body.get("model"))
        self._id = "resp_0"
        self._items: list[_Item] = []
        self._calls: dict[int, _Item] = {}
        """Items by position among the message's calls."""

    def whole(self, result: Result) -> dict[str, Any]:
        """Return the response."""
        completion = completion_of(result, self._model, marks=self._marks)
        self._id, self._model = f"resp_{result.call_id}", completion["model"]
        choice = completion["choices"][0]
        for _ in self._of_delta(choice["message"], choice.get("logprobs")):
            pass
        return self._response(result, choice.get("finish_reason"))

    def pieces(self, delta: Delta) -> Iterator[Event]:
        """Yield the events of one piece of an answer."""
        payload = delta.payload
        for chunk in chunks_of(payload, delta.text):
            self._model = chunk.get("model") or self._model
            if not self._number:
                yield from self._begin(chunk)
            for choice in chunk["choices"]:
                message = choice.get("delta") or {}
                if self._marks and isinstance(payload, Piece | Reply) and message.get("tool_calls"):
                    message = {**message, "tool_calls": marked(message["tool_calls"], payload.member)}
                if choice.get("index", 0) == 0:
                    yield from self._of_delta(message, choice.get("logprobs"))

    def end(self, result: Result) -> Iterator[Event]:
        """Yield the final events; the last one has the complete response."""
        for item in self._items:
            yield from self._close(item)
        reply = result.payload
        choices = reply.completion["choices"] if isinstance(reply, Reply) else [{}]
        response = self._response(result, choices[0].get("finish_reason"))
        yield self._event(f"response.{response['status']}", response=response)

    def failed(self, error: ApiErrorBody) -> Iterator[Event]:
        """Yield the event that ends a stream with an error."""
        fields = {"code": error.code, "message": error.message, "param": error.param}
        yield self._event("error", **fields, error=error.to_json()["error"])

    def _begin(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        self._id = f"resp_{chunk.get('id')}"
        begun = self._head("in_progress")
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)

    def _of_delta(self, delta: Mapping[str, Any], logprobs: Any) -> Iterator[Event]:
        """Add a piece of a message, or all of it; yield the events."""
        for name in _THOUGHTS:
            if isinstance(text := delta.get(name), str) and text:
                yield from self._add("reasoning", text)
                break
        if isinstance(text := delta.get("content"), str) and text:
            entries = (logprobs or {}).get("content") or [] if isinstance(logprobs, Mapping) else []
            yield from self._add("output_text", text, entries)
        if isinstance(text := delta.get("refusal"), str) and text:
            yield from self._add("refusal", text)
        for place, call in enumerate(delta.get("tool_calls") or ()):
            yield from self._add_call(call, call.get("index", place))

    def _add(self, kind: str, text: str, logprobs: Any = ()) -> Iterator[Event]:
        item = self._items[-1] if self._items and not self._items[-1].is_done else None
        if item is None or item.kind != kind:
            item = _Item(kind, len(self._items), self._id)
            yield from self._open(item)
        item.text += text
        item.logprobs += logprobs
        extra = {"logprobs": list(logprobs)} if kind == "output_text" else {}
        yield self._event(f"response.{item.event}.delta", **item.where, **item.index, delta=text, **extra)

    def _add_call(self, call: Mapping[str, Any], place: int) -> Iterator[Event]:
        kind = call.get("type") or "function"
        named = call.get(kind) or {}
        if (item := self._calls.get(place)) is None:
            item = self._calls[place] = _Item(kind, len(self._items), self._id)
            item.call_id, item.name = str(call.get("id") or ""), str(named.get("name") or "")
            yield from self._open(item)
        text = (call.get(item.kind) or {}).get("arguments" if item.kind == "function" else "input") or ""
        item.text += text
        if text:
            yield self._event(f"response.{item.event}.delta", **item.where, delta=text)

    def _open(self, item: _Item) -> Iterator[Event]:
        for other in self._items:
            if other.kind not in _CALLS:  # calls may come in turns; a text ends where something else begins
                yield from self._close(other)
        self._items.append(item)
        place = {"output_index": item.place}
        yield self._event("response.output_item.added", **place, item=item.to_json("in_progress"))
        if item.kind in _BLOCKS:
            added = {**item.block(), _BLOCKS[item.kind]: ""}
            yield self._event("response.content_part.added", **item.where, **item.index, part=added)

    def _close(self, item: _Item) -> Iterator[Event]:
        if item.is_done:
            return
        item.is_done = True
        name = {"function": "arguments", "custom": "input", "refusal": "refusal"}.get(item.kind, "text")
        extra: dict[str, Any] = {"logprobs": item.logprobs} if item.kind == "output_text" else {}
        if item.kind in _CALLS:
            extra = {"name": item.name}
        yield self._event(f"response.{item.event}.done", **item.where, **item.index, **{name: item.text}, **extra)
        if item.kind in _BLOCKS:
            yield self._event("response.content_part.done", **item.where, **item.index, part=item.block())
        yield self._event("response.output_item.done", output_index=item.place, item=item.to_json("completed"))

    def _response(self, result: Result, finish_reason: str | None) -> dict[str, Any]:
        reason = _INCOMPLETE.get(finish_reason or "")
        return {
            **self._head("completed" if reason is None else "incomplete"),
            "incomplete_details": None if reason is None else {"reason": reason},
            "output": [item.to_json("completed") for item in self._items],
            "usage": _in_words_of_responses(usage_of(result)),
            "bestroute": result.to_dict(),
        }

    def _head(self, status: str) -> dict[str, Any]:
        repeated = {
            name: other if self._body.get(name) is None else self._body[name] for name, other in _ECHOED.items()
        }
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self._model,
            "output": [],
            "previous_response_id": None,
            "store": False,
            "usage": None,
            **repeated,
        }

    def _event(self, kind: str, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return kind, event


_CALLS = ("function", "custom")
_BLOCKS = {"output_text": "text", "refusal": "refusal", "reasoning": "text"}
"""Kinds of items with one block of content, with the field of its text."""
_EVENTS = {
    "output_text": "output_text",
    "refusal": "refusal",
    "reasoning": "reasoning_text",
    "function": "function_call_arguments",
    "custom": "custom_tool_call_input",
}
_PREFIXES = {"output_text": "msg", "refusal": "msg", "reasoning": "rs", "function": "fc", "custom": "ctc"}


class _Item:
    """One output item of a response, as far as it has arrived."""

    def __init__(self, kind: str, place: int, response_id: str) -> None:
        self.kind, self.place = kind, place
        self.id = f"{_PREFIXES[kind]}_{response_id.removeprefix('resp_')}_{place}"
        self.event = _EVENTS[kind]
        self.text = self.call_id = self.name = ""
        self.logprobs: list[Any] = []
        self.is_done = False

    @property
    def where(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.place}

    @property
    def index(self) -> dict[str, int]:
        return {"content_index": 0} if self.kind in _BLOCKS else {}

    def block(self) -> dict[str, Any]:
        """Return the block of content."""
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": self.text}
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": self.text}
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs}

    def to_json(self, status: str) -> dict[str, Any]:
        """Return the item."""
        base = {"id": self.id, "status": status}
        content = [self.block()] if self.text else []
        if self.kind == "reasoning":
            return {"type": "reasoning", **base, "summary": [], "content": content}
        if self.kind == "function":
            return {
                "type": "function_call",
                **base,
                "call_id": self.call_id,
                "name": self.name,
                "arguments": self.text if status == "completed" else "",
            }
        if self.kind == "custom":
            return {
                "type": "custom_tool_call",
                "id": self.id,
                "call_id": self.call_id,
                "name": self.name,
                "input": self.text,
            }
        return {"type": "message", **base, "role": "assistant", "content": content}


def _in_words_of_responses(usage: Mapping[str, Any]) -> dict[str, Any]:
    prompt, output = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": prompt.get("cached_tokens") or 0,
            "cache_write_tokens": prompt.get("cache_write_tokens") or 0,
        },
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": output.get("reasoning_tokens") or 0},
        "total_tokens": usage["total_tokens"],
    }
