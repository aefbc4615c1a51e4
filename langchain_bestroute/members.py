"""A LangChain chat model as a member of the pool.

Members are called by their ``_generate`` family, never by ``invoke``: a nested ``invoke`` would start a second
chat-model run, count usage twice, show rejected tokens to whoever listens, and answer all samples from a cache.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from bestroute.protocols import Cancel, Delta, Generator, Sample
from bestroute.query import Query
from bestroute.usage import divide_usage
from langchain_bestroute.messages import as_usage_metadata, reward_text, usage_of
from langchain_bestroute.structured import WANTED, member_kwargs

_TOOL_ARGUMENTS = ("tool_choice", "parallel_tool_calls", "strict")


class ChatModelGenerator:
    """Draws samples of one chat model.

    Args:
        member: The chat model.
        native_n: Ask for ``n`` choices in one call, where the member can.
    """

    def __init__(self, member: BaseChatModel, *, native_n: bool) -> None:
        """Keep the member as it is: its own temperature, callbacks of nobody, its own limits."""
        self.member = member
        self.native_n = native_n and can_sample_natively(member)

    @property
    def model_name(self) -> str:
        """The provider's name of the model, as far as the member tells."""
        for name in ("model_name", "model", "model_id"):
            if isinstance(value := getattr(self.member, name, None), str) and value:
                return value
        return type(self.member).__name__

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples; see ``bestroute.Generator``."""
        stop, kwargs = self._call(params, n)
        if n > 1 and uses_responses_api(self.member, kwargs):
            return [s for _ in range(n) for s in self.generate(query, 1, params=params, cancel=cancel)]
        self._acquire()
        started = time.perf_counter()
        result = self.member._generate(list(query.messages or ()), stop=stop, **kwargs)
        return self._read(result, kwargs, time.perf_counter() - started)

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples without blocking the loop."""
        stop, kwargs = self._call(params, n)
        if n > 1 and uses_responses_api(self.member, kwargs):
            draws = (self.agenerate(query, 1, params=params, cancel=cancel) for _ in range(n))
            return [s for samples in await asyncio.gather(*draws) for s in samples]
        await self._aacquire()
        started = time.perf_counter()
        result = await self.member._agenerate(list(query.messages or ()), stop=stop, **kwargs)
        return self._read(result, kwargs, time.perf_counter() - started)

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield the member's chunks, then the finished sample."""
        if not self.member._should_stream(async_api=False, **{**params, "stream": True}):
            yield from self.generate(query, 1, params=params, cancel=cancel)
            return
        stop, kwargs = self._call(params, 1, stream=True)
        self._acquire()
        collected = _Collected()
        for chunk in self.member._stream(list(query.messages or ()), stop=stop, **kwargs):
            yield collected.add(chunk)
        yield collected.sample()

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield the member's chunks, then the finished sample, without blocking the loop."""
        if not self.member._should_stream(async_api=True, **{**params, "stream": True}):
            for sample in await self.agenerate(query, 1, params=params, cancel=cancel):
                yield sample
            return
        stop, kwargs = self._call(params, 1, stream=True)
        await self._aacquire()
        collected = _Collected()
        async for chunk in self.member._astream(list(query.messages or ()), stop=stop, **kwargs):
            yield collected.add(chunk)
        yield collected.sample()

    def _call(
        self, params: Mapping[str, Any], n: int, *, stream: bool = False
    ) -> tuple[list[str] | None, dict[str, Any]]:
        """Turn call parameters into the member's own: tools in its own format, usage also in streams."""
        kwargs = {name: value for name, value in params.items() if name not in ("stop", "tools")}
        if tools := params.get("tools"):
            asked = {name: kwargs.pop(name) for name in _TOOL_ARGUMENTS if name in kwargs}
            kwargs.update(self.member.bind_tools(tools, **asked).kwargs)  # type: ignore[attr-defined]
        if (asked := kwargs.pop(WANTED, None)) is not None:
            kwargs.update(member_kwargs(self.member, asked))
        if n > 1:
            kwargs["n"] = n
        fields = type(self.member).model_fields
        if stream and "stream_usage" in fields and "stream_usage" not in self.member.model_fields_set:
            kwargs["stream_usage"] = True
        return params.get("stop") or None, kwargs

    def _acquire(self) -> None:
        if self.member.rate_limiter:
            self.member.rate_limiter.acquire(blocking=True)

    async def _aacquire(self) -> None:
        if self.member.rate_limiter:
            await self.member.rate_limiter.aacquire(blocking=True)

    def _read(self, result: ChatResult, kwargs: Mapping[str, Any], latency_s: float) -> list[Sample]:
        """Read the generations; each of several carries the bill of the whole call, which is shared out."""
        about_call = {k: v for k, v in (result.llm_output or {}).items() if k != "token_usage"}
        messages: list[BaseMessage] = []
        for generation in result.generations:
            info = {**about_call, **(generation.generation_info or {}), **generation.message.response_metadata}
            messages.append(generation.message.model_copy(update={"response_metadata": info}))
        usages = [usage_of(message) for message in messages]
        if len(messages) > 1 and usages[0] is not None:
            limit = kwargs.get("max_tokens") or getattr(self.member, "max_tokens", None)
            cut = [limit if m.response_metadata.get("finish_reason") == "length" else None for m in messages]
            usages = list(divide_usage(usages[0], [reward_text(m) for m in messages], cut))
            messages = [
                m.model_copy(update={"usage_metadata": as_usage_metadata(usage)})
                for m, usage in zip(messages, usages, strict=True)
                if usage is not None
            ]
        return [
            Sample(reward_text(m), m, usage, m.response_metadata.get("finish_reason"), latency_s=latency_s)
            for m, usage in zip(messages, usages, strict=True)
        ]


class PlainMember:
    """A ``bestroute.Generator`` in the pool of a chat model: it is handed messages as plain OpenAI-style dicts."""

    def __init__(self, name: str, generator: Generator) -> None:
        """Keep the generator."""
        self.model_name = str(getattr(generator, "model_name", getattr(generator, "model", name)))
        self.generator = generator
        self.native_n = generator.native_n

    def lacks(self, query: Query) -> str | None:
        """Say what it cannot do: it answers in text alone."""
        needs = query.tools or query.params.get(WANTED)
        return "it is a plain generator, which answers in text alone" if needs else None

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples."""
        return self.generator.generate(_plain(query), n, params=params, cancel=cancel)

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples; in a thread where the generator cannot wait."""
        native = getattr(self.generator, "agenerate", None)
        if native is None:
            return await asyncio.to_thread(self.generate, query, n, params=params, cancel=cancel)
        samples: Sequence[Sample] = await native(_plain(query), n, params=params, cancel=cancel)
        return samples


def _plain(query: Query) -> Query:
    messages = convert_to_openai_messages(list(query.messages or ()))
    return replace(query, messages=messages if isinstance(messages, list) else [messages])


def can_sample_natively(member: BaseChatModel) -> bool:
    """Whether one call of the member can return several choices: it has a field ``n``, and an API that takes it."""
    return "n" in type(member).model_fields and not uses_responses_api(member, {})


def uses_responses_api(member: BaseChatModel, kwargs: Mapping[str, Any]) -> bool:
    """Whether a call goes to OpenAI's Responses API, which knows no ``n``; some tools and names switch to it."""
    decide = getattr(member, "_use_responses_api", None)
    return bool(decide(dict(kwargs))) if callable(decide) else False


class _Collected:
    """What a stream has brought so far."""

    def __init__(self) -> None:
        self.chunk: ChatGenerationChunk | None = None
        self.started = time.perf_counter()

    def add(self, chunk: ChatGenerationChunk) -> Delta:
        self.chunk = chunk if self.chunk is None else self.chunk + chunk
        return Delta(chunk.text, chunk)

    def sample(self) -> Sample:
        if self.chunk is None:
            raise ValueError("the model's stream ended without a single chunk")
        message = self.chunk.message
        assert isinstance(message, AIMessageChunk)
        whole = AIMessage(**{**message.model_dump(exclude={"type", "tool_call_chunks", "chunk_position"})})
        seconds = time.perf_counter() - self.started
        reason = (self.chunk.generation_info or {}).get("finish_reason")
        return Sample(reward_text(message), whole, usage_of(message), reason, latency_s=seconds)
