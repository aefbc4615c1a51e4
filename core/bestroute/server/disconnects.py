"""Work that nobody waits for any more: a caller that hangs up cancels what is drawn for it, and is billed for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGoneError(Exception):
    """The caller hung up."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return what work gives, or cancel it as soon as the caller hangs up.

    Args:
        receive: Of the request, whose body has been read.
        work: Is waited for until it has ended, cancelled or not, so that what it drew is billed.

    Raises:
        ClientGoneError: If the caller hung up first.
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
