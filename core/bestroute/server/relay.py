"""A pool member whose requests and replies are passed through unchanged."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from bestroute.errors.facts import field
from bestroute.generators.openai import OpenAIGenerator
from bestroute.selection import Call, Demand, judge, read_demand
from bestroute.server.connection_stack import stacked_client
from bestroute.types.content import text_of
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Delta, Sample
from bestroute.types.token_logprobs import joined, signals_of
from bestroute.types.usage import completed_usage, read_usage, sum_usage

_PATH = "/chat/completions"
_JOINED = ("content", "refusal", "reasoning_content", "reasoning")
"""Text fields of a message that are streamed in pieces."""


@dataclass(frozen=True, eq=False)
class Reply:
    """A member's chat completion: of one sample, or with all choices that the caller requested."""

    completion: Mapping[str, Any]
    """Plain JSON, with the choices of this sample alone."""
    message: Any
    """Message of the first choice, by which the engine sees whether the reply has more than text."""
    member: str
    """Pool name of its author."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A chunk of a member's streamed chat completion."""

    chunk: Mapping[str, Any]
    member: str

    @property
    def message(self) -> Any:
        """The content of the chunk, including tool calls and reasoning, by which the engine sees whether to show it."""
        deltas = [choice["delta"] for choice in self.chunk["choices"] if isinstance(choice.get("delta"), Mapping)]
        calls = [call for delta in deltas for call in mappings(delta.get("tool_calls"))]
        other = {name: value for delta in deltas for name, value in delta.items() if name not in ("role", "content")}
        return SimpleNamespace(tool_calls=calls, additional_kwargs=other)


class Relay(OpenAIGenerator):
    """Draws a member's samples and keeps the complete replies.

    All fields of the caller's request become fields of the member's request body, never arguments of the client
    (headers, timeouts). The caller's ``n`` is the number of choices of one sample.
    """

    name = ""
    """The member's pool name."""

    def without_retries(self) -> Relay:
        """Return itself: it has no retries, and all engines share its connections."""
        return self

    def _async(self) -> Any:
        return self._async_clients.get(self._connect)

    def _connect(self) -> Any:
        import openai

        return openai.AsyncOpenAI(**self._connection, http_client=stacked_client(openai))

    def _request(self, query: Query, n: int, params: Mapping[str, Any]) -> dict[str, Any]:
        request = super()._request(query, n, params)
        request.pop("stream_options", None)
        if (choices := params.get("n")) is not None:
            request["n"] = choices
        return request

    def _send(self, request: Mapping[str, Any]) -> Any:
        import openai

        return self._sync().post(_PATH, body=request, **_as_it_is(request, openai.Stream[object]))

    async def _asend(self, request: Mapping[str, Any]) -> Any:
        import openai

        return await self._async().post(_PATH, body=request, **_as_it_is(request, openai.AsyncStream[object]))

    def _demand(self, query: Query, request: Mapping[str, Any]) -> Demand:
        return demand_of(query.tools, request)

    def _read(
        self, reply: Any, query: Query, request: Mapping[str, Any], wanted: int, latency_s: float
    ) -> list[Sample]:
        choices = query.params.get("n") or 1
        completion = dict(reply) if isinstance(reply, Mapping) else {}
        completion["choices"] = mappings(completion.get("choices"))
        samples = super()._read(_with_attributes(completion), query, request, max(wanted, choices), latency_s)
        if choices > 1:  # one sample that has all of them, and their whole bill
            usage = sum_usage([sample.usage for sample in samples])
            return [replace(samples[0], usage=usage, payload=Reply(completion, samples[0].payload, self.name))]
        return [
            replace(sample, payload=Reply({**completion, "choices": [choice]}, sample.payload, self.name))
            for sample, choice in zip(samples, completion["choices"], strict=False)
        ]

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield every chunk when it arrives, including those of tool calls, then the sample."""
        options = {**(params.get("stream_options") or {}), "include_usage": True}
        request = {**self._request(query, 1, params), "stream": True, "stream_options": options}
        started = time.perf_counter()
        opened, sent = await self._acreate(request, params, params)
        stream = Assembly(self.name)
        async with opened as chunks:
            async for chunk in chunks:
                delta = stream.add(chunk) if isinstance(chunk, Mapping) else None
                if delta is not None:
                    yield delta
        yield stream.sample(query, sent, time.perf_counter() - started)


def _as_it_is(request: Mapping[str, Any], stream: Any) -> dict[str, Any]:
    """Return the options of the client's ``post`` for a reply as unparsed JSON."""
    return {"cast_to": object, "stream": bool(request.get("stream")), "stream_cls": stream}


def _with_attributes(completion: Mapping[str, Any]) -> Any:
    """Return a completion with the client's attribute access; unknown forms are left out."""
    return SimpleNamespace(
        choices=[
            SimpleNamespace(
                message=_message(choice.get("message")),
                finish_reason=choice.get("finish_reason"),
                logprobs=choice.get("logprobs"),
            )
            for choice in completion["choices"]
        ],
        usage=completion.get("usage"),
        error=completion.get("error"),
    )


def _message(given: Any) -> Any:
    known = dict(given) if isinstance(given, Mapping) else {"content": given if isinstance(given, str) else None}
    if "tool_calls" in known:
        known["tool_calls"] = mappings(known["tool_calls"])
    return SimpleNamespace(**known)


def mappings(given: Any) -> list[Mapping[str, Any]]:
    """Return the objects in a list; empty if it is not a list.

    Example:
        >>> mappings([{"id": "1"}, None]), mappings("x")
        ([{'id': '1'}], [])
    """
    return [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []


def demand_of(tools: Sequence[Any] | None, request: Mapping[str, Any]) -> Demand:
    """Return the requirements on a reply: available tools, and a JSON schema if requested."""
    form = request.get("response_format")
    kind = field(form, "type")
    schema = field(field(form, "json_schema"), "schema") if kind == "json_schema" else None
    return read_demand(
        tools,
        request.get("tool_choice"),
        is_json=kind in ("json_object", "json_schema"),
        schema=schema if isinstance(schema, Mapping) else None,
    )


class Assembly:
    """Assembles the chunks of a stream to a completion.

    Args:
        member: Pool name of the author.
    """

    def __init__(self, member: str = "") -> None:
        """Start without chunks."""
        self.member = member
        self.head: dict[str, Any] = {}
        """Fields of the last chunk besides its choices."""
        self.messages: dict[int, dict[str, Any]] = {}
        self.reasons: dict[int, str] = {}
        self._logprobs: dict[int, list[Any]] = {}

    def add(self, chunk: Mapping[str, Any]) -> Delta | None:
        """Add a chunk; returns the part that may be shown."""
        self.head |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        usage = read_usage(chunk.get("usage"))
        text = ""
        choices = mappings(chunk.get("choices"))
        for choice in choices:
            index = _place(choice.get("index"), 0)
            message = self.messages.setdefault(index, {"role": "assistant", "content": None})
            delta = choice["delta"] if isinstance(choice.get("delta"), Mapping) else {}
            add_delta(message, delta)
            text += content if isinstance(content := delta.get("content"), str) else ""
            if choice.get("finish_reason") is not None:
                self.reasons[index] = str(choice["finish_reason"])
            if choice.get("logprobs") is not None:
                self._logprobs.setdefault(index, []).append(choice["logprobs"])
        if not choices:
            return Delta("", usage=usage) if usage else None
        return Delta(text, Piece({**chunk, "choices": choices}, self.member), usage)

    def sample(self, query: Query, request: Mapping[str, Any], latency_s: float) -> Sample:
        """Return the sample of the assembled chunks.

        Raises:
            ConnectionError: If the stream ended early.
        """
        if not self.reasons or len(self.reasons) < len(self.messages):
            raise ConnectionError("the stream broke off: it ended without a finish reason")
        choices = [self._choice(index) for index in sorted(self.messages)]
        message = choices[0]["message"]
        text = text_of(message["content"])
        whole = "".join(text_of(choice["message"]["content"]) for choice in choices)
        usage = completed_usage(
            read_usage(self.head.get("usage")), query.prompt_tokens, whole, has_reply=bool(message.get("tool_calls"))
        )
        calls = [
            Call.parse(str(field(call.get("function"), "name")), field(call.get("function"), "arguments"))
            for call in message.get("tool_calls") or ()
        ]
        signals = signals_of(
            joined(self._logprobs.get(0, [])),
            text=text,
            usage=usage,
            has_calls=bool(calls),
            is_greedy=request.get("temperature") == 0,
            tools="native" if request.get("tools") else None,
        )
        completion = {**self.head, "object": "chat.completion", "choices": choices}
        reply = Reply(completion, SimpleNamespace(**message), self.member)
        sample = Sample(text, reply, usage, choices[0]["finish_reason"], latency_s=latency_s, signals=signals)
        return judge(sample, calls, demand_of(query.tools, request))

    def _choice(self, index: int) -> dict[str, Any]:
        choice = {"index": index, "message": self.messages[index], "finish_reason": self.reasons[index]}
        return {**choice, "logprobs": joined(self._logprobs.get(index, [])).get("logprobs")}


def add_delta(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add a piece of a message to the message so far.

    Example:
        >>> message = {"role": "assistant", "content": None}
        >>> add_delta(message, {"content": "1 + "})
        >>> add_delta(message, {"content": "1"})
        >>> message["content"]
        '1 + 1'
    """
    for name, value in delta.items():
        if name == "tool_calls":
            for call in mappings(value):
                _add_call(message.setdefault("tool_calls", []), call)
        elif name in _JOINED and isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        elif value is not None and name != "role":
            message[name] = value


def _add_call(calls: list[dict[str, Any]], piece: Mapping[str, Any]) -> None:
    """Add a piece of a tool call; ``index`` identifies the call, otherwise it is a new one."""
    index = _place(piece.get("index"), len(calls))
    while len(calls) <= index and len(calls) < 1000:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call, function = calls[min(index, len(calls) - 1)], piece.get("function")
    call["id"] = piece.get("id") or call["id"]
    call["type"] = piece.get("type") or call["type"]
    for name in ("name", "arguments"):
        if isinstance(more := field(function, name), str):
            call["function"][name] += more


def _place(given: Any, otherwise: int) -> int:
    return given if isinstance(given, int) and given >= 0 else otherwise
