"""The content of a message: a text, or parts of which some have one."""

from __future__ import annotations

from typing import Any

from bestroute.errors.facts import field


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
