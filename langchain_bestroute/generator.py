"""A LangChain chat model as a member of the pool.

Members are called by their ``_generate`` family, never by ``invoke``: a nested ``invoke`` would start a second
chat-model run, count usage twice, show rejected tokens to whoever listens, and answer all samples from a cache.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableBinding

from bestroute._utils.closing import closed
from bestroute._utils.interruptions import keep_samples
from bestroute._utils.threads import in_own_thread
from bestroute.adapters.capabilities import Abilities, shortfall
from bestroute.adapters.framework import Framework, Listing
from bestroute.errors import ConfigError, DrawCancelledError, EmptyReplyError
from bestroute.faults.error_rules import mark_foreign_turn
from bestroute.faults.paid_errors import sample_of_error
from bestroute.faults.refusals import Refusals
from bestroute.generators.single_requests import adraw_singly, draw_singly
from bestroute.generators.tools_in_prompt import Wording
from bestroute.selection import Demand, judge, judge_off_loop
from bestroute.types.bases import GeneratorBase
from bestroute.types.draw_params import DrawParams, sets_sampling
from bestroute.types.protocols import Generator
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Delta, Sample
from bestroute.types.signals import Signals
from bestroute.types.stream_usage import StreamUsage
from bestroute.types.token_logprobs import signals_of
from bestroute.types.usage import Usage, completed_usage, divide_usage, sum_usage
from langchain_bestroute import providers
from langchain_bestroute.members import (
    Quiet,
    abilities_of,
    as_object,
    chat_model_in,
    constructed_in,
    listing_of,
    translated,
    with_fields,
)
from langchain_bestroute.messages import (
    USAGES,
    ChatQuery,
    CutOff,
    as_usage_metadata,
    logprobs_in,
    needs_of,
    prepared,
    reward_text,
    text_of,
    usage_of,
    usage_of_reply,
)
from langchain_bestroute.structured import WANTED, demand_of, member_call, with_parsed
from langchain_bestroute.tools import InMessages, bound_tools, calls_of
from langchain_bestroute.tracing import SampleRun, without_children

_MOST_CONFIGURATIONS = 32
"""So many sets of the constructor's values are kept translated."""
_TOOL_ARGUMENTS = ("tool_choice", "parallel_tool_calls", "strict", "response_format")


class ChatModelGenerator(GeneratorBase):
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
        self._defaults = {name: value for name, value in (defaults or {}).items() if name != "n"}
        self._quiet = Quiet(member, timeout)
        self._refusals = Refusals(("stream_options", "n", "temperature"))
        self._translated: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._tells_its_end = False
        abilities = abilities_of(member)
        self._abilities = None if abilities == Abilities() else abilities

    @property
    def model_name(self) -> str:  # type: ignore[override]
        """The provider's name of the model, as far as the member tells."""
        return providers.model_name(self.member)

    @property
    def provider(self) -> str | None:  # type: ignore[override]
        """LangChain's name of the member's provider, for traces."""
        return providers.provider_of(self.member) or None

    @property
    def max_output_tokens(self) -> int | None:  # type: ignore[override]
        """The most tokens of one sample, if the member's settings say."""
        return providers.token_limit(self.member)

    def lacks(self, query: Query) -> str | None:
        """Say what it cannot do for a query, as its class and its profile tell."""
        return (
            None
            if self._abilities is None
            else shortfall(query.needs if isinstance(query, ChatQuery) else needs_of(query), self._abilities)
        )

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples; see ``bestroute.Generator``."""
        call = self._call(query, params, n)
        if n > 1 and not self._can_choose(call):
            one = partial(self.generate, query, 1, params=params, cancel=cancel)
            return draw_singly(one, n, query=query, cancel=cancel)
        run = SampleRun(self.name, query.text)
        try:
            if self._always_streams(call.kwargs):
                samples = self._streamed(query, params, cancel)
            else:
                samples = self._generated(call, cancel)
        except _NotTaken as refusal:
            run.fail(refusal)
            return self.generate(query, n, params=params, cancel=cancel)
        except BaseException as error:
            run.fail(error)
            raise
        run.end(samples)
        return samples

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples without blocking the loop."""
        call = self._call(query, params, n, is_async=True)
        if n > 1 and not self._can_choose(call):
            return await adraw_singly(partial(self.agenerate, query, 1, params=params, cancel=cancel), n, query=query)
        run = SampleRun(self.name, query.text)
        try:
            if self._always_streams(call.kwargs, is_async=True):
                samples = await self._astreamed(query, params, cancel)
            else:
                samples = await self._agenerated(call, cancel)
        except _NotTaken as refusal:
            run.fail(refusal)
            return await self.agenerate(query, n, params=params, cancel=cancel)
        except BaseException as error:
            run.fail(error)
            raise
        run.end(samples)
        return samples

    def _generated(self, call: _Call, cancel: Cancel) -> list[Sample]:
        self._acquire(cancel)
        started = time.perf_counter()
        try:
            result = call.model._generate(call.messages, stop=call.stop, **call.kwargs)
        except Exception as error:
            return self._paid(error, call)
        return [self._judged(sample, call) for sample in self._read(result, call, time.perf_counter() - started)]

    async def _agenerated(self, call: _Call, cancel: Cancel) -> list[Sample]:
        await self._aacquire(call)
        started = time.perf_counter()
        try:
            if _is_of_langchain(call.model, "_agenerate"):  # it would wait for one of the loop's few threads
                result = await in_own_thread(call.model._generate, call.messages, stop=call.stop, **call.kwargs)
            else:
                result = await call.model._agenerate(call.messages, stop=call.stop, **call.kwargs)
        except Exception as error:
            return self._paid(error, call)
        samples = self._read(result, call, time.perf_counter() - started)
        return await self._ajudged(samples, call, cancel)

    def _streamed(self, query: Query, params: Mapping[str, Any], cancel: Cancel) -> list[Sample]:
        """Return what a stream ends with; one that breaks off has the bill it has told."""
        usage, samples = StreamUsage(), list[Sample]()
        try:
            with without_children():
                for piece in self.stream(query, params=params, cancel=cancel):
                    _keep(piece, usage, samples)
        except Exception as error:
            return [_broken(error, usage, query)]
        return samples

    async def _astreamed(self, query: Query, params: Mapping[str, Any], cancel: Cancel) -> list[Sample]:
        """Return what a stream ends with, without blocking the loop; see ``_streamed``."""
        usage, samples = StreamUsage(), list[Sample]()
        try:
            streamed = self.astream(query, params=params, cancel=cancel)
            with without_children():
                async with aclosing(streamed) as pieces:  # type: ignore[type-var]
                    async for piece in pieces:
                        _keep(piece, usage, samples)
        except Exception as error:
            return [_broken(error, usage, query)]
        return samples

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield the member's chunks, then the finished sample."""
        call = self._call(query, params, 1, stream=True)
        if not self.member._should_stream(async_api=False, **{**call.kwargs, "stream": True}):
            yield from self.generate(query, 1, params=params, cancel=cancel)
            return
        self._acquire(cancel)
        collected, run = _Collected(), SampleRun(self.name, query.text)
        try:
            for chunk in call.model._stream(call.messages, stop=call.stop, **call.kwargs):
                yield collected.add(chunk)
            samples = [self._judged(self._finished(collected, call), call)]
        except Exception as error:
            try:
                samples = self._paid(error, call, is_begun=bool(collected.chunks))
            except BaseException as failure:
                run.fail(failure)
                if not isinstance(failure, _NotTaken):
                    raise
                yield from self.stream(query, params=params, cancel=cancel)
                return
        except BaseException as error:  # its reader has left
            run.fail(error)
            raise
        run.end(samples)
        yield from samples

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield the member's chunks, then the finished sample, without blocking the loop."""
        call = self._call(query, params, 1, stream=True, is_async=True)
        if not self.member._should_stream(async_api=True, **{**call.kwargs, "stream": True}):
            for sample in await self.agenerate(query, 1, params=params, cancel=cancel):
                yield sample
            return
        await self._aacquire(call)
        collected, run = _Collected(), SampleRun(self.name, query.text)
        try:
            source = call.model._astream(call.messages, stop=call.stop, **call.kwargs)
            async with closed(source) as chunks:
                async for chunk in chunks:
                    yield collected.add(chunk)
            samples = await self._ajudged([self._finished(collected, call)], call, cancel)
        except Exception as error:
            try:
                samples = self._paid(error, call, is_begun=bool(collected.chunks))
            except BaseException as failure:
                run.fail(failure)
                if not isinstance(failure, _NotTaken):
                    raise
                async with closed(self.astream(query, params=params, cancel=cancel)) as again:
                    async for piece in again:
                        yield piece
                return
        except BaseException as error:  # its reader has left
            run.fail(error)
            raise
        run.end(samples)
        for sample in samples:
            yield sample

    def _call(
        self,
        query: Query,
        params: Mapping[str, Any],
        n: int,
        *,
        stream: bool = False,
        is_async: bool = False,
    ) -> _Call:
        """Turn call parameters into the member's own: tools in its own format, usage also in streams."""
        kwargs = {**self._defaults, **params}
        wished = self._wished(params, kwargs) if isinstance(params, DrawParams) else {}
        constructed = self._taken(constructed_in(params, query.params), kwargs)
        if "temperature" in wished:
            constructed["temperature"] = wished["temperature"]
        model = self._configured(self._quiet.aget() if is_async else self._quiet.get(), constructed, kwargs)
        stop, tools, wanted = kwargs.pop("stop", None) or None, kwargs.pop("tools", None), kwargs.pop(WANTED, None)
        by_tool = False
        tool_options = {} if tools is None else {name: kwargs.pop(name) for name in _TOOL_ARGUMENTS if name in kwargs}
        if tools or tool_options:  # an agent without tools binds none, and a response format
            beside_schema = wanted is not None and wanted["method"] in (None, "json_schema")
            schema_strict = wanted["strict"] if beside_schema else None
            model, bound = bound_tools(
                model, tools, tool_options, beside_schema=beside_schema, schema_strict=schema_strict
            )
            kwargs.update({name: value for name, value in bound.items() if name != "tools" or value})
        if wanted is not None:
            model, bound = member_call(model, wanted, stream=stream)
            by_tool = "tools" in bound and (not tools or wanted["method"] == "function_calling")
            kwargs.update(bound)
        if n > 1:
            kwargs["n"] = n
        chosen = frozenset(kwargs) - {"n", *constructed}
        if "logprobs" in wished:
            model, kwargs = providers.with_logprobs(model, kwargs)
        messages, kwargs = providers.without_cache_marks(model, prepared(query.messages or (), self.name), kwargs)
        model, stop, kwargs = providers.adapt_call(model, stop, kwargs, stream=stream)
        kwargs = providers.with_limit_name(model, self._refusals.adapted(kwargs, keep=chosen), self._refusals.renamed)
        return _Call(
            query,
            model,
            messages,
            stop,
            kwargs,
            constructed,
            chosen,
            wanted,
            demand_of(query, by_tool=by_tool),
            frozenset(wished),
        )

    def _wished(self, params: DrawParams, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the engine wishes for and this member may grant: its class takes it, and does not reason."""
        wishes: dict[str, Any] = {}
        if params.greedy and self._is_free_of_temperature(params):
            wishes["temperature"] = 0.0
        if params.logprobs and providers.takes_logprobs(self.member, kwargs):
            wishes["logprobs"] = True
        return self._refusals.granted(wishes)

    def _is_free_of_temperature(self, params: Mapping[str, Any]) -> bool:
        """Whether its temperature can be set, and the caller has said nothing of it."""
        is_field = "temperature" in type(self.member).model_fields
        return (
            is_field and not sets_sampling(params) and not providers.reasons(self.member, {**self._defaults, **params})
        )

    def takes_greedy(self, query: Query) -> bool:
        """Whether a draw may be at temperature 0 in place of one above it."""
        own = self._defaults.get("temperature", getattr(self.member, "temperature", None))
        refused = self._refusals.not_granted | self._refusals.left_out
        return own != 0 and "temperature" not in refused and self._is_free_of_temperature(query.params)

    def _taken(self, constructed: dict[str, Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return what of the router's constructor the member's server takes; the rest goes out of ``kwargs`` too.

        A limit that has another name for the server stays in the call, where it gets that name.
        """
        if not constructed:
            return {}
        for name in constructed.keys() & self._refusals.left_out:
            del kwargs[name]
        untranslated = self._refusals.left_out | self._refusals.renamed.keys() | set(self._refusals.renamed.values())
        return {name: value for name, value in constructed.items() if name not in untranslated}

    def _configured(
        self, model: BaseChatModel, constructed: Mapping[str, Any], kwargs: dict[str, Any]
    ) -> BaseChatModel:
        """Return the model with the values of the router's constructor as fields, where it has such fields."""
        if not constructed:
            return model
        key = repr(sorted(constructed.items()))
        if (found := self._translated.get(key)) is None:
            if len(self._translated) >= _MOST_CONFIGURATIONS:
                self._translated.clear()
            found = self._translated[key] = translated(self.member, constructed)
        fields, rest = found
        for name in constructed:
            if name not in rest:
                kwargs.pop(name, None)
        return with_fields(model, fields) if fields else model

    def _can_choose(self, call: _Call) -> bool:
        """Whether the call can have several choices after all: some tools and names, and some servers, take none."""
        return "n" in call.kwargs and not providers.uses_responses_api(call.model, call.kwargs)

    def _paid(self, error: Exception, call: _Call, *, is_begun: bool = False) -> list[Sample]:
        """Return the sample of an error that was billed.

        Raises:
            _NotTaken: If the server refuses an option that the member can do without, and now will.
            Exception: The error itself, if nothing of it is known to have been billed.
        """
        sent = providers.option_names(call.model, {**call.constructed, **call.kwargs})
        if not is_begun and self._refusals.learn(error, sent, call.chosen, call.wished):
            raise _NotTaken from error
        sample = sample_of_error(error)
        if sample.error is None:
            return [replace(sample, payload=CutOff.of(sample, error))]
        if sample.usage is not None:
            return [sample]
        if call.has_foreign_turn:
            mark_foreign_turn(error)
        raise error

    def _always_streams(self, kwargs: Mapping[str, Any], *, is_async: bool = False) -> bool:
        """Whether the member streams where nobody asked for it (``streaming=True``): such a call has no other form."""
        return self.member._should_stream(async_api=is_async, **kwargs)

    def _acquire(self, cancel: Cancel) -> None:
        """Wait for the member's own turn.

        Raises:
            DrawCancelledError: If nobody waits for the draw any more when it comes.
        """
        if self.member.rate_limiter:
            with cancel.before_sending():
                self.member.rate_limiter.acquire(blocking=True)
            if cancel.is_set:
                raise self._never_sent()

    async def _aacquire(self, call: _Call) -> None:
        """Wait for the same without blocking the loop; what is cancelled meanwhile costs nothing."""
        if self.member.rate_limiter:
            try:
                await self.member.rate_limiter.aacquire(blocking=True)
            except BaseException as error:
                keep_samples(error, [Sample("", usage=Usage(), error=self._never_sent())] * call.kwargs.get("n", 1))
                raise

    def _never_sent(self) -> DrawCancelledError:
        return DrawCancelledError(f"the draw of {self.name!r} was called off before anything was sent")

    def _read(self, result: ChatResult, call: _Call, latency_s: float) -> list[Sample]:
        """Read the generations; each of several carries the bill of the whole call, which is shared out.

        Raises:
            EmptyReplyError: If there is none.
        """
        if not result.generations:
            empty = EmptyReplyError(f"{self.name!r} answered without a choice")
            noted = result.llm_output or {}
            empty.usage = next((noted[name] for name in USAGES if name in noted), None)
            raise empty
        messages: list[BaseMessage] = []
        for generation in result.generations:
            message = generation.message
            if info := {**(result.llm_output or {}), **_shown(generation.generation_info)}:
                message = message.model_copy(update={"response_metadata": {**info, **message.response_metadata}})
            messages.append(message)
        texts = list(map(reward_text, messages))
        is_one = len(messages) == 1  # what each of several choices used is not told
        usages: Sequence[Usage | None]
        if is_one:
            usages = [completed_usage(usage_of_reply(messages[0]), call.query.prompt_tokens, texts[0])]
        else:
            messages, usages = self._shared_out(messages, texts, call)
        return [
            Sample(
                text,
                message,
                usage,
                providers.finish_reason(message),
                latency_s=latency_s,
                notes=generation.generation_info,
                signals=call.signals(message, usage if is_one else None),
            )
            for text, message, usage, generation in zip(texts, messages, usages, result.generations, strict=True)
        ]

    def _shared_out(
        self, messages: list[BaseMessage], texts: Sequence[str], call: _Call
    ) -> tuple[list[BaseMessage], Sequence[Usage | None]]:
        """Share the bill of a call, which each of its messages carries, out among them, and in what they tell."""
        if (bill := usage_of_reply(messages[0])) is None:
            return messages, list(map(usage_of, messages))
        bill = completed_usage(bill, call.query.prompt_tokens, " ".join(texts))
        limit = call.kwargs.get("max_tokens") or self.max_output_tokens
        cut = [limit if providers.finish_reason(message) == "length" else None for message in messages]
        shares = divide_usage(bill, texts, cut)
        metadata: list[Any] = [as_usage_metadata(share) for share in shares]
        if sum_usage(shares) == bill:  # then its details, audio for one, are worth keeping; they are the whole call's
            metadata = [getattr(messages[0], "usage_metadata", None), *[None] * (len(messages) - 1)]
        return [m.model_copy(update={"usage_metadata": t}) for m, t in zip(messages, metadata, strict=True)], shares

    def _finished(self, collected: _Collected, call: _Call) -> Sample:
        """Return the sample of a stream that has ended.

        Raises:
            ConnectionError: If it was cut off.
        """
        sample = collected.sample(call.query.prompt_tokens)
        if sample.finish_reason is None and (self._tells_its_end or providers.tells_its_end(self.member)):
            raise ConnectionError("the stream broke off: it ended without a finish reason")
        self._tells_its_end = self._tells_its_end or sample.finish_reason is not None
        return replace(sample, signals=call.signals(sample.payload, sample.usage))

    async def _ajudged(self, samples: Sequence[Sample], call: _Call, cancel: Cancel) -> list[Sample]:
        """Say it of each without blocking the loop, until the call's deadline."""
        size = sum(len(sample.text) for sample in samples) if call.demand or call.wanted is not None else 0
        return await judge_off_loop(lambda sample: self._judged(sample, call), samples, size=size, cancel=cancel)

    def _judged(self, sample: Sample, call: _Call) -> Sample:
        """Say of a sample that came what is wrong with its form, or in which form it competes."""
        if call.wanted is not None and isinstance(sample.payload, AIMessage) and providers.is_of_openai(call.model):
            sample = replace(sample, payload=with_parsed(sample.payload, call.wanted, call.kwargs))
        return judge(sample, calls_of(sample.payload), call.demand) if call.demand else sample


class _Call(NamedTuple):
    """One call of a member, in its own words."""

    query: Query
    model: BaseChatModel
    messages: list[BaseMessage]
    stop: list[str] | None
    kwargs: dict[str, Any]
    constructed: Mapping[str, Any]
    """Values of the router's constructor, which the model has as fields."""
    chosen: frozenset[str]
    """Names of the arguments that the caller chose: they are never left out."""
    wanted: Mapping[str, Any] | None
    """The structured output that is asked for."""
    demand: Demand
    wished: frozenset[str]
    """Names of what was asked for because the engine wishes for it."""

    def signals(self, message: BaseMessage, usage: Usage | None) -> Signals:
        """Return the signals of an answer to it."""
        held = self.kwargs if "temperature" in self.kwargs else self.model.__dict__
        return signals_of(
            logprobs_in(message),
            text=text_of(message),
            usage=usage,
            has_calls=isinstance(message, AIMessage) and bool(message.tool_calls or message.invalid_tool_calls),
            is_greedy=held.get("temperature") == 0,
            tools="native" if self.query.tools else None,
        )

    @property
    def has_foreign_turn(self) -> bool:
        """Whether some of the conversation was rewritten for this member, because another wrote it."""
        sent = self.query.messages or ()
        return any(own is not given for own, given in zip(self.messages, sent, strict=False))


def chat_model_of(generator: Generator) -> BaseChatModel | None:
    """Return the chat model that a member is; ``None`` of one that is none."""
    return generator.member if isinstance(generator, ChatModelGenerator) else None


def _keep(piece: Delta | Sample, usage: StreamUsage, samples: list[Sample]) -> None:
    if isinstance(piece, Sample):
        samples.append(piece)
    else:
        usage.add(piece)


def _broken(error: Exception, usage: StreamUsage, query: Query) -> Sample:
    """Return the failed sample of a stream that nobody saw; raise the error if the stream had told no bill."""
    if (paid := usage.of_broken(query.prompt_tokens)) is None:
        raise error
    return Sample(usage.text, usage=paid, error=error)


class _NotTaken(Exception):
    """The server took an option for an error; the next request does without it."""


def _is_of_langchain(model: BaseChatModel, method: str) -> bool:
    """Whether a class leaves a method to LangChain's base classes, which run its synchronous twin in a thread."""
    return str(getattr(type(model), method).__module__) == BaseChatModel.__module__


class _Collected:
    """What a stream has brought so far."""

    def __init__(self) -> None:
        self.chunks: list[ChatGenerationChunk] = []
        self.usage: Usage | None = None
        self.started = time.perf_counter()

    def add(self, chunk: ChatGenerationChunk) -> Delta:
        self.chunks.append(chunk)
        if (usage := usage_of(chunk.message)) is None:
            return Delta(chunk.text, chunk)
        self.usage = usage if self.usage is None else self.usage + usage  # each chunk tells what it adds
        return Delta(chunk.text, chunk, self.usage)

    def sample(self, prompt_tokens: int) -> Sample:
        if not self.chunks:
            raise ConnectionError("the stream ended without a single chunk")
        joined = self.chunks[0] + self.chunks[1:] if self.chunks[1:] else self.chunks[0]
        message = joined.message
        assert isinstance(message, AIMessageChunk)
        about = {**_shown(joined.generation_info), **message.response_metadata}
        own = {"type", "tool_call_chunks", "chunk_position", "response_metadata", "additional_kwargs"}
        whole = AIMessage(
            **message.model_dump(exclude=own),
            additional_kwargs=dict(message.additional_kwargs),  # objects in them (``parsed``) stay objects
            response_metadata=about,
        )
        seconds = time.perf_counter() - self.started
        text = reward_text(message)
        usage = completed_usage(usage_of(message), prompt_tokens, text)
        reason = providers.finish_reason(whole)
        return Sample(text, whole, usage, reason, latency_s=seconds, notes=joined.generation_info)


def _shown(info: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what is told of a generation in its message, too."""
    return {name: value for name, value in info.items() if name not in providers.FOR_TRACES} if info else {}


class LangChain(Framework):
    """Chat models as members of a pool.

    Args:
        timeout: Seconds for one request; ``None`` leaves each its own.
        for_strings: Arguments for chat models made of strings.
    """

    model_word = "chat model"
    accepted = "a chat model, a string like 'openai:gpt-4o-mini'"

    def __init__(self, timeout: Any, for_strings: Mapping[str, Any]) -> None:
        """Keep both."""
        self._timeout, self._for_strings = timeout, for_strings

    def is_model(self, member: Any) -> bool:
        """Whether it is a chat model, or one with arguments bound."""
        return isinstance(chat_model_in(member), BaseChatModel)

    def as_object(self, name: str, member: Any) -> Any:
        """Return a member as an object: a string becomes a chat model."""
        return as_object(name, member, self._for_strings)

    def generator(self, name: str, model: Any, *, native_n: bool) -> Generator:
        """Return what draws from a chat model.

        Raises:
            ConfigError: If it has tools bound, which the others have not.
        """
        bound = model.kwargs if isinstance(model, RunnableBinding) else {}
        if "tools" in bound:
            raise ConfigError(f"models: {name!r} has tools bound; bind them to the BestRouteChat, for all members")
        return ChatModelGenerator(
            chat_model_in(model), name=name, native_n=native_n, defaults=bound, timeout=self._timeout
        )

    def listing(self, model: Any) -> Listing:
        """Return under what its provider lists a chat model."""
        return listing_of(chat_model_in(model))

    def plain_messages(self, name: str, messages: Sequence[BaseMessage]) -> Sequence[Mapping[str, Any]]:
        """Return a conversation as OpenAI's dicts."""
        plain = convert_to_openai_messages(prepared(messages, name))
        return plain if isinstance(plain, list) else [plain]

    def wording(self) -> Wording:
        """Return how a conversation says what has no tools."""
        return InMessages()

    def plain_needs(self, query: Query) -> str | None:
        """Say what a query needs beyond text."""
        return "tools" if query.tools else "structured output" if query.params.get(WANTED) else None
