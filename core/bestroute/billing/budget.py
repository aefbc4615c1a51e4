"""Money that may be spent: reserved before a draw at the most it can cost, settled at what it did cost."""

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
"""How much of ``2026-01-31T17`` names a period."""
_PATIENCE_S = 10.0
"""How long to wait for a store."""


class Budget(ProcessState):
    """A sum that all calls sharing it may spend together: those of a process, or of any that share its store.

    In a store, reserving and settling are statements that check and note at once, by the database's own clock; a
    process's calls that wait share one. What is spent never passes the sum, but for one call of each process that dies:
    after ``release_s`` of silence its dearest call in flight is taken for one that was never made, and what that has
    cost can be spent on top. Its other calls in flight count as spent in the period, whether they were or not.

    Args:
        usd: The sum, USD.
        per: The period it is for, ``"hour"``, ``"day"`` or ``"month"``, UTC; ``None`` is all time. What is settled
            in a period counts there.
        store: Where processes share it, a path or URL as a ledger's (one database may keep both); ``None`` is memory.
        name: Of the budget, where a store keeps several.
        release_s: After how long of silence a process counts as dead; a living one says that it lives three times as
            often.

    Raises:
        ConfigError: If an argument is something else, or the store cannot be opened.

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
        """Start with nothing spent, or with what the store has noted."""
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
        """Where it is kept, without a password."""
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
        """Show the sum and what is left."""
        per = f" per {self.per}" if self.per else ""
        return f"Budget({self.usd:g} USD{per}, {self.left_usd:g} left)"

    def __getstate__(self) -> dict[str, Any]:
        """Pickle what it is; one in memory goes along with what was spent."""
        kept = {name: getattr(self, name) for name in ("usd", "per", "name", "release_s", "_address")}
        with self._guard():
            return {**kept, "_spent": None if self.is_stored else (self._period, self._spent_usd)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open it again."""
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
        """Whether other processes share it, so that reserving asks a database."""
        return self._address is not None and self._address != MEMORY

    @property
    def left_usd(self) -> float:
        """What is neither spent nor reserved; of a store, as of the last statement of this process."""
        if (account := self._opened()) is not None:
            return account.left_usd
        with self._guard():
            self._turn()
            return self.usd - self._spent_usd - self._reserved_usd

    @property
    def spent_usd(self) -> float:
        """What was spent in the period; of a store, as of the last statement of this process."""
        if (account := self._opened()) is not None:
            return account.spent_usd
        with self._guard():
            self._turn()
            return self._spent_usd

    def refresh(self, *, timeout_s: float | None = None) -> None:
        """Ask the store what is left.

        Raises:
            BudgetError: If it cannot be asked.
        """
        self.reserve(0.0, timeout_s=timeout_s)

    async def arefresh(self, *, timeout_s: float | None = None) -> None:
        """Ask the store what is left, without blocking the event loop."""
        await self.areserve(0.0, timeout_s=timeout_s)

    def reserve(
        self, usd: float, *, attempt_id: str | Sequence[str] | None = None, timeout_s: float | None = None
    ) -> bool:
        """Set a sum aside if it is there; returns whether it was.

        Args:
            usd: The sum.
            attempt_id: For what, or for which together, in equal parts; a second time for the same reserves nothing
                more.
            timeout_s: How long to wait for a store; then nothing is set aside.

        Raises:
            BudgetError: If a store cannot be asked.
        """
        account = self._opened()
        if account is None:
            return self._reserve_here(usd, _ids(attempt_id))
        wish = account.wish(usd, _ids(attempt_id))
        try:
            return wish.granted.result(timeout_s)
        except TimeoutError:
            return False
        finally:
            if not wish.granted.done():
                account.withdraw(wish)

    async def areserve(
        self, usd: float, *, attempt_id: str | Sequence[str] | None = None, timeout_s: float | None = None
    ) -> bool:
        """Set a sum aside as ``reserve`` does, without blocking the event loop."""
        account = self._opened()
        if account is None:
            return self._reserve_here(usd, _ids(attempt_id))
        import asyncio

        wish = account.wish(usd, _ids(attempt_id))
        is_taken = False
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    is_granted = await asyncio.wrap_future(_mirror(wish.granted))
                    is_taken = True
                    return is_granted
            return False
        finally:
            if not is_taken:
                account.withdraw(wish)

    def settle(self, reserved_usd: float, cost_usd: float, *, attempt_id: str | None = None) -> None:
        """Give back what was reserved and note what was spent; a store is not waited for.

        Args:
            reserved_usd: What was reserved; with ``attempt_id``, what was reserved for that is given back.
            cost_usd: What was spent.
            attempt_id: A second time for the same notes nothing.
        """
        if (account := self._opened()) is not None:
            account.settle(reserved_usd, cost_usd, attempt_id)
            return
        with self._guard():
            self._turn()
            if attempt_id is not None:
                if not self._settled.add(attempt_id):
                    return
                reserved_usd = self._reserved.pop(attempt_id, 0.0)
            self._reserved_usd = max(0.0, self._reserved_usd - reserved_usd)
            self._spent_usd += cost_usd

    def close(self, timeout_s: float = _PATIENCE_S) -> bool:
        """Write what was settled and close the store, which opens again when it is needed; returns whether it is."""
        account = self._opened()
        return account is None or account.close(timeout_s)

    def _opened(self) -> Account | None:
        with self._guard():
            return self._account

    def _reserve_here(self, usd: float, attempt_ids: tuple[str, ...]) -> bool:
        with self._guard():
            self._turn()
            if any(attempt_id in self._reserved or attempt_id in self._settled for attempt_id in attempt_ids):
                return True
            # a millionth of a millionth of slack: sums of floats must not refuse what fits exactly
            if self._spent_usd + self._reserved_usd + usd > self.usd * (1 + 1e-12):
                return False
            self._reserved_usd += usd
            for attempt_id in attempt_ids:
                self._reserved[attempt_id] = usd / len(attempt_ids)
            return True

    def _turn(self) -> None:
        """Begin a new period when it is time; what is reserved then is settled in it."""
        if self.per is not None and (period := self._period_of(time.time())) != self._period:
            self._period, self._spent_usd = period, 0.0

    def _period_of(self, moment: float) -> str:
        return datetime.fromtimestamp(moment, UTC).isoformat()[: _LENGTHS[self.per]]


def _ids(attempt_id: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if attempt_id is None else (attempt_id,) if isinstance(attempt_id, str) else tuple(attempt_id)


def _mirror(granted: Future[bool]) -> Future[bool]:
    """Return a future that may be cancelled without cancelling the other."""
    mirror: Future[bool] = Future()

    def tell(done: Future[bool]) -> None:
        if mirror.set_running_or_notify_cancel():
            if (error := done.exception()) is not None:
                mirror.set_exception(error)
            else:
                mirror.set_result(done.result())

    granted.add_done_callback(tell)
    return mirror


class Purse:
    """What one call may spend: its own limit and the budgets it shares, as one."""

    def __init__(self, budgets: tuple[Budget, ...]) -> None:
        """Keep the budgets; none is no limit."""
        self.budgets = budgets

    @property
    def is_stored(self) -> bool:
        """Whether one of them asks a database."""
        return any(budget.is_stored for budget in self.budgets)

    def refresh(self, *, timeout_s: float | None = None) -> None:
        """Ask stores what is left."""
        for budget in self.budgets:
            if budget.is_stored:
                budget.refresh(timeout_s=timeout_s)

    async def arefresh(self, *, timeout_s: float | None = None) -> None:
        """Ask stores what is left, without blocking the event loop."""
        for budget in self.budgets:
            if budget.is_stored:
                await budget.arefresh(timeout_s=timeout_s)

    def reserve(self, usd: float, *, attempt_ids: Sequence[str] = (), timeout_s: float | None = None) -> bool:
        """Set a sum aside for attempts in every budget, or in none."""
        for i, budget in enumerate(self.budgets):
            if not budget.reserve(usd, attempt_id=attempt_ids, timeout_s=timeout_s):
                self._give_back(usd, attempt_ids, self.budgets[:i])
                return False
        return True

    async def areserve(self, usd: float, *, attempt_ids: Sequence[str] = (), timeout_s: float | None = None) -> bool:
        """Set a sum aside in every budget, or in none, without blocking the event loop."""
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
        """Give back what was reserved for attempts and note what they have cost together, once."""
        for budget in self.budgets:
            for i, attempt_id in enumerate(attempt_ids):
                budget.settle(0.0, cost_usd if i == 0 else 0.0, attempt_id=attempt_id)

    @property
    def left_usd(self) -> float:
        """The least that is left in any of them."""
        return min(budget.left_usd for budget in self.budgets)

    @staticmethod
    def _give_back(usd: float, attempt_ids: Sequence[str], budgets: tuple[Budget, ...]) -> None:
        for budget in budgets:
            for attempt_id in attempt_ids:
                budget.settle(0.0, 0.0, attempt_id=attempt_id)
            if not attempt_ids:
                budget.settle(usd, 0.0)
