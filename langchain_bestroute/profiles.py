"""What a pool of chat models can do: what all of its members can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.language_models import ModelProfile


def intersection(profiles: Sequence[Mapping[str, Any] | None]) -> ModelProfile | None:
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
    told = [profile for profile in profiles if profile]
    if not told or len(told) < len(profiles):
        return None
    shared: dict[str, Any] = {}
    for key in told[0]:
        values = [profile[key] for profile in told if profile.get(key) is not None]
        if len(values) < len(told):
            continue
        if all(isinstance(value, bool) for value in values):
            shared[key] = all(values)
        elif key.startswith("max_"):
            shared[key] = min(values)
        elif all(isinstance(value, list) for value in values):
            shared[key] = [item for item in values[0] if all(item in value for value in values)]
    return cast("ModelProfile", shared)
