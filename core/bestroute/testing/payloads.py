"""OpenAI-format requests and replies of the loopback server. Pure functions."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bestroute.testing.brain import Answer, count_tokens, text_of
from bestroute.testing.switches import Refused, Switches

_TOOL_CALL_TOKENS = 5
_JSON_PIECE = 6
_LOGPROB = -0.05
"""Default log-probability of a word."""


class Frame(NamedTuple):
    """One piece of a stream."""

    data: Any
    event: str | None = None
    words: int = 0
    """Number of tokens that it carries."""
    complete: bool = False
    """Whether all tokens were sent before it; one frame of a stream is marked so."""

    def event_text(self) -> bytes:
        """Return it as a server-sent event."""
        data = self.data if isinstance(self.data, str) else json.dumps(self.data)
        return ((f"event: {self.event}\n" if self.event else "") + f"data: {data}\n\n").encode()

    def line(self) -> bytes:
        """Return it as a line of JSON."""
        return json.dumps(self.data).encode() + b"\n"


@dataclass(frozen=True)
class Choice:
    """One answer as sent: limited, with its tokens counted."""

    text: str
    call: Mapping[str, str] | None
    """``{"id", "name", "arguments"}`` of a tool call, which has no text."""
    finish_reason: str
    tokens: int
    logprobs: tuple[dict[str, Any], ...] | None = None
    """Log-probabilities of the words of the text, if reported; a tool call has none."""

    def chat(self, index: int) -> dict[str, Any]:
        """Return it as a choice of a chat completion."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "refusal": None}
        if self.call is not None:
            function = {"name": self.call["name"], "arguments": self.call["arguments"]}
            calls = [{"id": self.call["id"], "type": "function", "function": function}]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        logprobs = None if self.logprobs is None else logprobs_content(self.logprobs)
        return {"index": index, "message": message, "finish_reason": self.finish_reason, "logprobs": logprobs}

    def deltas(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield its deltas in a chat stream, each with the tokens it carries."""
        yield {"role": "assistant", "content": ""}, 0
        if self.call is None:
            for piece in text_pieces(self.text):
                yield {"content": piece}, 1
            return
        head = {"name": self.call["name"], "arguments": ""}
        yield {"tool_calls": [{"index": 0, "id": self.call["id"], "type": "function", "function": head}]}, 0
        for piece in _json_pieces(self.call["arguments"]):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, 1


def logprobs_content(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a chat completion's log-probabilities of one choice, or of a piece of it."""
    return {"content": list(entries), "refusal": None}


def _logprobs(answer: Answer, text: str) -> tuple[dict[str, Any], ...]:
    words = text_pieces(text)
    values = [_LOGPROB] * len(words) if answer.logprobs is None else answer.logprobs
    return tuple(
        {"token": word, "logprob": value, "bytes": list(word.encode()), "top_logprobs": []}
        for word, value in zip(words, values, strict=False)
    )


def make_choice(
    answer: Answer, body: Mapping[str, Any], on: Switches, call_id: str, *, with_logprobs: bool = False
) -> Choice:
    """Create a choice from an answer: limit its text, count its tokens."""
    scripted = (answer.usage or {}).get("completion_tokens")
    if answer.tool is not None:
        arguments = json.dumps(answer.args or {}, ensure_ascii=False)
        call = {"id": call_id, "name": answer.tool, "arguments": arguments}
        tokens = _TOOL_CALL_TOKENS if scripted is None else scripted
        return Choice("", call, answer.finish_reason or "tool_calls", tokens)
    text, reason = limit_text(answer.text, body, on)
    tokens = count_tokens(text) if scripted is None else scripted
    logprobs = _logprobs(answer, text) if with_logprobs else None
    return Choice(text, None, answer.finish_reason or reason, tokens, logprobs)


def limit_text(text: str, body: Mapping[str, Any], on: Switches) -> tuple[str, str]:
    """Apply stop sequences, token limits and switches to a text; return it with its finish reason."""
    if "empty" in on:
        text = ""
    stop = body.get("stop") or []
    kept = text
    for sequence in [stop] if isinstance(stop, str) else stop:
        kept = kept.split(sequence)[0]
    kept = kept or ("." if text else "")  # a stop sequence never empties an answer
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or (3 if "trunc" in on else None)
    pieces = text_pieces(kept)
    if limit and len(pieces) > limit:
        return "".join(pieces[:limit]), "length"
    return kept, "length" if "trunc" in on else "stop"


def text_pieces(text: str) -> list[str]:
    """Split a text into words with their white space: the pieces of a stream, one token each."""
    return re.findall(r"\s*\S+(?:\s+\Z)?", text)


def _json_pieces(text: str) -> list[str]:
    return [text[i : i + _JSON_PIECE] for i in range(0, len(text), _JSON_PIECE)]


# Usage.


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Count the tokens of a chat request's messages."""
    return sum(count_tokens(text_of(m.get("content"))) for m in body["messages"])


def chat_usage(inp: int, out: int, scripted: Sequence[Mapping[str, Any] | None] = ()) -> dict[str, Any]:
    """Return the usage of a chat completion, with the details that a script adds."""
    usage: dict[str, Any] = {
        "prompt_tokens": inp,
        "completion_tokens": out,
        "total_tokens": inp + out,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    for given in scripted:
        for key, value in (given or {}).items():
            if key.endswith("_details"):
                usage[key] = {**usage.get(key, {}), **value}
    return usage


def responses_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a chat completion's usage to the format of the Responses API."""
    return {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"],
        "input_tokens_details": {"cached_tokens": usage["prompt_tokens_details"]["cached_tokens"]},
        "output_tokens_details": {"reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"]},
    }


# Chat completions.


def check_chat(body: Mapping[str, Any]) -> None:
    """Reject what the real API rejects.

    Raises:
        Refused: With status 400.
    """
    if body.get("n") is not None and (not isinstance(body["n"], int) or body["n"] < 1):
        raise Refused(400, f"Invalid 'n': expected an integer >= 1, but got {body['n']!r} instead.", param="n")
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        supported = "Supported values are: 'none', 'auto', and 'required'."
        raise Refused(400, f"Invalid value: '{choice}'. {supported}", param="tool_choice")
    for tool in body.get("tools") or []:
        if tool.get("type") == "function" and not (tool.get("function") or {}).get("name"):
            raise Refused(400, "Missing required parameter: 'tools[0].function'")
    announced: set[str] = set()
    for message in body["messages"]:
        announced |= {call["id"] for call in message.get("tool_calls") or []}
        if message["role"] == "tool" and not message.get("tool_call_id"):
            raise Refused(400, "tool message without tool_call_id")
        if message["role"] == "tool" and message["tool_call_id"] not in announced:
            rule = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
            raise Refused(400, rule)


def chat_frames(base: Mapping[str, Any], choices: Sequence[Choice], usage: dict[str, Any] | None) -> Iterator[Frame]:
    """Yield the events of a chat stream; ``usage`` is ``None`` if it is not reported."""
    for index, choice in enumerate(choices):
        entries = iter(choice.logprobs or ())
        for delta, words in choice.deltas():
            step: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": None}
            if delta.get("content") and (entry := next(entries, None)) is not None:
                step["logprobs"] = logprobs_content([entry])
            yield Frame({**base, "choices": [step]}, words=words)
        end = {"index": index, "delta": {}, "finish_reason": choice.finish_reason}
        yield Frame({**base, "choices": [end]}, complete=index == len(choices) - 1)
    if usage is not None:
        yield Frame({**base, "choices": [], "usage": usage})
    yield Frame("[DONE]")


# The Responses API.


def from_responses(body: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a Responses request to a chat completion request."""
    messages: list[dict[str, Any]] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        if item.get("type") == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "function": function}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif item.get("type") == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]})
        else:
            messages.append({"role": item.get("role", "user"), "content": text_of(item.get("content"))})
    tools = [
        {"type": "function", "function": {k: tool.get(k) for k in ("name", "parameters", "description")}}
        for tool in body.get("tools") or []
        if tool.get("type") == "function"
    ]
    wanted = (body.get("text") or {}).get("format") or {}
    return {
        "model": body["model"],
        "messages": messages,
        "tools": tools,
        "tool_choice": body.get("tool_choice"),
        "response_format": None if wanted.get("type") in (None, "text") else wanted,
        "max_tokens": body.get("max_output_tokens"),
    }


def response_item(choice: Choice, id_: str) -> dict[str, Any]:
    """Return a choice as the output item of a Responses reply."""
    if choice.call is not None:
        named = {"call_id": choice.call["id"], "name": choice.call["name"], "arguments": choice.call["arguments"]}
        return {"type": "function_call", "id": id_, **named, "status": "completed"}
    part: dict[str, Any] = {"type": "output_text", "text": choice.text, "annotations": []}
    if choice.logprobs is not None:
        part["logprobs"] = list(choice.logprobs)
    return {"type": "message", "id": id_, "role": "assistant", "status": "completed", "content": [part]}


def response_reply(
    id_: str, model: str, choice: Choice, item: dict[str, Any], usage: dict[str, Any] | None
) -> dict[str, Any]:
    """Return a Responses reply with one output item."""
    cut = choice.finish_reason == "length"
    return {
        "id": id_,
        "object": "response",
        "created_at": 1,
        "status": "incomplete" if cut else "completed",
        "model": model,
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
    }


def response_frames(reply: dict[str, Any], item: dict[str, Any]) -> Iterator[Frame]:
    """Yield the events of a streamed Responses reply."""
    for number, (kind, fields, words, complete) in enumerate(_response_events(reply, item)):
        data = {"type": kind, "sequence_number": number, **fields}
        yield Frame(data, event=kind, words=words, complete=complete)


def _response_events(reply: dict[str, Any], item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], int, bool]]:
    at = {"output_index": 0, "item_id": item["id"]}
    begun = {**reply, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield "response.created", {"response": begun}, 0, False
    if item["type"] == "message":
        part, where = item["content"][0], {**at, "content_index": 0}
        started = {**item, "content": [], "status": "in_progress"}
        yield "response.output_item.added", {"output_index": 0, "item": started}, 0, False
        yield "response.content_part.added", {**where, "part": {**part, "text": ""}}, 0, False
        for piece in text_pieces(part["text"]):
            yield "response.output_text.delta", {**where, "delta": piece, "logprobs": []}, 1, False
        yield "response.output_text.done", {**where, "text": part["text"], "logprobs": []}, 0, True
        yield "response.content_part.done", {**where, "part": part}, 0, False
    else:
        started = {**item, "arguments": "", "status": "in_progress"}
        yield "response.output_item.added", {"output_index": 0, "item": started}, 0, False
        arguments = item["arguments"]
        yield "response.function_call_arguments.delta", {**at, "delta": arguments}, _TOOL_CALL_TOKENS, False
        done = {**at, "arguments": arguments, "name": item["name"]}
        yield "response.function_call_arguments.done", done, 0, True
    yield "response.output_item.done", {"output_index": 0, "item": item}, 0, False
    yield f"response.{reply['status']}", {"response": reply}, 0, False


# The other endpoints.


def embedding(text: Any, encoding: str | None) -> list[float] | str:
    """Return a vector of 16 numbers that depends on the text alone."""
    vector = [x / 255 for x in hashlib.sha256(str(text).encode()).digest()[:16]]
    return base64.b64encode(struct.pack("<16f", *vector)).decode() if encoding == "base64" else vector
