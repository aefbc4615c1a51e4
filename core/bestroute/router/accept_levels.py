"""The reward from which a cheaper model's first answer is accepted, chosen and evaluated on different folds.

A level chosen and evaluated on the same records looks better than it is. So a level is chosen on some groups and
evaluated on the others, over several deals of the folds; the level that is used is chosen on all records by the same
rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestroute.labels import SampleArrays
from bestroute.router.evidence import group_resamples
from bestroute.stats.folds import FOLDS, deal_folds, standard_errors
from bestroute.types.arrays import FloatArray, IntArray

TARGET = 0.01
"""The relative drop that levels are chosen for."""
LEVELS = 40
"""Number of quantiles of the rewards tried as levels."""
RESAMPLES = 1000


@dataclass(frozen=True)
class AcceptLevel:
    """The level of one model, and the saving and drop of levels chosen this way on held-out groups; 95 % intervals."""

    level: float | None
    """``None`` if no level saves anything within the target drop."""
    saving: float
    saving_ci95: tuple[float, float]
    drop: float
    drop_ci95: tuple[float, float]

    def __str__(self) -> str:
        """Render as ``from 0.62: saves 39.8 % [32.1, 47.4] at a drop of 0.8 % [0.2, 1.4]``."""
        if self.level is None:
            return "at no level"
        (s0, s1), (d0, d1) = self.saving_ci95, self.drop_ci95
        return (
            f"from {self.level:.3g}: saves {100 * self.saving:.1f} % [{100 * s0:.1f}, {100 * s1:.1f}] at a drop of "
            f"{100 * self.drop:.1f} % [{100 * d0:.1f}, {100 * d1:.1f}]"
        )


@dataclass(frozen=True, eq=False)
class _LevelOutcomes:
    """Quality and cost of ``Q`` records if one model's answer is accepted from each of ``L`` levels, else replaced."""

    levels: FloatArray
    quality: FloatArray
    """Shape ``(Q, L)``."""
    cost: FloatArray
    reference_quality: FloatArray
    reference_cost: FloatArray
    groups: Sequence[str]

    def chosen(self, rows: IntArray) -> int | None:
        """Return the index of the level that saves most while the loss plus its standard error is within the target."""
        loss = self.reference_quality[rows, None] - self.quality[rows]
        error = standard_errors(loss, [self.groups[i] for i in rows])
        is_within = loss.mean(axis=0) + error <= TARGET * self.reference_quality[rows].mean()
        cost = np.where(is_within, self.cost[rows].mean(axis=0), np.inf)
        best = int(cost.argmin())
        return best if cost[best] < self.reference_cost[rows].mean() else None

    def evaluated(self, level: int | None, rows: IntArray) -> FloatArray:
        """Return quality and cost of some records at a level, shape ``(rows, 2)``."""
        if level is None:
            return np.column_stack([self.reference_quality[rows], self.reference_cost[rows]])
        return np.column_stack([self.quality[rows, level], self.cost[rows, level]])


def accept_levels(arrays: SampleArrays, *, deals: int, seed: int = 0) -> dict[str, AcceptLevel]:
    """Choose a level for each model that is cheaper than the reference.

    Args:
        arrays: Records with a calibrated reward of each sample. If all models have a greedy answer, its reward counts.
        deals: How often the folds are dealt.
        seed: Seed of the deals.

    Returns:
        Levels by model. Empty if samples vote, or if rewards have only two values: then there is no level to choose.
    """
    if arrays.acceptance is None or len(np.unique(arrays.acceptance[~np.isnan(arrays.acceptance)])) <= 2:
        return {}
    return {
        model: _choose_and_evaluate(_level_outcomes(arrays, model), deals, seed) for model in arrays.pool.cheaper_models
    }


def _level_outcomes(arrays: SampleArrays, model: str) -> _LevelOutcomes:
    assert arrays.acceptance is not None
    k, reference = arrays.pool.models.index(model), arrays.pool.models.index(arrays.pool.reference)
    reward, quality, cost = arrays.acceptance[:, k], arrays.quality[:, k], arrays.sample_usd[:, k]
    if (first := arrays.greedy) is not None and first.is_drawn[k]:
        reward, quality = first.reward[:, [k]], first.quality[:, [k]]
        cost = np.where(np.isnan(first.usd[:, [k]]), np.nanmean(cost, axis=1, keepdims=True), first.usd[:, [k]])
    q0, c0 = np.nanmean(arrays.quality[:, reference], axis=1), np.nanmean(arrays.sample_usd[:, reference], axis=1)
    known = reward[~np.isnan(reward)]
    levels = np.unique(np.quantile(known[known > 0], np.linspace(0, 1, LEVELS))) if (known > 0).any() else np.ones(1)
    accepted = np.nan_to_num(reward, nan=-np.inf)[:, :, None] >= levels
    is_present = ~np.isnan(quality)[:, :, None]
    got = np.where(accepted, np.nan_to_num(quality)[:, :, None], q0[:, None, None])
    paid = np.nan_to_num(cost)[:, :, None] + np.where(accepted, 0.0, c0[:, None, None])
    drawn = is_present.sum(axis=1)
    return _LevelOutcomes(
        levels, (got * is_present).sum(axis=1) / drawn, (paid * is_present).sum(axis=1) / drawn, q0, c0, arrays.groups
    )


def _choose_and_evaluate(outcomes: _LevelOutcomes, deals: int, seed: int) -> AcceptLevel:
    """Choose a level on all records, and evaluate levels chosen on the other folds."""
    everything = np.arange(len(outcomes.groups))
    given = np.zeros((len(everything), 2))
    for deal in range(deals):
        fold_of = deal_folds(outcomes.groups, FOLDS, seed=seed + 10_007 * deal)
        for fold in range(FOLDS):
            held_out = np.flatnonzero(fold_of == fold)
            given[held_out] += outcomes.evaluated(outcomes.chosen(np.flatnonzero(fold_of != fold)), held_out) / deals
    columns = np.column_stack([given, outcomes.reference_quality, outcomes.reference_cost])
    means = group_resamples(columns, outcomes.groups, resamples=RESAMPLES, seed=seed)
    drop, saving = 1 - means[:, 0] / np.maximum(means[:, 2], 1e-12), 1 - means[:, 1] / np.maximum(means[:, 3], 1e-300)
    chosen = outcomes.chosen(everything)
    return AcceptLevel(
        None if chosen is None else float(outcomes.levels[chosen]),
        float(saving[0]),
        _interval(saving[1:]),
        float(drop[0]),
        _interval(drop[1:]),
    )


def _interval(values: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
