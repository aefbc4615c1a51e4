"""Tuning with a promise: a policy's parameter by a finite-sample bound, or a refusal that says what it would take."""

from bestroute.policies.promises import Promise
from bestroute.tuning.tune import RefusedError, tune_budget, tune_max_drop

__all__ = ["Promise", "RefusedError", "tune_budget", "tune_max_drop"]
