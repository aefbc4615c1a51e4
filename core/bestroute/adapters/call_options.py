"""What of a call's arguments is the engine's, and what goes on to the members."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from bestroute.engine.call_context import CALL_OPTIONS, STICKY, CallOptions

CALL_ARGUMENTS = tuple(name for name in CALL_OPTIONS if name not in ("reason", "thread", "budget"))
"""Arguments of a call that are the engine's, whatever the framework."""


def take_options(
    params: dict[str, Any], *, owner: str | None, models: Collection[str], names: Iterable[str] = CALL_ARGUMENTS
) -> CallOptions:
    """Take the engine's options out of a call's arguments; the rest are the members'.

    Args:
        params: The arguments; what is taken is gone from them.
        owner: The pool name of the model whose tool calls the last messages answer; it is wished for.
        models: The pool's.
        names: Which arguments are the engine's.

    Example:
        >>> params = {"model": "small", "n": 3, "temperature": 0.2}
        >>> take_options(params, owner=None, models=["small", "large"]), params
        ({'model': 'small', 'n': 3}, {'temperature': 0.2})
        >>> take_options({}, owner="small", models=["small", "large"])["model"]
        'small'
    """
    options: dict[str, Any] = {name: params.pop(name) for name in names if name in params}
    if options.get("model") is None and owner in models:
        options |= {"model": owner, "reason": STICKY}
    return options  # type: ignore[return-value]
