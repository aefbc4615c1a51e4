"""Choose shrinkage and the prices that meet target drops, by the value of the decisions on held-out folds.

The folds are dealt several times if that is fast enough, since a single deal depends on chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bestroute.billing.expected_cost import plan_costs
from bestroute.labels import PlanLabels, SampleArrays
from bestroute.policies.policies import QualityPolicy
from bestroute.router.familiarity import trust
from bestroute.router.heads import HeadLayout
from bestroute.stats.folds import standard_errors
from bestroute.stats.hull import upper_hull
from bestroute.types.arrays import BoolArray, FloatArray

SHRINKAGES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
USUAL_SHRINKAGE = 0.5
"""Used unless held-out folds contradict it. If nothing can be predicted it does no harm, and it lets the price change
decisions query by query, where without it all queries would change plan at once.
"""
TARGET_DROPS = ("0", "0.005", "0.01", "0.015", "0.02", "0.03", "0.04", "0.045")
"""Relative drops in quality for which training freezes a price."""
DEFAULT_TARGET = "0.01"
"""The target whose price becomes the default policy."""
MOST_MADE_UP = 0.01
"""Largest share of the reference's quality by which gains of one group may offset losses of others when a price is
frozen, unless a larger drop is the target.
"""
PATH_POINTS = 101
HULL_SLACK = 0.001
"""Largest share of the reference's quality by which decisions, less half a standard error, may be below the hull of
fixed plans on held-out folds, if familiarity counts; a price with lower quality is not frozen.
"""


@dataclass(frozen=True, eq=False)
class PlanOutcomes:
    """Outcomes of ``V`` prices, and of the reference, on ``Q`` held-out queries."""

    quality: FloatArray
    """Mean over the deals of the folds, shape ``(V, Q)``."""
    cost: FloatArray
    """USD, shape ``(V, Q)``."""
    reference_quality: FloatArray
    reference_cost: FloatArray


@dataclass(frozen=True, eq=False)
class ShrinkageChoice:
    """The chosen shrinkage and prices of quality."""

    decay: float
    """Factor by which each direction of the labels is shrunk relative to the one before; see
    ``stacking.Stack.decayed``."""
    shrinkage: float
    slopes: FloatArray
    """Slopes of match probabilities, shape ``(P,)``."""
    path: tuple[float, ...]
    """Prices of quality, USD, ascending."""
    frozen: dict[str, float | None]
    """For each target drop the price that met it; ``None``: only the reference does."""
    outcomes: PlanOutcomes
    """Outcomes of the prices of the path."""

    @property
    def savings(self) -> FloatArray:
        """Saving at each price of the path, as a share of the reference's cost."""
        return np.asarray(1 - self.outcomes.cost.mean(axis=1) / self.outcomes.reference_cost.mean())


def choose(
    means: FloatArray,
    deals: Sequence[Mapping[float, FloatArray]],
    layout: HeadLayout,
    labels: PlanLabels,
    arrays: SampleArrays,
    familiarity: Sequence[FloatArray] | None = None,
) -> ShrinkageChoice:
    """Choose shrinkage and prices by the decisions that policies would have made on held-out folds.

    Args:
        means: Training means of the heads, shape ``(H,)``.
        deals: For each deal of the folds and each decay, deviations predicted on held-out folds, shape ``(Q, H)``.
        layout: The order of the heads.
        labels: Labels of the ``Q`` queries.
        arrays: Their records.
        familiarity: For each deal, how familiar queries are to a router of the other folds, shape ``(Q,)``. A price is
            then frozen only if decisions meet the drop both with it and with full familiarity, and the latter are not
            below the hull of fixed plans. ``None``: all queries count as familiar.

    Returns:
        The smallest decay and the shrinkage nearest to the usual one that are not clearly worse than the best, with the
        prices that follow.
    """
    pool, rows = arrays.pool, np.arange(len(arrays))
    reference = layout.plans.index(pool.reference_plan)
    quality0, cost0 = float(labels.quality[:, reference].mean()), float(labels.cost_usd[:, reference].mean())
    path = np.geomspace(1e-3, 1e2, PATH_POINTS) * cost0 / max(quality0, 1e-9)
    slopes = {
        decay: [match_slopes(deal[decay][:, : len(layout.plans)], labels.match_probability) for deal in deals]
        for decay in deals[0]
    }
    choices: dict[tuple[float, float], list[NDArray[np.int16]]] = {}
    relevant = np.zeros(len(path), dtype=bool)
    for decay in deals[0]:
        for shrinkage in SHRINKAGES:
            choices[decay, shrinkage] = []
            for deal, slope in zip(deals, slopes[decay], strict=True):
                heads = scaled_heads(means, deal[decay], layout, slope, shrinkage)
                chosen = _chosen_plans(heads, layout, arrays, path)
                got, paid = labels.quality[rows, chosen].mean(axis=1), labels.cost_usd[rows, chosen].mean(axis=1)
                relevant |= (got >= 0.9 * quality0) & (paid <= 1.2 * cost0)
                choices[decay, shrinkage].append(chosen)
    where = relevant if relevant.any() else np.ones(len(path), dtype=bool)
    utility = {
        setting: np.mean([_mean_utility(labels, chosen[where], path[where]) for chosen in of_deals], axis=0)
        for setting, of_deals in choices.items()
    }
    decay = _chosen_decay(utility, arrays.groups)
    shrinkage = _as_good_as_best({s: utility[d, s] for d, s in utility if d == decay}, arrays.groups)
    both = [choices[decay, shrinkage]]
    if familiarity is not None:
        both.append([])
        for deal, slope, known in zip(deals, slopes[decay], familiarity, strict=True):
            heads = scaled_heads(means, deal[decay] * trust(known)[:, None], layout, slope, shrinkage)
            both[-1].append(_chosen_plans(heads, layout, arrays, path, known))
    drops, pays = [], np.ones(len(path), dtype=bool)
    for of_deals in both:
        quality = np.mean([labels.quality[rows, chosen] for chosen in of_deals], axis=0)  # (path, Q)
        cost = np.mean([labels.cost_usd[rows, chosen] for chosen in of_deals], axis=0)
        losses, one = _losses(labels.quality[:, reference] - quality, labels.quality[:, reference], arrays.groups)
        drops.append([relative_drops(losses, max(float(target), one)) for target in TARGET_DROPS])
        pays &= cost.mean(axis=1) <= cost0
        if familiarity is not None and of_deals is both[0]:  # the hull is compared without familiarity
            pays &= _is_on_hull(quality, cost, labels, arrays.groups, HULL_SLACK * quality0)
    frozen: dict[str, float | None] = {}
    for target, drop in zip(TARGET_DROPS, np.max(drops, axis=0), strict=True):
        first = cheapest_that_meets(drop <= float(target) + 1e-12)
        meets = [] if first is None else [i for i in range(first, len(path)) if pays[i]]
        best = min(meets, key=lambda i: (cost[i].mean(), i), default=None)
        frozen[target] = None if best is None else float(path[best])
    outcomes = PlanOutcomes(quality, cost, labels.quality[:, reference], labels.cost_usd[:, reference])
    return ShrinkageChoice(decay, shrinkage, np.mean(slopes[decay], axis=0), tuple(path.tolist()), frozen, outcomes)


def _chosen_plans(
    heads: FloatArray,
    layout: HeadLayout,
    arrays: SampleArrays,
    prices: FloatArray,
    familiarity: FloatArray | None = None,
) -> NDArray[np.int16]:
    """Return the plan chosen at each price for each query, shape ``(prices, Q)``."""
    pool = arrays.pool
    inputs = arrays.input_tokens[:, pool.models.index(pool.reference)]
    prediction = replace(layout.prediction(heads, pool), familiarity=familiarity)
    cost = plan_costs(layout.plans, prediction.expected_draws, prediction.output_tokens, inputs, pool)
    return np.array([QualityPolicy(float(v)).choose(prediction, cost, pool) for v in prices], dtype=np.int16)


def _losses(lost: FloatArray, reference: FloatArray, groups: Sequence[str]) -> tuple[FloatArray, float]:
    """Return the loss of each group at each price, ``(V, G)``, and the largest gain on a single query.

    Both are shares of the reference's quality summed over all queries.
    """
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    sums, total = np.zeros((len(names), len(lost))), max(float(reference.sum()), 1e-12)
    np.add.at(sums, group_of, lost.T)
    return np.asarray(sums.T / total), max(-float(lost.min()), 0.0) / total


def relative_drops(losses: FloatArray, most: float) -> FloatArray:
    """Return the relative drop at each price, ``(V,)``, with limited offsetting of losses by gains of other groups.

    Otherwise a few groups on which the reference fails could offset anything, and other queries are of other groups.

    Args:
        losses: Shape ``(V, G)``.
        most: The most that a group may offset, if more than ``MOST_MADE_UP``.
    """
    return np.asarray(np.maximum(losses, -max(most, MOST_MADE_UP)).sum(axis=1))


def _is_on_hull(
    quality: FloatArray, cost: FloatArray, labels: PlanLabels, groups: Sequence[str], slack: float
) -> BoolArray:
    """Return at which prices decisions are, within the slack, as good as a mixture of fixed plans of the same cost.

    Args:
        quality: Quality of the chosen plans at each price, shape ``(V, Q)``.
        cost: Their cost, USD, shape ``(V, Q)``.
        labels: Labels of every plan; the hull is fitted on these very records, which favours it.
        groups: Groups of the queries.
        slack: In units of quality.
    """
    means = labels.cost_usd.mean(axis=0), labels.quality.mean(axis=0)
    over = np.array([q - _mixture_quality(labels, *means, c) for q, c in zip(quality, cost, strict=True)])
    return np.asarray(over.mean(axis=1) - standard_errors(over.T, groups) / 2 >= -slack)


def _mixture_quality(labels: PlanLabels, costs: FloatArray, qualities: FloatArray, paid: FloatArray) -> FloatArray:
    """Return the quality per query of the random mixture of two fixed plans with the same mean cost, ``(Q,)``.

    If a query cost more than the mixture would have, the mixture's quality is raised by what the difference buys on the
    hull: the mean stays the hull's, and expensive queries add no noise.
    """
    hull = upper_hull(costs, qualities)
    high = int(np.searchsorted(costs[hull], paid.mean()))
    if high in (0, len(hull)):
        return labels.quality[:, hull[min(high, len(hull) - 1)]]
    low, high = hull[high - 1], hull[high]
    share = (paid.mean() - costs[low]) / (costs[high] - costs[low])
    slope = (qualities[high] - qualities[low]) / (costs[high] - costs[low])
    quality = (1 - share) * labels.quality[:, low] + share * labels.quality[:, high]
    cost = (1 - share) * labels.cost_usd[:, low] + share * labels.cost_usd[:, high]
    return np.asarray(quality + slope * (paid - cost))


def _mean_utility(labels: PlanLabels, chosen: NDArray[np.int16], prices: FloatArray) -> FloatArray:
    """Return the mean utility for each query of the plans chosen at each price ``(prices, Q)``, shape ``(Q,)``."""
    rows = np.arange(chosen.shape[1])
    got, paid = labels.quality[rows, chosen], labels.cost_usd[rows, chosen]
    return np.asarray(((got * prices[:, None] - paid) / np.sqrt(prices)[:, None]).mean(axis=0))


def scaled_heads(
    means: FloatArray, deviations: FloatArray, layout: HeadLayout, slopes: FloatArray, shrinkage: float
) -> FloatArray:
    """Shrink deviations towards the training means: match probabilities by their slopes, the rest by one factor."""
    factors = np.full(layout.width, shrinkage)
    factors[: len(layout.plans)] = slopes
    return np.asarray(means + deviations * factors)


def match_slopes(deviations: FloatArray, match_probability: FloatArray) -> FloatArray:
    """Return the slope of the labels on held-out predictions of match probabilities, clipped to [0, 1], ``(P,)``.

    Args:
        deviations: Predicted deviations from the mean, shape ``(Q, P)``.
        match_probability: Labels, shape ``(Q, P)``.
    """
    truth = match_probability - match_probability.mean(axis=0)
    power = (deviations**2).sum(axis=0)
    slopes = np.divide((truth * deviations).sum(axis=0), power, out=np.zeros_like(power), where=power > 0)
    return np.asarray(np.clip(slopes, 0, 1))


def cheapest_that_meets(meets: BoolArray) -> int | None:
    """Return the index of the cheapest price (the first) such that it and all more careful ones meet a condition.

    Cheaper prices beyond a failure may pass by chance.
    """
    failures = np.flatnonzero(~meets)
    first = int(failures[-1]) + 1 if len(failures) else 0
    return first if first < len(meets) else None


def _chosen_decay(utility: Mapping[tuple[float, float], FloatArray], groups: Sequence[str]) -> float:
    """Return the smallest decay whose best shrinkage is within a standard error, by group, of the best of all."""
    leaders = {decay: max((w for (d, _), w in utility.items() if d == decay), key=np.mean) for decay, _ in utility}
    best = max(leaders.values(), key=np.mean)
    near = [d for d, w in leaders.items() if (best - w).mean() <= standard_errors((best - w)[:, None], groups)[0]]
    return min(near)


def _as_good_as_best(utilities: Mapping[float, FloatArray], groups: Sequence[str]) -> float:
    """Return the shrinkage nearest to the usual one within half a standard error, by group, of the best."""
    best = max(utilities, key=lambda s: (utilities[s].mean(), -s))
    behind = np.column_stack([utilities[best] - utility for utility in utilities.values()])
    near = behind.mean(axis=0) <= standard_errors(behind, groups) / 2
    return min(
        (s for s, is_near in zip(utilities, near, strict=True) if is_near), key=lambda s: abs(s - USUAL_SHRINKAGE)
    )
