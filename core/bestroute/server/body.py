"""Read a request's JSON body, with limits on size and time."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any, NoReturn

from starlette.requests import Request

from bestroute.server.api_errors import RequestError

_READ_S = 60.0
"""How long a caller may take to send its request, seconds."""


async def read_json(request: Request, most_bytes: int) -> dict[str, Any]:
    """Return the object in a request's body.

    Raises:
        RequestError: If it is too long (413), too slow (408), packed (415), or no JSON object (400).
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RequestError(415, "the body must not be compressed")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most_bytes:
        raise _too_long(most_bytes)
    raw = bytearray()
    try:
        async with asyncio.timeout(_READ_S):
            async for part in request.stream():
                raw += part
                if len(raw) > most_bytes:
                    raise _too_long(most_bytes)
    except TimeoutError:
        raise RequestError(408, f"the request was not received completely within {_READ_S:g} s") from None
    try:
        body = json.loads(raw, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        raise RequestError(400, "the body is not valid JSON", code="invalid_json") from None
    if not isinstance(body, dict):
        raise RequestError(400, f"the body must be a JSON object, got {type(body).__name__}", code="invalid_json")
    return body


def _too_long(most_bytes: int) -> RequestError:
    return RequestError(413, f"the body may have {most_bytes} bytes at most", code="request_too_large")


def _finite(digits: str) -> float:
    """Parse a number; ``1e999`` cannot be sent on."""
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(digits)
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
