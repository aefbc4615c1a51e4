"""Random mixtures of two choices: the best quality at a cost, and the least cost at a quality. Vectorised."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from bestroute.stats.hull import upper_hull
from bestroute.types.arrays import FloatArray, IntArray


def vertices(cost: FloatArray, quality: FloatArray) -> IntArray:
    """Return the vertices of the upper hull, cheapest first, from point estimates of shape ``(H,)``."""
    return np.asarray(upper_hull(cost, quality), dtype=np.intp)


def best_quality(cost: FloatArray, quality: FloatArray, at: FloatArray) -> FloatArray:
    """Return the best quality that mixtures of points reach at a cost.

    Args:
        cost: Cost of each point in each resample, shape ``(B, H)``.
        quality: Their quality, of the same shape.
        at: Costs allowed, shape ``(B,)``.

    Returns:
        Shape ``(B,)``; NaN where every point costs more.
    """
    best = np.where(cost <= at[:, None], quality, -np.inf).max(axis=1)
    for i, j in combinations(range(cost.shape[1]), 2):
        for a, b in ((i, j), (j, i)):
            inside = (cost[:, a] <= at) & (cost[:, b] > at)
            width = np.where(inside, cost[:, b] - cost[:, a], 1.0)
            mixed = quality[:, a] + (quality[:, b] - quality[:, a]) * (at - cost[:, a]) / width
            best = np.where(inside, np.maximum(best, mixed), best)
    return np.where(np.isfinite(best), best, np.nan)


def least_cost(cost: FloatArray, quality: FloatArray, at: FloatArray) -> FloatArray:
    """Return the least cost at which mixtures of points reach a quality; the mirror of ``best_quality``."""
    return -best_quality(-quality, -cost, -at)
