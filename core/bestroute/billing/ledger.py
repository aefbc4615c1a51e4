"""The ledger: one row for every sample drawn, including failed and cancelled draws."""

from __future__ import annotations

import contextlib
import logging
import math
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bestroute._utils.fork_safe import ProcessState
from bestroute._utils.text import brief
from bestroute.billing.call_bills import CallBill, DrawnModel, call_bills, drawn_models
from bestroute.billing.ledger_rows import (
    Kind,
    LedgerRow,
    Moment,
    NewestRows,
    Selection,
    Status,
    Sums,
    Totals,
    add_up,
    as_keys,
    completed,
    no_totals,
    totals_of,
)
from bestroute.billing.outcomes import (
    CallOutcome,
    Feedback,
    OutcomeGroup,
    OutcomeNotes,
    OutcomeStatus,
    as_feedback,
    outcome_groups,
)
from bestroute.billing.store_url import MEMORY, Store, store_url
from bestroute.errors import ConfigError, UnreadableStoreError
from bestroute.types.settings import check_count

if TYPE_CHECKING:
    from bestroute.billing.database.ledger_tables import Entry, LedgerTables
    from bestroute.billing.database.writer import Writer

__all__ = ["Kind", "Ledger", "LedgerRow", "Status", "Totals"]

T = TypeVar("T")

_PATIENCE_S = 10.0
"""How long a write waits for another process's lock, or for a server, seconds."""
_PATIENCE_AWAY_S = 1.0
"""How long a caller waits for a database whose last write failed, seconds."""
_MOST_SUMS = 10_000
logger = logging.getLogger(__name__)


class Ledger(ProcessState):
    """Stores every bill: in memory, in an SQLite file, or in PostgreSQL.

    Safe to share between threads and with forked processes; a database also between any processes, and PostgreSQL
    between machines. The rows of one call of ``add`` are written atomically and exactly once, by a thread that writes
    waiting rows in one transaction and ends when there are none. Queries are never stored, and errors only without
    secrets. If a database cannot be written (disk full, locked for long, server down), answers are not affected: rows
    wait in memory, count in every total, are logged as an error, and are written once the database is available.
    Waiting rows are written at ``close()``, at the end of a ``with``, at the interpreter's exit and at SIGTERM, unless
    the program handles that signal itself.

    Args:
        url: A file's path, ``"bills.db"`` or a ``Path``; ``"sqlite:///bills.db"``;
            ``"postgresql+psycopg://user:password@host/name"`` (extra ``postgres``); or ``None`` for memory. A relative
            path is fixed here; ``":memory:"`` is memory too.
        keep_rows: Number of newest rows kept in memory: this many of answers, and this many others. Totals include
            dropped rows, with a resolution of an hour, and beyond 10,000 combinations without reason, plan and tags.
        keep_notes: Whether the comments of feedback are stored.

    Raises:
        ConfigError: If the URL is unsupported, or the database cannot be opened; the message has no password.

    Example:
        >>> ledger = Ledger()
        >>> ledger.totals(by=("model", "day"), since="2026-01-01", tags={"team": "search"})
        {}
    """

    def __init__(self, url: Store | None = None, *, keep_rows: int = 100_000, keep_notes: bool = False) -> None:
        """Open the ledger, creating or migrating the database's tables."""
        super().__init__()
        keep_rows = check_count(keep_rows, "Ledger: keep_rows")
        self.keep_rows, self.keep_notes = keep_rows, keep_notes
        self._address = None if url is None else store_url(url, "a ledger")
        self._rows = NewestRows(keep_rows)
        """In memory; of a database, those that its writer has no room for are in ``_sums`` alone."""
        self._sums = Sums(_MOST_SUMS)
        self._outcomes: dict[str, CallOutcome] = {}
        self._feedback: deque[Feedback] = deque(maxlen=keep_rows)
        self._open()

    def _open(self) -> None:
        self.url: str | None = None
        """The ledger's address, without a password."""
        self._tables: LedgerTables | None = None
        self._writer: Writer[Entry] | None = None
        if self._address is None or self._address == MEMORY:
            self.url = self._address
            return
        from bestroute.billing.database.address import read_address

        address = read_address(self._address, "a ledger")
        self._address, self.url = address.url, address.shown
        from sqlalchemy.exc import SQLAlchemyError

        from bestroute.billing.database.ledger_tables import LedgerTables

        try:
            self._tables = LedgerTables(address, _PATIENCE_S)
        except (SQLAlchemyError, OSError) as error:
            raise UnreadableStoreError(f"cannot open the ledger {self.url!r}: {address.hide(error)}") from None
        self._start_writer()

    def _start_writer(self) -> None:
        from bestroute.billing.database.writer import Writer

        assert self._tables is not None
        self._writer = Writer(self._write, self._tables.close, self._failed, self._lost)

    def __repr__(self) -> str:
        """Show the ledger's address."""
        return f"Ledger({self.url!r})" if self.url else "Ledger()"

    def __enter__(self) -> Ledger:
        """Return the ledger; ``with`` writes waiting rows at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write waiting rows."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the address; rows in memory are included, rows that wait for a database are not."""
        with self._guard():
            kept = {"keep_rows": self.keep_rows, "keep_notes": self.keep_notes, "_address": self._address}
            if self.is_persistent:
                none: dict[str, CallOutcome] = {}
                known = deque(maxlen=self.keep_rows)  # type: deque[Feedback]
                return {
                    **kept,
                    "_rows": NewestRows(self.keep_rows),
                    "_sums": Sums(_MOST_SUMS),
                    "_outcomes": none,
                    "_feedback": known,
                }
            return {
                **kept,
                "_rows": self._rows.copy(),
                "_sums": self._sums.copy(),
                "_outcomes": self._outcomes.copy(),
                "_feedback": self._feedback.copy(),
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open it again."""
        vars(self).update(state, _tables=None)
        ProcessState.__init__(self)
        self._open()

    def _forget_parent(self) -> None:
        if self._tables is not None:  # rows that wait are written by the process that drew them
            self._rows, self._sums = NewestRows(self.keep_rows), Sums(_MOST_SUMS)
            self._tables = self._tables.of_a_fork()
            self._start_writer()

    @property
    def is_persistent(self) -> bool:
        """Whether writing uses a disk or a server."""
        return self._address is not None and self._address != MEMORY

    def add(
        self, rows: Sequence[LedgerRow], *, outcomes: Sequence[CallOutcome] = (), timeout_s: float | None = None
    ) -> None:
        """Add rows, all or none; for a database, wait until they are written or a write failed.

        Args:
            rows: Rows of any calls.
            outcomes: Outcomes of calls, written together with them; one replaces an earlier one of the same call.
            timeout_s: How long to wait at most, seconds; rows not written by then are written later.
        """
        with self._guard():
            is_memory = self._writer is None
            if is_memory:
                self._keep(completed(rows))
                self._keep_outcomes(outcomes)
        if is_memory:
            return
        written = self.submit(rows, outcomes)
        with contextlib.suppress(TimeoutError):
            written.result(self._patience_s(timeout_s))

    async def aadd(self, rows: Sequence[LedgerRow], *, timeout_s: float | None = None) -> None:
        """Add rows without blocking the event loop; if the caller is cancelled they are still written. See ``add``."""
        import asyncio

        written = self.submit(rows)
        if not written.done():
            await asyncio.wait([asyncio.wrap_future(written)], timeout=self._patience_s(timeout_s))

    def submit(self, rows: Sequence[LedgerRow], outcomes: Sequence[CallOutcome] = ()) -> Future[None]:
        """Submit rows for writing without waiting; the future is done when they are written or a write failed.

        Args:
            rows: Rows of any calls.
            outcomes: Outcomes of calls, written together with them; one replaces an earlier one of the same call.
        """
        kept = completed(rows)
        with self._guard():
            writer = self._writer
            if writer is None:
                self._keep(kept)
                self._keep_outcomes(outcomes)
        if writer is None or not (kept or outcomes or writer.is_away):
            done: Future[None] = Future()
            done.set_result(None)
            return done
        return writer.submit(_entry(kept, outcomes))

    def note(self, outcomes: Sequence[CallOutcome]) -> None:
        """Store outcomes without waiting; a database gets them with the next rows, or half a second later."""
        with self._guard():
            writer = self._writer
            if writer is None:
                self._keep_outcomes(outcomes)
        if writer is not None and outcomes:
            writer.submit_later(_entry((), outcomes))

    def feedback(self, call_id: str, score: float, *, note: str | None = None) -> None:
        """Store feedback on a call's answer; for a database, wait until it is written or a write failed.

        Args:
            call_id: Id of the call.
            score: In [0, 1]; ``True`` and ``False`` are 1 and 0.
            note: A comment; stored only with ``keep_notes``.

        Raises:
            ConfigError: If the score is invalid, the call is not in the ledger, or the database cannot be read.
        """
        known = as_feedback(call_id, score, note, keeps_notes=self.keep_notes)
        if not self.has_call(known.call_id):
            where = "the ledger" if self.url is None else f"the ledger {self.url!r}"
            raise ConfigError(
                f"feedback: {where} has no call {brief(call_id)}; take the call_id of the answer's metadata, and the "
                "ledger that its engine writes"
            )
        with self._guard():
            writer = self._writer
            if writer is None:
                self._feedback.append(known)
        if writer is not None:
            with contextlib.suppress(TimeoutError):
                writer.submit(_entry((), (), [known])).result(self._patience_s(None))

    def has_call(self, call_id: str) -> bool:
        """Return whether a call has a row or an outcome.

        Raises:
            ConfigError: If the database cannot be read.
        """
        with self._settled() as waiting:
            if any(row["call_id"] == call_id for row in reversed(waiting)):
                return True
            with self._guard():
                if self._writer is None and call_id in self._outcomes:
                    return True
            return bool(self._read(lambda tables: tables.has_call(call_id)))

    def feedbacks(self) -> list[Feedback]:
        """Return the feedback on calls, in writing order.

        Raises:
            ConfigError: If the database cannot be read.
        """
        return [*(self._read_settled(lambda tables: tables.feedbacks()) or ()), *self._waiting_of("feedback")]

    def outcomes(
        self, *, since: float = -math.inf, until: float = math.inf, status: OutcomeStatus | None = None
    ) -> list[CallOutcome]:
        """Return the outcomes of calls that could have been audited, the newest of each call, in order of time.

        Args:
            since: Start, inclusive, seconds since 1970.
            until: End, exclusive.
            status: Only calls of this status.

        Raises:
            ConfigError: If the database cannot be read.
        """
        found = {o.call_id: o for o in self._read_settled(lambda tables: tables.outcomes(since, status, until)) or ()}
        for outcome in self._waiting_of("outcomes"):
            found.pop(outcome.call_id, None)
            if since <= outcome.time < until and status in (None, outcome.status):
                found[outcome.call_id] = outcome
        return sorted(found.values(), key=lambda outcome: outcome.time)

    def count_outcomes(
        self, status: OutcomeStatus, *, target: float | None, since: float = -math.inf, until: float = math.inf
    ) -> int:
        """Return the number of calls of a status that were decided for a target drop.

        Args:
            status: Status of the calls.
            target: The policy's target drop; ``None`` for calls without one.
            since: Start, inclusive, seconds since 1970.
            until: End, exclusive.

        Raises:
            ConfigError: If the database cannot be read.
        """
        if self._is_written():
            return self._read(lambda tables: tables.count_outcomes(status, target, since, until)) or 0
        return sum(o.target == target for o in self.outcomes(since=since, until=until, status=status))

    def outcome_groups(self, *, since: float = -math.inf, until: float = math.inf) -> list[OutcomeGroup]:
        """Return the sums of similar calls' outcomes, computed by the database if there is one.

        Args:
            since: Start, inclusive, seconds since 1970.
            until: End, exclusive.

        Raises:
            ConfigError: If the database cannot be read.
        """
        if self._is_written():
            return self._read(lambda tables: tables.outcome_groups(since, until)) or []
        return list(outcome_groups(self.outcomes(since=since, until=until)))

    def visit_notes(
        self, visit: Callable[[OutcomeNotes], None], *, since: float = -math.inf, until: float = math.inf
    ) -> None:
        """Pass on what alarms need of the same calls, in batches, in order of time.

        Args:
            visit: Called with each batch.
            since: Start, inclusive, seconds since 1970.
            until: End, exclusive.

        Raises:
            ConfigError: If the database cannot be read.
        """
        if self._is_written():
            self._read(lambda tables: tables.visit_notes(since, until, visit))
            return
        if found := self.outcomes(since=since, until=until):
            columns = zip(*((o.call_id, o.mode, o.status, o.familiarity) for o in found), strict=True)
            visit(OutcomeNotes(*columns))

    def _is_written(self) -> bool:
        """Whether everything is written to the database."""
        with self._guard():
            writer = self._writer
        return writer is not None and writer.flush(_PATIENCE_S) and not writer.waiting()

    def _read_settled(self, read: Callable[[LedgerTables], T]) -> T | None:
        with self._guard():
            writer = self._writer
        if writer is not None:
            writer.flush(_PATIENCE_S)
        return self._read(read)

    def _waiting_of(self, name: str) -> list[Any]:
        """Return what is in memory: everything, or what waits for a database."""
        with self._guard():
            writer = self._writer
            if writer is None:
                return list(self._feedback if name == "feedback" else self._outcomes.values())
        return [value for entry in writer.waiting() for value in getattr(entry, name)]

    def _patience_s(self, timeout_s: float | None) -> float:
        is_away = self._writer is not None and self._writer.is_away
        patience = _PATIENCE_AWAY_S if is_away else _PATIENCE_S + _PATIENCE_AWAY_S
        return patience if timeout_s is None else min(patience, timeout_s)

    def _keep(self, rows: Sequence[LedgerRow]) -> None:
        for row in self._rows.add(rows):
            self._sums.add(row)

    def _keep_outcomes(self, outcomes: Sequence[CallOutcome]) -> None:
        for outcome in outcomes:
            self._outcomes.pop(outcome.call_id, None)
            self._outcomes[outcome.call_id] = outcome
        while len(self._outcomes) > self.keep_rows:
            del self._outcomes[next(iter(self._outcomes))]

    def flush(self, timeout_s: float = _PATIENCE_S) -> bool:
        """Write waiting rows; returns whether all rows are written."""
        with self._guard():
            writer = self._writer
        return writer is None or writer.flush(timeout_s)

    def close(self, timeout_s: float = _PATIENCE_S) -> bool:
        """Write waiting rows and close the database; returns whether all rows are written.

        A closed ledger can be read, and reopens when rows are added.
        """
        with self._guard():
            writer = self._writer
        return writer is None or writer.close(timeout_s)

    def _write(self, entries: list[Entry]) -> None:
        assert self._tables is not None
        self._tables.write(entries)

    def _failed(self, error: Exception) -> None:
        """Log a write error, and drop the oldest rows if too many wait."""
        assert self._tables is not None
        assert self._writer is not None
        waiting = sum(map(len, self._writer.waiting()))
        logger.error(
            "the ledger %r cannot be written (%s): %d rows wait in memory; make room or mend it",
            self.url,
            self._tables.database.address.hide(error),
            waiting,
        )
        while waiting > self.keep_rows and (entry := self._writer.drop_oldest()) is not None:
            waiting -= len(entry)
            with self._guard():
                for _, row in entry.rows:
                    self._sums.add(row)

    def _lost(self, entries: list[Entry]) -> None:
        """Log what could not be written."""
        totals = [totals_of(row) for entry in entries for _, row in entry.rows]
        with self._guard():
            totals += [total for _, total in self._sums.groups()]  # of rows that memory had no room for
        logger.critical(
            "the process ends and the ledger %r cannot be written: %d rows are lost, %.6g USD in all",
            self.url,
            sum(total["samples"] for total in totals),
            sum(total["cost_usd"] for total in totals),
        )

    def rows(self, *, newest: int | None = None, kind: Kind | None = None, until: float = math.inf) -> list[LedgerRow]:
        """Return all stored rows in writing order, with those that wait for a database last.

        Args:
            newest: Only this many of the last rows that match the other arguments.
            kind: Only rows of this kind.
            until: End, exclusive, seconds since 1970.

        Raises:
            ConfigError: If the database cannot be read.
        """
        with self._settled() as waiting:
            found = self._read(lambda tables: tables.rows(newest, kind, until)) or []
            found += [row for row in waiting if kind in (None, row["kind"]) and row["time"] < until]
            return found if newest is None else found[-newest:]

    def totals(
        self,
        by: str | Sequence[str] | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dict[Any, Totals]:
        """Return totals of rows, computed by the database if there is one; rows dropped from memory are included.

        ``cost_usd`` is what answers cost; what audits cost, and records to train by, stands apart (``audit_cost_usd``,
        ``training_cost_usd``), but where ``kind`` tells them apart.

        Args:
            by: ``"model"`` (pool name), ``"day"`` (``2026-01-31``, UTC), ``"hour"`` (``2026-01-31 17:00``),
                ``"reason"``, ``"plan"``, ``"kind"``, ``"tag"`` (``team=search``; a row counts under each of its tags,
                under ``""`` without any) or ``"tag:team"`` (that tag's values); several of them for keys that are
                tuples; ``None`` puts all under ``"all"``.
            since: Start, inclusive: a date, a datetime, an ISO text (UTC without a zone) or seconds since 1970.
            until: End, exclusive.
            tags: Only rows with all of these tags.

        Raises:
            ConfigError: If an argument is invalid, or the database cannot be read.
        """
        selection = Selection.of(by, since, until, tags)
        with self._settled() as waiting:
            sums = self._read(lambda tables: tables.totals(selection)) or {}
            with self._guard():
                let_go = self._sums.groups()
            add_up(sums, [*let_go, *((row, totals_of(row)) for row in waiting)], selection)
        return as_keys(sums, by)

    def visit_calls(
        self,
        visit: Callable[[Sequence[CallBill]], None],
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Pass on the bill of each call, in batches, in no order; of memory, only of rows still stored.

        Args:
            visit: Called with each batch.
            since: Start, inclusive; the arguments are those of ``totals``.
            until: End, exclusive.
            tags: Only calls with all of these tags.

        Raises:
            ConfigError: If an argument is invalid, or the database cannot be read.
        """
        selection = Selection.of(None, since, until, tags)
        with self._settled() as waiting:
            self._read(lambda tables: tables.visit_calls(selection, visit))
            visit(call_bills(waiting, selection))

    def drawn_models(self, call_ids: Collection[str]) -> dict[str, list[DrawnModel]]:
        """Return what each of some calls drew from each model.

        Raises:
            ConfigError: If the database cannot be read.
        """
        with self._settled() as waiting:
            return drawn_models([*(self._read(lambda tables: tables.rows_of(call_ids)) or ()), *waiting], call_ids)

    @contextlib.contextmanager
    def _settled(self) -> Iterator[list[LedgerRow]]:
        """Return a context with the rows in memory, in which none is moved to the database."""
        with self._guard():
            writer = self._writer
            rows = self._rows.rows()
        if writer is None:
            yield rows
            return
        writer.flush(_PATIENCE_S)
        if not writer.waiting():
            yield []
            return
        with writer.held():
            yield [row for entry in writer.waiting() for _, row in entry.rows]

    def _read(self, read: Callable[[LedgerTables], T]) -> T | None:
        if self._tables is None:
            return None
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return read(self._tables)
        except (SQLAlchemyError, OSError) as error:
            reason = self._tables.database.address.hide(error)
            raise UnreadableStoreError(f"cannot read the ledger {self.url!r}: {reason}") from None

    @property
    def cost_usd(self) -> float:
        """Cost of all samples drawn for answers, USD."""
        return self._total["cost_usd"]

    @property
    def audit_cost_usd(self) -> float:
        """Cost of audits, USD."""
        return self._total["audit_cost_usd"]

    @property
    def training_cost_usd(self) -> float:
        """Cost of records for training, USD: draws of `collect` and questions to judges of `label`."""
        return self._total["training_cost_usd"]

    @property
    def reference_cost_usd(self) -> float:
        """What the reference alone would have cost, USD."""
        return self._total["reference_cost_usd"]

    @property
    def _total(self) -> Totals:
        return self.totals().get("all", no_totals())


def _entry(rows: Sequence[LedgerRow], outcomes: Sequence[CallOutcome] = (), feedback: Sequence[Feedback] = ()) -> Entry:
    """Return what is written in one transaction, with ids that make writing idempotent."""
    from bestroute.billing.database.ledger_tables import Entry

    batch = uuid.uuid4().hex
    return Entry([(f"{batch}:{i}", row) for i, row in enumerate(rows)], list(outcomes), list(feedback), batch)


def as_ledger(ledger: Any) -> Ledger:
    """Return a ledger: the given one, that of a path or URL, or a new one in memory.

    Raises:
        ConfigError: If it is not a ledger; raised before anything is spent.
    """
    if ledger is None or isinstance(ledger, str | Path):
        return Ledger(ledger)
    if not callable(getattr(ledger, "add", None)):
        raise ConfigError(f"ledger must be a Ledger, its path or its URL, for example 'bills.db', got {brief(ledger)}")
    opened: Ledger = ledger
    return opened
