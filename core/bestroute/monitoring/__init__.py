"""Monitoring of live traffic: audits, estimates of drop and saving from them, alarms, and steering of prices."""

from typing import TYPE_CHECKING

from bestroute._utils.public import on_demand
from bestroute.monitoring.audits import Audit

if TYPE_CHECKING:
    from bestroute.monitoring.estimate import DropEstimate, Estimates, Interval

__all__ = ["Audit", "DropEstimate", "Estimates", "Interval"]

# Calls do not need estimates.
__getattr__ = on_demand(__name__, globals(), dict.fromkeys(("DropEstimate", "Estimates", "Interval"), "estimate"))
