"""How many members a plan may have: two, unless decisions on held-out folds show that longer plans pay.

The decisions with and without longer plans are compared on folds that the heads were not fitted on, averaged over all
deals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestroute.router.heads import HeadLayout
from bestroute.router.shrinkage import ShrinkageChoice
from bestroute.stats.bootstrap import interval, resample_groups
from bestroute.stats.folds import standard_errors

USUAL_MEMBERS = 2
RESAMPLES = 1000
_LEAST_QUALITY, _MOST_COST = 0.9, 1.05
"""Only prices are compared at which decisions reach this share of the reference's quality and cost at most this
share."""


@dataclass(frozen=True)
class LongerPlans:
    """What plans of more than two members add, in units of quality, at the prices compared."""

    gain: float
    gain_ci95: tuple[float, float]
    error: float
    """Its standard error, by group."""

    @property
    def pays(self) -> bool:
        """Whether the gain is more than its standard error."""
        return self.gain > self.error


def usual_plans(layout: HeadLayout) -> list[int]:
    """Return the columns of the plans with at most two members."""
    return [i for i, plan in enumerate(layout.plans) if len(plan.steps) <= USUAL_MEMBERS]


def longer_plans(longer: ShrinkageChoice, shorter: ShrinkageChoice, groups: Sequence[str]) -> LongerPlans:
    """Compare decisions with longer plans to those without, at the same prices of quality.

    Args:
        longer: The choice among all plans.
        shorter: The choice among plans of at most two members, on the same path of prices.
        groups: Groups of the queries.
    """
    reference = longer.outcomes
    quality0, cost0 = reference.reference_quality.mean(), reference.reference_cost.mean()
    is_near = np.zeros(len(longer.path), dtype=bool)
    for outcomes in (longer.outcomes, shorter.outcomes):
        is_good = outcomes.quality.mean(axis=1) >= _LEAST_QUALITY * quality0
        is_near |= is_good & (outcomes.cost.mean(axis=1) <= _MOST_COST * cost0)
    where = is_near if is_near.any() else np.ones(len(longer.path), dtype=bool)
    prices = np.asarray(longer.path)[where, None]
    quality = (longer.outcomes.quality - shorter.outcomes.quality)[where]
    cost = (longer.outcomes.cost - shorter.outcomes.cost)[where]
    gain = (quality - cost / prices).mean(axis=0)
    return LongerPlans(
        float(gain.mean()),
        interval(resample_groups(groups, resamples=RESAMPLES) @ gain),
        float(standard_errors(gain[:, None], groups)[0]),
    )
