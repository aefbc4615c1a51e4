"""Between LlamaIndex's messages and the core: what a query is, whose turn it is, what a member may be sent."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.agent.react.types import ObservationReasoningStep
from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    CitableBlock,
    ContentBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)

from bestroute._utils.text import encodable_within, is_encodable
from bestroute.adapters.tool_call_ids import portable_id
from bestroute.selection import Call, render_calls
from bestroute.types.content import media_tokens
from bestroute.types.query import Query
from bestroute.types.usage import IMAGE_TOKENS, estimate_tokens
from llamaindex_bestroute.rag_query import RagQuestion, read_back

METADATA_KEY = "bestroute"
_MEDIA: tuple[tuple[type[Any], str, str], ...] = (
    (DocumentBlock, "data", "document_mimetype"),
    (AudioBlock, "audio", ""),
    (VideoBlock, "video", ""),
)
"""Blocks of media, the fields of their data and of its type."""
_SYSTEM = (MessageRole.SYSTEM, MessageRole.DEVELOPER)
_ANSWERS = (MessageRole.ASSISTANT, MessageRole.CHATBOT, MessageRole.MODEL)
_TOOL_RESULTS = (MessageRole.TOOL, MessageRole.FUNCTION)


def to_query(
    messages: Sequence[ChatMessage],
    tools: Sequence[Mapping[str, Any]] | None,
    params: Mapping[str, Any],
    rag: RagQuestion | None,
) -> Query:
    """Return the query that messages hold: the question decides, the size of everything counts.

    Args:
        messages: As the caller gave them; passed through untouched.
        tools: On offer, OpenAI's dicts.
        params: Call parameters for the members.
        rag: What the messages' template was filled with, where that is known.
    """
    system = "\n\n".join(message.content or "" for message in messages if message.role in _SYSTEM)
    if rag is None:
        rag, (system, material) = read_back(last_human_text(messages)), read_back(system)
        rag = RagQuestion(rag.question, "\n\n".join(part for part in (material, rag.context) if part))
    else:
        system = system.replace(rag.context, "").strip()
        rag = RagQuestion(rag.question or last_human_text(messages).replace(rag.context, "").strip(), rag.context)
    tokens = sum(estimate_tokens(whole_text(message)) for message in messages)
    tokens += sum(_tokens_beside_text(block) for message in messages for block in message.blocks)
    if (structure := getattr(messages, "structure", None)) is not None:
        tokens += estimate_tokens(structure.written)
    if tools:
        tokens += estimate_tokens(json.dumps(tools))
    return Query(
        text=rag.question,
        messages=messages,
        tools=tools or None,
        system=system,
        context=rag.context,
        input_tokens=tokens,
        params=params,
    )


def _tokens_beside_text(block: Any) -> int:
    """Estimate what a block counts that is neither text of the message nor a tool call."""
    if isinstance(block, ImageBlock):
        return IMAGE_TOKENS
    for kind, name, type_name in _MEDIA:
        if isinstance(block, kind):
            data, mime_type = getattr(block, name), getattr(block, type_name, None) or ""
            size = len(data) * 3 // 4 if isinstance(data, bytes) else 0  # LlamaIndex keeps it in base64
            return media_tokens("text" if mime_type.startswith("text/") else name, size) or IMAGE_TOKENS
    inner = block.content if isinstance(block, CitableBlock) else ()
    return sum(estimate_tokens(b.text) if isinstance(b, TextBlock) else _tokens_beside_text(b) for b in inner)


def last_human_text(messages: Sequence[ChatMessage]) -> str:
    """Return the last text of the human; what a ReAct agent notes down in the human's name is a tool's."""
    for i in reversed(range(len(messages))):
        text = messages[i].content or ""
        is_observation = i > 0 and messages[i - 1].role in _ANSWERS and text.startswith(_observation())
        if messages[i].role == MessageRole.USER and not is_observation:
            return text
    return ""


@functools.cache
def _observation() -> str:
    return ObservationReasoningStep(observation="").get_content()


def whole_text(message: ChatMessage) -> str:
    """Return what a reward model reads: the text, and tool calls written out."""
    return "\n".join(part for part in (message.content, render_calls(calls_of(message))) if part)


def tool_calls(message: ChatMessage) -> list[ToolCallBlock]:
    """Return a message's tool calls as LlamaIndex has them."""
    return [block for block in message.blocks if isinstance(block, ToolCallBlock)]


def calls_of(message: ChatMessage) -> list[Call]:
    """Return a message's tool calls as the core judges them."""
    return [Call.parse(block.tool_name, block.tool_kwargs) for block in tool_calls(message)]


def author(message: ChatMessage) -> str | None:
    """Return the pool name of the model that wrote a message, if a router's answer says so."""
    metadata = message.additional_kwargs.get(METADATA_KEY)
    return metadata.get("model") if isinstance(metadata, dict) else None


def turn_owner(messages: Sequence[ChatMessage]) -> str | None:
    """Return the pool name of the model whose tool calls the last messages answer, if they do.

    Read from the messages alone, so that it survives checkpoints and other processes.
    """
    for message in reversed(messages):
        if message.role in _TOOL_RESULTS:
            continue
        is_call = message.role in _ANSWERS and (tool_calls(message) or message.additional_kwargs.get("tool_calls"))
        return author(message) if is_call and message is not messages[-1] else None
    return None


def for_member(messages: Sequence[ChatMessage], name: str, *, calls_in_blocks: bool = True) -> list[ChatMessage]:
    """Return copies of messages that a member may be sent.

    Our own notes are taken off. Turns of other members lose what only their provider understands (thoughts with
    their signatures, raw tool calls), their tool calls' arguments become objects, and the calls' ids, with the
    results that answer them, take a form that every provider accepts. What nobody of the pool wrote stays as it is, if
    it can be sent.

    Args:
        messages: The conversation.
        name: Pool name of the member.
        calls_in_blocks: Whether its integration keeps tool calls in blocks; if not, in ``additional_kwargs``.
    """
    ids: dict[str, str] = {}
    ready = []
    for place, message in enumerate(messages):
        if message.role in _ANSWERS:
            known = [call.tool_call_id for call in tool_calls(message) if call.tool_call_id]
            author_is_unknown = author(message) is None
            is_foreign = not author_is_unknown and author(message) != name
            ids = {call_id: portable_id(call_id, place) for call_id in known} if is_foreign else {}
            message = _stripped(message, ids) if is_foreign else _own(message, calls_in_blocks=calls_in_blocks)
            ready.append(message if calls_in_blocks or author_is_unknown else _calls_noted(message))
        else:
            kept = {k: v for k, v in message.additional_kwargs.items() if k != METADATA_KEY}
            if (answered := kept.get("tool_call_id")) in ids:
                kept["tool_call_id"] = ids[answered]
            ready.append(message.model_copy(update={"additional_kwargs": kept}))
    return [_encodable(message) for message in ready]


def _encodable(message: ChatMessage) -> ChatMessage:
    """Return a message that can be sent: lone surrogates, which no client encodes, as their escapes."""
    notes = message.additional_kwargs
    blocks = [block if is_encodable(vars(block)) else _encodable_block(block) for block in message.blocks]
    if is_encodable(notes) and all(new is old for new, old in zip(blocks, message.blocks, strict=True)):
        return message
    return message.model_copy(update={"blocks": blocks, "additional_kwargs": encodable_within(notes)})


def _encodable_block(block: ContentBlock) -> ContentBlock:
    fields = {name: value for name, value in vars(block).items() if not is_encodable(value)}
    return block.model_copy(update=encodable_within(fields))


def _own(message: ChatMessage, *, calls_in_blocks: bool) -> ChatMessage:
    """Return a member's own message, or one of which nobody says who wrote it, without our notes."""
    is_noted_twice = author(message) and tool_calls(message) and calls_in_blocks
    ours = (METADATA_KEY, "tool_calls") if is_noted_twice else (METADATA_KEY,)
    kept = {key: value for key, value in message.additional_kwargs.items() if key not in ours}
    return message.model_copy(update={"additional_kwargs": kept})


def _stripped(message: ChatMessage, ids: Mapping[str, str]) -> ChatMessage:
    """Return what any model may read of another's message."""
    blocks: list[ContentBlock] = [
        _portable_call(block, ids) if isinstance(block, ToolCallBlock) else block
        for block in message.blocks
        if not isinstance(block, ThinkingBlock)
    ]
    return message.model_copy(update={"blocks": blocks or [TextBlock(text="")], "additional_kwargs": {}})


def _calls_noted(message: ChatMessage) -> ChatMessage:
    """Return the message with its tool calls in ``additional_kwargs`` alone, as the member or else OpenAI has them."""
    calls = tool_calls(message)
    if not calls:
        return message
    noted = {"tool_calls": [call_dict(call) for call in calls], **message.additional_kwargs}
    blocks = [block for block in message.blocks if not isinstance(block, ToolCallBlock)]
    return message.model_copy(update={"blocks": blocks, "additional_kwargs": noted})


def _portable_call(call: ToolCallBlock, ids: Mapping[str, str]) -> ToolCallBlock:
    arguments = Call.parse(call.tool_name, call.tool_kwargs).arguments
    return ToolCallBlock(
        tool_call_id=ids.get(call.tool_call_id or ""), tool_name=call.tool_name, tool_kwargs=dict(arguments or {})
    )


def plain_dicts(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Return messages as OpenAI's dicts: text, tool calls and their results."""
    return [_plain_dict(message) for message in messages]


def _plain_dict(message: ChatMessage) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role.value, "content": message.content or ""}
    if calls := tool_calls(message):
        plain["tool_calls"] = [call_dict(call) for call in calls]
    if message.role in _TOOL_RESULTS and "tool_call_id" in message.additional_kwargs:
        plain["tool_call_id"] = message.additional_kwargs["tool_call_id"]
    return plain


def call_dict(call: ToolCallBlock) -> dict[str, Any]:
    """Return a tool call as OpenAI's dict."""
    given = call.tool_kwargs
    arguments = given if isinstance(given, str) else json.dumps(given, default=str)
    return {"id": call.tool_call_id, "type": "function", "function": {"name": call.tool_name, "arguments": arguments}}
