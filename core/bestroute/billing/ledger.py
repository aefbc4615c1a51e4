"""The ledger: a row for every sample drawn, failed and cancelled ones too."""

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
"""How long a write waits for another process's, or for a server."""
_PATIENCE_AWAY_S = 1.0
"""How long a caller waits for a database whose last write failed."""
_MOST_SUMS = 10_000
logger = logging.getLogger(__name__)


class Ledger(ProcessState):
    """Keeps every bill: in memory, in an SQLite file, or in PostgreSQL.

    Safe to share between threads, and with forked processes; one in a database also between any processes, and in
    PostgreSQL between machines. Rows of one call of ``add`` are written together or not at all, and never twice. A
    thread of the ledger's own writes, what came meanwhile in one transaction; it ends when there is nothing to write.
    No query is ever stored, and errors are stored without secrets. A database that takes nothing (disk full, locked
    for long, server gone) costs no answer: its rows wait in memory, count in every total, are logged as an error, and
    are written when it takes rows again. What waits is written at ``close()``, at the end of a ``with``, at the
    interpreter's exit and at SIGTERM, unless the program handles that signal itself.

    Args:
        url: A file's path, ``"bills.db"`` or a ``Path``; ``"sqlite:///bills.db"``;
            ``"postgresql+psycopg://user:password@host/name"`` (extra ``postgres``); or ``None`` for memory. A relative
            path is fixed here; ``":memory:"`` is memory too.
        keep_rows: How many rows memory keeps, the newest: so many of answers, and as many of what is drawn beside
            them. Totals count those it has let go, too: by the hour, and beyond 10,000 combinations of reason, plan
            and tags without these.
        keep_notes: Whether the words of feedback are kept.

    Raises:
        ConfigError: If it is of another kind, or the database cannot be opened; never with a password.

    Example:
        >>> ledger = Ledger()
        >>> ledger.totals(by=("model", "day"), since="2026-01-01", tags={"team": "search"})
        {}
    """

    def __init__(self, url: Store | None = None, *, keep_rows: int = 100_000, keep_notes: bool = False) -> None:
        """Open the ledger, making or migrating the database's tables."""
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
        """Where it is kept, without a password."""
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
        """Show where it is kept."""
        return f"Ledger({self.url!r})" if self.url else "Ledger()"

    def __enter__(self) -> Ledger:
        """Write what waits at the end of a ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what waits."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle where it is kept; rows in memory go along, those that wait for a database do not."""
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
        """Whether writing touches a disk, or a server."""
        return self._address is not None and self._address != MEMORY

    def add(
        self, rows: Sequence[LedgerRow], *, outcomes: Sequence[CallOutcome] = (), timeout_s: float | None = None
    ) -> None:
        """Keep rows, all or none; of a database, wait until they are written, or have to wait.

        Args:
            rows: Of one call, or of any.
            outcomes: Of calls, written together with them; one of the same call takes the place of an earlier one.
            timeout_s: How long to wait at most. What is not written by then is written later.
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
        """Keep rows as ``add`` does, without blocking the event loop; a caller that is cancelled leaves them to it."""
        import asyncio

        written = self.submit(rows)
        if not written.done():
            await asyncio.wait([asyncio.wrap_future(written)], timeout=self._patience_s(timeout_s))

    def submit(self, rows: Sequence[LedgerRow], outcomes: Sequence[CallOutcome] = ()) -> Future[None]:
        """Hand rows over to be written, at once; the future is done when they are written, or have to wait.

        Args:
            rows: Of one call, or of any.
            outcomes: Of calls, written together with them; one of the same call takes the place of an earlier one.
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
        """Keep outcomes that nobody waits for; a database has them with the next rows, or half a second later."""
        with self._guard():
            writer = self._writer
            if writer is None:
                self._keep_outcomes(outcomes)
        if writer is not None and outcomes:
            writer.submit_later(_entry((), outcomes))

    def feedback(self, call_id: str, score: float, *, note: str | None = None) -> None:
        """Keep what is said of a call's answer; of a database, wait until it is written, or has to wait.

        Args:
            call_id: Of the call.
            score: In [0, 1]; ``True`` and ``False`` are 1 and 0.
            note: In words; kept with ``keep_notes`` alone.

        Raises:
            ConfigError: If the score is none, the call is not in the ledger, or the database cannot be read.
        """
        known = as_feedback(call_id, score, note, keeps_notes=self.keep_notes)
        if not self.has_call(known.call_id):
            where = "the ledger" if self.url is None else f"the ledger {self.url!r}"
            raise ConfigError(
                f"feedback: {where} knows no call {brief(call_id)}; take the call_id of the answer's metadata, and the "
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
        """Return whether there is a row of a call, or an outcome.

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
        """Return what was said of calls, in writing order.

        Raises:
            ConfigError: If the database cannot be read.
        """
        return [*(self._read_settled(lambda tables: tables.feedbacks()) or ()), *self._waiting_of("feedback")]

    def outcomes(
        self, *, since: float = -math.inf, until: float = math.inf, status: OutcomeStatus | None = None
    ) -> list[CallOutcome]:
        """Return what is known of the calls that audits might have chosen, the newest of each, in order of time.

        Args:
            since: First moment that counts, seconds since 1970.
            until: First moment that counts no more.
            status: Calls of this status alone.

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
        """Return how many of the same calls are of a status, and were decided for a target.

        Args:
            status: Of calls.
            target: The drop that the policy was asked for; ``None``: it was asked for none.
            since: First moment that counts, seconds since 1970.
            until: First moment that counts no more.

        Raises:
            ConfigError: If the database cannot be read.
        """
        if self._is_written():
            return self._read(lambda tables: tables.count_outcomes(status, target, since, until)) or 0
        return sum(o.target == target for o in self.outcomes(since=since, until=until, status=status))

    def outcome_groups(self, *, since: float = -math.inf, until: float = math.inf) -> list[OutcomeGroup]:
        """Return the same calls added up where they are alike, by the database where there is one.

        Args:
            since: First moment that counts, seconds since 1970.
            until: First moment that counts no more.

        Raises:
            ConfigError: If the database cannot be read.
        """
        if self._is_written():
            return self._read(lambda tables: tables.outcome_groups(since, until)) or []
        return list(outcome_groups(self.outcomes(since=since, until=until)))

    def visit_notes(
        self, visit: Callable[[OutcomeNotes], None], *, since: float = -math.inf, until: float = math.inf
    ) -> None:
        """Hand on what alarms need of the same calls, many at a time, in order of time.

        Args:
            visit: Is called with each lot of them.
            since: First moment that counts, seconds since 1970.
            until: First moment that counts no more.

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
        """Whether the database has everything."""
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
        """Return what memory holds: all of it, or what waits for a database."""
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
        """Write what waits; returns whether all rows are written now."""
        with self._guard():
            writer = self._writer
        return writer is None or writer.flush(timeout_s)

    def close(self, timeout_s: float = _PATIENCE_S) -> bool:
        """Write what waits and close the database; returns whether all rows are written.

        A closed ledger can be read, and opens again when rows come.
        """
        with self._guard():
            writer = self._writer
        return writer is None or writer.close(timeout_s)

    def _write(self, entries: list[Entry]) -> None:
        assert self._tables is not None
        self._tables.write(entries)

    def _failed(self, error: Exception) -> None:
        """Log what the database said, and let the oldest rows go where too many wait."""
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
        """Log what the ledger will never hold."""
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
        """Return every row that is kept, in writing order, those that wait for a database last.

        Args:
            newest: So many of the last ones alone, of those that the others leave.
            kind: Rows of this kind alone.
            until: First moment that counts no more, seconds since 1970.

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
        """Add rows up, in the database where there is one; those that memory has let go are among them.

        ``cost_usd`` is what answers cost; what audits cost, and records to train by, stands apart (``audit_cost_usd``,
        ``training_cost_usd``), but where ``kind`` tells them apart.

        Args:
            by: ``"model"`` (pool name), ``"day"`` (``2026-01-31``, UTC), ``"hour"`` (``2026-01-31 17:00``),
                ``"reason"``, ``"plan"``, ``"kind"``, ``"tag"`` (``team=search``; a row counts under each of its tags,
                under ``""`` without any) or ``"tag:team"`` (that tag's values); several of them for keys that are
                tuples; ``None`` puts all under ``"all"``.
            since: First moment that counts: a date, a datetime, an ISO text (UTC without a zone) or seconds since 1970.
            until: First moment that counts no more.
            tags: Rows with all of these tags alone.

        Raises:
            ConfigError: If an argument is something else, or the database cannot be read.
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
        """Hand on the bill of each call, many at a time, in no order; of memory, of the rows that are kept.

        Args:
            visit: Is called with each lot of them.
            since: First moment that counts; the arguments are those of ``totals``.
            until: First moment that counts no more.
            tags: Calls with all of these tags alone.

        Raises:
            ConfigError: If an argument is something else, or the database cannot be read.
        """
        selection = Selection.of(None, since, until, tags)
        with self._settled() as waiting:
            self._read(lambda tables: tables.visit_calls(selection, visit))
            visit(call_bills(waiting, selection))

    def drawn_models(self, call_ids: Collection[str]) -> dict[str, list[DrawnModel]]:
        """Return what each of some calls drew of each model.

        Raises:
            ConfigError: If the database cannot be read.
        """
        with self._settled() as waiting:
            return drawn_models([*(self._read(lambda tables: tables.rows_of(call_ids)) or ()), *waiting], call_ids)

    @contextlib.contextmanager
    def _settled(self) -> Iterator[list[LedgerRow]]:
        """Yield the rows that are in memory, while nothing of them can go to the database."""
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
        """What all samples cost that were drawn for answers."""
        return self._total["cost_usd"]

    @property
    def audit_cost_usd(self) -> float:
        """What audits of answers cost."""
        return self._total["audit_cost_usd"]

    @property
    def training_cost_usd(self) -> float:
        """What `collect` drew and `label` judged, for records to train by."""
        return self._total["training_cost_usd"]

    @property
    def reference_cost_usd(self) -> float:
        """What the reference alone would have cost."""
        return self._total["reference_cost_usd"]

    @property
    def _total(self) -> Totals:
        return self.totals().get("all", no_totals())


def _entry(rows: Sequence[LedgerRow], outcomes: Sequence[CallOutcome] = (), feedback: Sequence[Feedback] = ()) -> Entry:
    """Return what is written in one transaction, each part with an id, so that it is written once."""
    from bestroute.billing.database.ledger_tables import Entry

    batch = uuid.uuid4().hex
    return Entry([(f"{batch}:{i}", row) for i, row in enumerate(rows)], list(outcomes), list(feedback), batch)


def as_ledger(ledger: Any) -> Ledger:
    """Return a ledger, the one of a path or URL, or a new one in memory.

    Raises:
        ConfigError: If it keeps no bills, so that this is known before anything is spent.
    """
    if ledger is None or isinstance(ledger, str | Path):
        return Ledger(ledger)
    if not callable(getattr(ledger, "add", None)):
        raise ConfigError(f"ledger must be a Ledger, its path or its URL, for example 'bills.db', got {brief(ledger)}")
    opened: Ledger = ledger
    return opened
