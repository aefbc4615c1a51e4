"""Streams: from what the engine emits to LlamaIndex's generators."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any

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


def primed(pieces: Generator[Any, None, None]) -> Generator[Any, None, None]:
    """Run a generator up to its first ``yield``, which yields nothing: closed unread, it cleans up all the same."""
    next(pieces)
    return pieces


async def aprimed(pieces: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """Run an async generator up to its first ``yield``; see ``primed``."""
    await anext(pieces)
    return pieces


def begun(pieces: Generator[ChatResponse, None, None]) -> Generator[ChatResponse, None, None]:
    """Wait for the first piece, so that members are called, and errors raised, inside of the router's own span."""
    first = next(pieces, None)

    def rest() -> Generator[ChatResponse | None, None, None]:
        with closing(pieces):
            yield None
            if first is not None:
                yield first
            yield from pieces

    return primed(rest())


async def abegun(pieces: AsyncGenerator[ChatResponse, None]) -> AsyncGenerator[ChatResponse, None]:
    """Wait for the first piece without blocking the loop; see ``begun``."""
    first = await anext(pieces, None)

    async def rest() -> AsyncGenerator[ChatResponse | None, None]:
        async with aclosing(pieces):
            yield None
            if first is not None:
                yield first
            async for piece in pieces:
                yield piece

    return await aprimed(rest())


def completions(pieces: Generator[ChatResponse, None, None]) -> Generator[CompletionResponse, None, None]:
    """Turn a chat's stream into a completion's."""

    def turned() -> Generator[CompletionResponse | None, None, None]:
        with closing(pieces):
            yield None
            for piece in pieces:
                yield completion_response(piece)

    return primed(turned())


async def acompletions(pieces: AsyncGenerator[ChatResponse, None]) -> AsyncGenerator[CompletionResponse, None]:
    """Turn a chat's stream into a completion's."""

    async def turned() -> AsyncGenerator[CompletionResponse | None, None]:
        async with aclosing(pieces):
            yield None
            async for piece in pieces:
                yield completion_response(piece)

    return await aprimed(turned())
