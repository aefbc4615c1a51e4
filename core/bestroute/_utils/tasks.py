"""Cancel asyncio tasks that run third-party code, without waiting for those that ignore it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

GRACE_S = 0.05
"""How long cancelled tasks may take to stop, seconds."""


async def leave(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait briefly; tasks that ignore the cancellation are left running."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
        task.add_done_callback(consume)
    if pending:
        await asyncio.wait(pending, timeout=GRACE_S)


def consume(future: asyncio.Future[Any]) -> None:
    """Retrieve a future's exception, which is reported elsewhere, so that asyncio does not log it."""
    if not future.cancelled():
        future.exception()
