"""Writing to a ledger off the caller's thread, no longer than a call may wait; what it does not take is kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bestroute.interruptions import is_interruption
from bestroute.ledger import Ledger, LedgerRow
from bestroute.process_state import ProcessState
from bestroute.threads import tell

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

logger = logging.getLogger("bestroute.engine")

_MOST_WAITING = 100_000
"""Rows that wait for a ledger that raises; beyond them the oldest are let go, and that is logged."""


class LedgerWriter(ProcessState):
    """Hands rows to a ledger. One that is persistent is written by a thread of its own, in order.

    A ledger that raises costs no answer and no row: the error is logged, and its rows are tried again with the next.

    Args:
        ledger: Where rows go.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Start no thread yet."""
        super().__init__()
        self.ledger = ledger
        self._is_slow = bool(getattr(ledger, "is_persistent", True))
        self._waiting: list[LedgerRow] = []
        self._executor: ThreadPoolExecutor | None = None

    def write(self, rows: Sequence[LedgerRow], *, seconds: float | None = None) -> None:
        """Write rows; a caller that may wait so many seconds alone leaves the rest to the thread."""
        if rows and (future := self.hand_over(rows)) is not None:
            try:
                future.result(seconds)
            except TimeoutError:
                logger.warning("the ledger is slow: the call ends before its rows are written, they follow")

    async def awrite(self, rows: Sequence[LedgerRow], *, seconds: float | None = None) -> None:
        """Write rows without blocking the loop; once begun it is finished, even if the caller is cancelled."""
        if not rows or (future := self.hand_over(rows)) is None:
            return
        import asyncio

        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        future.add_done_callback(lambda written: tell(loop, done, None))
        try:
            async with asyncio.timeout(seconds):
                await done
        except TimeoutError:
            logger.warning("the ledger is slow: the call ends before its rows are written, they follow")

    def hand_over(self, rows: Sequence[LedgerRow]) -> Future[None] | None:
        """Write rows now (``None``), or begin to."""
        if not self._is_slow:
            self._add(rows)
            return None
        if callable(submit := getattr(self.ledger, "submit", None)):  # it has a thread of its own
            return submit(rows)  # type: ignore[no-any-return]
        from concurrent.futures import ThreadPoolExecutor

        try:
            with self._guard():
                if self._executor is None:
                    self._executor = ThreadPoolExecutor(1, thread_name_prefix="bestroute-ledger")
                return self._executor.submit(self._add, rows)
        except RuntimeError:  # the interpreter is about to end, or the system gives no more threads
            self._add(rows)
            return None

    def flush(self) -> None:
        """Wait until what was handed over is written."""
        with self._guard():
            executor = self._executor
        if executor is not None:
            executor.submit(int).result()

    async def aflush(self) -> None:
        """Wait for the same without blocking the loop."""
        with self._guard():
            executor = self._executor
        if executor is not None:
            import asyncio

            await asyncio.wrap_future(executor.submit(int))

    def _add(self, rows: Sequence[LedgerRow]) -> None:
        try:
            self.ledger.add(rows)
        except BaseException as error:
            with self._guard():
                self._waiting += rows
                lost = len(self._waiting) - _MOST_WAITING
                del self._waiting[: max(0, lost)]
            if is_interruption(error):
                raise
            logger.error("the ledger raised %s: %d rows wait to be written", type(error).__name__, len(self._waiting))
            if lost > 0:
                logger.error("too many rows wait for the ledger: the %d oldest are lost", lost)
            return
        if self._waiting:
            with self._guard():
                again, self._waiting = self._waiting, []
            self._add(again)

    def _forget_parent(self) -> None:
        self._executor = None
        self._waiting = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave the thread behind, and what only it has under way."""
        return {**super().__getstate__(), "_executor": None, "_waiting": []}
