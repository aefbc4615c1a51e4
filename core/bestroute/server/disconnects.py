"""Cancel the work for a caller that disconnects; what it has drawn is billed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGoneError(Exception):
    """The caller disconnected."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of work, or cancel it as soon as the caller disconnects.

    Args:
        receive: ASGI's receive of the request, whose body has been read.
        work: Awaited until it has ended, cancelled or not, so that its draws are billed.

    Raises:
        ClientGoneError: If the caller disconnected first.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
            with suppress(asyncio.CancelledError, Exception):
                task.result()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
