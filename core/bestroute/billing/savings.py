"""What was saved, and what is left of it when audits and judges are paid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Savings:
    """Three sums of a ledger, USD.

    Example:
        >>> print(Savings(reference_cost_usd=20.0, cost_usd=15.0, audit_cost_usd=0.25))
        saved 5.0000 USD (25.0 %) of the reference's 20.0000; audits and judges cost 0.2500: net 4.7500 USD (23.8 %)
    """

    reference_cost_usd: float
    """What the reference alone would have cost."""
    cost_usd: float
    """Of answers."""
    audit_cost_usd: float
    """Of audits and judges."""

    @classmethod
    def of(cls, totals: Mapping[str, Any]) -> Savings:
        """Read them from a ledger's totals."""
        return cls(totals["reference_cost_usd"], totals["cost_usd"], totals["audit_cost_usd"])

    @property
    def saved_usd(self) -> float:
        """What answers cost less than the reference alone."""
        return self.reference_cost_usd - self.cost_usd

    @property
    def net_usd(self) -> float:
        """The same when audits and judges are paid."""
        return self.saved_usd - self.audit_cost_usd

    @property
    def net(self) -> float | None:
        """The same as a share of what the reference alone costs."""
        return self.net_usd / self.reference_cost_usd if self.reference_cost_usd > 0 else None

    def __str__(self) -> str:
        """Say it in one line, to the cent or finer; without a reference's cost no saving is known."""
        digits = 2 if self.reference_cost_usd >= 100 else 4 if self.reference_cost_usd >= 1 else 6
        spent, audits = f"{self.cost_usd:,.{digits}f}", f"{self.audit_cost_usd:,.{digits}f}"
        if self.net is None:
            return f"answers cost {spent} USD, audits and judges {audits}; no saving is known"
        saved, reference = f"{self.saved_usd:,.{digits}f}", f"{self.reference_cost_usd:,.{digits}f}"
        share = self.saved_usd / self.reference_cost_usd
        return (
            f"saved {saved} USD ({100 * share:.1f} %) of the reference's {reference}; audits and judges cost {audits}: "
            f"net {self.net_usd:,.{digits}f} USD ({100 * self.net:.1f} %)"
        )
