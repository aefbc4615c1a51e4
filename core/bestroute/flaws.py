"""What makes a sample unusable though it came."""

from __future__ import annotations

from typing import Any

from bestroute.protocols import Sample

EMPTY = "the reply is empty"


def flaw_of(sample: Sample) -> str | None:
    """Return why a sample cannot be used, ``None`` if it can."""
    if sample.text.strip() or carries_something(sample.payload):
        return None
    return EMPTY


def carries_something(payload: Any) -> bool:
    """Whether a framework's object holds something besides text: tool calls, an image, a refusal."""
    message = getattr(payload, "message", payload)
    if isinstance(refusal := getattr(message, "refusal", None), str) and refusal:
        return True
    for name in ("tool_calls", "tool_call_chunks", "function_call", "audio"):
        told = getattr(message, name, None)
        if any(not _is_scalar(part) for part in (told if isinstance(told, list | tuple) else [told])):
            return True
    if any(getattr(message, "additional_kwargs", None) or {}):
        return True
    for name in ("content", "blocks"):
        parts = getattr(message, name, None)
        if isinstance(parts, list) and any(not _is_blank_text(part) for part in parts):
            return True
    return False


def _is_scalar(value: Any) -> bool:
    """Whether it is no object: what a broken server may say in a call's place carries nothing."""
    return value is None or isinstance(value, bool | int | float | str)


def _is_blank_text(part: Any) -> bool:
    if isinstance(part, str):
        return not part.strip()
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "block_type", None)
    text = part.get("text") if isinstance(part, dict) else getattr(part, "text", None)
    return kind in (None, "text") and not (text or "").strip()
