"""One call of a member: messages and parameters in its own words, and its public methods as the router calls them.

A member reads structured output by its own ``structured_predict``, which calls the member's methods back: so a call is
an object that has them, and notes what they answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms import LLM, CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from bestroute._utils.closing import closed
from bestroute._utils.text import encodable
from bestroute._utils.threads import in_own_thread
from bestroute.selection import Demand, read_demand
from bestroute.types.query import TOKEN_LIMITS, Query
from bestroute.types.sample import Delta
from llamaindex_bestroute import tools
from llamaindex_bestroute.members import variant
from llamaindex_bestroute.messages import for_member
from llamaindex_bestroute.providers import adapt_call
from llamaindex_bestroute.responses import as_chat, choices_of, completion_response
from llamaindex_bestroute.structured import Outcome, Structure

_OWN_FIELDS = ("temperature", "max_tokens")
"""Settings for which members' fields win over call arguments, so that they have to be set as fields."""
METHODS = (
    *("chat", "achat", "stream_chat", "astream_chat"),
    *("complete", "acomplete", "stream_complete", "astream_complete"),
)
_END = object()


class Collected(Protocol):
    """What notes the pieces of a stream."""

    def add(self, response: ChatResponse) -> Iterator[Delta]:
        """Note a piece; yield it as it is to be read."""
        ...

    def end(self) -> None:
        """Look at a stream that brings no more."""
        ...


class Call:
    """What one call of a member is made of: messages and parameters in the member's own words.

    Args:
        name: Pool name of the member.
        member: The quiet copy that is called.
        query: With the caller's messages.
        params: The call's parameters.
        n: Choices to ask for.
        settings: The router's own settings, which the copy has been made with.
        stream_options: What we add to the arguments of a stream.
        calls_in_blocks: Whether the member's integration keeps tool calls in blocks.
    """

    def __init__(
        self,
        name: str,
        member: LLM,
        query: Query,
        params: Mapping[str, Any],
        n: int,
        *,
        settings: Mapping[str, Any],
        stream_options: Mapping[str, Any],
        calls_in_blocks: bool,
    ) -> None:
        """Say a query to a member; nothing is sent."""
        given = {k: v for k, v in params.items() if k not in settings or settings[k] != v}
        self.n, self.prompt_tokens = n, query.prompt_tokens
        formatted = getattr(query.messages, "is_formatted", None)
        fields = {k: given.pop(k) for k in _OWN_FIELDS if k in given and k in type(member).model_fields}
        about_tools = {name: given.pop(name) for name in tools.TOOL_ARGUMENTS if name in given}
        member_of_call = variant(member, fields)
        settings_of_call, arguments = adapt_call(member_of_call, given)
        self.member = variant(member_of_call, settings_of_call)
        limits = (getattr(self.member, "max_tokens", None), *(given.get(name) for name in TOKEN_LIMITS))
        self.max_tokens: int | None = next((limit for limit in limits if limit), None)
        self.is_greedy = given.get("temperature", getattr(self.member, "temperature", None)) == 0
        self.has_tools = bool(query.tools)
        self.demand = _demand(query, about_tools, given)
        self.messages = list(query.messages or ())
        self.structure: Structure | None = getattr(query.messages, "structure", None)
        self.prompt: str | None = None
        self.is_formatted = bool(formatted)
        if formatted is not None and not query.tools:
            self.prompt = encodable(self.messages[-1].content or "")
        if query.tools and isinstance(member, FunctionCallingLLM):
            history = list(self.messages)
            arguments = {**tools.offered_to(member, history, query.tools, about_tools), **arguments}
        self.arguments = arguments
        self.methods = methods_for(self.member, name, n, stream_options, calls_in_blocks=calls_in_blocks)

    def pieces(self) -> Iterator[ChatResponse]:
        """Stream what is asked."""
        if self.prompt is None:
            yield from self.methods.stream_chat(self.messages, **self.arguments)
        else:
            for piece in self.methods.stream_complete(self.prompt, self.is_formatted, **self.arguments):
                yield as_chat(piece)

    async def apieces(self) -> AsyncIterator[ChatResponse]:
        """Stream what is asked without blocking the loop."""
        if self.prompt is None:
            async with closed(await self.methods.astream_chat(self.messages, **self.arguments)) as pieces:
                async for response in pieces:
                    yield response
        else:
            streamed = await self.methods.astream_complete(self.prompt, self.is_formatted, **self.arguments)
            async with closed(streamed):
                async for piece in streamed:
                    yield as_chat(piece)

    def structured_member(self, collected: Collected | None = None) -> LLM:
        """Return the member whose ``structured_predict`` calls our methods; a stream's pieces are noted."""
        assert self.structure is not None
        methods = {name: getattr(self.methods, name) for name in METHODS}
        if collected is not None:
            methods |= {name: _noting(methods[name], collected) for name in ("stream_chat", "stream_complete")}
            methods |= {name: _anoting(methods[name], collected) for name in ("astream_chat", "astream_complete")}
        return self.structure.member(self.member, methods)

    def structure_arguments(self) -> dict[str, Any]:
        """Return the arguments of the member's ``structured_predict``."""
        assert self.structure is not None
        return self.structure.arguments(self.arguments)

    def read_object(self, reply: ChatResponse) -> Outcome:
        """Let the member read an object from a reply that is there; nothing is sent."""
        assert self.structure is not None
        methods = {"chat": lambda *_, **__: reply, "complete": lambda *_, **__: completion_response(reply)}
        try:
            return Outcome(self.structure.member(self.member, methods).structured_predict(**self.structure_arguments()))
        except Exception as error:  # whatever the member, or pydantic, says of the reply
            return Outcome(error=error)


def _noting(method: Callable[..., Iterator[Any]], collected: Collected) -> Callable[..., Iterator[Any]]:
    def noted(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for piece in method(*args, **kwargs):
            yield from _as_read(piece, collected)
        collected.end()

    return noted


def _anoting(method: Callable[..., Any], collected: Collected) -> Callable[..., Any]:
    async def noted(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async def pieces() -> AsyncIterator[Any]:
            async with closed(await method(*args, **kwargs)) as streamed:
                async for piece in streamed:
                    for read in _as_read(piece, collected):
                        yield read
            collected.end()

        return pieces()

    return noted


def _as_read(piece: ChatResponse | CompletionResponse, collected: Collected) -> Iterator[Any]:
    """Note a piece; yield it as the member is to read it."""
    if isinstance(piece, ChatResponse):
        for delta in collected.add(piece):
            if delta.payload is not None:
                yield delta.payload.response
    else:
        for delta in collected.add(as_chat(piece)):
            if delta.payload is not None:
                yield piece


def _demand(query: Query, about_tools: Mapping[str, Any], options: Mapping[str, Any]) -> Demand:
    """Return what the request asks of the form of its answer."""
    choice = about_tools.get("tool_choice") or ("required" if about_tools.get("tool_required") else None)
    wanted = options.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    schema = (wanted.get("json_schema") or {}).get("schema") if isinstance(wanted, Mapping) else None
    return read_demand(query.tools, choice, is_json=kind in ("json_object", "json_schema"), schema=schema)


class Methods:
    """The eight methods of one member, for one draw.

    Args:
        member: The quiet copy that is called.
        n: Choices to ask for in one call.
        portable: From the caller's messages to what this member may be sent.
        stream_options: What we add to the arguments of a stream; the caller's win.
    """

    def __init__(
        self,
        member: LLM,
        n: int,
        portable: Callable[[Sequence[ChatMessage]], list[ChatMessage]],
        stream_options: Mapping[str, Any],
    ) -> None:
        """Keep them; nothing is called."""
        self._member, self._n, self._portable, self._stream_options = member, n, portable, stream_options
        self.replies: list[ChatResponse] = []
        """What whole answers came; of a reply of several choices each is one."""
        self.is_answered = False
        """Whether the last call brought an answer."""

    # Whole answers.

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Call the member's ``chat``."""
        return self._noted(self._member.chat(self._portable(messages), **self._with_n(kwargs)))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Call the member's ``complete``."""
        response = self._member.complete(prompt, formatted=formatted, **self._with_n(kwargs))
        self._noted(as_chat(response))
        return response

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Call the member's ``achat``; where that is its ``chat``, in a thread."""
        messages, kwargs = self._portable(messages), self._with_n(kwargs)
        match self._way("achat", "chat", "acomplete"):
            case "achat":
                response = await self._member.achat(messages, **kwargs)
            case "acomplete":
                prompt = self._member.messages_to_prompt(messages)  # type: ignore[misc]
                response = as_chat(await self._member.acomplete(prompt, formatted=True, **kwargs))
            case _:
                response = await in_own_thread(self._member.chat, messages, **kwargs)
        return self._noted(response)

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Call the member's ``acomplete``; where that is its ``complete``, in a thread."""
        kwargs = self._with_n(kwargs)
        if self._way("acomplete") == "acomplete":
            response = await self._member.acomplete(prompt, formatted=formatted, **kwargs)
        else:
            response = await in_own_thread(self._member.complete, prompt, formatted=formatted, **kwargs)
        self._noted(as_chat(response))
        return response

    # Streams.

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Iterator[ChatResponse]:
        """Call the member's ``stream_chat``."""
        messages = self._portable(messages)
        return self._pieces(lambda options: self._member.stream_chat(messages, **options), kwargs)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Iterator[CompletionResponse]:
        """Call the member's ``stream_complete``."""
        return self._pieces(
            lambda options: self._member.stream_complete(prompt, formatted=formatted, **options), kwargs
        )

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> AsyncIterator[ChatResponse]:
        """Call the member's ``astream_chat``; where that is its ``stream_chat``, in a thread."""
        messages = self._portable(messages)

        async def begin(options: Mapping[str, Any]) -> AsyncIterator[ChatResponse]:
            match self._way("astream_chat", "stream_chat", "astream_complete"):
                case "astream_chat":
                    return await self._member.astream_chat(messages, **options)
                case "astream_complete":
                    prompt = self._member.messages_to_prompt(messages)  # type: ignore[misc]
                    pieces = await self._member.astream_complete(prompt, formatted=True, **options)
                    return _as_chats(pieces)
                case _:
                    return _in_thread(lambda: self._member.stream_chat(messages, **options))

        return self._apieces(begin, kwargs)

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> AsyncIterator[CompletionResponse]:
        """Call the member's ``astream_complete``; where that is its ``stream_complete``, in a thread."""

        async def begin(options: Mapping[str, Any]) -> AsyncIterator[CompletionResponse]:
            if self._way("astream_complete") == "astream_complete":
                return await self._member.astream_complete(prompt, formatted=formatted, **options)
            return _in_thread(lambda: self._member.stream_complete(prompt, formatted=formatted, **options))

        return self._apieces(begin, kwargs)

    def _noted(self, response: ChatResponse) -> ChatResponse:
        self.is_answered = True
        replies = [response] if self._n == 1 else list(choices_of(response))
        self.replies += replies
        return response if self._n == 1 else replies[0]

    def _with_n(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        self.is_answered = False
        return {**({"n": self._n} if self._n > 1 else {}), **kwargs}

    def _way(self, wanted: str, sync: str = "", other: str = "") -> str:
        """Return which method to call: LlamaIndex's ``CustomLLM`` answers an async call by blocking the loop."""
        if not isinstance(self._member, CustomLLM) or _defines(self._member, wanted):
            return wanted
        return other if other and _defines(self._member, other) and not _defines(self._member, sync) else sync

    def _pieces(self, begin: Callable[[Mapping[str, Any]], Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
        """Yield a stream's pieces."""
        yield from begin({**self._stream_options, **kwargs})

    async def _apieces(
        self, begin: Callable[[Mapping[str, Any]], Any], kwargs: Mapping[str, Any]
    ) -> AsyncIterator[Any]:
        """Yield a stream's pieces without blocking the loop."""
        async with closed(await begin({**self._stream_options, **kwargs})) as pieces:
            async for piece in pieces:
                yield piece


def methods_for(member: LLM, name: str, n: int, stream_options: Mapping[str, Any], *, calls_in_blocks: bool) -> Methods:
    """Return a member's methods.

    Args:
        member: The quiet copy that is called.
        name: Its pool name.
        n: Choices to ask for in one call.
        stream_options: What we add to the arguments of a stream.
        calls_in_blocks: Whether its integration keeps tool calls in blocks.
    """

    def portable(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        return for_member(messages, name, calls_in_blocks=calls_in_blocks)

    return Methods(member, n, portable, stream_options)


def _defines(member: LLM, method: str) -> bool:
    """Whether a class of the user's defines a method that LlamaIndex's ``CustomLLM`` has too."""
    owner = next(cls for cls in type(member).__mro__ if method in vars(cls))
    return not owner.__module__.startswith("llama_index.core.")


async def _in_thread(begin: Callable[[], Iterator[Any]]) -> AsyncIterator[Any]:
    """Yield what an iterator yields, which is made and asked in threads."""
    pieces = await in_own_thread(lambda: iter(begin()))
    while (piece := await in_own_thread(next, pieces, _END)) is not _END:
        yield piece


async def _as_chats(pieces: AsyncIterator[CompletionResponse]) -> AsyncIterator[ChatResponse]:
    async with closed(pieces):
        async for piece in pieces:
            yield as_chat(piece)
