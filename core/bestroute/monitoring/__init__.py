"""What is known of live traffic: audits, what they show of drop and saving, and what follows from that."""

from typing import TYPE_CHECKING

from bestroute._utils.public import on_demand
from bestroute.monitoring.audits import Audit

if TYPE_CHECKING:
    from bestroute.monitoring.estimate import DropEstimate, Estimates, Interval

__all__ = ["Audit", "DropEstimate", "Estimates", "Interval"]

# A call needs no estimate.
__getattr__ = on_demand(__name__, globals(), dict.fromkeys(("DropEstimate", "Estimates", "Interval"), "estimate"))
