"""What is told of a router to whoever prints, dumps or traces it: its parts in a few words, never a secret.

Its profile is what all of its members can do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, ModelProfile

from bestroute.adapters.capabilities import intersection
from bestroute.adapters.description import described as described_of
from bestroute.errors.credentials import is_secret, without_secrets
from langchain_bestroute import providers
from langchain_bestroute.members import chat_model_in, fingerprint


def described(part: Any) -> Any:
    """Return what may be told of a part of the router, plain JSON."""
    return described_of(part, _of_chat_model)


def _of_chat_model(part: Any) -> Any:
    model = chat_model_in(part)
    is_model = isinstance(model, BaseChatModel)
    return {"class": type(model).__name__, "model": providers.model_name(model)} if is_model else None


def without_keys(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return call parameters without secrets; where there are some, a digest tells which."""
    if not params:
        return {}
    shown = without_secrets(params)
    return shown if shown == params else {**shown, "secrets": fingerprint(dict(params))}


def traced_tool(tool: Any) -> Any:
    """Return a tool as traces may show it: one that a provider has built in is told without its credentials.

    Example:
        >>> traced_tool({"type": "mcp", "server_label": "wiki", "headers": {"Authorization": "Bearer 1"}})
        {'type': 'mcp', 'server_label': 'wiki', 'headers': '**REDACTED**'}
    """
    if not isinstance(tool, Mapping) or "function" in tool:  # whose schema may name an argument "token"
        return tool
    return {name: "**REDACTED**" if is_secret(str(name), value) else value for name, value in tool.items()}


def pool_profile(profiles: Sequence[Mapping[str, Any] | None]) -> ModelProfile | None:
    """Return the profile of a pool from those of its members; ``None`` if one has none."""
    return cast("ModelProfile | None", intersection(profiles))
