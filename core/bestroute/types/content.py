"""The content of a message: a text, or parts of which some have one, and what all of it counts in a prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bestroute.errors.facts import field
from bestroute.types.usage import IMAGE_TOKENS, estimate_tokens

_IMAGES = ("image", "image_url", "input_image")
_SOUND = ("audio", "input_audio", "video", "input_video")
_MEDIA = (*_SOUND, "file", "document", "input_file", "media")
_BYTES_PER_TOKEN = {**dict.fromkeys(_SOUND, 500), "text": 4}
_BYTES_PER_TOKEN_OF_A_DOCUMENT = 100
_DATA = ("base64", "data", "file_data", "bytes")
_NOT_READ = frozenset(
    {"thinking", "redacted_thinking", "reasoning", "reasoning_content", "tool_use", "tool_call", "tool_call_chunk"}
    | {"invalid_tool_call", "function_call", "custom_tool_call", "server_tool_use", "input_json_delta"}
)
"""Blocks of an answer that the next prompt does not hold, or holds as its tool calls, which are counted apart."""
_ABOUT = frozenset(
    {"type", "id", "index", "name", "title", "format", "filename", "detail", "mime_type", "media_type", "cache_control"}
    | {"url", "file_id", "file_url", "file_uri", "tool_use_id", "call_id", "source_type", "extras", "metadata"}
    | {"annotations", "citations", "logprobs", "signature", "encrypted_content", "phase", "partial_json"}
)
"""What a block says of itself."""
_DEEPEST = 8


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of strings, mappings and objects.

    Example:
        >>> text_of([{"type": "text", "text": "What is "}, {"type": "image_url"}, "this?"])
        'What is this?'
    """
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else ()
    texts = (part if isinstance(part, str) else field(part, "text") for part in blocks)
    return "".join(text for text in texts if isinstance(text, str))


def content_tokens(content: Any) -> int:
    """Estimate what a message's content counts in a prompt: texts, images, documents, sound, blocks inside of blocks.

    Example:
        >>> content_tokens("two words"), content_tokens([{"type": "text", "text": "two words"}, {"type": "image_url"}])
        (3, 1603)
        >>> content_tokens([{"type": "tool_result", "content": [{"type": "text", "text": "two words"}]}])
        3
    """
    return _tokens_in(content, "", _DEEPEST)


def media_tokens(kind: str, size: int) -> int:
    """Estimate what so many bytes count, which only their provider can tell.

    Args:
        kind: ``"image"``, ``"audio"``, ``"video"``, ``"text"``; anything else is a document, a PDF for one.
        size: Bytes.
    """
    if kind in _IMAGES:
        return IMAGE_TOKENS
    if (per_token := _BYTES_PER_TOKEN.get(kind)) is not None:
        return math.ceil(size / per_token)
    return max(IMAGE_TOKENS, size // _BYTES_PER_TOKEN_OF_A_DOCUMENT)


def _tokens_in(value: Any, kind: str, depth: int) -> int:
    if isinstance(value, str):
        return estimate_tokens(value) if value else 0
    if isinstance(value, bytes):
        return media_tokens(kind, len(value))
    if not depth:
        return 0
    if isinstance(value, list | tuple):
        return sum(_tokens_in(part, kind, depth - 1) for part in value)
    return _tokens_of_block(value, _kind_of(value) or kind, depth) if isinstance(value, Mapping) else 0


def _tokens_of_block(block: Mapping[Any, Any], kind: str, depth: int) -> int:
    if kind in _NOT_READ:
        return 0
    if kind in _IMAGES:
        return IMAGE_TOKENS
    tokens = 0
    for name, part in block.items():
        if name in _DATA and isinstance(part, str) and block.get("type") != "text":  # in base64
            tokens += media_tokens(kind, len(part) * 3 // 4)
        elif name not in _ABOUT:
            tokens += _tokens_in(part, kind or str(name), depth - 1)
    return tokens or (IMAGE_TOKENS if kind in _MEDIA else 0)  # named by an address: as much as a page


def _kind_of(block: Mapping[Any, Any]) -> str:
    """Return what a block is, as its type of media tells, or else itself."""
    mime_type, kind = block.get("mime_type") or block.get("media_type"), block.get("type")
    if kind == "text" or not isinstance(mime_type, str):
        return kind if isinstance(kind, str) else ""
    main = mime_type.partition("/")[0]
    return "file" if main == "application" else main
