"""What is told of a router to whoever prints, dumps or traces it: its parts in a few words, never a secret.

Its profile is what all of its members can do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, ModelProfile

from bestroute.billing.budget import Budget
from bestroute.errors.credentials import is_secret, without_secrets
from langchain_bestroute import providers
from langchain_bestroute.members import chat_model_in, fingerprint


def described(part: Any) -> Any:
    """Return what may be told of a part of the router, plain JSON.

    Example:
        >>> described({"small": "openai:gpt-4o-mini", "own": len})
        {'small': 'openai:gpt-4o-mini', 'own': 'builtins.len'}
    """
    if part is None or isinstance(part, str | int | float | bool):
        return part
    if isinstance(part, Budget):
        return part.usd
    if isinstance(model := chat_model_in(part), BaseChatModel):
        return {"class": type(model).__name__, "model": providers.model_name(model)}
    if isinstance(part, Mapping):
        return {str(name): described(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [described(item) for item in part]
    name = getattr(part, "__qualname__", None) or type(part).__qualname__
    return f"{getattr(part, '__module__', '')}.{name}"


def without_keys(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return call parameters without secrets; where there are some, a digest tells which."""
    if not params:
        return {}
    told = without_secrets(params)
    return told if told == params else {**told, "secrets": fingerprint(dict(params))}


def traced_tool(tool: Any) -> Any:
    """Return a tool as traces may show it: one that a provider has built in is told without its credentials.

    Example:
        >>> traced_tool({"type": "mcp", "server_label": "wiki", "headers": {"Authorization": "Bearer 1"}})
        {'type': 'mcp', 'server_label': 'wiki', 'headers': '**REDACTED**'}
    """
    if not isinstance(tool, Mapping) or "function" in tool:  # whose schema may name an argument "token"
        return tool
    return {name: "**REDACTED**" if is_secret(str(name), value) else value for name, value in tool.items()}


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
