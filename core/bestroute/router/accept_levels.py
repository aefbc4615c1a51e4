"""The level from which a cheaper model's first answer is accepted, chosen like a price: on folds that do not judge it.

A level that saves the most on the records that chose it flatters itself. So it is chosen on some groups and scored on
others, over several deals of the folds; what is used is chosen on all records, by the same rule.
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
"""The relative drop that a level is chosen for."""
LEVELS = 40
"""Quantiles of the rewards that are tried."""
RESAMPLES = 1000


@dataclass(frozen=True)
class AcceptLevel:
    """A level of one model, and what such a choice gave on groups that had no part in it; 95 % intervals."""

    level: float | None
    """``None``: no level saves anything within the drop."""
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
class _Ladder:
    """What one model accepted at each of ``L`` levels, else the reference, gives each of ``Q`` records."""

    levels: FloatArray
    quality: FloatArray
    """Shape ``(Q, L)``."""
    cost: FloatArray
    reference_quality: FloatArray
    reference_cost: FloatArray
    groups: Sequence[str]

    def chosen(self, rows: IntArray) -> int | None:
        """Return the level that saves most where the loss and its standard error together stay within the target."""
        loss = self.reference_quality[rows, None] - self.quality[rows]
        error = standard_errors(loss, [self.groups[i] for i in rows])
        is_within = loss.mean(axis=0) + error <= TARGET * self.reference_quality[rows].mean()
        cost = np.where(is_within, self.cost[rows].mean(axis=0), np.inf)
        best = int(cost.argmin())
        return best if cost[best] < self.reference_cost[rows].mean() else None

    def scored(self, level: int | None, rows: IntArray) -> FloatArray:
        """Return quality and cost of some records at a level, shape ``(rows, 2)``."""
        if level is None:
            return np.column_stack([self.reference_quality[rows], self.reference_cost[rows]])
        return np.column_stack([self.quality[rows, level], self.cost[rows, level]])


def accept_levels(arrays: SampleArrays, *, deals: int, seed: int = 0) -> dict[str, AcceptLevel]:
    """Return a level for each model that is cheaper than the reference.

    Args:
        arrays: Records with a calibrated reward of each sample; where all models drew greedily, that answer is first.
        deals: How often the folds are dealt.
        seed: Of the deals.

    Returns:
        Nothing where samples vote, or where a reward only says yes or no: there is no level to choose.
    """
    if arrays.acceptance is None or len(np.unique(arrays.acceptance[~np.isnan(arrays.acceptance)])) <= 2:
        return {}
    return {model: _judged(_ladder(arrays, model), deals, seed) for model in arrays.pool.cheaper_models}


def _ladder(arrays: SampleArrays, model: str) -> _Ladder:
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
    is_there = ~np.isnan(quality)[:, :, None]
    got = np.where(accepted, np.nan_to_num(quality)[:, :, None], q0[:, None, None])
    paid = np.nan_to_num(cost)[:, :, None] + np.where(accepted, 0.0, c0[:, None, None])
    drawn = is_there.sum(axis=1)
    return _Ladder(
        levels, (got * is_there).sum(axis=1) / drawn, (paid * is_there).sum(axis=1) / drawn, q0, c0, arrays.groups
    )


def _judged(ladder: _Ladder, deals: int, seed: int) -> AcceptLevel:
    """Choose on all records, and say what choices on the other folds gave."""
    everything = np.arange(len(ladder.groups))
    given = np.zeros((len(everything), 2))
    for deal in range(deals):
        fold_of = deal_folds(ladder.groups, FOLDS, seed=seed + 10_007 * deal)
        for fold in range(FOLDS):
            held_out = np.flatnonzero(fold_of == fold)
            given[held_out] += ladder.scored(ladder.chosen(np.flatnonzero(fold_of != fold)), held_out) / deals
    columns = np.column_stack([given, ladder.reference_quality, ladder.reference_cost])
    means = group_resamples(columns, ladder.groups, resamples=RESAMPLES, seed=seed)
    drop, saving = 1 - means[:, 0] / np.maximum(means[:, 2], 1e-12), 1 - means[:, 1] / np.maximum(means[:, 3], 1e-300)
    chosen = ladder.chosen(everything)
    return AcceptLevel(
        None if chosen is None else float(ladder.levels[chosen]),
        float(saving[0]),
        _interval(saving[1:]),
        float(drop[0]),
        _interval(drop[1:]),
    )


def _interval(values: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
