"""Write to a ledger for no longer than a call may wait; rows that a ledger rejects are stored and retried."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from bestroute._utils.fork_safe import ProcessState
from bestroute._utils.interruptions import is_interruption
from bestroute._utils.threads import ThreadsExhausted, arun_in_thread, run_in_thread, start
from bestroute.billing.ledger import Ledger, LedgerRow
from bestroute.billing.outcomes import CallOutcome

logger = logging.getLogger("bestroute.engine")

_MOST_WAITING = 100_000
"""Most rows waiting for a ledger that raises; beyond that the oldest are dropped and logged."""
_Add = Callable[[Sequence[LedgerRow]], object]


class LedgerWriter(ProcessState):
    """Passes a run's rows to a ledger: a ``Ledger``, which has a thread of its own, or any object with ``add``.

    A ledger that raises loses neither answer nor rows: the error is logged, and its rows are retried with the next.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Start with no waiting rows."""
        super().__init__()
        self.ledger = ledger
        self._has_thread = isinstance(ledger, Ledger) and type(ledger).add is Ledger.add
        self._waiting: list[LedgerRow] = []

    def write(
        self, rows: Sequence[LedgerRow], *, outcomes: Sequence[CallOutcome] = (), seconds: float | None = None
    ) -> None:
        """Write rows; if the caller may wait only some seconds, a thread finishes the rest.

        ``outcomes`` are written with them, by a ``Ledger`` alone.
        """
        if not (rows or outcomes):
            return
        if self._has_thread:
            self._add(partial(self.ledger.add, outcomes=outcomes, timeout_s=seconds), rows)
        elif seconds is None:
            self._add(self.ledger.add, rows)
        else:
            work = partial(self._add, self.ledger.add, rows)
            try:
                run_in_thread(work, name="bestroute-ledger", seconds=seconds, daemon=False)
            except ThreadsExhausted as error:
                self._keep(rows, error)

    async def awrite(self, rows: Sequence[LedgerRow], *, seconds: float | None = None) -> None:
        """Write rows without blocking the event loop; once started it finishes, even if the caller is cancelled."""
        if not rows:
            return
        if not self._has_thread:
            work = partial(self._add, self.ledger.add, rows)
            try:
                await arun_in_thread(work, name="bestroute-ledger", seconds=seconds, daemon=False)
            except ThreadsExhausted as error:
                self._keep(rows, error)
        elif self.ledger.is_persistent:
            try:
                await self.ledger.aadd(rows, timeout_s=seconds)
            except Exception as error:
                self._keep(rows, error)
        else:
            self._add(self.ledger.add, rows)

    def note(self, outcomes: Sequence[CallOutcome]) -> None:
        """Store outcomes without waiting."""
        if isinstance(self.ledger, Ledger):
            try:
                self.ledger.note(outcomes)
            except Exception as error:
                logger.error("the ledger raised %s: what is known of %d calls is lost", error, len(outcomes))

    def hand_over(self, rows: Sequence[LedgerRow]) -> None:
        """Submit rows without waiting."""
        if self._has_thread:
            self._add(self.ledger.submit, rows)
        else:
            try:
                start(partial(self._add, self.ledger.add, rows), name="bestroute-ledger", daemon=False)
            except ThreadsExhausted as error:
                self._keep(rows, error)

    def flush(self) -> None:
        """Wait until submitted rows are written; waiting rows are retried."""
        self._again(self.ledger.add)
        if self._has_thread:
            self.ledger.flush()

    async def aflush(self) -> None:
        """Wait until submitted rows are written, without blocking the event loop; see ``flush``."""
        if self._waiting or (self._has_thread and self.ledger.is_persistent):
            await arun_in_thread(self.flush, name="bestroute-ledger")

    def _add(self, add: _Add, rows: Sequence[LedgerRow]) -> None:
        """Add rows, then the waiting ones; if the ledger raises, they wait."""
        try:
            add(rows)
        except BaseException as error:
            self._keep(rows, error)
            if is_interruption(error):
                raise
            return
        self._again(add)

    def _again(self, add: _Add) -> None:
        """Add the waiting rows."""
        if self._waiting:
            with self._guard():
                again, self._waiting = self._waiting, []
            self._add(add, again)

    def _keep(self, rows: Sequence[LedgerRow], error: BaseException) -> None:
        with self._guard():
            self._waiting += rows
            waiting = len(self._waiting)
            del self._waiting[: max(0, waiting - _MOST_WAITING)]
        logger.error("the ledger raised %s: %d rows wait to be written", type(error).__name__, waiting)
        if waiting > _MOST_WAITING:
            logger.error("too many rows wait for the ledger: the oldest are lost")

    def _forget_parent(self) -> None:
        self._waiting = []
