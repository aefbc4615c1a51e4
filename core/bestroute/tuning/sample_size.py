"""Sample sizes of promises: the minimum for any bound, and estimates for a setting from its moments."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from bestroute.tuning.betting import needed_log_wealth
from bestroute.types.arrays import FloatArray


def fewest_for_drop(reference_quality: float, max_drop: float, confidence: float) -> int:
    """Return the number of draws below which no bound can promise a drop, even if no answer differs.

    Where no drop at all is allowed, equal answers prove nothing, and it is the number with which even a policy that
    is always right could be told from the reference.

    Args:
        reference_quality: Mean quality of the reference, in (0, 1].
        max_drop: Allowed relative drop, in [0, 1).
        confidence: Confidence of the promise.

    Example:
        >>> fewest_for_drop(0.8, 0.01, 0.95)
        375
    """
    margin = max_drop * reference_quality if max_drop > 0 else 1 - reference_quality
    return _draws(needed_log_wealth(confidence), margin)


def fewest_for_budget(budget: float, cap: float, confidence: float) -> int:
    """Return the number of draws below which no bound can promise a mean cost, even if every answer is free.

    Args:
        budget: USD per query, < ``cap``.
        cap: Highest cost of a query, USD.
        confidence: Confidence of the promise.
    """
    return _draws(needed_log_wealth(confidence), -math.log1p(-budget / cap))


def draws_needed(mean: FloatArray, deviation: FloatArray, confidence: float) -> FloatArray:
    """Estimate the draws needed to show with power 0.8 that a mean loss is below zero; infinite if it is not.

    A test of a normal mean at that level and that power: an estimate, no bound.
    """
    reach = NormalDist().inv_cdf(confidence) + NormalDist().inv_cdf(0.8)
    with np.errstate(divide="ignore"):
        return np.where(mean < 0, (reach * deviation / np.where(mean < 0, mean, 1.0)) ** 2, np.inf)


def _draws(goal: float, growth: float) -> int:
    return math.ceil(goal / growth - 1e-9) if growth > 0 else 2**31
