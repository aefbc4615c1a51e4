"""What is known of live traffic: audits, what they show of drop and saving, and what follows from that."""

from typing import TYPE_CHECKING, Any

from bestroute.monitoring.audits import Audit

if TYPE_CHECKING:
    from bestroute.monitoring.estimate import DropEstimate, Estimates, Interval

__all__ = ["Audit", "DropEstimate", "Estimates", "Interval"]


def __getattr__(name: str) -> Any:
    """Import the estimate when it is asked for: a call needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bestroute.monitoring import estimate

    return getattr(estimate, name)
