"""From what the engine streams to LangChain's chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk

from bestroute.engine.result import Result
from bestroute.types.sample import Delta
from langchain_bestroute.messages import METADATA_KEY, with_billed_usage


class Chunks:
    """Turns deltas and the result into chunks of one message.

    All chunks have one id, from where the member tells one (the Responses API's ``msg_...`` comes after the thoughts).
    Our metadata is on exactly one of them, the last, because joining chunks joins strings too; so is the usage, which
    is that of all samples together.

    Args:
        winner: From a result to the whole message.
    """

    def __init__(self, winner: Callable[[Result], AIMessage]) -> None:
        """Start with no chunk."""
        self.winner = winner
        self.last: ChatGenerationChunk | None = None
        self.is_streamed = self.has_blocks = self.has_parsed = self._has_begun = False
        self.id: str | None = None
        self.metadata_names: set[str] = set()

    def of(self, piece: Delta | Result) -> Iterator[ChatGenerationChunk]:
        """Yield what becomes of one piece; the last chunk waits for the result."""
        for chunk in self._of(piece):
            yield (
                chunk if self._has_begun else BilledChunk(message=chunk.message, generation_info=chunk.generation_info)
            )
            self._has_begun = True

    def _of(self, piece: Delta | Result) -> Iterator[ChatGenerationChunk]:
        if isinstance(piece, Result):
            yield self._end(piece)
        elif isinstance(piece.payload, ChatGenerationChunk):
            chunk = self._as_ours(piece.payload)
            if self.last is not None:  # it was not the last
                message = self.last.message.model_copy(update={"chunk_position": None})
                yield ChatGenerationChunk(message=message, generation_info=self.last.generation_info)
                self.last = None
            if getattr(chunk.message, "chunk_position", None) == "last":
                self.last = chunk
            else:
                yield chunk
        elif piece.text and not isinstance(piece.payload, BaseMessage):  # of a generator that knows no LangChain
            self.is_streamed = True
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece.text))

    def _as_ours(self, chunk: ChatGenerationChunk) -> ChatGenerationChunk:
        """Note what a member's chunk tells; take from it the id and the usage that are not the message's."""
        message = chunk.message
        self.is_streamed = True
        self.id = self.id or message.id
        self.has_blocks = isinstance(message.content, list)
        self.has_parsed |= message.additional_kwargs.get("parsed") is not None
        self.metadata_names |= {*message.response_metadata, *(chunk.generation_info or {})}
        changed: dict[str, Any] = {}
        if message.id != self.id:
            changed["id"] = self.id
        if getattr(message, "usage_metadata", None) is not None:
            changed["usage_metadata"] = None
        if not changed:
            return chunk
        return ChatGenerationChunk(
            message=message.model_copy(update=changed), generation_info=chunk.generation_info, text=chunk.text
        )

    def _end(self, result: Result) -> ChatGenerationChunk:
        message = self.winner(result)
        if not self.is_streamed:
            return ChatGenerationChunk(message=as_chunk(message), generation_info=notes_of(result))
        last = self.last or ChatGenerationChunk(
            message=AIMessageChunk(content=[] if self.has_blocks else "", id=self.id, chunk_position="last")
        )
        about = {METADATA_KEY: message.response_metadata[METADATA_KEY]}
        if "model_name" not in self.metadata_names:
            about["model_name"] = message.response_metadata["model_name"]
        update = {
            "response_metadata": {**last.message.response_metadata, **about},
            "usage_metadata": message.usage_metadata,
        }
        if not self.has_parsed and (parsed := message.additional_kwargs.get("parsed")) is not None:
            update["additional_kwargs"] = {**last.message.additional_kwargs, "parsed": parsed}
        return ChatGenerationChunk(message=last.message.model_copy(update=update), generation_info=last.generation_info)


class BilledChunk(ChatGenerationChunk):
    """The first chunk of a stream, which keeps dollars beside tokens where LangChain joins all of them for handlers."""

    def __add__(self, other: Any) -> ChatGenerationChunk:
        """Join, and take the dollars from the last."""
        joined = super().__add__(other)
        joined.message = with_billed_usage(joined.message)
        return joined


def notes_of(result: Result) -> dict[str, Any] | None:
    """Return the ``generation_info`` of the chosen sample."""
    notes: dict[str, Any] | None = result.samples[result.chosen].sample.notes
    return notes


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """Return a whole message as the one chunk of a stream."""
    own = {"type", "tool_calls", "invalid_tool_calls", "additional_kwargs", "tool_call_chunks", "chunk_position"}
    chunk = AIMessageChunk(
        **message.model_dump(exclude=own),
        additional_kwargs=dict(message.additional_kwargs),  # objects in them (``parsed``) stay objects
        tool_calls=message.tool_calls,
        invalid_tool_calls=message.invalid_tool_calls,
        chunk_position="last",
    )
    return with_billed_usage(chunk)
