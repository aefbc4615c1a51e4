"""One HTTP request and its answer: complete JSON, or server-sent events."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from bestroute.server.keys import ApiKey
from bestroute.server.wire import Wire
from bestroute.types.query import Query

_LONGEST_HEADER = 500
_UNPRINTABLE = re.compile(rb"[^ -~]")
_STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class Exchange:
    """State of a request while it is answered, and the methods that send its answer.

    Args:
        scope: ASGI's scope of the request.
        receive: ASGI's receive of the request.
        send: ASGI's send of the request.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start without an answer."""
        self.request = Request(scope, receive)
        self.receive, self._send = receive, send
        self.key: ApiKey | None = None
        self.query: Query | None = None
        """The query, once read; errors do not quote it."""
        self.model = ""
        """The requested model name, once it is known to be one of ours."""
        self.wire: Wire | None = None
        """Call id of an answer that may be streamed."""
        self.status = 0
        """Status of the answer; 0 before it begins."""

    async def send_json(self, data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send the complete answer as JSON."""
        await self.send_bytes(as_json(data), "application/json", status, headers)

    async def send_bytes(
        self, body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send the complete answer."""
        own = {"content-type": content_type, "content-length": str(len(body))}
        await self._start(status, {**(headers or {}), **own})
        await self._send({"type": "http.response.body", "body": body})

    async def start_stream(self, headers: Mapping[str, str]) -> None:
        """Begin an answer of events."""
        await self._start(200, {**headers, **_STREAM_HEADERS})

    async def send_event(self, data: Any, event: str | None = None) -> None:
        """Send one event; a text unchanged."""
        name = f"event: {event}\n".encode() if event else b""
        written = data.encode() if isinstance(data, str) else as_json(data)
        await self._send(
            {"type": "http.response.body", "body": name + b"data: " + written + b"\n\n", "more_body": True}
        )

    async def end_stream(self) -> None:
        """End an answer of events."""
        await self._send({"type": "http.response.body", "body": b""})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        written = [(name.encode(), _header(value)) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": written})


def as_json(data: Any) -> bytes:
    """Encode data as JSON in UTF-8; lone surrogates are escaped."""
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(data, separators=(",", ":")).encode()


def _header(value: str) -> bytes:
    """Return a header's value: printable ASCII on one line, shortened."""
    return _UNPRINTABLE.sub(b"?", value[:_LONGEST_HEADER].encode("ascii", "replace"))
