"""A limit on how many calls of one member are under way, for threads and event loops alike."""

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


class _Ticket:
    """A place in the queue; who leaves hands it on."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self.is_called = False
        self.wake = wake


class Gate(ProcessState):
    """Lets ``limit`` calls in at the same time; the others wait in order, wherever they come from.

    Args:
        limit: Calls at the same time.
    """

    def __init__(self, limit: int) -> None:
        """Start empty."""
        super().__init__()
        self.limit = limit
        self.inside = 0
        self._queue: deque[_Ticket] = deque()

    def enter(self, cancel: Cancel, *, deadline: float | None = None, poll_s: float = 0.02) -> bool:
        """Wait in a thread until there is room; ``False`` if the call was cancelled meanwhile, or it is too late.

        Args:
            cancel: The call's flag.
            deadline: By ``time.monotonic``.
            poll_s: How often the two are looked at, seconds.
        """
        called = threading.Event()
        ticket = self._join(called.set)
        if ticket is None:
            return True
        try:
            while not called.wait(poll_s):
                if cancel.is_set or (deadline is not None and time.monotonic() >= deadline):
                    self._give_up(ticket)
                    return False
        except BaseException:  # the caller was interrupted
            self._give_up(ticket)
            raise
        return True

    async def aenter(self) -> None:
        """Wait in an event loop until there is room."""
        import asyncio

        loop = asyncio.get_running_loop()
        room: asyncio.Future[None] = loop.create_future()
        ticket = self._join(lambda: loop.call_soon_threadsafe(_settle, room))
        if ticket is None:
            return
        try:
            await room
        except asyncio.CancelledError:
            self._give_up(ticket)
            raise

    def leave(self) -> None:
        """Make room for the next."""
        with self._guard():
            ticket = self._next()
        if ticket is not None:
            self._wake(ticket)

    def _next(self) -> _Ticket | None:
        if not self._queue:
            self.inside = max(0, self.inside - 1)
            return None
        ticket = self._queue.popleft()
        ticket.is_called = True
        return ticket

    def _wake(self, ticket: _Ticket) -> None:
        try:
            ticket.wake()
        except RuntimeError:  # its event loop was closed while it waited: the place goes to the next
            self.leave()

    def _join(self, wake: Callable[[], object]) -> _Ticket | None:
        """Enter at once (``None``), or queue."""
        with self._guard():
            if self.inside < self.limit:
                self.inside += 1
                return None
            ticket = _Ticket(wake)
            self._queue.append(ticket)
            return ticket

    def _give_up(self, ticket: _Ticket) -> None:
        """Leave the queue; a place that was just handed over goes to the next."""
        with self._guard():
            if not ticket.is_called:
                self._queue.remove(ticket)
                return
        self.leave()

    def _forget_parent(self) -> None:
        self.inside = 0
        self._queue = deque()

    def __getstate__(self) -> dict[str, object]:
        """Leave behind who is inside and who waits."""
        return {"limit": self.limit}


def _settle(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)
