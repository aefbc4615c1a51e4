"""Connections to members, one transport each: finding a free one takes as long with a thousand of them as with one.

The clients' own pool looks at every connection for every request, which takes longer than all the rest where dozens of
requests are under way.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.request import getproxies

_MOST_IDLE = 128


def stacked_client(openai: Any) -> Any:
    """Return an httpx client for ``openai.AsyncOpenAI``; ``None``, for its default one, if a proxy is configured.

    Args:
        openai: The module, which may have been built on httpx or on its successor.
    """
    if getproxies():
        return None
    bases = openai.DefaultAsyncHttpxClient.__mro__
    httpx = sys.modules[next(base.__module__.split(".")[0] for base in bases if base.__name__ == "AsyncClient")]
    context = ssl.create_default_context(cafile=_certificates())
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)

    def make() -> Any:
        return httpx.AsyncHTTPTransport(verify=context, limits=limits)

    class Stacked(httpx.AsyncBaseTransport):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self._stack = ConnectionStack(make)

        async def handle_async_request(self, request: Any) -> Any:
            response, done = await self._stack.ask(request)

            class Stream(httpx.AsyncByteStream):  # type: ignore[misc,name-defined]
                def __init__(self, inner: Any) -> None:
                    self._inner = inner

                def __aiter__(self) -> AsyncIterator[bytes]:
                    return self._inner.__aiter__()  # type: ignore[no-any-return]

                async def aclose(self) -> None:
                    try:
                        await self._inner.aclose()
                    finally:
                        await done()

            response.stream = Stream(response.stream)
            return response

        async def aclose(self) -> None:
            await self._stack.aclose()

    return openai.DefaultAsyncHttpxClient(transport=Stacked())


class ConnectionStack:
    """Transports of one connection each; the most recently used is taken first.

    Args:
        make: Creates a transport, which opens its connection at first use.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        """Start without transports."""
        self._make = make
        self._idle: list[Any] = []
        self._all: set[Any] = set()

    async def ask(self, request: Any) -> tuple[Any, Callable[[], Awaitable[None]]]:
        """Return the response to a request, and a function to call when it has been read or abandoned."""
        if self._idle:
            transport = self._idle.pop()
        else:
            transport = self._make()
            self._all.add(transport)
        is_free = False

        async def done() -> None:
            nonlocal is_free
            if is_free:
                return
            is_free = True
            self._idle.append(transport)
            if len(self._idle) > _MOST_IDLE:
                oldest = self._idle.pop(0)
                self._all.discard(oldest)
                await oldest.aclose()

        try:
            return await transport.handle_async_request(request), done
        except BaseException:
            await done()
            raise

    async def aclose(self) -> None:
        """Close every connection."""
        every, self._all, self._idle = self._all, set(), []
        for transport in every:
            await transport.aclose()


def _certificates() -> str | None:
    """Return the certificate file that the clients use, if there is one."""
    try:
        import certifi
    except ImportError:
        return None
    return certifi.where()
