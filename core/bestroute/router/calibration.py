"""How far predicted probabilities are from what happens."""

from __future__ import annotations

import numpy as np

from bestroute.arrays import FloatArray, IntArray
from bestroute.calibration_error import debiased_calibration_error
from bestroute.labels import PlanLabels, SampleArrays
from bestroute.router.choosing import match_slopes, scaled_heads
from bestroute.router.heads import HeadLayout


def held_out_calibration(
    means: FloatArray,
    deviations: FloatArray,
    layout: HeadLayout,
    labels: PlanLabels,
    arrays: SampleArrays,
    folds: IntArray,
) -> tuple[float, float]:
    """Return the worst head's calibration error and a perfect head's of that size; slopes come from other folds.

    The reference matches itself by definition, so its head is none.

    Args:
        means: Of the heads, shape ``(H,)``.
        deviations: Predicted on held-out folds, shape ``(Q, H)``.
        layout: Which head says what.
        labels: Of the ``Q`` queries.
        arrays: Their records.
        folds: Fold of each query.
    """
    heads, width = np.tile(means, (len(folds), 1)) + deviations, len(layout.plans)
    for fold in np.unique(folds):
        inside = folds == fold
        slopes = match_slopes(deviations[~inside, :width], labels.match_probability[~inside])
        heads[inside] = scaled_heads(means, deviations[inside], layout, slopes, 1.0)
    probabilities = layout.prediction(heads, arrays.pool).match_probability
    predicted = [p for p, plan in enumerate(layout.plans) if plan != arrays.pool.reference_plan]
    if not predicted:
        return 0.0, 0.0
    error, perfect = debiased_calibration_error(
        probabilities[:, predicted], labels.match_probability[:, predicted], arrays.groups
    )
    return float(error.max()), float(perfect[int(error.argmax())])
