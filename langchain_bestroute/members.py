"""A LangChain chat model as a member of the pool.

Members are called by their ``_generate`` family, never by ``invoke``: a nested ``invoke`` would start a second
chat-model run, count usage twice, show rejected tokens to whoever listens, and answer all samples from a cache.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from bestroute.capabilities import Abilities, shortfall
from bestroute.plain import PlainMember
from bestroute.protocols import Cancel, Delta, Generator, Sample
from bestroute.query import Query
from bestroute.selection import judge
from bestroute.usage import divide_usage, sum_usage
from langchain_bestroute import providers
from langchain_bestroute.asking import abilities_of, bound_tools, calls_of, demand_of, needs_of
from langchain_bestroute.messages import as_usage_metadata, reward_text, usage_of
from langchain_bestroute.portability import prepared
from langchain_bestroute.retries import Quiet
from langchain_bestroute.structured import WANTED, member_kwargs
from langchain_bestroute.tracing import SampleRun

_TOOL_ARGUMENTS = ("tool_choice", "parallel_tool_calls", "strict", "response_format")


class ChatModelGenerator:
    """Draws samples of one chat model.

    Args:
        member: The chat model.
        name: Its pool name.
        native_n: Ask for ``n`` choices in one call, where the member can.
        defaults: Call parameters that the member was bound with; the router's and a call's own win.
        timeout: Seconds for one request; ``None`` leaves the member its own.
    """

    def __init__(
        self,
        member: BaseChatModel,
        *,
        name: str,
        native_n: bool,
        defaults: Mapping[str, Any] | None = None,
        timeout: Any = None,
    ) -> None:
        """Keep the member as it is: its own temperature, its own limits, the callbacks of nobody."""
        self.member, self.name = member, name
        self.native_n = native_n and providers.can_sample_natively(member) and not self._always_streams({})
        self._defaults = dict(defaults or {})
        self._quiet = Quiet(member, timeout)
        abilities = abilities_of(member)
        self._abilities = None if abilities == Abilities() else abilities

    @property
    def model_name(self) -> str:
        """The provider's name of the model, as far as the member tells."""
        return providers.model_name(self.member)

    @property
    def max_output_tokens(self) -> int | None:
        """The most tokens of one sample, if the member's settings say."""
        return providers.token_limit(self.member)

    def lacks(self, query: Query) -> str | None:
        """Say what it cannot do for a query, as its class and its profile tell."""
        return None if self._abilities is None else shortfall(needs_of(query), self._abilities)

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples; see ``bestroute.Generator``."""
        member, stop, kwargs = self._call(params, n)
        if n > 1 and providers.uses_responses_api(member, kwargs):
            return [s for _ in range(n) for s in self.generate(query, 1, params=params, cancel=cancel)]
        run = SampleRun(self.name, query.text)
        try:
            if self._always_streams(kwargs):
                pieces = self.stream(query, params=params, cancel=cancel)
                samples = [piece for piece in pieces if isinstance(piece, Sample)]
            else:
                self._acquire()
                started = time.perf_counter()
                result = member._generate(prepared(query.messages or (), self.name), stop=stop, **kwargs)
                samples = self._read(result, query, kwargs, time.perf_counter() - started)
        except BaseException as error:
            run.fail(error)
            raise
        run.end(samples)
        return samples

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples without blocking the loop."""
        member, stop, kwargs = self._call(params, n, is_async=True)
        if n > 1 and providers.uses_responses_api(member, kwargs):
            draws = (self.agenerate(query, 1, params=params, cancel=cancel) for _ in range(n))
            return [s for samples in await asyncio.gather(*draws) for s in samples]
        run = SampleRun(self.name, query.text)
        try:
            if self._always_streams(kwargs, is_async=True):
                async with aclosing(self.astream(query, params=params, cancel=cancel)) as pieces:  # type: ignore[type-var]
                    samples = [piece async for piece in pieces if isinstance(piece, Sample)]
            else:
                await self._aacquire()
                started = time.perf_counter()
                result = await member._agenerate(prepared(query.messages or (), self.name), stop=stop, **kwargs)
                samples = self._read(result, query, kwargs, time.perf_counter() - started)
        except BaseException as error:
            run.fail(error)
            raise
        run.end(samples)
        return samples

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield the member's chunks, then the finished sample."""
        member, stop, kwargs = self._call(params, 1, stream=True)
        if not self.member._should_stream(async_api=False, **{**kwargs, "stream": True}):
            yield from self.generate(query, 1, params=params, cancel=cancel)
            return
        self._acquire()
        collected = _Collected()
        for chunk in member._stream(prepared(query.messages or (), self.name), stop=stop, **kwargs):
            yield collected.add(chunk)
        yield self._judged(collected.sample(), query)

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield the member's chunks, then the finished sample, without blocking the loop."""
        member, stop, kwargs = self._call(params, 1, stream=True, is_async=True)
        if not self.member._should_stream(async_api=True, **{**kwargs, "stream": True}):
            for sample in await self.agenerate(query, 1, params=params, cancel=cancel):
                yield sample
            return
        await self._aacquire()
        collected = _Collected()
        source = member._astream(prepared(query.messages or (), self.name), stop=stop, **kwargs)
        async with aclosing(source) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield collected.add(chunk)
        yield self._judged(collected.sample(), query)

    def _call(
        self, params: Mapping[str, Any], n: int, *, stream: bool = False, is_async: bool = False
    ) -> tuple[BaseChatModel, list[str] | None, dict[str, Any]]:
        """Turn call parameters into the member's own: tools in its own format, usage also in streams."""
        member = self._quiet.aget() if is_async else self._quiet.get()
        kwargs = {**self._defaults, **params}
        stop, tools = kwargs.pop("stop", None) or None, kwargs.pop("tools", None)
        if tools:
            asked = {name: kwargs.pop(name) for name in _TOOL_ARGUMENTS if name in kwargs}
            beside_schema = (kwargs.get(WANTED) or {}).get("method") == "json_schema"
            kwargs.update(bound_tools(member, tools, asked, beside_schema=beside_schema))
        if (wanted := kwargs.pop(WANTED, None)) is not None:
            kwargs.update(member_kwargs(member, wanted))
        if n > 1:
            kwargs["n"] = n
        return providers.adapt_call(member, stop, kwargs, stream=stream)

    def _always_streams(self, kwargs: Mapping[str, Any], *, is_async: bool = False) -> bool:
        """Whether the member streams where nobody asked for it (``streaming=True``): such a call has no other form."""
        return self.member._should_stream(async_api=is_async, **kwargs)

    def _acquire(self) -> None:
        if self.member.rate_limiter:
            self.member.rate_limiter.acquire(blocking=True)

    async def _aacquire(self) -> None:
        if self.member.rate_limiter:
            await self.member.rate_limiter.aacquire(blocking=True)

    def _read(self, result: ChatResult, query: Query, kwargs: Mapping[str, Any], latency_s: float) -> list[Sample]:
        """Read the generations; each of several carries the bill of the whole call, which is shared out."""
        about_call = {k: v for k, v in (result.llm_output or {}).items() if k != "token_usage"}
        messages: list[BaseMessage] = []
        for generation in result.generations:
            message, own = generation.message, generation.message.response_metadata
            if info := {**about_call, **(generation.generation_info or {})}:
                message = message.model_copy(update={"response_metadata": {**info, **own}})
            messages.append(message)
        usages = [usage_of(message) for message in messages]
        reasons = [providers.finish_reason(message) for message in messages]
        if len(messages) > 1 and (bill := usages[0]) is not None:
            limit = kwargs.get("max_tokens") or self.max_output_tokens
            cut = [limit if reason == "length" else None for reason in reasons]
            shares = divide_usage(bill, [reward_text(m) for m in messages], cut)
            is_true = sum_usage(shares) == bill
            told: list[Any] = [as_usage_metadata(share) for share in shares]
            if is_true:  # then its details, audio for one, are worth keeping; they stand for the whole call
                told = [getattr(messages[0], "usage_metadata", None), *[None] * (len(messages) - 1)]
            messages = [m.model_copy(update={"usage_metadata": t}) for m, t in zip(messages, told, strict=True)]
            usages = list(shares)
        return [
            self._judged(Sample(reward_text(m), m, usage, reason, latency_s=latency_s), query)
            for m, usage, reason in zip(messages, usages, reasons, strict=True)
        ]

    def _judged(self, sample: Sample, query: Query) -> Sample:
        """Say of a sample that came what is wrong with its form, or in which form it competes."""
        demand = demand_of(query)
        return judge(sample, calls_of(sample.payload), demand) if demand else sample


def plain_member(name: str, generator: Generator) -> PlainMember:
    """Return a ``bestroute.Generator`` as a member: it is handed messages as plain OpenAI-style dicts."""

    def to_plain(messages: Sequence[BaseMessage]) -> Sequence[Mapping[str, Any]]:
        plain = convert_to_openai_messages(prepared(messages, name))
        return plain if isinstance(plain, list) else [plain]

    def needs(query: Query) -> str | None:
        return "tools" if query.tools else "structured output" if query.params.get(WANTED) else None

    return PlainMember(name, generator, to_plain, needs)


class _Collected:
    """What a stream has brought so far."""

    def __init__(self) -> None:
        self.chunks: list[ChatGenerationChunk] = []
        self.started = time.perf_counter()

    def add(self, chunk: ChatGenerationChunk) -> Delta:
        self.chunks.append(chunk)
        return Delta(chunk.text, chunk)

    def sample(self) -> Sample:
        if not self.chunks:
            raise ValueError("the model's stream ended without a single chunk")
        joined = self.chunks[0] + self.chunks[1:] if self.chunks[1:] else self.chunks[0]
        message = joined.message
        assert isinstance(message, AIMessageChunk)
        whole = AIMessage(**message.model_dump(exclude={"type", "tool_call_chunks", "chunk_position"}))
        seconds = time.perf_counter() - self.started
        reason = providers.finish_reason(message, joined.generation_info)
        return Sample(reward_text(message), whole, usage_of(message), reason, latency_s=seconds)
