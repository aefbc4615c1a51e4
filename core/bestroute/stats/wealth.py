"""Wealth that grows only if a claim is wrong: bets that may be looked at any time, with a known rate of false alarms.

Bettors start with a share of the money and bet on each observation before they see it. While the claim holds, what they
have together is a nonnegative supermartingale that begins at 1, so it ever reaches ``1 / level`` with a probability of
at most ``level``. A change may come late, when who began at the start has lost much; so more of them begin all along
the horizon, with money that was kept for them: the level holds over the whole horizon.

Source:
    Ville (1939) for the level; Waudby-Smith and Ramdas (2024) for bets on bounded means; Vovk, Gammerman and Shafer
    (2005) for bets on conformal ranks; Shin, Ramdas and Rinaldo (2024), E-detectors, for bettors that begin later.
"""

from __future__ import annotations

import numpy as np

from bestroute.types.arrays import FloatArray, IntArray

MEAN_BETS = np.array([0.15, 0.35, 0.7])
"""Bets on the mean: shares of the wealth staked on an observation in [-1, 1] whose mean is claimed to be at most 0."""
RANK_BETS = np.array([-1.8, -1.0, -0.4, 0.4, 1.0, 1.8])
"""Bets on ranks: slopes for a rank that is claimed to be uniform on [0, 1]; up to 2 in size they cannot ruin."""


def mean_factors(observed: FloatArray) -> FloatArray:
    """Return the log factors of the wealth of each bet on means above zero, shape ``(..., B)``.

    Args:
        observed: In [-1, 1]; the claim is that each has a mean of at most zero, given those before.
    """
    return np.asarray(np.log1p(np.asarray(observed)[..., None] * MEAN_BETS))


def rank_factors(ranks: FloatArray) -> FloatArray:
    """Return the log factors of the wealth of each bet on ranks that are not uniform, shape ``(..., B)``.

    Args:
        ranks: In [0, 1]; the claim is that they are independent and uniform.
    """
    return np.asarray(np.log1p((0.5 - np.asarray(ranks)[..., None]) * RANK_BETS))


def begins(horizon: int, starts: int) -> IntArray:
    """Return the number of observations after which bettors start, shape ``(starts,)``."""
    return np.asarray(np.arange(starts) * max(horizon // starts, 1), dtype=np.intp)


def money(starts: int) -> FloatArray:
    """Return the share of the initial wealth of the bettors of each start; half of it is the first's."""
    return np.concatenate([[0.5], np.full(starts - 1, 0.5 / (starts - 1))])


def wealth(sums: FloatArray, at_start: FloatArray) -> FloatArray:
    """Return the total wealth of all bettors.

    Args:
        sums: Log factors added up so far, shape ``(..., B)``.
        at_start: The same at the start of each group of bettors; infinite for those who have not begun and hold their
            money, shape ``(..., starts, B)``.
    """
    with np.errstate(over="ignore"):
        own = np.where(np.isinf(at_start), 1.0, np.exp(sums[..., None, :] - np.where(np.isinf(at_start), 0, at_start)))
    return np.asarray((own.mean(axis=-1) * money(at_start.shape[-2])).sum(axis=-1))


def wealth_over_time(factors: FloatArray, starts: int) -> FloatArray:
    """Return the wealth of whole streams after each observation, shape ``(N, T + 1)``.

    Args:
        factors: Log factors, shape ``(N, T, B)``; ``T`` is the horizon.
        starts: How often bettors begin over it.
    """
    sums = np.concatenate([np.zeros_like(factors[:, :1]), np.cumsum(factors, axis=1)], axis=1)
    total = np.zeros(sums.shape[:2])
    for begin, share in zip(begins(factors.shape[1], starts), money(starts), strict=True):
        own = np.ones(sums.shape[:2])
        since = sums[:, begin:] - sums[:, begin : begin + 1]
        own[:, begin:] = np.exp(np.minimum(since, 300.0)).mean(axis=-1)
        total += share * own
    return total
