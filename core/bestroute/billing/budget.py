"""Budgets: reserve the most that a draw can cost before it is made, and settle its actual cost afterwards."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from bestroute._utils.fork_safe import ProcessState
from bestroute._utils.text import brief
from bestroute.billing.settled_ids import SettledIds
from bestroute.billing.store_url import MEMORY, Store, store_url
from bestroute.errors import ConfigError, UnreadableStoreError, named
from bestroute.types.settings import check_amount

if TYPE_CHECKING:
    from bestroute.billing.database.budget_account import Account

Period = Literal["hour", "day", "month"]
_LENGTHS = {None: 0, "month": 7, "day": 10, "hour": 13}
"""Number of characters of ``2026-01-31T17`` that name a period."""
_PATIENCE_S = 10.0
"""How long to wait for a store, seconds."""


class Budget(ProcessState):
    """A limit that all calls sharing it may spend together: those of a process, or of all processes with its store.

    In a database, one statement checks and records a reservation, by the database's clock; waiting calls of a process
    share a statement. The limit is never exceeded, except by one call of each process that dies: after ``release_s``
    without a heartbeat its most expensive call in progress counts as not made, so its cost may be spent again. Its
    other calls in progress count as spent in the period.

    Args:
        usd: The limit, USD.
        per: The period it is for, ``"hour"``, ``"day"`` or ``"month"``, UTC; ``None`` is all time. What is settled
            in a period counts there.
        store: Path or URL of the database through which processes share it (may be the ledger's); ``None`` is memory.
        name: Name of the budget, if a store has several.
        release_s: Seconds without a heartbeat after which a process counts as dead; a live one sends three times as
            often.

    Raises:
        ConfigError: If an argument is invalid, or the store cannot be opened.

    Example:
        >>> budget = Budget(1.0)
        >>> budget.reserve(0.75), budget.reserve(0.5)
        (True, False)
        >>> budget.settle(0.75, 0.25)
        >>> budget.left_usd
        0.75
    """

    def __init__(
        self,
        usd: float,
        *,
        per: Period | None = None,
        store: Store | None = None,
        name: str = "budget",
        release_s: float = 120.0,
    ) -> None:
        """Start with nothing spent, or with what the store has recorded."""
        check_amount(usd, "Budget", "USD")
        release_s = check_amount(release_s, "Budget: release_s", "seconds")
        if per is not None and per not in get_args(Period):
            raise ConfigError(f"Budget: per must be one of {named(get_args(Period))} or None, got {brief(per)}")
        if not isinstance(name, str) or not name:
            raise ConfigError(f"Budget: name must be a text, got {brief(name)}")
        super().__init__()
        self.usd, self.per, self.name, self.release_s = float(usd), per, name, release_s
        self._address = None if store is None else store_url(store, "a budget's store")
        self._open()

    def _open(self) -> None:
        self.store: Store | None = None
        """The store's address, without a password."""
        self._account: Account | None = None
        self._period = self._period_of(time.time())
        self._spent_usd = self._reserved_usd = 0.0
        self._reserved: dict[str, float] = {}
        self._settled = SettledIds()
        if self._address is None or self._address == MEMORY:
            self.store = self._address
            return
        from bestroute.billing.database.address import read_address

        address = read_address(self._address, "a budget's store")
        self._address, self.store = address.url, address.shown
        self._open_account()

    def _open_account(self) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        from bestroute.billing.database.address import read_address
        from bestroute.billing.database.budget_account import Account

        address = read_address(str(self._address), "a budget's store")
        try:
            account = Account(address, self.name, self.usd, self._period_of, self.release_s, _PATIENCE_S)
        except (SQLAlchemyError, OSError) as error:
            raise UnreadableStoreError(
                f"cannot open the budget's store {self.store!r}: {address.hide(error)}"
            ) from None
        self._account = account
        weakref.finalize(self, account.abandon).atexit = False

    def __repr__(self) -> str:
        """Show the limit and what is left."""
        per = f" per {self.per}" if self.per else ""
        return f"Budget({self.usd:g} USD{per}, {self.left_usd:g} left)"

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the settings; a budget in memory includes what was spent."""
        kept = {name: getattr(self, name) for name in ("usd", "per", "name", "release_s", "_address")}
        with self._guard():
            return {**kept, "_spent": None if self.is_stored else (self._period, self._spent_usd)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the settings, and open the store again."""
        spent = state.pop("_spent")
        vars(self).update(state)
        ProcessState.__init__(self)
        self._open()
        if spent is not None and spent[0] == self._period:
            self._spent_usd = spent[1]

    def _forget_parent(self) -> None:
        self._reserved_usd = 0.0
        self._reserved = {}
        if self._account is not None:
            self._account.of_a_fork()
            self._open_account()

    @property
    def is_stored(self) -> bool:
        """Whether it is in a database shared with other processes."""
        return self._address is not None and self._address != MEMORY

    @property
    def left_usd(self) -> float:
        """What is neither spent nor reserved, USD; of a store, as of this process's last statement."""
        if (account := self._opened()) is not None:
            return account.left_usd
        with self._guard():
            self._start_period_if_due()
            return self.usd - self._spent_usd - self._reserved_usd

    @property
    def spent_usd(self) -> float:
        """What was spent in the period, USD; of a store, as of this process's last statement."""
        if (account := self._opened()) is not None:
            return account.spent_usd
        with self._guard():
            self._start_period_if_due()
            return self._spent_usd

    def refresh(self, *, timeout_s: float | None = None) -> None:
        """Read from the store what is left.

        Raises:
            BudgetError: If the store cannot be reached.
        """
        self.reserve(0.0, timeout_s=timeout_s)

    async def arefresh(self, *, timeout_s: float | None = None) -> None:
        """Read from the store what is left, without blocking the event loop."""
        await self.areserve(0.0, timeout_s=timeout_s)

    def reserve(
        self, usd: float, *, attempt_id: str | Sequence[str] | None = None, timeout_s: float | None = None
    ) -> bool:
        """Reserve a sum if it is available; returns whether it was.

        Args:
            usd: The sum, USD.
            attempt_id: The attempt, or several that share the sum equally; a repeated call for the same reserves
                nothing more.
            timeout_s: How long to wait for a store; after that nothing is reserved.

        Raises:
            BudgetError: If the store cannot be reached.
        """
        account = self._opened()
        if account is None:
            return self._reserve_here(usd, _ids(attempt_id))
        reservation = account.request(usd, _ids(attempt_id))
        try:
            return reservation.granted.result(timeout_s)
        except TimeoutError:
            return False
        finally:
            if not reservation.granted.done():
                account.withdraw(reservation)

    async def areserve(
        self, usd: float, *, attempt_id: str | Sequence[str] | None = None, timeout_s: float | None = None
    ) -> bool:
        """Reserve a sum without blocking the event loop; see ``reserve``."""
        account = self._opened()
        if account is None:
            return self._reserve_here(usd, _ids(attempt_id))
        import asyncio

        reservation = account.request(usd, _ids(attempt_id))
        is_taken = False
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    is_granted = await asyncio.wrap_future(_mirror(reservation.granted))
                    is_taken = True
                    return is_granted
            return False
        finally:
            if not is_taken:
                account.withdraw(reservation)

    def settle(self, reserved_usd: float, cost_usd: float, *, attempt_id: str | None = None) -> None:
        """Release a reservation and record the actual cost; does not wait for a store.

        Args:
            reserved_usd: What was reserved; with ``attempt_id``, the attempt's own reservation is released instead.
            cost_usd: What was spent, USD.
            attempt_id: The attempt; a repeated call for the same records nothing.
        """
        if (account := self._opened()) is not None:
            account.settle(reserved_usd, cost_usd, attempt_id)
            return
        with self._guard():
            self._start_period_if_due()
            if attempt_id is not None:
                if not self._settled.add(attempt_id):
                    return
                reserved_usd = self._reserved.pop(attempt_id, 0.0)
            self._reserved_usd = max(0.0, self._reserved_usd - reserved_usd)
            self._spent_usd += cost_usd

    def close(self, timeout_s: float = _PATIENCE_S) -> bool:
        """Write settlements and close the store, which reopens when needed; returns whether everything is written."""
        account = self._opened()
        return account is None or account.close(timeout_s)

    def _opened(self) -> Account | None:
        with self._guard():
            return self._account

    def _reserve_here(self, usd: float, attempt_ids: tuple[str, ...]) -> bool:
        with self._guard():
            self._start_period_if_due()
            if any(attempt_id in self._reserved or attempt_id in self._settled for attempt_id in attempt_ids):
                return True
            # a millionth of a millionth of slack: sums of floats must not refuse what fits exactly
            if self._spent_usd + self._reserved_usd + usd > self.usd * (1 + 1e-12):
                return False
            self._reserved_usd += usd
            for attempt_id in attempt_ids:
                self._reserved[attempt_id] = usd / len(attempt_ids)
            return True

    def _start_period_if_due(self) -> None:
        """Begin a new period when due; reservations are settled in the new one."""
        if self.per is not None and (period := self._period_of(time.time())) != self._period:
            self._period, self._spent_usd = period, 0.0

    def _period_of(self, moment: float) -> str:
        return datetime.fromtimestamp(moment, UTC).isoformat()[: _LENGTHS[self.per]]


def _ids(attempt_id: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if attempt_id is None else (attempt_id,) if isinstance(attempt_id, str) else tuple(attempt_id)


def _mirror(granted: Future[bool]) -> Future[bool]:
    """Return a future whose cancellation does not cancel the other."""
    mirror: Future[bool] = Future()

    def copy_result(done: Future[bool]) -> None:
        if mirror.set_running_or_notify_cancel():
            if (error := done.exception()) is not None:
                mirror.set_exception(error)
            else:
                mirror.set_result(done.result())

    granted.add_done_callback(copy_result)
    return mirror


class BudgetGroup:
    """One call's own limit and the shared budgets, treated as one budget."""

    def __init__(self, budgets: tuple[Budget, ...]) -> None:
        """Combine budgets; none means no limit."""
        self.budgets = budgets

    @property
    def is_stored(self) -> bool:
        """Whether one of them is in a database."""
        return any(budget.is_stored for budget in self.budgets)

    def refresh(self, *, timeout_s: float | None = None) -> None:
        """Read from the stores what is left."""
        for budget in self.budgets:
            if budget.is_stored:
                budget.refresh(timeout_s=timeout_s)

    async def arefresh(self, *, timeout_s: float | None = None) -> None:
        """Read from the stores what is left, without blocking the event loop."""
        for budget in self.budgets:
            if budget.is_stored:
                await budget.arefresh(timeout_s=timeout_s)

    def reserve(self, usd: float, *, attempt_ids: Sequence[str] = (), timeout_s: float | None = None) -> bool:
        """Reserve a sum for attempts in every budget, or in none."""
        for i, budget in enumerate(self.budgets):
            if not budget.reserve(usd, attempt_id=attempt_ids, timeout_s=timeout_s):
                self._give_back(usd, attempt_ids, self.budgets[:i])
                return False
        return True

    async def areserve(self, usd: float, *, attempt_ids: Sequence[str] = (), timeout_s: float | None = None) -> bool:
        """Reserve a sum in every budget, or in none, without blocking the event loop; see ``reserve``."""
        for i, budget in enumerate(self.budgets):
            is_granted = False
            try:
                is_granted = await budget.areserve(usd, attempt_id=attempt_ids, timeout_s=timeout_s)
            finally:
                if not is_granted:
                    self._give_back(usd, attempt_ids, self.budgets[:i])
            if not is_granted:
                return False
        return True

    def settle(self, attempt_ids: Sequence[str], cost_usd: float) -> None:
        """Release the reservation of attempts and record their actual cost, once."""
        for budget in self.budgets:
            for i, attempt_id in enumerate(attempt_ids):
                budget.settle(0.0, cost_usd if i == 0 else 0.0, attempt_id=attempt_id)

    @property
    def left_usd(self) -> float:
        """The smallest remaining sum of all budgets, USD."""
        return min(budget.left_usd for budget in self.budgets)

    @staticmethod
    def _give_back(usd: float, attempt_ids: Sequence[str], budgets: tuple[Budget, ...]) -> None:
        for budget in budgets:
            for attempt_id in attempt_ids:
                budget.settle(0.0, 0.0, attempt_id=attempt_id)
            if not attempt_ids:
                budget.settle(usd, 0.0)
