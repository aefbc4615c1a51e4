"""The betting bound: money that grows only if the mean loss is below zero. Pure functions on arrays.

Whoever claims that the mean loss is zero or more must offer fair bets on it. Starting from 1, the bettor's wealth
after each loss is multiplied by ``1 - bet * loss``; as long as a bet is fixed before its loss is seen and cannot ruin,
wealth is a nonnegative supermartingale under the claim, and reaches ``1 / level`` with a probability of at most
``level``, whenever it is looked at. How the bets are sized decides only how often a good policy is recognised.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from bestroute.types.arrays import FloatArray

BOLDEST = 0.9
"""Largest share of the wealth that one loss may take."""
AIM = 1.2
"""Bets aim at this multiple of the required wealth, since wealth moves in steps and falling just short is useless."""
PRIOR = 20
"""Weight of the prior moments, in losses."""
_BLOCKS = 100


def best_log_wealth(
    losses: FloatArray, *, largest: float, confidence: float, mean: FloatArray, variance: FloatArray
) -> FloatArray:
    """Bet against the claim that mean losses are at least zero; return the running maximum of the log wealth.

    Bets are predictable plug-ins: their size uses the variance of the losses before, the losses that are left and
    the wealth so far. They follow the hedge of an option that pays ``1 / level`` if the sum ends low enough, which
    is the test of a normal mean where losses are many and small, and stays within the level where they are not.

    Args:
        losses: Independent draws in betting order, shape ``(P, n)``; ``P`` bettors.
        largest: No loss can be larger; > 0. There is no lower limit.
        confidence: 1 minus the level of the test.
        mean: Prior guess of the mean losses, shape ``(P,)``; a wrong guess costs power but not validity.
        variance: Prior guess of their variances, shape ``(P,)``.

    Returns:
        Shape ``(P,)``; the claim is rejected where it is at least ``needed_log_wealth(confidence)``.

    Source:
        Waudby-Smith and Ramdas (2023), Estimating means of bounded random variables by betting; bets of our own.
    """
    goal = needed_log_wealth(confidence)
    aim = goal + math.log(AIM)
    at, slope = _hedge()
    weight = float(PRIOR)
    total, power = mean * weight, (variance + mean**2) * weight
    wealth, best = np.zeros(len(losses)), np.zeros(len(losses))
    start, n = 0, losses.shape[1]
    while start < n:
        left = n - start
        end = start + max(1, left // _BLOCKS)  # a bet is held for a block; blocks shrink towards the end
        spread = np.sqrt(np.maximum(power / weight - (total / weight) ** 2, 1e-12) * left)
        bets = np.minimum(np.interp(wealth - aim, at, slope) / spread, BOLDEST / largest)
        bets[best >= goal] = 0.0
        block = losses[:, start:end]
        path = wealth[:, None] + np.cumsum(np.log1p(-bets[:, None] * block), axis=1)
        wealth, best = path[:, -1], np.maximum(best, path.max(axis=1))
        total, power, weight = total + block.sum(axis=1), power + (block**2).sum(axis=1), weight + (end - start)
        start = end
    return best


def needed_log_wealth(confidence: float) -> float:
    """Return the log wealth at which the claim is rejected."""
    return -math.log1p(-confidence)


@cache
def _hedge() -> tuple[FloatArray, FloatArray]:
    """Tabulate the relative slope of the option's price against its log: ``phi(z) / Phi(z)`` at ``log Phi(z)``."""
    z = np.linspace(-9.0, 5.0, 1401)
    price = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in z])
    return np.log(price), np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / price
