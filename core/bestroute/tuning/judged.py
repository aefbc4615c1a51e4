"""A promise on a judge's labels, corrected by what people said of some of the queries: of what people would see.

The settings are ordered by the judge's labels on one part, as always. Each is then tested, in that order and until the
first that fails, by the upper end of a prediction-powered interval (``stats/prediction_powered``) of its mean loss: the
judge's mean over the calibration part and the people's part, and what people say beyond the judge there. A judge that
errs alike for all models costs nothing; one that is kind to a cheap model is found out. The interval is of a mean of
many groups, so it is not exact for few; one group more, on which people find the worst, stands in for those that nobody
saw: of ``n`` that agree, 3 in ``n`` may not.
"""

from __future__ import annotations

import numpy as np

from bestroute.stats.prediction_powered import CorrectedMean, corrected_mean
from bestroute.tuning.certify import LEAST_SAVING, Certificate, Outcomes, estimates
from bestroute.tuning.fixed_sequence import order_settings, passed_in_sequence
from bestroute.tuning.splits import group_means
from bestroute.types.arrays import FloatArray

FEWEST = 30
"""Fewest groups that people must have judged for a promise."""


def certify_drop_by_people(
    order: Outcomes, calibrate: Outcomes, judge: Outcomes, people: Outcomes, *, max_drop: float, confidence: float
) -> Certificate:
    """Find the setting with the largest saving that is shown to lose at most ``max_drop`` as people would judge it.

    Args:
        order: Outcomes on the ordering part, by the judge.
        calibrate: Outcomes on the calibration part, by the judge.
        judge: Outcomes on the queries that people judged, which are in neither part, by the judge.
        people: Outcomes on the same queries, by people.
        max_drop: Allowed drop, as a share of the reference's mean quality.
        confidence: Confidence of the promise.

    Returns:
        ``fewest`` and ``needed`` count groups that people judge.
    """
    saving = 1 - order.cost.sum(axis=1) / order.reference_cost.sum()
    losses = [(1 - max_drop) * part.reference_quality - part.quality for part in (order, calibrate, judge, people)]
    first, second, by_judge, by_people = (
        group_means(of, part.groups) for of, part in zip(losses, (order, calibrate, judge, people), strict=True)
    )
    points = order_settings(first, saving, saving >= LEAST_SAVING)
    if people.units < FEWEST or not len(points):
        return Certificate(None, len(points), 0, FEWEST, float("inf") if not len(points) else float(FEWEST), {})
    worst = 1.0 - max_drop
    found = [_loss(second[v], by_judge[v], by_people[v], worst, 2 * confidence - 1) for v in points]
    passed = passed_in_sequence(np.array([one.high <= 0 for one in found]))
    if not passed:
        enough = min((_enough(one, worst) for one in found), default=float("inf"))
        return Certificate(None, len(points), 0, FEWEST, enough, {})
    setting = int(points[passed - 1])
    return Certificate(setting, len(points), passed, FEWEST, float(people.units), estimates(people, setting))


def _loss(everywhere: FloatArray, judge: FloatArray, people: FloatArray, worst: float, level: float) -> CorrectedMean:
    """Return a setting's mean loss as judged by people, with one additional group of the worst possible loss."""
    return corrected_mean(
        everywhere, np.append(judge, judge.mean()), np.append(people, max(worst, people.max())), level=level
    )


def _enough(found: CorrectedMean, worst: float) -> float:
    """Estimate how many groups people would have to judge for this setting to pass."""
    n = found.groups - 1
    margin = -(found.mean * (n + 1) - worst) / n  # without the additional worst-case group
    if margin <= 0:
        return float("inf")
    # half a width falls with the root of n, the stand-in's part with n: solve margin = half * sqrt(n / m) + worst / m
    half = found.half_width * n**0.5
    root = (half + (half**2 + 4 * margin * worst) ** 0.5) / (2 * margin)
    return float(np.ceil(root**2))
