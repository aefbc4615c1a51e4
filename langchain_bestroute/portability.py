"""A conversation that moves between models: what one of them may not see of another is left out, ids made to fit.

Providers sign, encrypt or number parts of what they say (reasoning blocks, response and item ids) and refuse the
parts of others. What counts as a model's own is told by the message itself (``response_metadata["bestroute"]``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from bestroute._utils.text import encodable_within, is_encodable
from bestroute.adapters.tool_call_ids import portable_id

METADATA_KEY = "bestroute"

_SAFE_ID = re.compile(r"[a-zA-Z0-9]{9}")
"""Call ids that every provider takes: Mistral's models take these alone, OpenAI at most 40 characters."""
_SENT = ("content", "name", "tool_calls", "invalid_tool_calls", "tool_call_id", "additional_kwargs")
"""Fields of messages that clients send."""
_SHARED_BLOCKS = ("text", "image", "audio", "video", "file")


def writer_of(message: BaseMessage) -> str | None:
    """Return the pool name of the model that wrote a message; ``None`` if no router says so."""
    told = message.response_metadata.get(METADATA_KEY)
    return told.get("model") if isinstance(told, dict) else None


def prepared(messages: Sequence[BaseMessage], model: str) -> list[BaseMessage]:
    """Return a conversation as one member may be sent it.

    Args:
        messages: The conversation; it is not changed.
        model: Pool name of the member.

    Returns:
        Its own messages, and those of which no router tells the writer, untouched, if they can be sent. Messages of
        other members without private state: text and media stay, reasoning, provider's ids and ``additional_kwargs``
        go. Ids of their tool calls that the member could refuse are replaced, in the calls and in the results alike.
    """
    messages = [_encodable(message) for message in messages]
    if all(_is_own(message, model) for message in messages):
        return messages
    ready: list[BaseMessage] = []
    taken: set[str] = set()
    new_ids: dict[str, str] = {}
    for place, message in enumerate(messages):
        if isinstance(message, AIMessage):
            is_own = _is_own(message, model)
            calls = [call["id"] for call in (*message.tool_calls, *message.invalid_tool_calls) if call["id"]]
            new_ids = {} if is_own else {id_: portable_id(id_, place) for id_ in calls if _must_change(id_, taken)}
            taken |= {new_ids.get(id_, id_) for id_ in calls}
            ready.append(message if is_own else _stripped(message, new_ids))
        elif isinstance(message, ToolMessage) and message.tool_call_id in new_ids:
            ready.append(message.model_copy(update={"tool_call_id": new_ids[message.tool_call_id]}))
        else:
            ready.append(message)
    return ready


def _encodable(message: BaseMessage) -> BaseMessage:
    """Return a message that can be sent: lone surrogates, which no client encodes, as their escapes."""
    said = {name: value for name in _SENT if (value := getattr(message, name, None)) and not is_encodable(value)}
    return message.model_copy(update=encodable_within(said)) if said else message


def _is_own(message: BaseMessage, model: str) -> bool:
    return not isinstance(message, AIMessage) or writer_of(message) in (None, model)


def _must_change(id_: str, taken: set[str]) -> bool:
    return id_ in taken or not _SAFE_ID.fullmatch(id_)


def _stripped(message: AIMessage, new_ids: Mapping[str, str]) -> AIMessage:
    """Return what any model may read of another's message."""
    return AIMessage(
        content=_shared_content(message),  # type: ignore[arg-type]
        name=message.name,
        tool_calls=[_renamed(call, new_ids) for call in message.tool_calls],
        invalid_tool_calls=[_renamed(call, new_ids) for call in message.invalid_tool_calls],
        response_metadata={METADATA_KEY: message.response_metadata[METADATA_KEY]},
    )


def _shared_content(message: AIMessage) -> str | list[dict[str, Any]]:
    """Return text alone as a string, the form every provider takes; with media as LangChain's standard blocks."""
    if isinstance(message.content, str):
        return message.content
    blocks = [dict(block) for block in message.content_blocks if block["type"] in _SHARED_BLOCKS]
    if all(block["type"] == "text" for block in blocks):
        return message.text
    return [{"type": "text", "text": b["text"]} if b["type"] == "text" else b for b in blocks]


def _renamed(call: Any, new_ids: Mapping[str, str]) -> Any:
    return {**call, "id": new_ids.get(call["id"] or "", call["id"])}
