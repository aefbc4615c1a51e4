"""A limit on concurrent calls to one member, shared by threads and event loops."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from bestroute._utils.fork_safe import ProcessState
from bestroute.types.sample import Cancel

if TYPE_CHECKING:
    import asyncio


class _Waiter:
    """One place in the queue."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self.is_granted = False
        self.wake = wake


class ConcurrencyLimit(ProcessState):
    """A semaphore that threads and event loops can wait for together, in first-come, first-served order.

    Audits join a second queue, which is served while the first is empty.

    Args:
        limit: The most calls at the same time.
    """

    def __init__(self, limit: int) -> None:
        """Start with every place free."""
        super().__init__()
        self.limit = limit
        self.in_use = 0
        self._queue: deque[_Waiter] = deque()
        self._audits: deque[_Waiter] = deque()

    def acquire(
        self, cancel: Cancel, *, deadline: float | None = None, poll_s: float = 0.02, is_audit: bool = False
    ) -> bool:
        """Block until there is a free place; returns whether one was taken.

        Args:
            cancel: The call's flag; once it is set, waiting ends without a place.
            deadline: When waiting ends without a place, as ``time.monotonic`` counts; ``None``: never.
            poll_s: Seconds between two checks of both.
            is_audit: Whether all calls go first.
        """
        granted = threading.Event()
        waiter = self._join(granted.set, self._audits if is_audit else self._queue)
        if waiter is None:
            return True
        try:
            while not granted.wait(poll_s):
                if cancel.is_set or (deadline is not None and time.monotonic() >= deadline):
                    self._give_up(waiter)
                    return False
        except BaseException:  # the caller was interrupted
            self._give_up(waiter)
            raise
        return True

    async def aacquire(self) -> None:
        """Wait for a free place without blocking the event loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        waiter = self._join(lambda: loop.call_soon_threadsafe(_settle, place), self._queue)
        if waiter is None:
            return
        try:
            await place
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise

    def release(self) -> None:
        """Free a place, or pass it to the first in the queue."""
        with self._guard():
            waiter = self._next()
        if waiter is not None:
            self._wake(waiter)

    def _next(self) -> _Waiter | None:
        queue = self._queue or self._audits
        if not queue:
            self.in_use = max(0, self.in_use - 1)
            return None
        waiter = queue.popleft()
        waiter.is_granted = True
        return waiter

    def _wake(self, waiter: _Waiter) -> None:
        try:
            waiter.wake()
        except RuntimeError:  # its event loop was closed while it waited
            self.release()

    def _join(self, wake: Callable[[], object], queue: deque[_Waiter]) -> _Waiter | None:
        """Take a free place, which returns ``None``, or join the queue."""
        with self._guard():
            if self.in_use < self.limit:
                self.in_use += 1
                return None
            waiter = _Waiter(wake)
            queue.append(waiter)
            return waiter

    def _give_up(self, waiter: _Waiter) -> None:
        """Leave the queue; a place that was granted in the meantime goes to the next."""
        with self._guard():
            if not waiter.is_granted:
                (self._queue if waiter in self._queue else self._audits).remove(waiter)
                return
        self.release()

    def _forget_parent(self) -> None:
        self.in_use = 0
        self._queue, self._audits = deque(), deque()

    def __getstate__(self) -> dict[str, object]:
        """Copy and pickle the limit alone: calls in progress and waiters belong to this object."""
        return {"limit": self.limit}


def _settle(place: asyncio.Future[None]) -> None:
    if not place.done():
        place.set_result(None)
