"""Writing to a ledger, no longer than a call may wait; what a ledger does not take is kept and tried again."""

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
"""Rows that wait for a ledger that raises; beyond them the oldest are let go, and that is logged."""
_Add = Callable[[Sequence[LedgerRow]], object]


class LedgerWriter(ProcessState):
    """Hands a run's rows to a ledger: to ``Ledger``, which has a thread of its own, or to one that has ``add`` alone.

    A ledger that raises costs no answer and no row: the error is logged, and its rows are tried again with the next.

    Args:
        ledger: Where rows go.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Start with nothing waiting."""
        super().__init__()
        self.ledger = ledger
        self._has_thread = isinstance(ledger, Ledger) and type(ledger).add is Ledger.add
        self._waiting: list[LedgerRow] = []

    def write(
        self, rows: Sequence[LedgerRow], *, outcomes: Sequence[CallOutcome] = (), seconds: float | None = None
    ) -> None:
        """Write rows; a caller that may wait so many seconds alone leaves the rest to a thread.

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
        """Write rows without blocking the loop; once begun it is finished, even if the caller is cancelled."""
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
        """Keep outcomes, and wait for nothing."""
        if isinstance(self.ledger, Ledger):
            try:
                self.ledger.note(outcomes)
            except Exception as error:
                logger.error("the ledger raised %s: what is known of %d calls is lost", error, len(outcomes))

    def hand_over(self, rows: Sequence[LedgerRow]) -> None:
        """Have rows written, and wait for nothing."""
        if self._has_thread:
            self._add(self.ledger.submit, rows)
        else:
            try:
                start(partial(self._add, self.ledger.add, rows), name="bestroute-ledger", daemon=False)
            except ThreadsExhausted as error:
                self._keep(rows, error)

    def flush(self) -> None:
        """Wait until what was handed over is written; what waits is tried again."""
        self._again(self.ledger.add)
        if self._has_thread:
            self.ledger.flush()

    async def aflush(self) -> None:
        """Wait for the same without blocking the loop."""
        if self._waiting or (self._has_thread and self.ledger.is_persistent):
            await arun_in_thread(self.flush, name="bestroute-ledger")

    def _add(self, add: _Add, rows: Sequence[LedgerRow]) -> None:
        """Add rows, then those that wait; what the ledger raises makes them wait."""
        try:
            add(rows)
        except BaseException as error:
            self._keep(rows, error)
            if is_interruption(error):
                raise
            return
        self._again(add)

    def _again(self, add: _Add) -> None:
        """Add the rows that wait."""
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
