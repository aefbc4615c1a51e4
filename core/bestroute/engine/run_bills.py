"""The bills of one run: every attempt of a member is entered here once, where it ends, and written from here alone."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence

from bestroute.billing.ledger import Kind, LedgerRow
from bestroute.billing.ledger_writer import LedgerWriter
from bestroute.engine import bills
from bestroute.engine.decision import Decision
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample


class RunBills:
    """Collects the rows of a run, and hands them to the ledger; after the run, those of late attempts as they come.

    Args:
        call_id: Of the run.
        query: What was asked; errors are stored without what they quote of it.
        tags: What the caller wants to find the run by.
        writer: Of the ledger.
        run_id: The caller's own id of the run; default: the call's.
        kind: What the samples are drawn for.
    """

    def __init__(
        self,
        call_id: str,
        query: Query,
        tags: Mapping[str, str],
        writer: LedgerWriter,
        *,
        run_id: str | None = None,
        kind: Kind = "draw",
    ) -> None:
        """Start without a row."""
        self.run_id, self.kind = run_id or call_id, kind
        self.call_id, self.query, self.tags, self.writer = call_id, query, tags, writer
        self.decision: Decision | None = None
        """What is run now."""
        self.fell_back: list[str] = []
        """Members that gave nothing usable, or rest, so that others answer."""
        self.on_close: Callable[[Sequence[LedgerRow]], object] | None = None
        """Is told of all rows of the run, when it ends."""
        self._written: list[LedgerRow] = []
        self._reference_cost_usd: float | None = None
        self._entered: list[tuple[int, LedgerRow]] = []
        self._requests = itertools.count(1)
        self._is_closed = False
        self._lock = threading.Lock()

    def enter(self, order: int, attempts: Sequence[tuple[int, DrawnSample]], *, is_late: bool) -> None:
        """Note what an attempt brought, however it ended; nothing else makes rows.

        Args:
            order: Its place among those drawn at the same time.
            attempts: For each sample the number of its attempt, from 1.
            is_late: Whether nobody waited for it: what it brought is billed as it is, and was not used.
        """
        if not attempts:
            return
        name = self.call_id if self.kind == "draw" else f"{self.call_id}-{self.kind}"
        ids: dict[tuple[int, int], str] = {}
        entered: list[tuple[int, LedgerRow]] = []
        for number, drawn in attempts:
            request = number, drawn.sample.request
            if request not in ids:
                ids[request] = f"{name}-{next(self._requests)}"
            row = bills.ledger_row(
                drawn,
                self.query,
                call_id=self.call_id,
                run_id=self.run_id,
                decision=self.decision,
                fell_back=self.fell_back,
                tags=self.tags,
                kind=self.kind,
                attempt=number,
                attempt_id=ids[request],
                is_late=is_late,
            )
            entered.append((order, row))
        with self._lock:
            if not self._is_closed:
                self._entered += entered
                return
        self.writer.hand_over([row for _, row in entered])

    def refer(self, reference_cost_usd: float) -> None:
        """Note what the reference would have cost; an answer's next row of a sample that came carries it."""
        self._reference_cost_usd = reference_cost_usd if self.kind == "draw" else None

    def write(self, *, seconds: float | None = None) -> None:
        """Write what was entered."""
        self.writer.write(self._take(), seconds=seconds)

    async def awrite(self, *, seconds: float | None = None) -> None:
        """Write what was entered without blocking the loop."""
        await self.writer.awrite(self._take(), seconds=seconds)

    def close(self, *, seconds: float | None = None) -> None:
        """End the run; what is entered from now on is written at once."""
        self.writer.write(self._take_last(), seconds=seconds)

    async def aclose(self, *, seconds: float | None = None) -> None:
        """End the run without blocking the loop; see ``close``."""
        await self.writer.awrite(self._take_last(), seconds=seconds)

    def _take_last(self) -> list[LedgerRow]:
        rows = self._take(closes=True)
        if self.on_close is not None and self._written:
            self.on_close(self._written)
        return rows

    def _take(self, *, closes: bool = False) -> list[LedgerRow]:
        with self._lock:
            self._is_closed = self._is_closed or closes
            if not self._entered:
                return []
            entered, self._entered = self._entered, []
        rows = [row for _, row in (sorted(entered, key=lambda entry: entry[0]) if len(entered) > 1 else entered)]
        if self._reference_cost_usd is not None and (first := next((r for r in rows if r["status"] == "ok"), None)):
            first["reference_cost_usd"], self._reference_cost_usd = self._reference_cost_usd, None
        self._written += rows
        return rows
