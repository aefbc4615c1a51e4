"""What is told of a router to whoever prints, dumps or traces it: its parts in a few words, never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

from bestroute.billing.budget import Budget
from bestroute.errors.credentials import is_secret, without_secrets
from langchain_bestroute import providers
from langchain_bestroute.fingerprint import fingerprint
from langchain_bestroute.members import chat_model_in


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
