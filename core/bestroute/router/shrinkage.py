"""Choosing how far heads are believed, and the prices that meet target drops, by what held-out choices are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bestroute.billing.expected_cost import plan_costs
from bestroute.labels import PlanLabels, SampleArrays
from bestroute.policies.policies import QualityPolicy
from bestroute.router.heads import HeadLayout
from bestroute.stats.folds import standard_errors
from bestroute.types.arrays import BoolArray, FloatArray

SHRINKAGES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
USUAL_SHRINKAGE = 0.5
"""Taken unless held-out folds speak against it: where nothing can be predicted it costs nothing, and it lets the
price move the choice of single queries where without it all would change plan at once."""
TARGET_DROPS = ("0", "0.005", "0.01", "0.015", "0.02", "0.03", "0.04", "0.045")
"""Relative drops in quality for which training freezes a price."""
DEFAULT_TARGET = "0.01"
"""Its price is the default policy's."""
PATH_POINTS = 101


@dataclass(frozen=True, eq=False)
class ShrinkageChoice:
    """How far heads are believed, and what quality is worth."""

    decay: float
    """How far each direction of the labels is believed beside the one before; see ``stacking.Stack.decayed``."""
    shrinkage: float
    slopes: FloatArray
    """Of match probabilities, shape ``(P,)``."""
    path: tuple[float, ...]
    """Prices of quality, USD, rising."""
    frozen: dict[str, float | None]
    """For each target drop the price that met it; ``None``: the reference alone does."""
    savings: FloatArray
    """What each price of the path saved, as a share of the reference's cost."""


def choose(
    means: FloatArray,
    held_out: Mapping[float, FloatArray],
    layout: HeadLayout,
    labels: PlanLabels,
    arrays: SampleArrays,
) -> ShrinkageChoice:
    """Choose by the choices that policies would have made on held-out folds.

    Args:
        means: Training means of the heads, shape ``(H,)``.
        held_out: For each decay, deviations predicted on held-out folds, shape ``(Q, H)``.
        layout: Which head says what.
        labels: Of the ``Q`` queries.
        arrays: Their records.

    Returns:
        The smallest decay and the most usual shrinkage that no other is ahead of beyond doubt, and what follows.
    """
    pool, rows = arrays.pool, np.arange(len(arrays))
    inputs = arrays.input_tokens[:, pool.models.index(pool.reference)]
    reference = layout.plans.index(pool.reference_plan)
    quality0, cost0 = labels.quality[:, reference].mean(), labels.cost_usd[:, reference].mean()
    path = np.geomspace(1e-3, 1e2, PATH_POINTS) * cost0 / max(float(quality0), 1e-9)
    slopes = {r: match_slopes(d[:, : len(layout.plans)], labels.match_probability) for r, d in held_out.items()}
    choices, points, relevant = {}, {}, np.zeros(len(path), dtype=bool)
    for decay, deviations in held_out.items():
        for shrinkage in SHRINKAGES:
            heads = scaled_heads(means, deviations, layout, slopes[decay], shrinkage)
            prediction = layout.prediction(heads, pool)
            cost = plan_costs(layout.plans, prediction.expected_draws, prediction.output_tokens, inputs, pool)
            chosen = np.array([QualityPolicy(float(v)).choose(prediction, cost, pool) for v in path])
            got, paid = labels.quality[rows, chosen], labels.cost_usd[rows, chosen]  # (path, Q)
            choices[decay, shrinkage] = chosen.astype(np.int16)
            points[decay, shrinkage] = np.column_stack([got.mean(axis=1), paid.mean(axis=1)])
            relevant |= (got.mean(axis=1) >= 0.9 * quality0) & (paid.mean(axis=1) <= 1.2 * cost0)
    where = relevant if relevant.any() else np.ones(len(path), dtype=bool)
    worth = {setting: _mean_worth(labels, chosen[where], path[where]) for setting, chosen in choices.items()}
    decay = _chosen_decay(worth, arrays.groups)
    shrinkage = _as_good_as_best({s: worth[d, s] for d, s in worth if d == decay}, arrays.groups)
    quality, paid = points[decay, shrinkage].T
    frozen: dict[str, float | None] = {}
    for target in TARGET_DROPS:
        best = cheapest_that_meets(quality >= (1 - float(target)) * quality0)
        if best is not None and paid[best] > cost0:
            best = None
        frozen[target] = None if best is None else float(path[best])
    return ShrinkageChoice(decay, shrinkage, slopes[decay], tuple(path.tolist()), frozen, np.asarray(1 - paid / cost0))


def _mean_worth(labels: PlanLabels, chosen: NDArray[np.int16], prices: FloatArray) -> FloatArray:
    """Return what the plans chosen at each price ``(prices, Q)`` are worth to each query on average, shape ``(Q,)``."""
    rows = np.arange(chosen.shape[1])
    got, paid = labels.quality[rows, chosen], labels.cost_usd[rows, chosen]
    return np.asarray(((got * prices[:, None] - paid) / np.sqrt(prices)[:, None]).mean(axis=0))


def scaled_heads(
    means: FloatArray, deviations: FloatArray, layout: HeadLayout, slopes: FloatArray, shrinkage: float
) -> FloatArray:
    """Shrink deviations towards the training means: match probabilities by their own slopes, the rest by one factor."""
    factors = np.full(layout.width, shrinkage)
    factors[: len(layout.plans)] = slopes
    return np.asarray(means + deviations * factors)


def match_slopes(deviations: FloatArray, match_probability: FloatArray) -> FloatArray:
    """Calibrate match probabilities: the slope of the label on predictions of held-out folds, in [0, 1], ``(P,)``.

    Args:
        deviations: Predicted, from the mean; shape ``(Q, P)``.
        match_probability: Labels, shape ``(Q, P)``.
    """
    truth = match_probability - match_probability.mean(axis=0)
    power = (deviations**2).sum(axis=0)
    slopes = np.divide((truth * deviations).sum(axis=0), power, out=np.zeros_like(power), where=power > 0)
    return np.asarray(np.clip(slopes, 0, 1))


def cheapest_that_meets(meets: BoolArray) -> int | None:
    """Walk from the most careful price (the last) towards cheaper ones, and stop before the first that fails.

    A cheaper one beyond a failure may pass by luck alone.
    """
    failures = np.flatnonzero(~meets)
    first = int(failures[-1]) + 1 if len(failures) else 0
    return first if first < len(meets) else None


def _chosen_decay(worth: Mapping[tuple[float, float], FloatArray], groups: Sequence[str]) -> float:
    """Return the smallest decay whose best shrinkage is within a standard error, by group, of the best of all."""
    leaders = {decay: max((w for (d, _), w in worth.items() if d == decay), key=np.mean) for decay, _ in worth}
    best = max(leaders.values(), key=np.mean)
    near = [d for d, w in leaders.items() if (best - w).mean() <= standard_errors((best - w)[:, None], groups)[0]]
    return min(near)


def _as_good_as_best(worths: Mapping[float, FloatArray], groups: Sequence[str]) -> float:
    """Return the shrinkage nearest to the usual one of those within half a standard error of the best, by group."""
    best = max(worths, key=lambda s: (worths[s].mean(), -s))
    behind = np.column_stack([worths[best] - worth for worth in worths.values()])
    near = behind.mean(axis=0) <= standard_errors(behind, groups) / 2
    return min((s for s, is_near in zip(worths, near, strict=True) if is_near), key=lambda s: abs(s - USUAL_SHRINKAGE))
