"""How far predicted probabilities are from what happens."""

from __future__ import annotations

import numpy as np

from bestroute.protocols import FloatArray

BINS = 10


def debiased_calibration_error(
    predicted: FloatArray, happened: FloatArray, *, bins: int = BINS
) -> tuple[FloatArray, FloatArray]:
    """Return the expected calibration error of each head without the part that chance alone makes.

    Queries are put into bins of equal size by predicted probability. The squared difference of the means in a bin
    is lessened by its sampling variance.

    Args:
        predicted: Shape ``(Q, H)``.
        happened: Outcome, or its probability, shape ``(Q, H)``.
        bins: How many.

    Returns:
        The error of each head, and what a perfect head would score without debiasing at this size; shapes ``(H,)``.

    Source:
        Kumar, Liang, Ma, "Verified uncertainty calibration" (2019), the debiased estimator.
    """
    order = np.argsort(predicted, axis=0, kind="stable")
    p, y = np.take_along_axis(predicted, order, 0), np.take_along_axis(happened, order, 0)
    squared, chance = np.zeros(p.shape[1]), np.zeros(p.shape[1])
    for part in np.array_split(np.arange(len(p)), min(bins, max(1, len(p) // 10))):
        gap = p[part] - y[part]
        variance = gap.var(axis=0, ddof=1) / len(part) if len(part) > 1 else np.zeros(p.shape[1])
        share = len(part) / len(p)
        squared += share * (gap.mean(axis=0) ** 2 - variance)
        chance += share * variance
    return np.sqrt(np.maximum(squared, 0)), np.sqrt(chance)
