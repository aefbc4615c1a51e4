"""Calibration error of predicted probabilities, corrected for the bias of small bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bestroute.stats.folds import standard_errors
from bestroute.types.arrays import FloatArray

BINS = 10


def debiased_calibration_error(
    predicted: FloatArray, observed: FloatArray, groups: Sequence[str], *, bins: int = BINS
) -> tuple[FloatArray, FloatArray]:
    """Return the expected calibration error of each head, without the part due to sampling variance.

    Queries are put into bins of equal size by predicted probability, equal ones by chance and not as the file has them;
    the error is the root of the mean square over bins. The squared difference of the means in a bin
    is lessened by its sampling variance, groups being drawn whole: queries of a group are alike.

    Args:
        predicted: Shape ``(Q, H)``.
        observed: Outcome, or its probability, shape ``(Q, H)``.
        groups: Group of each query.
        bins: Number of bins.

    Returns:
        The error of each head, and what a perfect head would score without debiasing at this size; shapes ``(H,)``.

    Source:
        Kumar, Liang, Ma, "Verified uncertainty calibration" (2019), the debiased estimator; Cochran, "Sampling
        techniques" (1977), for means of groups drawn whole.
    """
    names, shuffled = np.asarray(groups), np.random.default_rng(0).permutation(len(predicted))
    predicted, observed, names = predicted[shuffled], observed[shuffled], names[shuffled]
    order = np.argsort(predicted, axis=0, kind="stable")
    p, y = np.take_along_axis(predicted, order, 0), np.take_along_axis(observed, order, 0)
    squared, chance = np.zeros(p.shape[1]), np.zeros(p.shape[1])
    for part in np.array_split(np.arange(len(p)), min(bins, max(1, len(p) // 10))):
        gap = p[part] - y[part]
        variance = _variance_of_mean(gap, names[order[part]])
        share = len(part) / len(p)
        squared += share * (gap.mean(axis=0) ** 2 - variance)
        chance += share * variance
    return np.sqrt(np.maximum(squared, 0)), np.sqrt(chance)


def _variance_of_mean(values: FloatArray, groups: NDArray[np.str_]) -> FloatArray:
    """Return the sampling variance of each column's mean, ``(H,)``; of values and their groups, both ``(N, H)``."""
    columns = zip(values.T, groups.T, strict=True)
    return np.array([standard_errors(column[:, None], of)[0] ** 2 for column, of in columns])
