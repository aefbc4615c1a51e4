"""A generator for any OpenAI-compatible endpoint."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from bestroute._utils.extras import to_install
from bestroute._utils.interruptions import keep_samples
from bestroute._utils.loops import PerLoop
from bestroute._utils.public import name_home
from bestroute._utils.text import encodable_within
from bestroute.errors import ConfigError, EmptyReplyError
from bestroute.errors.facts import field
from bestroute.faults.paid_errors import sample_of_error
from bestroute.faults.refusals import Refusals, is_reasoning_model
from bestroute.generators.single_requests import with_cut
from bestroute.selection import Call, Demand, judge, read_demand
from bestroute.selection.empty_reply import carries_something
from bestroute.types.bases import GeneratorBase
from bestroute.types.content import text_of
from bestroute.types.draw_params import sets_sampling, wishes_greedy, wishes_logprobs
from bestroute.types.pool import Pool
from bestroute.types.query import TOKEN_LIMITS, Query
from bestroute.types.sample import Cancel, Delta, Sample
from bestroute.types.signals import Signals
from bestroute.types.token_logprobs import joined, signals_of
from bestroute.types.usage import Usage, completed_usage, divide_usage, read_usage

_OURS = ("stream_options", "n", "temperature", "logprobs")
"""Options set by us or by default, which are left out if a server rejects them."""


class OpenAIGenerator(GeneratorBase):
    """Draws samples by the ``openai`` client's chat completions.

    If a server rejects an option by name (400, 422), the request is repeated without it, and later requests leave it
    out: ``stream_options`` and ``n``, which we set, and a ``temperature`` of ``params``. The token limit is sent under
    the accepted name: ``max_completion_tokens`` for the o-series and gpt-5, otherwise as the server's errors say.
    Options of the call itself are never left out; the server's error is raised instead.

    Options that the engine requests (a first draw at temperature 0, log-probabilities for a reward model) are not sent
    to reasoning models, nor again after a server has rejected them.

    Args:
        model: The provider's name of the model.
        base_url: The endpoint; ``None`` is the client's default.
        api_key: The key; ``None`` is the client's default (its environment variable).
        native_n: Ask for ``n`` choices in one call. A server that returns fewer is asked again for the rest;
            a usage that cannot be true of all choices is replaced by an estimate and marked so.
        params: The member's defaults, such as ``temperature`` and ``max_tokens``; a call's own win. ``n`` is the
            router's and has no place here.
        timeout: Seconds for one request.
        max_retries: How often the client repeats a failed request.
        logprobs: Whether the log-probabilities of tokens are asked for: always, never, or (``None``) where a reward
            model reads them.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        native_n: bool = False,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        max_retries: int = 2,
        logprobs: bool | None = None,
    ) -> None:
        """Store the settings; no client is created before the first draw."""
        self.model = model
        self.provider = "openai"
        self.logprobs = logprobs
        self.native_n = native_n
        self.params = dict(params or {})
        self._connection: dict[str, Any] = {"max_retries": max_retries}
        for name, value in (("base_url", base_url), ("api_key", api_key), ("timeout", timeout)):
            if value is not None:
                self._connection[name] = value
        self._refusals = Refusals(_OURS, model)
        self._client: Any = None
        self._async_clients = PerLoop(_aclose)

    def __repr__(self) -> str:
        """Show the model and the endpoint, never the key."""
        return f"OpenAIGenerator({self.model!r}, base_url={self._connection.get('base_url')!r})"

    @property
    def max_output_tokens(self) -> int | None:  # type: ignore[override]
        """Most tokens of one sample, if set by its parameters."""
        limit = self.params.get("max_completion_tokens") or self.params.get("max_tokens")
        return limit if isinstance(limit, int) else None

    def takes_greedy(self, query: Query) -> bool:
        """Return whether a draw may use temperature 0 instead of a higher one."""
        is_free = "temperature" not in self._refusals.not_granted | self._refusals.left_out
        return is_free and self.params.get("temperature") != 0 and not self._reasons(query.params)

    def _reasons(self, params: Mapping[str, Any]) -> bool:
        return is_reasoning_model(self.model or "") or any(
            sampling.get(name) is not None
            for sampling in (self.params, params)
            for name in ("reasoning_effort", "reasoning")
        )

    def _wishes(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that are set at the engine's request or by the constructor."""
        wishes: dict[str, Any] = {}
        reasons = self._reasons(params)
        if wishes_greedy(params) and not reasons and not sets_sampling(params):
            wishes["temperature"] = 0.0
        asks = self.logprobs or (self.logprobs is None and wishes_logprobs(params) and not reasons)
        if asks and "logprobs" not in params and "logprobs" not in self.params:
            wishes["logprobs"] = True
        return wishes

    def without_retries(self) -> OpenAIGenerator:
        """Return a copy without retries, since the engine retries by its own rules."""
        twin = copy(self)
        twin._connection = {**self._connection, "max_retries": 0}
        twin._client, twin._async_clients = None, PerLoop(_aclose)
        return twin

    def close(self) -> None:
        """Close the connections of this process's synchronous client; the next draw opens new ones."""
        client, process = self._client or (None, None)
        self._client = None
        if client is not None and process == os.getpid():
            client.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop's client, and of the synchronous one."""
        await self._async_clients.aclose()
        self.close()

    def generate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples, in one call if ``native_n``.

        Raises:
            openai.OpenAIError: The client's own error, if nothing was drawn.
            EmptyReplyError: If the reply has no choices.
        """
        samples: list[Sample] = []
        while len(samples) < n and not cancel.is_set:
            started = time.perf_counter()
            request = self._request(query, self._ask(n, samples), params)
            try:
                reply, sent = self._create(request, params, params)
                drawn = self._read(reply, query, sent, n - len(samples), time.perf_counter() - started)
                samples += [replace(sample, request=len(samples)) for sample in drawn]
            except Exception as error:
                return _with_failure(samples, n, error)
            except BaseException as interruption:
                if samples:
                    keep_samples(interruption, with_cut(samples, n, query))
                raise
        return samples

    async def agenerate(self, query: Query, n: int, *, params: Mapping[str, Any], cancel: Cancel) -> Sequence[Sample]:
        """Draw ``n`` samples without blocking the event loop; see ``generate``."""
        samples: list[Sample] = []
        while len(samples) < n and not cancel.is_set:
            started = time.perf_counter()
            request = self._request(query, self._ask(n, samples), params)
            try:
                reply, sent = await self._acreate(request, params, params)
                drawn = self._read(reply, query, sent, n - len(samples), time.perf_counter() - started)
                samples += [replace(sample, request=len(samples)) for sample in drawn]
            except Exception as error:
                return _with_failure(samples, n, error)
            except BaseException as interruption:
                if samples:
                    keep_samples(interruption, with_cut(samples, n, query))
                raise
        return samples

    def stream(self, query: Query, *, params: Mapping[str, Any], cancel: Cancel) -> Iterator[Delta | Sample]:
        """Yield the pieces of one sample, then the sample; with tools, a reply is yielded as a whole.

        Raises:
            ConnectionError: If the stream ended early.
        """
        if query.tools:
            yield from self.generate(query, 1, params=params, cancel=cancel)
            return
        opened, sent = self._create({**_STREAM, **self._request(query, 1, params)}, self._own(params), params)
        collected = _Collected(sent)
        with opened as chunks:
            for chunk in chunks:
                if delta := collected.add(chunk):
                    yield delta
        yield collected.sample(query)

    async def astream(
        self, query: Query, *, params: Mapping[str, Any], cancel: Cancel
    ) -> AsyncIterator[Delta | Sample]:
        """Yield the pieces of one sample, then the sample; see ``stream``."""
        if query.tools:
            for sample in await self.agenerate(query, 1, params=params, cancel=cancel):
                yield sample
            return
        request = {**_STREAM, **self._request(query, 1, params)}
        opened, sent = await self._acreate(request, self._own(params), params)
        collected = _Collected(sent)
        async with opened as chunks:
            async for chunk in chunks:
                if delta := collected.add(chunk):
                    yield delta
        yield collected.sample(query)

    def _create(
        self, request: Mapping[str, Any], keep: Collection[str], params: Mapping[str, Any]
    ) -> tuple[Any, Mapping[str, Any]]:
        """Send a request, and again without options that the server rejects; return the reply and the request sent."""
        while True:
            wished = self._refusals.granted(self._wishes(params))
            sent = self._refusals.adapted({**request, **wished}, keep)
            try:
                return self._send(sent), sent
            except Exception as error:
                if not self._refusals.learn(error, sent, keep, wished):
                    raise

    async def _acreate(
        self, request: Mapping[str, Any], keep: Collection[str], params: Mapping[str, Any]
    ) -> tuple[Any, Mapping[str, Any]]:
        """Send a request without blocking the event loop; see ``_create``."""
        while True:
            wished = self._refusals.granted(self._wishes(params))
            sent = self._refusals.adapted({**request, **wished}, keep)
            try:
                return await self._asend(sent), sent
            except Exception as error:
                if not self._refusals.learn(error, sent, keep, wished):
                    raise

    def _send(self, request: Mapping[str, Any]) -> Any:
        return self._sync().chat.completions.create(**request)

    async def _asend(self, request: Mapping[str, Any]) -> Any:
        return await self._async().chat.completions.create(**request)

    def _demand(self, query: Query, request: Mapping[str, Any]) -> Demand:
        """Return the requirements that a reply is checked against."""
        return read_demand(query.tools, request.get("tool_choice"))

    def request_of(self, query: Query, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of a request for one sample, for callers that send it themselves."""
        wished = self._refusals.granted(self._wishes(params))
        return self._refusals.adapted({**self._request(query, 1, params), **wished}, params)

    def learns(self, error: BaseException, request: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
        """Learn which option an error rejects; returns whether ``request_of`` leaves it out from now on.

        Args:
            error: The error received.
            request: As ``request_of`` returned it.
            params: Parameters of the same call.
        """
        wished = [name for name in self._wishes(params) if name in request]
        return self._refusals.learn(error, request, params, wished)

    def sample_of(self, body: Mapping[str, Any], query: Query, request: Mapping[str, Any]) -> Sample:
        """Convert the body of a reply to a sample.

        Raises:
            EmptyReplyError: If it has no choices.
        """
        reply = _openai().types.chat.ChatCompletion.construct(**body)
        return self._read(reply, query, request, 1, 0.0)[0]

    @property
    def client(self) -> Any:
        """The provider's client, for requests other than chat completions."""
        return self._sync()

    def _own(self, params: Mapping[str, Any]) -> Collection[str]:
        """Return the options of a stream that the caller chose."""
        return {*params, *({"stream_options"} & self.params.keys())}

    def _sync(self) -> Any:
        """Return this process's client: a forked process must not share its parent's connections."""
        client, process = self._client or (None, None)
        if client is None or process != os.getpid():
            client = _openai().OpenAI(**self._connection)
            self._client = (client, os.getpid())
        return client

    def _async(self) -> Any:
        """Return this event loop's client: connections belong to the loop that opened them."""
        return self._async_clients.get(lambda: _openai().AsyncOpenAI(**self._connection))

    def _ask(self, n: int, samples: Sequence[Sample]) -> int:
        return n - len(samples) if self.native_n else 1

    def _request(self, query: Query, n: int, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request; a call's own token limit replaces the member's, whatever their names."""
        limits = TOKEN_LIMITS if any(name in params for name in TOKEN_LIMITS) else ()
        request = {name: value for name, value in self.params.items() if name not in limits}
        request |= {**params, "model": self.model, "messages": chat_messages(query)}
        request.pop("n", None)
        if query.tools:
            request["tools"] = list(query.tools)
        if n > 1:
            request["n"] = n
        written: dict[str, Any] = encodable_within(request)
        return written

    def _read(
        self, reply: Any, query: Query, request: Mapping[str, Any], wanted: int, latency_s: float
    ) -> list[Sample]:
        choices = (reply.choices or [])[:wanted]
        if not choices:
            self._refuse_empty(reply, wanted)
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        messages = [choice.message for choice in choices]
        texts = [text_of(field(message, "content")) for message in messages]
        cut = [limit if choice.finish_reason == "length" else None for choice in choices]
        usage = completed_usage(
            read_usage(reply.usage),
            query.prompt_tokens,
            " ".join(texts),
            has_reply=any(map(carries_something, messages)),
        )
        bill = usage if len(choices) == 1 else None  # usage is not reported per choice
        demand = self._demand(query, request)
        return [
            judge(
                Sample(
                    text,
                    message,
                    share,
                    _reason_of(choice),
                    latency_s=latency_s,
                    signals=_signals(choice, text, bill, request, has_calls=bool(field(message, "tool_calls"))),
                ),
                _calls_of(message),
                demand,
            )
            for text, message, share, choice in zip(
                texts, messages, divide_usage(usage, texts, cut), choices, strict=True
            )
        ]

    def _refuse_empty(self, reply: Any, wanted: int) -> None:
        """Raise the error of a reply without choices; some servers return errors with status 200.

        Raises:
            openai.APIError: If the reply has an error, as the client raises it in a stream.
            EmptyReplyError: If the reply has no error.
        """
        error = field(reply, "error")
        if isinstance(error, Mapping):
            raise _openai().APIError(str(error.get("message") or "the server told an error"), request=None, body=error)
        empty = EmptyReplyError(f"{self.model!r} answered without a choice; asked for {wanted}")
        empty.usage = field(reply, "usage")
        raise empty


async def _aclose(client: Any) -> None:
    await client.close()


_STREAM: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def chat_messages(query: Query) -> list[Any]:
    """Return the query as chat messages: its own if it has any, else system prompt, context and text."""
    if query.messages:
        return list(query.messages)
    turns = [("system", query.system)] if query.system else []
    text = f"{query.context}\n\n{query.text}" if query.context else query.text
    return [{"role": role, "content": content} for role, content in (*turns, ("user", text))]


def generators_from(
    pool: Pool,
    *,
    base_urls: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    make: Callable[..., OpenAIGenerator] = OpenAIGenerator,
) -> dict[str, OpenAIGenerator]:
    """Create a generator for every member, as the pool file specifies.

    Args:
        pool: A pool with ``endpoints``.
        base_urls: Addresses that override those of the file, by model.
        only: The members to create; default: all.
        make: Constructor, with the arguments of ``OpenAIGenerator``.

    Raises:
        ConfigError: If an ``api_key_env`` names a variable that is not set.
    """
    generators = {}
    for model in only or pool.models:
        endpoint = pool.endpoint(model)
        key = os.environ.get(endpoint.api_key_env) if endpoint.api_key_env else None
        if endpoint.api_key_env and not key:
            raise ConfigError(
                f"{model!r}: the environment variable {endpoint.api_key_env} that should hold its key is not set"
            )
        base_url = (base_urls or {}).get(model, endpoint.base_url)
        if key is None and base_url:
            key = "none"  # local servers ask for no key, the client insists on one
        sampling = {"temperature": endpoint.temperature, "max_tokens": endpoint.max_tokens}
        params = {name: value for name, value in sampling.items() if value is not None}
        generators[model] = make(
            endpoint.api_model or model,
            base_url=base_url,
            api_key=key,
            native_n=pool.bills(model) == "once",
            params=params,
            logprobs=endpoint.logprobs,
        )
    return generators


def _signals(
    choice: Any, text: str, usage: Usage | None, request: Mapping[str, Any], *, has_calls: bool = False
) -> Signals:
    is_greedy, tools = request.get("temperature") == 0, "native" if request.get("tools") else None
    return signals_of(choice, text=text, usage=usage, has_calls=has_calls, is_greedy=is_greedy, tools=tools)


def _calls_of(message: Any) -> list[Call]:
    """Return the tool calls of a reply, including those that do not parse."""
    functions = [field(call, "function") for call in field(message, "tool_calls") or ()]
    return [Call.parse(str(field(f, "name")), field(f, "arguments")) for f in functions if f is not None]


def _with_failure(samples: list[Sample], n: int, error: Exception) -> list[Sample]:
    """Return the samples with the error's bill; raise the error if there are neither samples nor a bill."""
    failed = sample_of_error(error)
    if not samples and failed.error is not None and failed.usage is None:
        raise error
    request, rest = len(samples), n - len(samples) - 1
    return [*samples, replace(failed, request=request), *[Sample("", error=error, request=request)] * rest]


def _reason_of(choice: Any) -> str | None:
    """Return the finish reason of a reply; other values of non-standard servers are converted to text."""
    reason = choice.finish_reason
    return reason if reason is None or isinstance(reason, str) else str(reason)


class _Collected:
    """Collects the chunks of a stream."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.request = request
        self.text = self.refusal = ""
        self.logprobs: list[Any] = []
        self.reported: Any = None
        self.finish_reason: str | None = None
        self.started = time.perf_counter()

    def add(self, chunk: Any) -> Delta | None:
        usage = None
        if (reported := getattr(chunk, "usage", None)) is not None:
            self.reported, usage = reported, read_usage(reported)
        if not chunk.choices:
            return Delta("", usage=usage) if usage else None
        choice = chunk.choices[0]
        self.finish_reason = _reason_of(choice) or self.finish_reason
        text = text_of(field(choice.delta, "content"))
        self.text += text
        refusal = text_of(field(choice.delta, "refusal"))
        self.refusal += refusal
        if (logprobs := field(choice, "logprobs")) is not None:
            self.logprobs.append(logprobs)
        payload = chunk if text else choice.delta if refusal else None
        return Delta(text, payload, usage) if payload is not None or usage else None

    def sample(self, query: Query) -> Sample:
        if self.finish_reason is None:
            raise ConnectionError("the stream broke off: it ended without a finish reason")
        seconds = time.perf_counter() - self.started
        usage = completed_usage(read_usage(self.reported), query.prompt_tokens, self.text, has_reply=bool(self.refusal))
        signals = _signals(joined(self.logprobs), self.text, usage, self.request)
        return Sample(self.text, self._message(), usage, self.finish_reason, latency_s=seconds, signals=signals)

    def _message(self) -> Any:
        """Return the non-text content of the complete reply; ``None`` if there is none."""
        if not self.refusal:
            return None
        types = _openai().types.chat
        return types.ChatCompletionMessage.construct(role="assistant", content=self.text or None, refusal=self.refusal)


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise ImportError(f"OpenAIGenerator needs the openai client: {to_install('openai')}") from error
    return openai


name_home("bestroute", globals(), ["OpenAIGenerator"])
