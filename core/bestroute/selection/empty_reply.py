"""Detect empty replies, which are unusable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from bestroute.errors.facts import field
from bestroute.types.sample import Sample

EMPTY = "the reply is empty"


_LABELS = frozenset(
    (
        *("usage", "stop_reason", "finish_reason", "done_reason", "status", "id", "role", "name", "object", "type"),
        *("model", "model_name", "model_provider", "service_tier", "system_fingerprint", "created_at", "bestroute"),
    )
)
"""Metadata of a message, which is not content."""
_OF_A_CALL = ("id", "type", "index")
"""Metadata of a tool call or an audio block, which is not content."""
_THOUGHTS = frozenset(
    (
        *("thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoning_details", "thinking_delta"),
        *("thinking_blocks", "thought_signatures", "signature"),
    )
)
"""Names of fields and blocks that hold a model's reasoning."""


def flaw_of(sample: Sample) -> str | None:
    """Return why a sample is unusable; ``None`` if it is usable. Reasoning without an answer is unusable."""
    if sample.text.strip() or carries_something(sample.payload, besides=_THOUGHTS):
        return None
    return EMPTY


def carries_something(payload: Any, *, besides: Set[str] = frozenset()) -> bool:
    """Return whether a framework's message has content besides text: tool calls, an image, a refusal.

    Args:
        payload: A message, or an object with a ``message``.
        besides: Types of blocks, and names of fields, that do not count.
    """
    message = getattr(payload, "message", payload)
    if any(isinstance(refusal, str) and refusal for refusal in _refusals(message, getattr(payload, "raw", None))):
        return True
    for name in ("tool_calls", "tool_call_chunks", "invalid_tool_calls", "function_call", "audio"):
        note = getattr(message, name, None)
        if any(not _is_no_call(part) for part in (note if isinstance(note, list | tuple) else [note])):
            return True
    noted = getattr(message, "additional_kwargs", None)
    if isinstance(noted, Mapping) and holds_something([noted[n] for n in noted if n not in _LABELS | besides]):
        return True
    for name in ("content", "blocks"):
        blocks = getattr(message, name, None)
        if isinstance(blocks, list) and any(not _is_blank(part, besides) for part in blocks):
            return True
    return False


def holds_something(value: Any) -> bool:
    """Return whether a value has content; ``None``, blanks, numbers and empty containers have none.

    Example:
        >>> [holds_something(noted) for noted in ({"refusal": None}, {"a": [{}, ""]}, {"refusal": "I cannot."})]
        [False, False, True]
    """
    if isinstance(value, Mapping):
        return any(map(holds_something, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(holds_something, value))
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and not isinstance(value, bool | int | float)


def _refusals(message: Any, raw: Any) -> Iterator[Any]:
    """Yield where a refusal may stand: in the message, or in the provider's reply that LlamaIndex keeps beside it."""
    yield field(message, "refusal")
    choices = field(raw, "choices")
    for choice in choices if isinstance(choices, list | tuple) else ():
        yield from (field(field(choice, name), "refusal") for name in ("message", "delta"))


def _is_no_call(value: Any) -> bool:
    """Return whether a value in a tool call's place is not one, or empty, as broken servers may send."""
    held = value if isinstance(value, Mapping) else getattr(value, "__dict__", value)
    if isinstance(held, Mapping):
        return not holds_something([held[name] for name in held if name not in _OF_A_CALL])
    return held is None or isinstance(held, bool | int | float | str) or held == []


def _is_blank(part: Any, besides: Set[str]) -> bool:
    if isinstance(part, str):
        return not part.strip()
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "block_type", None)
    text = part.get("text") if isinstance(part, dict) else getattr(part, "text", None)
    return kind in besides or (kind in (None, "text") and not (text or "").strip())
