"""Tasks of an event loop that somebody else's code runs in: they are asked to stop, and left behind if they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

GRACE_S = 0.05
"""How long cancelled tasks may take to stop before they are left to themselves."""


async def leave(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait for a moment; what swallows its cancellation goes on, and nobody waits for it."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
        task.add_done_callback(consume)
    if pending:
        await asyncio.wait(pending, timeout=GRACE_S)


def consume(future: asyncio.Future[Any]) -> None:
    """Look at a future's exception, which is told elsewhere, so that none is lost."""
    if not future.cancelled():
        future.exception()
