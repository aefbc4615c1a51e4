"""Money that may be spent: reserved before a draw at the most it can cost, settled at what it did cost."""

from __future__ import annotations

from bestroute.process_state import ProcessState
from bestroute.settings import check_amount


class Budget(ProcessState):
    """A sum that all calls sharing it may spend together; safe between threads.

    Args:
        usd: The sum, USD.

    Raises:
        ConfigError: If it is not a number >= 0.

    Example:
        >>> budget = Budget(1.0)
        >>> budget.reserve(0.75), budget.reserve(0.5)
        (True, False)
        >>> budget.settle(0.75, 0.25)
        >>> budget.left_usd
        0.75
    """

    def __init__(self, usd: float) -> None:
        """Start with nothing spent."""
        check_amount(usd, "Budget", "USD")
        super().__init__()
        self.usd = float(usd)
        self.spent_usd = 0.0
        self._reserved_usd = 0.0

    def __repr__(self) -> str:
        """Show the sum and what is left."""
        return f"Budget({self.usd:g} USD, {self.left_usd:g} left)"

    @property
    def left_usd(self) -> float:
        """What is neither spent nor reserved."""
        with self._guard():
            return self.usd - self.spent_usd - self._reserved_usd

    def reserve(self, usd: float) -> bool:
        """Set a sum aside if it is there; returns whether it was."""
        with self._guard():
            # a millionth of a millionth of slack: sums of floats must not refuse what fits exactly
            if self.spent_usd + self._reserved_usd + usd > self.usd * (1 + 1e-12):
                return False
            self._reserved_usd += usd
            return True

    def settle(self, reserved_usd: float, cost_usd: float) -> None:
        """Give back what was reserved and note what was spent."""
        with self._guard():
            self._reserved_usd = max(0.0, self._reserved_usd - reserved_usd)
            self.spent_usd += cost_usd

    def _forget_parent(self) -> None:
        self._reserved_usd = 0.0


class Purse:
    """What one call may spend: its own limit and the budgets it shares, as one."""

    def __init__(self, budgets: tuple[Budget, ...]) -> None:
        """Keep the budgets; none is no limit."""
        self.budgets = budgets

    def reserve(self, usd: float) -> bool:
        """Set a sum aside in every budget, or in none."""
        for i, budget in enumerate(self.budgets):
            if not budget.reserve(usd):
                for earlier in self.budgets[:i]:
                    earlier.settle(usd, 0.0)
                return False
        return True

    def settle(self, reserved_usd: float, cost_usd: float) -> None:
        """Give back what was reserved and note what was spent."""
        for budget in self.budgets:
            budget.settle(reserved_usd, cost_usd)

    @property
    def left_usd(self) -> float:
        """The least that is left in any of them."""
        return min(budget.left_usd for budget in self.budgets)
