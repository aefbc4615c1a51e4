"""Tuning: choose a policy's parameter with a finite-sample guarantee, or refuse and say how many records suffice."""

from bestroute.policies.promises import Promise
from bestroute.tuning.tune import RefusedError, tune_budget, tune_max_drop

__all__ = ["Promise", "RefusedError", "tune_budget", "tune_max_drop"]
