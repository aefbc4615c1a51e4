"""A mean of what a judge says of many, corrected by what people say of a few.

Prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan, Zrnic 2023; with the weight of "PPI++" by
Angelopoulos, Duchi, Zrnic 2023): the judge's mean over all, plus the mean of what people say beyond the judge where
both were asked. It is right however the judge errs, and narrow where the judge errs little.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from bestroute.types.arrays import FloatArray


@dataclass(frozen=True)
class CorrectedMean:
    """A mean with its interval, and the weight of the judge in it."""

    mean: float
    low: float
    high: float
    weight: float
    """Weight of the judge, in [0, 1]; 0 if it is uninformative, so that people's verdicts count alone."""
    groups: int
    """Number of groups that people judged, on which the interval is based."""

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def corrected_mean(
    everywhere: FloatArray,
    judge: FloatArray,
    people: FloatArray,
    groups: FloatArray | None = None,
    *,
    level: float = 0.95,
) -> CorrectedMean:
    """Return the mean of people's verdicts over everything, estimated with a judge's help.

    Args:
        everywhere: The judge's values for everything that people did not judge, shape ``(N,)``.
        judge: The judge's values for what people judged, a random part of the whole, shape ``(n,)``.
        people: People's values for the same, shape ``(n,)``.
        groups: Group of each, shape ``(n,)``; default: all different. Intervals are based on group means.
        level: Confidence level of the interval, in (0, 1).

    Raises:
        ValueError: If people judged fewer than two groups.
    """
    judge, people = _by_group(judge, groups), _by_group(people, groups)
    n = len(people)
    if n < 2:
        raise ValueError(f"people's verdicts on at least two groups are needed, got {n}")
    size = max(1, len(everywhere))
    spread = float(np.var(np.concatenate([everywhere, judge]), ddof=1)) if size + n > 2 else 0.0
    together = float(np.cov(judge, people, ddof=1)[0, 1])
    weight = 0.0 if spread <= 0 or not len(everywhere) else together / ((1 + n / size) * spread)
    weight = min(1.0, max(0.0, weight))
    beyond = people - weight * judge
    mean = float(beyond.mean()) + (weight * float(everywhere.mean()) if len(everywhere) else 0.0)
    variance = float(beyond.var(ddof=1)) / n
    if len(everywhere) > 1:
        variance += weight**2 * float(everywhere.var(ddof=1)) / len(everywhere)
    half = _student(level, n) * variance**0.5
    return CorrectedMean(mean, mean - half, mean + half, weight, n)


def needed(correction: CorrectedMean, half_width: float) -> int:
    """Return the number of groups that people would have to judge for an interval of that half-width."""
    return int(np.ceil(correction.groups * (correction.half_width / half_width) ** 2))


def _by_group(values: FloatArray, groups: FloatArray | None) -> FloatArray:
    values = np.asarray(values, dtype=float)
    if groups is None:
        return values
    _, places = np.unique(groups, return_inverse=True)
    return np.bincount(places, weights=values) / np.bincount(places)


def _student(level: float, n: int) -> float:
    """Return the quantile of Student's t for ``n - 1`` degrees of freedom, by Cornish and Fisher's expansion."""
    z, nu = NormalDist().inv_cdf((1 + level) / 2), n - 1
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return float(z + first / nu + second / nu**2 + third / nu**3)
