"""Cost-quality curves: the hull of fixed choices, and their mixtures."""

from __future__ import annotations

import numpy as np

from bestroute.types.arrays import FloatArray


def upper_hull(cost: FloatArray, quality: FloatArray) -> FloatArray:
    """Return the points whose mixtures are best at every cost: a concave chain, cheapest first.

    A coin between two neighbours reaches every point between them, so a router has to beat this line, not only
    the single points.

    Args:
        cost: Mean cost of each fixed choice, shape ``(P,)``.
        quality: Its mean quality, shape ``(P,)``.

    Returns:
        Indices of the hull's points, from the cheapest to the best; shape ``(H,)``.

    Example:
        >>> upper_hull(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.1, 1.0])).tolist()
        [0, 2]
    """
    hull: list[int] = []
    for i in np.lexsort((-quality, cost)):
        if hull and quality[i] <= quality[hull[-1]]:
            continue
        while len(hull) >= 2 and _turns_up(hull[-2], hull[-1], int(i), cost, quality):
            hull.pop()
        if len(hull) == 1 and cost[i] == cost[hull[0]]:
            hull.pop()
        hull.append(int(i))
    return np.array(hull, dtype=np.intp)


def _turns_up(a: int, b: int, c: int, cost: FloatArray, quality: FloatArray) -> bool:
    return bool((quality[b] - quality[a]) * (cost[c] - cost[a]) <= (quality[c] - quality[a]) * (cost[b] - cost[a]))


def hull_quality(cost: FloatArray, quality: FloatArray, at: FloatArray | float) -> FloatArray:
    """Return the best quality that mixtures of fixed choices reach at a cost.

    Args:
        cost: Mean cost of each fixed choice, shape ``(P,)``.
        quality: Its mean quality, shape ``(P,)``.
        at: Costs; below the cheapest choice its quality is returned, above the best the best.
    """
    hull = upper_hull(cost, quality)
    return np.asarray(np.interp(at, cost[hull], quality[hull]))
