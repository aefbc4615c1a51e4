"""Savings compared with the reference, before and after the cost of audits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Savings:
    """Totals of a ledger, USD.

    Audits count against the saving: without routing nobody would draw them, and they go on as long as calls do.
    Training data does not: it is bought once, for whatever calls a router will decide on, often before the first of
    them, so it stands beside the saving of the calls in this ledger.

    Example:
        >>> print(Savings(reference_cost_usd=20.0, cost_usd=15.0, audit_cost_usd=0.25))
        saved 5.0000 USD (25.0 %) of the reference's 20.0000; audits cost 0.2500: net 4.7500 USD (23.8 %)
    """

    reference_cost_usd: float
    """What the reference alone would have cost."""
    cost_usd: float
    """Cost of answers."""
    audit_cost_usd: float
    """Cost of audits."""
    training_cost_usd: float = 0.0
    """Cost of records for training: draws of `collect` and judging by `label`."""

    @classmethod
    def of(cls, totals: Mapping[str, Any]) -> Savings:
        """Create it from a ledger's totals."""
        names = ("reference_cost_usd", "cost_usd", "audit_cost_usd", "training_cost_usd")
        return cls(*(totals[name] for name in names))

    @property
    def saved_usd(self) -> float:
        """Reference cost less the cost of answers."""
        return self.reference_cost_usd - self.cost_usd

    @property
    def net_usd(self) -> float:
        """The saving less the cost of audits."""
        return self.saved_usd - self.audit_cost_usd

    @property
    def net(self) -> float | None:
        """The net saving as a share of the reference cost."""
        return self.net_usd / self.reference_cost_usd if self.reference_cost_usd > 0 else None

    def __str__(self) -> str:
        """Render as one line, to the cent or finer; without a reference cost the saving is unknown."""
        digits = 2 if self.reference_cost_usd >= 100 else 4 if self.reference_cost_usd >= 1 else 6
        spent, audits = f"{self.cost_usd:,.{digits}f}", f"{self.audit_cost_usd:,.{digits}f}"
        training = ""
        if self.training_cost_usd:
            training = f"; training data (collect, label) cost {self.training_cost_usd:,.{digits}f}, no part of this"
        if self.net is None:
            return f"answers cost {spent} USD, audits {audits}; no saving is known{training}"
        saved, reference = f"{self.saved_usd:,.{digits}f}", f"{self.reference_cost_usd:,.{digits}f}"
        share = self.saved_usd / self.reference_cost_usd
        return (
            f"saved {saved} USD ({100 * share:.1f} %) of the reference's {reference}; audits cost {audits}: "
            f"net {self.net_usd:,.{digits}f} USD ({100 * self.net:.1f} %){training}"
        )
