"""A budget in a database: each process's reservations and spending, checked and recorded by one statement."""

from __future__ import annotations

import logging
import math
import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from bestroute.billing.database.address import Address
from bestroute.billing.database.connection import Database, lock_for_tables, opened, transaction
from bestroute.billing.database.writer import close_at_exit
from bestroute.billing.settled_ids import SettledIds
from bestroute.errors import BudgetStoreError

logger = logging.getLogger(__name__)

_metadata = sa.MetaData()
_budgets = sa.Table("bestroute_budgets", _metadata, sa.Column("name", sa.Text, primary_key=True))
_shares = sa.Table(
    "bestroute_budget_shares",
    _metadata,
    sa.Column("budget", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("worker", sa.Text, primary_key=True),
    sa.Column("reserved_usd", sa.Double, nullable=False),
    sa.Column("largest_usd", sa.Double, nullable=False),  # of what was reserved at once: a dead worker frees that
    sa.Column("spent_usd", sa.Double, nullable=False),
    sa.Column("alive_until", sa.Double, nullable=False),
)
_CHANGING = ("reserved_usd", "largest_usd", "spent_usd", "alive_until")
_PAST = ""
"""Worker id under which the spending of past processes is summed."""
_LONG_AGO_S = 86_400.0
_IDLE_S = 2.0
_RETRY_S = 1.0
_GATHER_S = 0.005
"""How long a settlement waits for others to be written with it, seconds."""
_SLACK = 1 + 1e-12
"""Slack, so that rounding of sums does not refuse an exact fit."""


@dataclass(eq=False)
class _Reservation:
    """A reservation that a caller waits for, in equal parts for its attempts; of 0, a query of what is left."""

    usd: float
    attempt_ids: tuple[str, ...] = ()
    granted: Future[bool] = field(default_factory=Future)
    is_withdrawn: bool = False
    open_usd: float = 0.0
    """The part that is not settled yet."""

    def __post_init__(self) -> None:
        """Set the unsettled part to the whole sum."""
        self.open_usd = self.usd


class Account:
    """This process's share of a budget.

    A process writes its total reservations and spending rather than increments, so that a statement repeated after a
    lost connection counts once. If a process sends no heartbeat for ``release_s`` of the database's clock, its largest
    single reservation is released; the others count as spent, since it is unknown whether they were.

    Args:
        address: Where the budget is kept.
        name: Name of the budget.
        usd: The limit of a period, USD.
        period_of: Returns the name of a moment's period.
        release_s: Seconds without a heartbeat after which a process counts as dead.
        patience_s: How long to wait for the database, seconds.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        usd: float,
        period_of: Callable[[float], str],
        release_s: float,
        patience_s: float,
    ) -> None:
        """Create missing tables, and read what is left."""
        self.database = Database(address, patience_s, synchronous="NORMAL")
        self.name, self.usd, self.period_of, self.release_s = name, usd, period_of, release_s
        self.worker = uuid.uuid4().hex
        self._statements = _Statements(self.database.is_file)
        self.process = os.getpid()
        self._condition = threading.Condition()
        self._writing = threading.Lock()
        self._requests: list[_Reservation] = []
        self._in_flight: dict[_Reservation, None] = {}
        """Granted reservations that are not settled, in order."""
        self._open: dict[str, _Reservation] = {}
        """Granted reservations by attempt."""
        self._settled = SettledIds()
        self._period: str | None = None
        self._reserved_usd = self._spent_usd = self._others_usd = self._others_spent_usd = 0.0
        self._is_changed = self._is_closing = self._is_silent = self._is_away = False
        self._thread: threading.Thread | None = None
        try:
            opened(lambda: self._write([]))
        except BaseException:
            self.database.close()
            raise
        close_at_exit(self)

    def request(self, usd: float, attempt_ids: tuple[str, ...] = ()) -> _Reservation:
        """Request a reservation for attempts; its future tells whether it was granted."""
        reservation = _Reservation(usd, attempt_ids)
        with self._condition:
            if any(attempt_id in self._open or attempt_id in self._settled for attempt_id in attempt_ids):
                reservation.granted.set_result(True)
                return reservation
            self._requests.append(reservation)
            self._wake()
        return reservation

    def withdraw(self, reservation: _Reservation) -> None:
        """Withdraw a request; a sum granted meanwhile is released."""
        with self._condition:
            reservation.is_withdrawn = True
            if reservation in self._in_flight:
                self._close(reservation, reservation.open_usd)
                for attempt_id in reservation.attempt_ids:
                    self._open.pop(attempt_id, None)
                self._is_changed = True
                self._wake()

    def settle(self, reserved_usd: float, cost_usd: float, attempt_id: str | None = None) -> None:
        """Release a reservation and record the actual cost, once per attempt; it is written soon."""
        with self._condition:
            if attempt_id is not None:
                if not self._settled.add(attempt_id):
                    return
                reservation = self._open.pop(attempt_id, None)
                reserved_usd = 0.0 if reservation is None else reservation.usd / len(reservation.attempt_ids)
            else:
                unnamed = (each for each in self._in_flight if not each.attempt_ids)
                reservation = next((each for each in unnamed if each.open_usd == reserved_usd), None)
            self._close(reservation, reserved_usd)
            self._spent_usd += cost_usd
            self._is_changed = True
            self._wake()

    def _close(self, reservation: _Reservation | None, usd: float) -> None:
        """Release a part of a granted reservation, or the rest of it."""
        if reservation is not None:
            reservation.open_usd -= usd
            if reservation.open_usd <= 0 or not any(each in self._open for each in reservation.attempt_ids):
                self._in_flight.pop(reservation, None)
        self._reserved_usd = max(0.0, self._reserved_usd - usd) if self._in_flight else 0.0

    @property
    def left_usd(self) -> float:
        """What is neither spent nor reserved, USD, as of the last statement."""
        with self._condition:
            return self.usd - self._others_usd - self._spent_usd - self._reserved_usd

    @property
    def spent_usd(self) -> float:
        """What all processes have spent in the period, USD, as of the last statement."""
        with self._condition:
            return self._others_spent_usd + self._spent_usd

    def flush(self, timeout_s: float | None = None) -> bool:
        """Write settlements; returns whether they are written."""
        if not self._writing.acquire(timeout=-1 if timeout_s is None else timeout_s):
            return False
        self._writing.release()
        if self._is_changed:
            try:
                self._write([])
            except Exception as error:
                self._fail(error, [])
        return not self._is_changed

    def close(self, timeout_s: float | None = None) -> bool:
        """Write settlements and end the thread; it restarts when needed."""
        is_written = self.flush(timeout_s)
        with self._condition:
            thread = self._thread
            self._is_closing = True
            self._condition.notify_all()
        if thread is not None:
            thread.join(timeout_s)
        with self._condition:
            self._is_closing = False
        with self._writing:
            self.database.close()
        return is_written

    def give_up(self) -> None:
        """Do nothing: the reservations of this process count as spent once it counts as dead."""

    def abandon(self) -> None:
        """Stop the heartbeat: the budget is no longer in use."""
        with self._condition:
            self._is_silent = True
            self._condition.notify_all()

    def of_a_fork(self) -> None:
        """Return a copy for a forked process that keeps the parent's connection unused."""
        self.database.of_a_fork()

    # The thread.

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="bestroute-budget", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends
                self._thread = None
                for reservation in self._requests:
                    reservation.granted.set_exception(
                        BudgetStoreError("the system has no thread left to reach the budget's store")
                    )
                self._requests.clear()
        self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                is_due = self._condition.wait_for(
                    lambda: self._requests or self._is_closing or (self._is_changed and not self._is_away),
                    timeout=_RETRY_S if self._is_away else self.release_s / 3 if self._reserved_usd else _IDLE_S,
                )
                if (
                    self._is_changed and not self._requests
                ):  # settlements are written with the next request, if there is one
                    self._condition.wait_for(lambda: self._requests or self._is_closing, timeout=_GATHER_S)
                requests, self._requests = self._requests, []
                is_needed = self._reserved_usd > 0 and not self._is_silent
                if not requests and not self._is_changed and (self._is_closing or not (is_due or is_needed)):
                    self._thread = None
                    break
                if self._is_closing and not requests and self._is_away:
                    self._thread = None
                    break
            try:
                self._write(requests)
                self._is_away = False
            except Exception as error:
                self._is_away = True
                self._fail(error, requests)
        with self._writing:
            if self._thread is None:
                self.database.close()

    def _fail(self, error: Exception, requests: list[_Reservation]) -> None:
        reason = (
            f"the budget's store {self.database.address.shown!r} cannot be reached: {self.database.address.hide(error)}"
        )
        logger.error("%s", reason)
        for reservation in requests:
            reservation.granted.set_exception(BudgetStoreError(f"{reason}; nothing was drawn"))

    def _write(self, requests: list[_Reservation]) -> None:
        """Grant what fits, record settlements and send a heartbeat, in one transaction."""
        with self.database.in_use(), self._writing:
            for is_last in (False, True):
                connection, is_new = self.database.connection()
                try:
                    if is_new:
                        self._prepare(connection)
                    granted = self._exchange(connection, requests)
                    break
                except sa.exc.DBAPIError as error:
                    self.database.close()
                    if is_last or not error.connection_invalidated:
                        raise
        for reservation in requests:
            reservation.granted.set_result(reservation in granted)

    def _prepare(self, connection: sa.Connection) -> None:
        is_postgres = connection.dialect.name == "postgresql"
        if is_postgres:  # a server that crashes may forget the last second; nobody waits for its disk
            connection.exec_driver_sql("SET synchronous_commit = off")
        if not sa.inspect(connection).has_table(_shares.name):
            with transaction(connection):
                lock_for_tables(connection)
                _metadata.create_all(connection)
        insert = postgres_insert if is_postgres else sqlite_insert
        connection.execute(insert(_budgets).values(name=self.name).on_conflict_do_nothing())
        with transaction(connection):
            self._add_up_past(connection, self._now(connection))

    def _now(self, connection: sa.Connection) -> float:
        """Lock the budget and return the database's time, seconds since 1970."""
        return float(connection.scalar(self._statements.clock, {"of": self.name}) or 0.0)

    def _exchange(self, connection: sa.Connection, requests: list[_Reservation]) -> set[_Reservation]:
        granted = [reservation for reservation in requests if not reservation.is_withdrawn]
        wanted = sum(reservation.usd for reservation in granted)
        before: tuple[str, float] | None = None
        try:
            with transaction(connection):
                now = self._now(connection)
                period = self.period_of(now)
                with self._condition:
                    if self._period is not None and self._period != period:
                        before = self._period, self._spent_usd
                        self._spent_usd = 0.0
                    self._period, self._is_changed = period, False
                    reserved, spent = self._reserved_usd, self._spent_usd
                    largest = max([reservation.open_usd for reservation in self._in_flight], default=0.0)
                if before is not None:
                    self._note(connection, now, before[0], 0.0, before[1], 0.0)
                if not self._note(
                    connection, now, period, reserved + wanted, spent, _largest(largest, granted), grows=wanted > 0
                ):
                    left = self.usd * _SLACK - reserved - spent - self._of_others(connection, now, period)[0]
                    granted, wanted = _fitting(granted, left)
                    self._note(connection, now, period, reserved + wanted, spent, _largest(largest, granted))
                others, others_spent = self._of_others(connection, now, period)
        except BaseException:
            with self._condition:
                self._is_changed = True
                if before is not None:
                    self._period, self._spent_usd = before[0], before[1] + self._spent_usd
            raise
        with self._condition:
            self._others_usd, self._others_spent_usd = others, others_spent
            for reservation in granted:
                if reservation.is_withdrawn:
                    self._is_changed = True
                    continue
                self._reserved_usd += reservation.usd
                if reservation.usd:
                    self._in_flight[reservation] = None
                self._open.update(dict.fromkeys(reservation.attempt_ids, reservation))
        return set(granted)

    def _note(
        self,
        connection: sa.Connection,
        now: float,
        period: str,
        reserved: float,
        spent: float,
        largest: float,
        grows: bool = False,
    ) -> bool:
        """Write this process's share; if it grows, only if all shares together stay within the budget."""
        values = {"reserved": reserved, "largest": largest, "spent": spent, "until": now + self.release_s}
        statement = self._statements.growing if grows else self._statements.noting
        key = self._key(now, period)
        return connection.execute(statement, {**key, **values, "limit": self.usd * _SLACK}).rowcount > 0

    def _of_others(self, connection: sa.Connection, now: float, period: str) -> tuple[float, float]:
        """Return what other processes have reserved or spent, and what they have spent; dead ones as far as known."""
        counted, spent = connection.execute(self._statements.others, self._key(now, period)).one()
        return float(counted), float(spent)

    def _key(self, now: float, period: str) -> dict[str, object]:
        return {"now": now, "of": self.name, "in": period, "by": self.worker}

    def _add_up_past(self, connection: sa.Connection, now: float) -> None:
        """Sum the shares of past processes into one, and delete those of past periods."""
        period, c = self.period_of(now), _shares.c
        past = (c.budget == self.name, c.worker != _PAST, c.alive_until < now - _LONG_AGO_S)
        lost = c.spent_usd + c.reserved_usd - c.largest_usd
        spent = connection.scalar(sa.select(sa.func.sum(lost)).where(*past, c.period == period))
        if spent is not None:
            earlier = connection.scalar(
                sa.select(c.spent_usd).where(c.budget == self.name, c.period == period, c.worker == _PAST)
            )
            values = {
                "reserved_usd": 0.0,
                "largest_usd": 0.0,
                "spent_usd": spent + (earlier or 0.0),
                "alive_until": now,
            }
            key = {"budget": self.name, "period": period, "worker": _PAST}
            if earlier is None:
                connection.execute(sa.insert(_shares).values(**key, **values))
            else:
                connection.execute(sa.update(_shares).filter_by(**key).values(**values))
        connection.execute(sa.delete(_shares).where(*past))


class _Statements:
    """Prepared SQL statements."""

    def __init__(self, is_sqlite: bool) -> None:
        """Build the statements."""
        c = _shares.c
        limit, until = sa.bindparam("limit", type_=sa.Double), sa.bindparam("until", type_=sa.Double)
        now, reserved, largest, spent = (
            sa.bindparam(name, type_=sa.Double) for name in ("now", "reserved", "largest", "spent")
        )
        key = [sa.bindparam(name, type_=sa.Text) for name in ("of", "in", "by")]
        are_of_others = (c.budget == key[0], c.period == key[1], c.worker != key[2])
        is_alive = c.alive_until > now
        freed = sa.case((is_alive, 0.0), else_=c.largest_usd)
        lost = sa.case((is_alive, 0.0), else_=c.reserved_usd - c.largest_usd)
        counted = sa.func.coalesce(sa.func.sum(c.spent_usd + c.reserved_usd - freed), 0.0)
        all_spent = sa.func.coalesce(sa.func.sum(c.spent_usd + lost), 0.0)
        self.others = sa.select(counted, all_spent).where(*are_of_others)
        others = sa.select(counted).where(*are_of_others).scalar_subquery()
        share = sa.select(*key, reserved, largest, spent, until)
        insert = sqlite_insert(_shares) if is_sqlite else postgres_insert(_shares)
        changed = {name: insert.excluded[name] for name in _CHANGING}

        def noted(values: Any) -> Any:
            statement = insert.from_select([column.name for column in _shares.columns], values)
            return statement.on_conflict_do_update(index_elements=["budget", "period", "worker"], set_=changed)

        self.growing = noted(share.where(others + reserved + spent <= limit))
        self.noting = noted(share.where(sa.true()))  # SQLite would take ON for a join's
        if is_sqlite:
            self.clock: Any = sa.select((sa.func.julianday("now") - 2440587.5) * 86400.0)
        else:
            clock = sa.extract("epoch", sa.func.clock_timestamp())
            self.clock = sa.select(clock).select_from(_budgets).where(_budgets.c.name == key[0]).with_for_update()


def _largest(of_others: float, requests: list[_Reservation]) -> float:
    return max([of_others, *(reservation.usd for reservation in requests)])


def _fitting(requests: list[_Reservation], left: float) -> tuple[list[_Reservation], float]:
    """Return the reservations that fit one after another, and their sum."""
    granted, total = [], 0.0
    for reservation in requests:
        if total + reservation.usd <= left or math.isclose(reservation.usd, 0.0):
            granted.append(reservation)
            total += reservation.usd
    return granted, total
