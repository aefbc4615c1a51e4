"""The interface between the engine's results and a protocol's answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from bestroute.engine.result import Result
from bestroute.server.api_errors import ApiErrorBody
from bestroute.types.sample import Delta

Event = tuple[str | None, Any]
"""Name and data of a server-sent event."""


class Wire(Protocol):
    """The format of one answer in a protocol."""

    def whole(self, result: Result) -> dict[str, Any]:
        """Return the complete answer as JSON."""
        ...

    def pieces(self, delta: Delta) -> Iterable[Event]:
        """Yield the events of one piece of a streamed answer."""
        ...

    def end(self, result: Result) -> Iterable[Event]:
        """Yield the events that end it."""
        ...

    def failed(self, error: ApiErrorBody) -> Iterable[Event]:
        """Yield the event that ends a stream with an error."""
        ...
