"""What LlamaIndex's instrumentation is told of a call, so that the usage of all events adds up to the bill once.

A member tells of each of its calls with an event of its own, which cannot be kept from the handlers. The callback
manager is told everything by the router alone. To the dispatcher the router tells what is left: what was billed and
no member's event has told, an estimate for example. The span of a stream ends with the stream, and with its answer.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.span import active_span_id
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR, active_instrument_tags

from bestroute.types.usage import Usage
from llamaindex_bestroute.responses import part, raw_of, tokens, usage_of
from llamaindex_bestroute.streaming import aprimed, primed

dispatcher = get_dispatcher(__name__)

Response = TypeVar("Response", ChatResponse, CompletionResponse)
Method = TypeVar("Method", bound=Callable[..., Any])

_reported: ContextVar[list[Usage] | None] = ContextVar("bestroute_reported", default=None)
"""The usage that members' events have told in the router's call under way."""


class _MemberEvent(str):
    """Id of a member's event, which remembers to whose call it belongs; a stream may end in another context."""

    __slots__ = ("reported",)
    reported: list[Usage] | None


class Muted(CallbackManager):
    """The callback manager of a member's copy: tells nobody, and notes the usage that the member's events tell."""

    def __init__(self) -> None:
        """Take no handlers, those of ``Settings`` neither."""
        super().__init__([])
        self.handlers = []

    @contextmanager
    def as_trace(self, trace_id: str) -> Iterator[None]:
        """Begin no trace, and leave errors as they are: LlamaIndex's would note on them that handlers know of them."""
        yield

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str | None = None,
        parent_id: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Remember whose call it is."""
        event = _MemberEvent(event_id or uuid.uuid4())
        event.reported = _reported.get()
        return event

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Note the usage of the response; the dispatcher is about to be told the same response."""
        reported = getattr(event_id, "reported", None)
        response = (payload or {}).get(EventPayload.RESPONSE) or (payload or {}).get(EventPayload.COMPLETION)
        if reported is not None and isinstance(response, ChatResponse | CompletionResponse):
            if (usage := usage_of(response)) is not None:
                reported.append(usage)


@dataclass(frozen=True)
class Kind:
    """How a chat, or a completion, is told."""

    trace: str
    method: str
    """What the methods are called."""
    subject: str
    """What events call the messages or the prompt."""
    subject_key: EventPayload
    response_key: EventPayload
    start: type[Any]
    progress: type[Any]
    end: type[Any]


CHAT = Kind(
    "chat",
    "chat",
    "messages",
    EventPayload.MESSAGES,
    EventPayload.RESPONSE,
    LLMChatStartEvent,
    LLMChatInProgressEvent,
    LLMChatEndEvent,
)
COMPLETION = Kind(
    "completion",
    "complete",
    "prompt",
    EventPayload.PROMPT,
    EventPayload.COMPLETION,
    LLMCompletionStartEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionEndEvent,
)


class Event:
    """One call of the router, as it is told.

    Args:
        llm: The router.
        kind: A chat or a completion.
        subject: The messages, or the prompt.
        kwargs: The call's arguments.
    """

    def __init__(self, llm: Any, kind: Kind, subject: Any, kwargs: Mapping[str, Any]) -> None:
        """Tell nothing yet."""
        self._llm, self._kind, self._subject, self._kwargs = llm, kind, subject, dict(kwargs)
        if not isinstance(getattr(llm, "callback_manager", None), CallbackManager):
            llm.callback_manager = CallbackManager()
        self._manager: CallbackManager = llm.callback_manager
        self._span_id: str | None = None
        self._reported: list[Usage] = []
        self._id = ""

    def traced(self) -> AbstractContextManager[None]:
        """Make what is told in the block a trace, unless it is a part of one."""
        return self._manager.as_trace(self._kind.trace)

    @contextmanager
    def begun(self, *, is_stream: bool = False) -> Iterator[None]:
        """Tell that it begins, and of an error in the block."""
        self._span_id = active_span_id.get()
        about = self._llm.to_payload()
        fields = {self._kind.subject: self._subject, "additional_kwargs": self._kwargs, "span_id": self._span_id}
        dispatcher.event(self._kind.start(model_dict=about, **fields))
        payload: dict[str, Any] = {
            self._kind.subject_key: self._subject,
            EventPayload.ADDITIONAL_KWARGS: self._kwargs,
            EventPayload.SERIALIZED: about,
        }
        self._id = self._manager.on_event_start(CBEventType.LLM, payload=payload)
        token = _reported.set(self._reported)
        try:
            yield
        except BaseException as error:
            (self.broke if is_stream else self.failed)(error)
            raise
        finally:
            _reported.reset(token)

    def progress(self, piece: Any) -> None:
        """Tell of a piece of a stream."""
        fields = {self._kind.subject: self._subject, "span_id": self._span_id}
        dispatcher.event(self._kind.progress(response=_without_usage(piece), **fields))

    def failed(self, error: BaseException) -> None:
        """Tell that there is no answer."""
        self._manager.on_event_end(CBEventType.LLM, payload={EventPayload.EXCEPTION: error}, event_id=self._id)

    def broke(self, error: BaseException) -> None:
        """Tell that a stream broke, or was left."""
        self.failed(error)
        dispatcher.event(ExceptionEvent(exception=error, span_id=self._span_id))

    def end(self, response: Response) -> Response:
        """Tell the answer; return it."""
        payload: dict[str, Any] = {self._kind.subject_key: self._subject, self._kind.response_key: response}
        self._manager.on_event_end(CBEventType.LLM, payload=payload, event_id=self._id)
        rest = None if response is None else _with_rest(response, self._reported)
        fields = {self._kind.subject: self._subject, "span_id": self._span_id}
        dispatcher.event(self._kind.end(response=rest, **fields))
        return response


def whole(llm: Any, kind: Kind, subject: Any, kwargs: Mapping[str, Any], answer: Callable[[], Response]) -> Response:
    """Answer, and tell of it."""
    event = Event(llm, kind, subject, kwargs)
    with event.traced():
        with event.begun():
            if llm.rate_limiter is not None:
                llm.rate_limiter.acquire()
            response = answer()
        return event.end(response)


async def awhole(
    llm: Any, kind: Kind, subject: Any, kwargs: Mapping[str, Any], answer: Callable[[], Awaitable[Response]]
) -> Response:
    """Answer without blocking the loop, and tell of it."""
    event = Event(llm, kind, subject, kwargs)
    with event.traced():
        with event.begun():
            if llm.rate_limiter is not None:
                await llm.rate_limiter.async_acquire()
            response = await answer()
        return event.end(response)


def stream(
    llm: Any,
    kind: Kind,
    subject: Any,
    kwargs: Mapping[str, Any],
    begin: Callable[[], Generator[Response, None, None]],
) -> Generator[Response, None, None]:
    """Begin a stream, and tell of it while it is read."""
    span = _Span(llm, f"stream_{kind.method}", subject, kwargs)
    event = Event(llm, kind, subject, kwargs)
    with span.entered(), event.traced(), event.begun(is_stream=True):
        if llm.rate_limiter is not None:
            llm.rate_limiter.acquire()
        pieces = begin()

    def followed() -> Generator[Response | None, None, None]:
        last: Any = None
        with span.left(lambda: last), closing(pieces):
            try:
                yield None
                for piece in pieces:
                    event.progress(piece)
                    last = piece
                    yield piece
            except BaseException as error:
                event.broke(error)
                raise
            event.end(last)

    return primed(followed())


async def astream(
    llm: Any,
    kind: Kind,
    subject: Any,
    kwargs: Mapping[str, Any],
    begin: Callable[[], Awaitable[AsyncGenerator[Response, None]]],
) -> AsyncGenerator[Response, None]:
    """Begin a stream without blocking the loop, and tell of it while it is read."""
    span = _Span(llm, f"astream_{kind.method}", subject, kwargs)
    event = Event(llm, kind, subject, kwargs)
    with span.entered(), event.traced(), event.begun(is_stream=True):
        if llm.rate_limiter is not None:
            await llm.rate_limiter.async_acquire()
        pieces = await begin()

    async def followed() -> AsyncGenerator[Response | None, None]:
        last: Any = None
        with span.left(lambda: last):
            async with aclosing(pieces):
                try:
                    yield None
                    async for piece in pieces:
                        event.progress(piece)
                        last = piece
                        yield piece
                except BaseException as error:
                    event.broke(error)
                    raise
                event.end(last)

    return await aprimed(followed())


def own_span(method: Method) -> Method:
    """Keep LlamaIndex from putting a span around a stream method: its span would end before the stream does."""
    setattr(method, DISPATCHER_SPAN_DECORATED_ATTR, True)
    return method


class _Span:
    """The span of a streamed call: it ends when the stream does, with the last piece, which holds the answer."""

    def __init__(self, llm: Any, method: str, subject: Any, kwargs: Mapping[str, Any]) -> None:
        self._llm = llm
        self._id = f"{type(llm).__name__}.{method}-{uuid.uuid4()}"
        self._arguments = inspect.signature(getattr(type(llm), method)).bind(llm, subject, **kwargs)

    @contextmanager
    def entered(self) -> Iterator[None]:
        token = active_span_id.set(self._id)
        parent = None if token.old_value is token.MISSING else token.old_value
        dispatcher.span_enter(
            id_=self._id,
            bound_args=self._arguments,
            instance=self._llm,
            parent_id=parent,
            tags=active_instrument_tags.get(),
        )
        try:
            yield
        except BaseException as error:
            self._drop(error)
            raise
        finally:
            active_span_id.reset(token)

    @contextmanager
    def left(self, answer: Callable[[], Any]) -> Iterator[None]:
        try:
            yield
        except GeneratorExit:  # the caller has read enough
            self._exit(answer())
            raise
        except BaseException as error:
            self._drop(error)
            raise
        else:
            self._exit(answer())

    def _exit(self, answer: Any) -> None:
        dispatcher.span_exit(id_=self._id, bound_args=self._arguments, instance=self._llm, result=answer)

    def _drop(self, error: BaseException) -> None:
        dispatcher.span_drop(id_=self._id, bound_args=self._arguments, instance=self._llm, err=error)


def _without_usage(piece: Response) -> Response:
    """Return a piece as its event tells it: the bill is told once, at the end."""
    if part(piece.raw, "usage") is None:
        return piece
    others = {name: value for name, value in piece.additional_kwargs.items() if name not in tokens(Usage())}
    return piece.model_copy(update={"raw": raw_of(piece.raw, None), "additional_kwargs": others})


def _with_rest(response: Response, reported: list[Usage]) -> Response:
    """Return the answer with what of its bill no member's event has told."""
    bill = {name: int(response.additional_kwargs.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")}
    rest = tokens(
        Usage(
            max(0, bill["prompt_tokens"] - sum(usage.input for usage in reported)),
            max(0, bill["completion_tokens"] - sum(usage.output for usage in reported)),
        )
    )
    update = {"raw": raw_of(response.raw, rest), "additional_kwargs": {**response.additional_kwargs, **rest}}
    return response.model_copy(update=update)
