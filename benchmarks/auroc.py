"""How well a number tells right answers from wrong ones, with intervals that resample groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestroute.stats.bootstrap import interval, resample_groups
from bestroute.types.arrays import FloatArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    ci95: tuple[float, float]

    def __str__(self) -> str:
        """Write ``.866 [.822, .899]``."""
        return f"{self.value:.3f} [{self.ci95[0]:.3f}, {self.ci95[1]:.3f}]"

    def to_json(self) -> dict[str, object]:
        """Return plain JSON."""
        return {"value": round(self.value, 5), "ci95": [round(end, 5) for end in self.ci95]}


def weighted_auroc(score: FloatArray, right: FloatArray, weights: FloatArray) -> FloatArray:
    """Return, for each row of weights, the chance that a right answer scores above a wrong one; a tie is half.

    Args:
        score: Of each answer, shape ``(A,)``.
        right: 1 for right, 0 for wrong, shape ``(A,)``.
        weights: Shape ``(R, A)``.

    Example:
        >>> weighted_auroc(np.array([1.0, 2.0, 2.0]), np.array([0.0, 0.0, 1.0]), np.ones((1, 3))).tolist()
        [0.75]
    """
    _, level = np.unique(score, return_inverse=True)
    size = int(level.max()) + 1
    result = np.empty(len(weights))
    for r, row in enumerate(weights):
        good = np.bincount(level, row * right, size)
        bad = np.bincount(level, row * (1 - right), size)
        below = np.cumsum(bad) - bad
        pairs = good.sum() * bad.sum()
        result[r] = (good * (below + bad / 2)).sum() / pairs if pairs else np.nan
    return result


def auroc(score: FloatArray, right: FloatArray, groups: Sequence[str], *, resamples: int = RESAMPLES) -> Estimate:
    """Return the area under the curve; answers of a group are resampled together."""
    value = weighted_auroc(score, right, np.ones((1, len(score))))[0]
    values = weighted_auroc(score, right, resample_groups(groups, resamples=resamples))
    return Estimate(float(value), interval(values[~np.isnan(values)]))


def mean_of(values: FloatArray, groups: Sequence[str], *, resamples: int = RESAMPLES) -> Estimate:
    """Return a mean; values of a group are resampled together."""
    return Estimate(float(values.mean()), interval(resample_groups(groups, resamples=resamples) @ values))
