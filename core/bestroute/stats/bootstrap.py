"""Paired bootstrap over groups: the same resamples for everything compared, many columns at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bestroute.types.arrays import FloatArray

RESAMPLES = 10_000
_CHUNK = 250


def resampled_means(
    values: FloatArray, groups: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> FloatArray:
    """Draw groups with replacement and return the mean of every column over the queries drawn.

    Args:
        values: Shape ``(Q, C)``.
        groups: Group of each query; a group is drawn whole.
        resamples: How many draws.
        seed: Of the draws.

    Returns:
        Shape ``(resamples, C)``; NaN where there is one group only: it tells nothing about others.
    """
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    count = int(group_of.max()) + 1
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


def interval95(values: FloatArray) -> list[float] | None:
    """Return the 95 % percentile interval; ``None`` where more than one resample in forty has no value."""
    known = values[np.isfinite(values)]
    if len(known) < 0.975 * len(values):
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return [float(low), float(high)]
