"""An audit: one call whose answer was compared with the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bestroute.billing.ledger_rows import moment_of
from bestroute.billing.outcomes import CallOutcome
from bestroute.errors import ConfigError


@dataclass(frozen=True)
class Audit:
    """The comparison of one call's answer with the reference's.

    Args:
        call_id: Id of the call.
        at: When the call was made, seconds since 1970, UTC.
        drop: The reference's quality minus the answer's, in [-1, 1].
        probability: Probability with which this call was chosen for an audit, independent of its answer, in (0, 1].
        predicted_drop: The drop that the router predicted, in [-1, 1]; 0 without a prediction.
        reference_quality: The reference's quality, in [0, 1]; 1 if answers are only compared with it.
        saved_usd: Reference cost less the call's cost, USD, without the audit's cost.
        reference_usd: What the reference would have cost, USD.
        model: The model that answered.
        tags: Tags of the call, with ``task`` if it has one.

    Raises:
        ConfigError: If a number is out of range.
    """

    call_id: str
    at: float
    drop: float
    probability: float
    predicted_drop: float = 0.0
    reference_quality: float = 1.0
    saved_usd: float = 0.0
    reference_usd: float = 0.0
    model: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every range."""
        for name, low in (("drop", -1), ("predicted_drop", -1), ("reference_quality", 0)):
            if not low <= getattr(self, name) <= 1:  # NaN, too
                raise ConfigError(f"Audit: {name} must be in [{low}, 1], got {getattr(self, name)}")
        if not 0 < self.probability <= 1:
            raise ConfigError(f"Audit: probability must be in (0, 1], got {self.probability}")

    @property
    def day(self) -> str:
        """The day of the call, UTC, as ``2026-01-31``."""
        return day_of(self.at)


def as_audit(outcome: CallOutcome) -> Audit:
    """Return what a compared call shows."""
    assert outcome.drop is not None
    return Audit(
        call_id=outcome.call_id,
        at=outcome.time,
        drop=outcome.drop,
        probability=outcome.probability,
        predicted_drop=outcome.predicted_drop or 0.0,
        reference_quality=1.0 if outcome.reference_quality is None else outcome.reference_quality,
        saved_usd=outcome.reference_cost_usd - outcome.cost_usd,
        reference_usd=outcome.reference_cost_usd,
        model=outcome.model,
        tags=outcome.tags,
    )


def day_of(at: float) -> str:
    """Return the day of a moment, UTC.

    Example:
        >>> day_of(0)
        '1970-01-01'
    """
    return moment_of(at).date().isoformat()
