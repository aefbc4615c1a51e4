"""Connections that a copy of a member opens in an event loop: they are ours, and end with that loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bestroute._utils.loops import at_loop_end

_WAITING = "_bestroute_connections"
"""Under this name a copy holds what closes them, so that they are open as long as anybody uses the copy."""


def close_at_loop_end(copied: Any, original: Any) -> None:
    """Close what a copy has opened and its original does not share, when the running loop ends or the copy is gone.

    Args:
        copied: An object whose attributes hold clients, now or later.
        original: What it was copied from.
    """
    shared = list(_connections(_attributes(original)))
    kept = _attributes(copied)

    async def close() -> None:
        for connections in list(_connections(kept)):
            if not any(connections is theirs for theirs in shared):
                await connections.aclose()

    object.__setattr__(copied, _WAITING, at_loop_end(close))


def _attributes(holder: Any) -> list[Mapping[str, Any]]:
    return [holder.__dict__, getattr(holder, "__pydantic_private__", None) or {}]


def _connections(attributes: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    """Yield pools of async connections, of httpx's kind: of clients that hold one, and of resources of such clients."""
    for value in [value for held in attributes for name, value in list(held.items()) if name != _WAITING]:
        for _ in range(3):
            if hasattr(type(value), "aclose") and hasattr(type(value), "is_closed"):
                yield value
                break
            value = getattr(value, "__dict__", {}).get("_client")
