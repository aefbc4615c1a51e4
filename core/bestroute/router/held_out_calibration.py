"""Calibration error of predicted match probabilities on held-out folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bestroute.labels import PlanLabels, SampleArrays
from bestroute.router.heads import HeadLayout
from bestroute.router.shrinkage import match_slopes, scaled_heads
from bestroute.stats.calibration_error import debiased_calibration_error
from bestroute.types.arrays import FloatArray, IntArray

RESAMPLES = 100


def held_out_calibration(
    means: FloatArray,
    deviations: FloatArray,
    layout: HeadLayout,
    labels: PlanLabels,
    arrays: SampleArrays,
    folds: IntArray,
) -> tuple[float, float, tuple[float, float]]:
    """Return the largest calibration error of a head, that of a perfect head of the same size, and a 95 % interval.

    Slopes are fitted on the other folds. The interval is a bootstrap over groups for the worst head. The reference is
    excluded, since it matches itself by definition.

    Args:
        means: Training means of the heads, shape ``(H,)``.
        deviations: Deviations predicted on held-out folds, shape ``(Q, H)``.
        layout: The order of the heads.
        labels: Labels of the ``Q`` queries.
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
        return 0.0, 0.0, (0.0, 0.0)
    error, perfect = debiased_calibration_error(
        probabilities[:, predicted], labels.match_probability[:, predicted], arrays.groups
    )
    worst = int(error.argmax())
    head = probabilities[:, predicted][:, [worst]], labels.match_probability[:, predicted][:, [worst]]
    return float(error[worst]), float(perfect[worst]), _interval(*head, arrays.groups)


def _interval(predicted: FloatArray, observed: FloatArray, groups: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % interval of one head's error; a group that is drawn twice counts as two groups."""
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(np.bincount(group_of))[:-1])
    rng, errors = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        drawn = [members[g] for g in rng.integers(0, len(members), len(members))]
        names = [str(i) for i, rows in enumerate(drawn) for _ in rows]
        rows = np.concatenate(drawn)
        errors.append(debiased_calibration_error(predicted[rows], observed[rows], names)[0][0])
    low, high = np.quantile(errors, (0.025, 0.975))
    return float(low), float(high)
