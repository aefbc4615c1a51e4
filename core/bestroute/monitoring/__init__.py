"""What is known of live traffic: audits, what they show of drop and saving, and what follows from that."""

from bestroute.monitoring.audits import Audit
from bestroute.monitoring.estimate import DropEstimate, Estimates, Interval

__all__ = ["Audit", "DropEstimate", "Estimates", "Interval"]
