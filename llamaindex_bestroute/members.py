"""A LlamaIndex LLM as a member of the pool.

Members are called by their public methods, which is where integrations do their work; a copy of each is called, with
its callback events muted, so that the router's one event is the only one, and with its own retries off, so that they
do not multiply with the engine's. The caller's object is never changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from llama_index.core.base.llms.types import ChatResponse, LLMMetadata
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms import LLM, CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from bestroute.capabilities import Abilities, Needs, shortfall
from bestroute.protocols import Cancel, Delta, Sample
from bestroute.query import Query
from bestroute.selection import judge
from bestroute.usage import divide_usage
from llamaindex_bestroute import responses
from llamaindex_bestroute.calling import Call, quiet
from llamaindex_bestroute.dialects import is_openai, tells_its_end
from llamaindex_bestroute.messages import calls_of, whole_text
from llamaindex_bestroute.responses import Chunk

_CLEARLY = 1.25
"""How far beyond a member's window an estimated prompt must be: LlamaIndex fills prompts up to the window."""


class LLMGenerator:
    """Draws samples of one LLM.

    Args:
        name: Pool name; the member's own earlier turns are known by it.
        member: The LLM.
        native_n: Ask for ``n`` choices in one call, where the member can.
        timeout: Seconds for one request, where the caller wants another one than the member's own.
    """

    def __init__(self, name: str, member: LLM, *, native_n: bool, timeout: float | None = None) -> None:
        """Keep the member; nothing is sent."""
        self.name = name
        self._original, self._timeout = member, timeout
        self._copies: WeakKeyDictionary[Any, LLM] = WeakKeyDictionary()
        self._seen: dict[str, Any] = {}
        self.native_n = native_n and is_openai(member)

    @property
    def member(self) -> LLM:
        """The copy that is called; made anew where the caller has changed the member since."""
        return self._copy_for(self)

    @property
    def async_member(self) -> LLM:
        """The copy that is called in the running event loop, whose connections no other loop can use."""
        return self._copy_for(asyncio.get_running_loop())

    def _copy_for(self, owner: Any) -> LLM:
        now = dict(vars(self._original))
        if self._seen.keys() != now.keys() or any(self._seen[name] is not value for name, value in now.items()):
            self._copies, self._seen = WeakKeyDictionary(), now
        copies = self._copies
        if (copied := copies.get(owner)) is None:
            copied = copies[owner] = quiet(self._original, self._timeout)
        return copied

    @property
    def model_name(self) -> str:
        """The provider's name of the model, as far as the member tells."""
        for name in ("model", "model_name", "model_id"):
            if isinstance(value := getattr(self.member, name, None), str) and value:
                return value
        return type(self.member).__name__

    @property
    def max_output_tokens(self) -> int | None:
        """The most tokens of one sample, if the member's settings say."""
        limit = getattr(self.member, "max_tokens", None)
        return limit if isinstance(limit, int) and limit > 0 else None

    @property
    def metadata(self) -> LLMMetadata:
        """The member's metadata; an integration that asks its server for it notes the answer in our copy."""
        return self.member.metadata

    def lacks(self, query: Query) -> str | None:
        """Say what the member cannot do that the query needs; where a field tells, no server is asked."""
        member = self.member
        calls, window = (getattr(member, name, None) for name in ("is_function_calling_model", "context_window"))
        try:
            calls = self.metadata.is_function_calling_model if calls is None else calls
            window = self.metadata.context_window if window is None else window
        except ValueError as error:  # OpenAI(model="unknown") has no metadata
            return f"it does not tell what it can do: {error}"
        is_told = "context_window" in member.model_fields_set or window != DEFAULT_CONTEXT_WINDOW
        is_known = is_told and window > 0
        tokens = query.prompt_tokens
        abilities = Abilities(
            tools=calls and isinstance(member, FunctionCallingLLM), context_window=window if is_known else None
        )
        needs = Needs(tools=bool(query.tools), tokens=tokens if is_known and tokens > window * _CLEARLY else 0)
        return shortfall(needs, abilities)

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples; see ``bestroute.Generator``."""
        if n > 1 and not self.native_n:
            return [s for _ in range(n) for s in self.generate(query, 1, params=params, cancel=cancel)]
        call = Call(self.name, self.member, query, params, n)
        started = time.perf_counter()
        if call.prompt is not None:
            response = responses.as_chat(call.member.complete(call.prompt, formatted=True, **call.arguments))
        else:
            response = call.member.chat(call.messages, **call.arguments)
        return self._read(call, response, time.perf_counter() - started)

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples without blocking the loop."""
        if isinstance(self.member, CustomLLM):  # its async methods are its sync ones
            return await asyncio.to_thread(self.generate, query, n, params=params, cancel=cancel)
        if n > 1 and not self.native_n:
            draws = (self.agenerate(query, 1, params=params, cancel=cancel) for _ in range(n))
            return [s for samples in await asyncio.gather(*draws) for s in samples]
        call = Call(self.name, self.async_member, query, params, n)
        started = time.perf_counter()
        if call.prompt is not None:
            response = responses.as_chat(await call.member.acomplete(call.prompt, formatted=True, **call.arguments))
        else:
            response = await call.member.achat(call.messages, **call.arguments)
        return self._read(call, response, time.perf_counter() - started)

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield the member's chunks, then the finished sample."""
        call = Call(self.name, self.member, query, params, 1, stream=True)
        collected = _Collected(self.name, call)
        if call.prompt is not None:
            for completion in call.member.stream_complete(call.prompt, formatted=True, **call.arguments):
                yield collected.add(responses.as_chat(completion))
        else:
            for response in call.member.stream_chat(call.messages, **call.arguments):
                yield collected.add(response)
        yield collected.sample()

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield the member's chunks, then the finished sample, without blocking the loop."""
        call = Call(self.name, self.async_member, query, params, 1, stream=True)
        collected = _Collected(self.name, call)
        if call.prompt is not None:
            async for completion in await call.member.astream_complete(call.prompt, formatted=True, **call.arguments):
                yield collected.add(responses.as_chat(completion))
        else:
            async for response in await call.member.astream_chat(call.messages, **call.arguments):
                yield collected.add(response)
        yield collected.sample()

    def _read(self, call: Call, response: ChatResponse, latency_s: float) -> list[Sample]:
        """Read a reply; one that holds several choices carries the bill of all of them, which is shared out."""
        answers = responses.choices_of(response) if call.n > 1 else [response]
        usages = [responses.usage_of(response)] * len(answers)
        if len(answers) > 1 and usages[0] is not None:
            reasons = [responses.finish_reason_of(answer) for answer in answers]
            cut = [call.max_tokens if reason == "length" else None for reason in reasons]
            usages = list(divide_usage(usages[0], [whole_text(answer.message) for answer in answers], cut))
        return [
            _sample(call, answer, usage, responses.finish_reason_of(answer), latency_s)
            for answer, usage in zip(answers, usages, strict=True)
        ]


def _sample(call: Call, response: ChatResponse, usage: Any, finish_reason: str | None, latency_s: float) -> Sample:
    message = responses.with_calls(response.message, [])
    sample = Sample(
        text=(message.content or "") if call.demand.is_json else whole_text(message),
        payload=response.model_copy(update={"message": message}),
        usage=usage,
        finish_reason=finish_reason,
        latency_s=latency_s,
    )
    return judge(sample, calls_of(message), call.demand)


class _Collected:
    """What a stream has brought so far."""

    def __init__(self, name: str, call: Call) -> None:
        self.name, self.call, self.text, self.ids = name, call, "", list[str]()
        self.last: ChatResponse | None = None
        self.usage: Any = None
        self.finish_reason: str | None = None
        self.started = time.perf_counter()

    def add(self, response: ChatResponse) -> Delta:
        delta = response.delta or ""
        self.text += delta
        self.usage = responses.usage_of(response) or self.usage
        self.finish_reason = responses.finish_reason_of(response) or self.finish_reason
        message = responses.with_text(responses.with_calls(response.message, self.ids), self.text)
        self.last = response.model_copy(update={"message": message, "delta": delta})
        return Delta(delta, Chunk(self.last, self.name))

    def sample(self) -> Sample:
        if self.last is None:
            raise ConnectionError("the stream ended without a single chunk")
        if self.finish_reason is None and self.call.prompt is None and tells_its_end(self.call.member):
            raise ConnectionError("the stream broke off: it ended without a finish reason")
        seconds = time.perf_counter() - self.started
        return _sample(self.call, self.last, self.usage, self.finish_reason, seconds)
