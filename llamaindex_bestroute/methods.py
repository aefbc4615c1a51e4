"""A member's public methods as the router calls them: its messages, n and stream options in, chat responses out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms import LLM, CustomLLM

from bestroute._utils.threads import in_own_thread
from bestroute.faults.refusals import refused_option
from llamaindex_bestroute.messages import for_member
from llamaindex_bestroute.providers import stream_options
from llamaindex_bestroute.responses import as_chat, choices_of

METHODS = (
    *("chat", "achat", "stream_chat", "astream_chat"),
    *("complete", "acomplete", "stream_complete", "astream_complete"),
)
_END = object()


class Methods:
    """The eight methods of one member, for one draw.

    Args:
        member: The quiet copy that is called.
        n: Choices to ask for in one call.
        portable: From the caller's messages to what this member may be sent.
        refused: Options that we add and the member's server refuses by name; it is added to.
    """

    def __init__(
        self,
        member: LLM,
        n: int,
        portable: Callable[[Sequence[ChatMessage]], list[ChatMessage]],
        refused: set[str],
    ) -> None:
        """Keep them; nothing is called."""
        self._member, self._n, self._portable, self._refused = member, n, portable, refused
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

    def _options(self) -> dict[str, Any]:
        return {name: value for name, value in stream_options(self._member).items() if name not in self._refused}

    def _pieces(self, begin: Callable[[Mapping[str, Any]], Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
        """Yield a stream's pieces; where the server refuses an option of ours, ask once more without it."""
        options = self._options()
        try:
            pieces = iter(begin({**options, **kwargs}))
            first = next(pieces, _END)
        except Exception as error:
            if (refused := refused_option(error, options)) is None:
                raise
            self._refused.add(refused)
            yield from self._pieces(begin, kwargs)
            return
        if first is not _END:
            yield first
            yield from pieces

    async def _apieces(
        self, begin: Callable[[Mapping[str, Any]], Any], kwargs: Mapping[str, Any]
    ) -> AsyncIterator[Any]:
        """Yield a stream's pieces without blocking the loop; see ``_pieces``."""
        options = self._options()
        try:
            pieces = aiter(await begin({**options, **kwargs}))
            first = await anext(pieces, _END)
        except Exception as error:
            if (refused := refused_option(error, options)) is None:
                raise
            self._refused.add(refused)
            async for piece in self._apieces(begin, kwargs):
                yield piece
            return
        if first is not _END:
            yield first
            async for piece in pieces:
                yield piece


def methods_for(member: LLM, name: str, n: int, refused: set[str], *, calls_in_blocks: bool) -> Methods:
    """Return a member's methods.

    Args:
        member: The quiet copy that is called.
        name: Its pool name.
        n: Choices to ask for in one call.
        refused: Options that its server is known to refuse.
        calls_in_blocks: Whether its integration keeps tool calls in blocks.
    """
    return Methods(member, n, lambda messages: for_member(messages, name, calls_in_blocks=calls_in_blocks), refused)


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
    async for piece in pieces:
        yield as_chat(piece)
