"""Paired bootstrap over groups: the same resamples for everything compared.

Two ways to the same distribution, each with a stream of its own, on which recorded figures rest: ``resampled_means`` of
many columns at once, in memory that does not grow with the queries; ``resample_groups`` as weights, for what is no
mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bestroute.types.arrays import FloatArray, IntArray

RESAMPLES = 10_000
_CHUNK = 250


def resampled_means(
    values: FloatArray, groups: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> FloatArray:
    """Draw groups with replacement, and return the column means over the drawn queries.

    Args:
        values: Shape ``(Q, C)``.
        groups: Group of each query; groups are drawn as a whole.
        resamples: Number of draws.
        seed: Seed of the draws.

    Returns:
        Shape ``(resamples, C)``; NaN if there is only one group, from which nothing can be inferred about others.
    """
    group_of, count = _numbered(groups)
    if count < 2:
        return np.full((resamples, values.shape[1]), np.nan)
    order = np.argsort(group_of, kind="stable")
    starts = np.searchsorted(group_of[order], np.arange(count))
    scale = np.abs(values).max(axis=0) + 1e-300  # costs are tiny numbers; single precision is enough at scale 1
    columns = np.column_stack([values / scale, np.ones(len(values))])[order]
    sums = np.add.reduceat(columns, starts, axis=0).astype(np.float32)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, count, size=(size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        totals = weights.astype(np.float32) @ sums
        means[start : start + size] = totals[:, :-1] / totals[:, -1:] * scale
    return means


def resample_groups(groups: Sequence[str], *, resamples: int, seed: int = 0) -> FloatArray:
    """Draw groups with replacement, and return how often each query is in each draw.

    Args:
        groups: Group of each query, ``Q`` of them.
        resamples: Number of draws.
        seed: Seed of the draws.

    Returns:
        Weights that add up to 1, shape ``(resamples, Q)``.
    """
    group_of, count = _numbered(groups)
    counts = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    weights = counts[:, group_of].astype(np.float64)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _numbered(groups: Sequence[str]) -> tuple[IntArray, int]:
    """Return the number of each query's group, from 0 in the order of their names, and how many groups there are."""
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    return group_of, len(names)


def interval(values: FloatArray) -> tuple[float, float]:
    """Return the 95 % percentile interval of resampled values."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def interval95(values: FloatArray) -> list[float] | None:
    """Return the interval of the non-NaN values; ``None`` if more than 2.5 % are NaN."""
    known = values[np.isfinite(values)]
    return list(interval(known)) if len(known) >= 0.975 * len(values) else None
