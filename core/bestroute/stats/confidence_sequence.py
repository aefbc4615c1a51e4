"""A confidence sequence: intervals that are valid at all times together. Pure functions.

A walk of independent steps, each of mean zero, is compared with a boundary that it crosses at any time with a
probability of at most ``1 - level``. The boundary is the lower of two curves: a normal mixture, which is never far
from what the moment itself would give, and a constant up to a horizon, which is wide early and pays off there: at the
horizon the interval is 1.18 times as wide as one that holds at that single moment only, where the mixture alone is 1.8
times as wide.

What is assumed: steps are bounded, their sum is nearly normal where it matters, and their variance is about the same
over time. Against sums that are far from normal, a few rare drops among many zeros, variances are padded; against a
variance that changes, nothing is done but to measure what becomes of coverage (docs/live.md).

Source:
    Robbins (1970) for the mixture; O'Brien and Fleming (1979) for the constant; Waudby-Smith, Arbour, Sinha, Kennedy
    and Ramdas (2024), Time-uniform central limit theory and asymptotic confidence sequences, for estimated variances
    and means that drift; Howard, Ramdas, McAuliffe and Sekhon (2021) for both kinds of boundary.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from bestroute.types.arrays import FloatArray

HORIZON = 2_000
"""Number of audits for which intervals are narrowest."""
MIXTURE = 0.1
"""Where the mixture is narrowest relative to the fixed-time interval, as a share of the horizon."""
_MIXTURE_SHARE, _CONSTANT_SHARE = 0.2, 0.815
"""Shares of ``1 - level``; their sum exceeds 1, since walks that cross one curve often cross the other. Together a
normal walk crosses with 0.87 of ``1 - level``, as a test adds up."""


def standard_errors_wide(steps: FloatArray | float, *, level: float = 0.95, horizon: float = HORIZON) -> FloatArray:
    """Return the half-width, in standard errors, of an interval that is valid at all times.

    Args:
        steps: Number of steps of the walk, ``> 0``; the effective number if their weights differ.
        level: Joint confidence level of the intervals at all times, in (0, 1).
        horizon: Number of steps at which the interval is narrowest.

    Example:
        >>> standard_errors_wide(np.array([200.0, 2_000.0])).round(2).tolist()
        [4.45, 2.32]
    """
    error, start = 1 - level, MIXTURE * horizon
    mixture = np.sqrt((1 + start / steps) * (np.log1p(steps / start) - 2 * np.log(_MIXTURE_SHARE * error)))
    constant = NormalDist().inv_cdf(1 - _CONSTANT_SHARE * error / 4)
    late = np.where(np.asarray(steps) > horizon, np.inf, constant * np.sqrt(horizon / steps))
    return np.asarray(np.minimum(mixture, late))
