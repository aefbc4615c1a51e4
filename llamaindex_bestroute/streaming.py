"""Streams: from what the engine emits to LlamaIndex's generators."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole

from bestroute.engine.result import Result
from bestroute.types.sample import Delta
from llamaindex_bestroute.responses import Chunk, completion_response


class Pieces:
    """Turns what the engine streams into responses; each says who speaks, the last one how it came about.

    Args:
        final: From a result and a delta to the router's response.
    """

    def __init__(self, final: Callable[[Result, str], ChatResponse]) -> None:
        """Begin with nothing shown."""
        self._final = final
        self._shown = ""

    def of(self, piece: Delta | Result) -> Iterator[ChatResponse]:
        """Yield the responses that a piece makes: none for a sample that came whole, which the result brings."""
        if isinstance(piece, Result):
            response = self._final(piece, "")
            yield response if self._shown else response.model_copy(update={"delta": response.message.content or ""})
        elif isinstance(piece.payload, Chunk):
            self._shown += piece.text
            yield piece.payload.shown()
        elif piece.text and not isinstance(piece.payload, ChatResponse):
            self._shown += piece.text
            message = ChatMessage(role=MessageRole.ASSISTANT, content=self._shown)
            yield ChatResponse(message=message, delta=piece.text)


def begun(pieces: Generator[ChatResponse, None, None]) -> Generator[ChatResponse, None, None]:
    """Wait for the first piece, so that members are called, and errors raised, inside of the router's own span."""
    first = next(pieces, None)

    def rest() -> Generator[ChatResponse, None, None]:
        with closing(pieces):
            if first is not None:
                yield first
            yield from pieces

    return rest()


async def abegun(pieces: AsyncGenerator[ChatResponse, None]) -> AsyncGenerator[ChatResponse, None]:
    """Wait for the first piece without blocking the loop; see ``begun``."""
    first = await anext(pieces, None)

    async def rest() -> AsyncGenerator[ChatResponse, None]:
        async with aclosing(pieces):
            if first is not None:
                yield first
            async for piece in pieces:
                yield piece

    return rest()


def completions(pieces: Generator[ChatResponse, None, None]) -> Generator[CompletionResponse, None, None]:
    """Turn a chat's stream into a completion's."""
    with closing(pieces):
        for piece in pieces:
            yield completion_response(piece)


async def acompletions(pieces: AsyncGenerator[ChatResponse, None]) -> AsyncGenerator[CompletionResponse, None]:
    """Turn a chat's stream into a completion's."""
    async with aclosing(pieces):
        async for piece in pieces:
            yield completion_response(piece)
