"""What a query needs beyond text, what a model can do, and what it therefore lacks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple


class Needs(NamedTuple):
    """What a query needs of the model that answers it."""

    tools: bool = False
    tool_choice: bool = False
    """A call is required, or one tool is named."""
    structured_output: bool = False
    images: bool = False
    audio: bool = False
    files: bool = False
    """PDF files and the like."""
    tokens: int = 0
    """Length of the prompt."""


@dataclass(frozen=True)
class Abilities:
    """What a model can do; ``None`` where nobody told, which is taken for yes."""

    tools: bool | None = None
    tool_choice: bool | None = None
    structured_output: bool | None = None
    images: bool | None = None
    audio: bool | None = None
    files: bool | None = None
    context_window: int | None = None
    """The most tokens of a prompt."""

    @cached_property
    def lacking(self) -> tuple[str, ...]:
        """What it is said not to do."""
        return tuple(name for name in _IN_WORDS if getattr(self, name) is False)


_IN_WORDS = {
    "tools": "cannot call tools",
    "tool_choice": "cannot be made to call a tool",
    "structured_output": "has no structured output",
    "images": "takes no images",
    "audio": "takes no audio",
    "files": "takes no files",
}


def shortfall(needs: Needs, abilities: Abilities) -> str | None:
    """Say what a model lacks for a query; ``None`` if nothing.

    Example:
        >>> shortfall(Needs(images=True), Abilities(images=False))
        'it takes no images'
        >>> shortfall(Needs(tokens=9000), Abilities(context_window=8192))
        'its context holds 8192 tokens, the prompt has about 9000'
    """
    for name in abilities.lacking:
        if getattr(needs, name):
            return f"it {_IN_WORDS[name]}"
    window = abilities.context_window
    if window is not None and needs.tokens > window:
        return f"its context holds {window} tokens, the prompt has about {needs.tokens}"
    return None


def intersection(profiles: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Return the profile of a pool.

    Args:
        profiles: Of each member.

    Returns:
        Of limits the smallest, of abilities those that all have, of what the members do not all tell nothing;
        ``None`` if a member has no profile at all.

    Example:
        >>> intersection(
        ...     [{"max_input_tokens": 9, "tool_calling": True}, {"max_input_tokens": 5, "tool_calling": False}]
        ... )
        {'max_input_tokens': 5, 'tool_calling': False}
    """
    known = [profile for profile in profiles if profile]
    if not known or len(known) < len(profiles):
        return None
    shared: dict[str, Any] = {}
    for key in known[0]:
        values = [profile[key] for profile in known if profile.get(key) is not None]
        if len(values) < len(known):
            continue
        if all(isinstance(value, bool) for value in values):
            shared[key] = all(values)
        elif key.startswith("max_"):
            shared[key] = min(values)
        elif all(isinstance(value, list) for value in values):
            shared[key] = [item for item in values[0] if all(item in value for value in values)]
    return shared
