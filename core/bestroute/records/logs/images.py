"""Convert images in logged turns to OpenAI's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KINDS = ("image", "input_image", "image_url", "image-url", "uri", "blob", "binary")


def image_part(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an image part in the format of chat completions; ``None`` for any other part.

    Args:
        part: A content part in Anthropic's, LangChain's, the Responses API's, OpenTelemetry's or OpenInference's
            format.

    Example:
        >>> image_part({"type": "input_image", "image_url": "https://a/b.png"})
        {'type': 'image_url', 'image_url': {'url': 'https://a/b.png'}}
        >>> image_part({"type": "blob", "modality": "image", "mime_type": "image/png", "content": "AAA"})
        {'type': 'image_url', 'image_url': {'url': 'data:image/png;base64,AAA'}}
    """
    if part.get("type") not in _KINDS or part.get("modality", "image") != "image":
        return None
    if isinstance(part.get("image_url"), Mapping):
        return dict(part)
    source = part["source"] if isinstance(part.get("source"), Mapping) else part
    address = _address(source) or _data(source)
    return {"type": "image_url", "image_url": {"url": address}} if address else None


def _address(source: Mapping[str, Any]) -> str | None:
    inner: Any = source.get("image")
    for _ in range(2):
        inner = inner.get("image", inner) if isinstance(inner, Mapping) else {}
    found = (source.get(name) for name in ("image_url", "url", "uri", "image.image.url", "image.url"))
    return next((one for one in (*found, inner.get("url")) if isinstance(one, str) and one), None)


def _data(source: Mapping[str, Any]) -> str | None:
    data = next((source[name] for name in ("data", "base64", "content") if isinstance(source.get(name), str)), None)
    kind = next((source[name] for name in ("media_type", "mime_type") if isinstance(source.get(name), str)), "")
    return f"data:{kind};base64,{data}" if data and kind.startswith("image/") else None
