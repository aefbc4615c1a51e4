"""What is told of a pool to whoever prints, dumps or traces it: its parts in a few words, never a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bestroute.billing.budget import Budget
from bestroute.types.protocols import Generator


def described(part: Any, of_model: Callable[[Any], Any] = lambda part: None) -> Any:
    """Return what may be told of a part of a router, plain JSON.

    Args:
        part: A field's value.
        of_model: What is told of one of the framework's models; ``None`` of anything else.

    Example:
        >>> described({"small": "openai:gpt-4o-mini", "own": len})
        {'small': 'openai:gpt-4o-mini', 'own': 'builtins.len'}
    """
    if part is None or isinstance(part, str | int | float | bool):
        return part
    if isinstance(part, Budget):
        return part.usd
    if (about := of_model(part)) is not None:
        return about
    if isinstance(part, Mapping):
        return {str(name): described(value, of_model) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [described(item, of_model) for item in part]
    name = getattr(part, "__qualname__", None) or type(part).__qualname__
    return f"{getattr(part, '__module__', '')}.{name}"


def pool_name(models: Iterable[str]) -> str:
    """Return what a pool is called where a framework wants a model's name.

    Example:
        >>> pool_name(["small", "large"])
        'bestroute:small+large'
    """
    return "bestroute:" + "+".join(models)


def provider_name(generator: Generator, pool_name: str) -> str:
    """Return what the provider calls a member's model, as far as the member tells; else its name in the pool."""
    names = (getattr(generator, "model_name", None), getattr(generator, "model", None))
    return next((name for name in names if isinstance(name, str) and name), pool_name)
