"""Check that user functions called from threads are not async, since nothing would await their result."""

from __future__ import annotations

from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any

from bestroute.errors import ConfigError


def is_async(function: Any) -> bool:
    """Return whether a function, method or callable object must be awaited."""
    while isinstance(function, partial):
        function = function.func
    called = getattr(function, "__call__", None)  # noqa: B004 - an object's own, not whether it has one
    return any(iscoroutinefunction(one) or isasyncgenfunction(one) for one in (function, called))


def check_plain(name: str, function: Any) -> None:
    """Refuse an async function.

    Args:
        name: Of the argument or method, for the sentence.
        function: What was given; ``None`` is nothing.

    Raises:
        ConfigError: If it is async.
    """
    if is_async(function):
        raise ConfigError(f"{name} is an async function, and nobody would await it; give one by plain def")
