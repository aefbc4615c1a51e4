"""A LlamaIndex LLM as a member of the pool.

Members are called by their public methods, which is where integrations do their work; a copy of each is called, with
its callback events muted, so that the router's one event is the only one, and with its own retries off, so that they
do not multiply with the engine's. The caller's object is never changed.
"""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from typing import Any
from weakref import WeakKeyDictionary

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata, MessageRole
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from bestroute._utils.closing import closed
from bestroute._utils.loops import forget_ended
from bestroute.adapters.capabilities import Abilities, Needs, shortfall
from bestroute.adapters.connections import close_at_loop_end
from bestroute.adapters.framework import Framework, Listing
from bestroute.faults.error_rules import mark_foreign_turn
from bestroute.faults.refusals import Refusals
from bestroute.generators.single_requests import adraw_singly, draw_singly
from bestroute.generators.tools_in_prompt import Wording
from bestroute.selection import judge, judge_off_loop
from bestroute.selection.empty_reply import carries_something
from bestroute.types.bases import GeneratorBase
from bestroute.types.draw_params import sets_sampling, wishes_greedy, wishes_logprobs
from bestroute.types.protocols import Generator
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Delta, Sample
from bestroute.types.token_logprobs import joined, signals_of
from bestroute.types.usage import completed_usage, divide_usage
from llamaindex_bestroute import responses
from llamaindex_bestroute.member_request import Call
from llamaindex_bestroute.members import each_until, listing_of, quiet, shares_clients, until
from llamaindex_bestroute.messages import author, calls_of, for_member, plain_dicts, whole_text
from llamaindex_bestroute.providers import is_broken_off, is_openai, logprobs_option, reasons, stream_options
from llamaindex_bestroute.responses import Chunk, StructuredResponse, part
from llamaindex_bestroute.structured import Outcome, Structure
from llamaindex_bestroute.tools import InMessages, calls_in_blocks, with_noted_calls

_CLEARLY = 1.25
"""How far beyond a member's window an estimated prompt must be: LlamaIndex fills prompts up to the window."""


class LLMGenerator(GeneratorBase):
    """Draws samples of one LLM.

    Args:
        name: Pool name; the member's own earlier turns are known by it.
        member: The LLM.
        native_n: Ask for ``n`` choices in one call, where the member can.
        timeout: Seconds for one request, where the caller wants another one than the member's own.
        settings: The router's own settings (``temperature``, ``max_tokens``), which win over the member's.
    """

    def __init__(
        self,
        name: str,
        member: LLM,
        *,
        native_n: bool,
        timeout: float | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the member; nothing is sent."""
        self.name = name
        self._original, self._timeout = member, timeout
        self._constructed = dict(settings or {})
        self._refusals = Refusals(("stream_options", "n", "temperature"))
        self._copy: LLM | None = None
        self._copies: WeakKeyDictionary[asyncio.AbstractEventLoop, LLM] = WeakKeyDictionary()
        self._snapshot: dict[str, Any] = {}
        self.native_n = native_n and is_openai(member)
        self._is_greedy = False
        self._greedy_twin: LLMGenerator | None = None

    @property
    def member(self) -> LLM:
        """The copy that is called; made anew where the caller has changed the member since."""
        self._look_for_changes()
        if (copied := self._copy) is None:
            copied = self._copy = quiet(self._original, self._timeout, self._settings)
            shares_clients(copied, self._original, self._settings, None)
        return copied

    @property
    def async_member(self) -> LLM:
        """The copy that is called in the running event loop: no other loop can use its connections."""
        self._look_for_changes()
        loop, copies = asyncio.get_running_loop(), self._copies
        if (copied := copies.get(loop)) is None:
            forget_ended(copies)
            copied = copies[loop] = quiet(self._original, self._timeout, self._settings)
            if not shares_clients(copied, self._original, self._settings, loop):
                close_at_loop_end(copied, self._original)
        return copied

    def _look_for_changes(self) -> None:
        now, known = dict(vars(self._original)), self._snapshot
        if list(now) != list(known) or not all(map(operator.is_, now.values(), known.values())):
            self._forget_copies()
            self._snapshot = now

    def _forget_copies(self) -> None:
        self._copy, self._copies = None, WeakKeyDictionary()

    @property
    def provider(self) -> str | None:  # type: ignore[override]
        """LlamaIndex's name of the member's class, for traces: ``openai`` of ``openai_llm``."""
        return self.member.class_name().lower().removesuffix("_llm") or None

    @property
    def model_name(self) -> str:  # type: ignore[override]
        """The provider's name of the model, as far as the member tells."""
        member = self.member
        for name in ("model", "model_name", "model_id"):
            if isinstance(value := getattr(member, name, None), str) and value:
                return value
        return type(member).__name__

    @property
    def max_output_tokens(self) -> int | None:  # type: ignore[override]
        """The most tokens of one sample, if the member's settings say."""
        limits = [getattr(self.member, name, None) for name in ("max_tokens", "max_output_tokens")]
        return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)

    @property
    def metadata(self) -> LLMMetadata:
        """The member's metadata; an integration that asks its server for it notes the answer in our copy."""
        return self.member.metadata

    def lacks(self, query: Query) -> str | None:
        """Say what the member cannot do that the query needs; where a field tells, no server is asked."""
        member = self.member
        calls, window = getattr(member, "is_function_calling_model", None), getattr(member, "context_window", None)
        try:
            if calls is None or window is None:
                metadata = member.metadata
                calls = metadata.is_function_calling_model if calls is None else calls
                window = metadata.context_window if window is None else window
        except ValueError as error:  # OpenAI(model="unknown") has no metadata
            return f"it does not tell what it can do: {error}"
        is_stated = "context_window" in member.model_fields_set or window != DEFAULT_CONTEXT_WINDOW
        is_known = is_stated and window > 0
        tokens = query.prompt_tokens
        abilities = Abilities(
            tools=calls and isinstance(member, FunctionCallingLLM), context_window=window if is_known else None
        )
        needs = Needs(tools=bool(query.tools), tokens=tokens if is_known and tokens > window * _CLEARLY else 0)
        return shortfall(needs, abilities)

    @cached_property
    def _calls_in_blocks(self) -> bool:
        return calls_in_blocks(self.member)

    @property
    def _settings(self) -> dict[str, Any]:
        """The router's own settings that the member has as fields, without what its server does not take so."""
        known = type(self._original).model_fields
        taken = self._refusals.adapted(self._constructed)
        if self._is_greedy and "temperature" in self._refusals.not_granted:
            del taken["temperature"]
        return {name: value for name, value in taken.items() if name in known and name in self._constructed}

    def takes_greedy(self, query: Query) -> bool:
        """Whether a draw may be at temperature 0 in place of one above it."""
        own = getattr(self._original, "temperature", None)
        is_free = "temperature" not in self._refusals.not_granted | self._refusals.left_out | self._constructed.keys()
        return own is not None and own != 0 and is_free and not reasons(self._original, query.params)

    def _for_draw(self, query: Query, params: Mapping[str, Any]) -> LLMGenerator:
        """Return who makes a draw: where the engine wishes for a greedy one, the same member at temperature 0.

        It is made as the router's own temperature is set, by the integration's constructor.
        """
        if self._is_greedy or not wishes_greedy(params) or sets_sampling(params) or not self.takes_greedy(query):
            return self
        if self._greedy_twin is None:
            twin = copy(self)
            twin._is_greedy, twin._constructed = True, {**self._constructed, "temperature": 0.0}
            twin._snapshot = {}
            twin._forget_copies()
            self._greedy_twin = twin
        return self._greedy_twin

    def _wished(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that are sent because the engine wishes for them."""
        wishes: dict[str, Any] = {"temperature": 0.0} if self._is_greedy else {}
        if wishes_logprobs(params):
            wishes |= logprobs_option(self._original, params)
        return self._refusals.granted(wishes)

    def _chosen(self, params: Mapping[str, Any]) -> set[str]:
        """Return the names of the parameters that the call itself sets."""
        own = self._constructed
        return {name for name, value in params.items() if name not in own or own[name] != value}

    def _call(self, member: LLM, query: Query, params: Mapping[str, Any], n: int) -> Call:
        taken = self._refusals.adapted(params, keep=self._chosen(params))
        if getattr(query.messages, "structure", None) is None:
            taken |= {name: value for name, value in self._wished(params).items() if name in ("logprobs", "include")}
        return Call(
            self.name,
            member,
            query,
            taken,
            n,
            settings=self._settings,
            stream_options=self._refusals.adapted(stream_options(member)),
            calls_in_blocks=self._calls_in_blocks,
        )

    def _sent(self, params: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a call sends: the router's, what we add, and its own."""
        return self._refusals.adapted({**self._constructed, **ours, **params}, keep=self._chosen(params))

    def _is_refusal(self, error: Exception, sent: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
        """Whether the server refuses an option that the member can do without, or names otherwise, and now will."""
        if not self._refusals.learn(error, sent, self._chosen(params), self._wished(params)):
            return False
        self._forget_copies()  # they were made with it
        return True

    def _draws_at_once(self, n: int) -> bool:
        return n == 1 or (self.native_n and "n" not in self._refusals.left_out)

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples; see ``bestroute.Generator``."""
        if (member := self._for_draw(query, params)) is not self:
            return member.generate(query, n, params=params, cancel=cancel)
        if not self._draws_at_once(n):
            one = partial(self.generate, query, 1, params=params, cancel=cancel)
            return draw_singly(one, n, query=query, cancel=cancel)
        call, sent = self._call(self.member, query, params, n), self._sent(params, {"n": n})
        try:
            with self._foreign_turns(query), until(cancel):
                return self._draw(call)
        except Exception as error:
            if not self._is_refusal(error, sent, params):
                raise
        return self.generate(query, n, params=params, cancel=cancel)

    def _draw(self, call: Call) -> Sequence[Sample]:
        started = time.perf_counter()
        if call.structure is not None:
            try:
                outcome = Outcome(call.structured_member().structured_predict(**call.structure_arguments()))
            except Exception as error:
                if not call.methods.is_answered:
                    raise
                outcome = Outcome(error=error)
            return self._read_objects(call, outcome, time.perf_counter() - started)
        if call.prompt is not None:
            call.methods.complete(call.prompt, formatted=call.is_formatted, **call.arguments)
        else:
            call.methods.chat(call.messages, **call.arguments)
        samples = self._read(call, call.methods.replies, time.perf_counter() - started)
        return [_judged(sample, call) for sample in samples]

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples without blocking the loop."""
        if (member := self._for_draw(query, params)) is not self:
            return await member.agenerate(query, n, params=params, cancel=cancel)
        if not self._draws_at_once(n):
            return await adraw_singly(partial(self.agenerate, query, 1, params=params, cancel=cancel), n, query=query)
        call, sent = self._call(self.async_member, query, params, n), self._sent(params, {"n": n})
        try:
            with self._foreign_turns(query):
                return await self._adraw(call, cancel)
        except Exception as error:
            if not self._is_refusal(error, sent, params):
                raise
        return await self.agenerate(query, n, params=params, cancel=cancel)

    async def _adraw(self, call: Call, cancel: Cancel) -> Sequence[Sample]:
        started = time.perf_counter()
        if call.structure is not None:
            try:
                outcome = Outcome(await call.structured_member().astructured_predict(**call.structure_arguments()))
            except Exception as error:
                if not call.methods.is_answered:
                    raise
                outcome = Outcome(error=error)
            return await self._aread_objects(call, outcome, time.perf_counter() - started, cancel)
        if call.prompt is not None:
            await call.methods.acomplete(call.prompt, formatted=call.is_formatted, **call.arguments)
        else:
            await call.methods.achat(call.messages, **call.arguments)
        samples = self._read(call, call.methods.replies, time.perf_counter() - started)
        return await _ajudged(samples, call, cancel)

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield the member's chunks, then the finished sample."""
        is_begun, sent = False, self._sent(params, stream_options(self._original))
        try:
            with self._foreign_turns(query):
                for piece in each_until(cancel, self._stream(query, params, cancel)):
                    is_begun = True
                    yield piece
            return
        except Exception as error:
            if is_begun or not self._is_refusal(error, sent, params):
                raise
        yield from self.stream(query, params=params, cancel=cancel)

    def _stream(self, query: Query, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        call = self._call(self.member, query, params, 1)
        collected = _Collected(self.name, call)
        if call.structure is not None:
            member = call.structured_member(collected)
            try:
                for parsed in member.stream_structured_predict(**call.structure_arguments()):
                    yield collected.object(parsed)
            except NotImplementedError:  # LlamaIndex streams no object that is asked for in words
                yield from self.generate(query, 1, params=params, cancel=cancel)
                return
            except Exception as error:
                collected.unreadable(error)
        else:
            for response in call.pieces():
                yield from collected.add(response)
        yield collected.judged(collected.sample())

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield the member's chunks, then the finished sample, without blocking the loop."""
        is_begun, sent = False, self._sent(params, stream_options(self._original))
        try:
            with self._foreign_turns(query):
                async with aclosing(self._astream(query, params, cancel)) as pieces:
                    async for piece in pieces:
                        is_begun = True
                        yield piece
            return
        except Exception as error:
            if is_begun or not self._is_refusal(error, sent, params):
                raise
        async with closed(self.astream(query, params=params, cancel=cancel)) as again:
            async for piece in again:
                yield piece

    async def _astream(self, query: Query, params: Mapping[str, Any], cancel: Cancel) -> AsyncGenerator[Delta | Sample]:
        call = self._call(self.async_member, query, params, 1)
        collected = _Collected(self.name, call)
        if call.structure is not None:
            member = call.structured_member(collected)
            try:
                async with closed(await member.astream_structured_predict(**call.structure_arguments())) as objects:
                    async for parsed in objects:
                        yield collected.object(parsed)
            except NotImplementedError:  # LlamaIndex streams no object that is asked for in words
                for sample in await self.agenerate(query, 1, params=params, cancel=cancel):
                    yield sample
                return
            except Exception as error:
                collected.unreadable(error)
        else:
            async with closed(call.apieces()) as pieces:
                async for response in pieces:
                    for delta in collected.add(response):
                        yield delta
        sample = collected.sample()
        size = len(whole_text(sample.payload.message)) if call.demand or call.structure else 0
        yield (await judge_off_loop(collected.judged, [sample], size=size, cancel=cancel))[0]

    @contextmanager
    def _foreign_turns(self, query: Query) -> Iterator[None]:
        """Note on an error that the conversation holds turns of other members, which may be what was refused."""
        try:
            yield
        except Exception as error:
            if any(author(message) not in (None, self.name) for message in query.messages or ()):
                mark_foreign_turn(error)
            raise

    def _read(self, call: Call, replies: Sequence[ChatResponse], latency_s: float) -> list[Sample]:
        """Read replies; choices of one call carry the bill of all of them, which is shared out."""
        if not replies:
            return []
        texts = [whole_text(reply.message) for reply in replies]
        text = " ".join(texts)
        has_reply = not text.strip() and any(carries_something(reply) for reply in replies)
        bill = completed_usage(responses.usage_of(replies[0]), call.prompt_tokens, text, has_reply=has_reply)
        reasons = [responses.finish_reason_of(reply) for reply in replies]
        cut = [call.max_tokens if reason == "length" else None for reason in reasons]
        usages = divide_usage(bill, texts, cut)
        return [
            _sample(call, reply, usage, reason, latency_s, is_one=len(replies) == 1)
            for reply, usage, reason in zip(replies, usages, reasons, strict=True)
        ]

    def _read_objects(self, call: Call, first: Outcome, latency_s: float) -> list[Sample]:
        """Read the objects of a structured call, of which the member has read the first."""
        assert call.structure is not None
        samples = self._read_replies(call, latency_s)
        return [call.structure.sample(sample, _object(call, first, i)) for i, sample in enumerate(samples)]

    async def _aread_objects(self, call: Call, first: Outcome, latency_s: float, cancel: Cancel) -> list[Sample]:
        """Read them without blocking the loop, until the call's deadline."""
        structure = call.structure
        assert structure is not None
        samples = self._read_replies(call, latency_s)
        samples[0] = structure.holding(samples[0], first)
        places = {id(sample): i for i, sample in enumerate(samples)}
        size = sum(len(whole_text(reply.message)) for reply in call.methods.replies)
        return await judge_off_loop(
            lambda sample: structure.sample(sample, _object(call, first, places[id(sample)])),
            samples,
            size=size,
            cancel=cancel,
        )

    def _read_replies(self, call: Call, latency_s: float) -> list[Sample]:
        """Return the samples of a structured call with their bills.

        A member may ask several times for one object, and may hide what its provider replied.
        """
        replies = call.methods.replies
        if call.n > 1:
            return self._read(call, replies, latency_s)
        samples = self._read(call, replies[-1:], latency_s) or [Sample("", latency_s=latency_s)]
        others = [sample.usage for reply in replies[:-1] for sample in self._read(call, [reply], latency_s)]
        usages = [usage for usage in (samples[0].usage, *others) if usage is not None]
        return [replace(samples[0], usage=sum(usages[1:], usages[0]) if usages else None)]


def _object(call: Call, first: Outcome, i: int) -> Outcome:
    """Return what the member reads from the i-th reply."""
    return call.read_object(call.methods.replies[i]) if i else first


def _sample(
    call: Call,
    response: ChatResponse,
    usage: Any,
    finish_reason: str | None,
    latency_s: float,
    *,
    is_one: bool = True,
    logprobs: Any = None,
) -> Sample:
    """Return a sample; ``is_one``: of a call of one choice, so that its usage is known; ``logprobs``: of a stream."""
    message = responses.with_calls(with_noted_calls(call.member, response), [])
    return Sample(
        text=(message.content or "") if call.demand.is_json else whole_text(message),
        payload=response.model_copy(update={"message": message}),
        usage=usage,
        finish_reason=finish_reason,
        latency_s=latency_s,
        signals=signals_of(
            logprobs or responses.logprobs_of(response),
            text=message.content or "",
            usage=usage if is_one else None,
            has_calls=bool(calls_of(message)),
            is_greedy=call.is_greedy,
            tools="native" if call.has_tools else None,
        ),
    )


def _judged(sample: Sample, call: Call) -> Sample:
    """Say of a sample that came what is wrong with its form, or in which form it competes."""
    return judge(sample, calls_of(sample.payload.message), call.demand) if call.demand else sample


async def _ajudged(samples: Sequence[Sample], call: Call, cancel: Cancel) -> list[Sample]:
    """Say it of each without blocking the loop, until the call's deadline."""
    size = sum(len(whole_text(sample.payload.message)) for sample in samples) if call.demand else 0
    return await judge_off_loop(lambda sample: _judged(sample, call), samples, size=size, cancel=cancel)


class _Collected:
    """What a stream has brought so far."""

    def __init__(self, name: str, call: Call) -> None:
        self.name, self.call, self.text, self.ids = name, call, "", list[str]()
        self.last: ChatResponse | None = None
        self.usage: Any = None
        self.finish_reason: str | None = None
        self.outcome = Outcome()
        self.started = time.perf_counter()
        self._is_ended = False
        self._is_billed = False
        """Whether the last chunk is OpenAI's bill, which comes after the end; where there is no word LlamaIndex's
        integration may leave out the end itself."""
        self._shown = 0
        self._logprobs: list[Any] = []

    def add(self, response: ChatResponse) -> Iterator[Delta]:
        """Note a chunk, and yield it; one that only tells the usage, because we asked for it, is not shown."""
        delta = response.delta or ""
        self.text += delta
        usage = responses.usage_of(response)
        self.usage = usage or self.usage
        if (logprobs := part(responses.logprobs_of(response), "logprobs")) is not None:
            self._logprobs.append(logprobs)
        self.finish_reason = responses.finish_reason_of(response) or self.finish_reason
        is_usage_alone = part(response.raw, "choices") == []
        self._is_billed = is_usage_alone and usage is not None
        if self.last is not None and not delta and is_usage_alone:
            if usage is not None:
                yield Delta("", usage=usage)
            return
        message = responses.with_calls(with_noted_calls(self.call.member, response), self.ids)
        message = responses.with_text(message, self.text)
        self.last = response.model_copy(update={"message": message, "delta": delta})
        yield Delta(delta, Chunk(self.last, self.name), usage)

    def object(self, parsed: Any) -> Delta:
        """Return what a structured stream shows: the object as far as it is there."""
        delta, self._shown = self.text[self._shown :], len(self.text)
        self.outcome = Outcome(parsed)
        last = self.last or ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=""))
        fields = {**dict(last), "delta": delta, "parsed": parsed}
        return Delta(delta, Chunk(StructuredResponse(**fields), self.name), self.usage)

    def unreadable(self, error: Exception) -> None:
        """Note that the member could not read the object of a stream that has ended; else raise the error."""
        if not self._is_ended:
            raise error
        self.outcome = Outcome(self.outcome.parsed, error)

    def end(self) -> None:
        """Look at a stream that brings no more.

        Raises:
            ConnectionError: If it broke off.
        """
        if self.last is None:
            raise ConnectionError("the stream ended without a single chunk")
        if not self._is_billed and is_broken_off(self.call.member, self.finish_reason, self.usage):
            raise ConnectionError("the stream broke off: it ended without a finish reason")
        self._is_ended = True

    def sample(self) -> Sample:
        """Return the finished sample, which is to be judged."""
        seconds = time.perf_counter() - self.started
        structure = self.call.structure
        if structure is not None and self.last is None and self.outcome.parsed is not None:
            return structure.holding(Sample("", latency_s=seconds), self.outcome)
        if not self._is_ended:
            self.end()
        assert self.last is not None
        usage = completed_usage(self.usage, self.call.prompt_tokens, self.text, has_reply=carries_something(self.last))
        logprobs = joined(self._logprobs)
        sample = _sample(self.call, self.last, usage, self.finish_reason, seconds, logprobs=logprobs)
        return sample if structure is None else structure.holding(sample, self.outcome)

    def judged(self, sample: Sample) -> Sample:
        """Say of the finished sample what is wrong with its form, or in which form it competes."""
        structure = self.call.structure
        return _judged(sample, self.call) if structure is None else structure.sample(sample, self.outcome)


class LlamaIndex(Framework):
    """LLMs as members of a pool.

    Args:
        timeout: Seconds for one request; ``None`` leaves each its own.
        settings: The router's own settings that are members' fields too.
    """

    model_word = "LLM"
    accepted = "a LlamaIndex LLM"

    def __init__(self, timeout: float | None, settings: Mapping[str, Any]) -> None:
        """Keep both."""
        self._timeout, self._settings = timeout, settings

    def is_model(self, member: Any) -> bool:
        """Whether it is an LLM."""
        return isinstance(member, LLM)

    def generator(self, name: str, model: Any, *, native_n: bool) -> Generator:
        """Return what draws from an LLM."""
        return LLMGenerator(name, model, native_n=native_n, timeout=self._timeout, settings=self._settings)

    def listing(self, model: Any) -> Listing | None:
        """Return under what its provider lists an LLM."""
        return listing_of(model)

    def wording(self) -> Wording:
        """Return how a conversation says what has no tools."""
        return InMessages()

    def plain_messages(self, name: str, messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
        """Return a conversation as OpenAI's dicts, an object that is asked for in words."""
        structure: Structure | None = getattr(messages, "structure", None)
        return plain_dicts(for_member(messages if structure is None else structure.in_words(messages), name))
