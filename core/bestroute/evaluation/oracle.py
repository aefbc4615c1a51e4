"""Hindsight baselines: an upper bound of any choice among the plans, and a less biased estimate of it.

The bound chooses on the same samples that evaluate it, so it includes luck that no router can have. Choosing on one
half of the samples and evaluating on the other is free of that luck, but uses few samples and no plan that needs more
than half of them: it is no bound, and below a good router if records have few samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bestroute.evaluation.series import Series
from bestroute.labels import PlanLabels, SampleArrays, label_plans
from bestroute.types.arrays import BoolArray, FloatArray, IntArray
from bestroute.types.plans import Plan


def oracle(tables: Sequence[PlanLabels], path: Sequence[float], *, others: Sequence[Series] = ()) -> Series:
    """Choose the best plan for each query in hindsight: at each price, then the cheapest and the best of all.

    Args:
        tables: Labels of every plan that is compared.
        path: Prices of quality, USD.
        others: Other compared ways to answer that are not plans.

    Returns:
        At no price is any choice among these worth more.
    """
    quality = np.hstack([table.quality for table in tables] + [other.quality for other in others])
    cost = np.hstack([table.cost_usd for table in tables] + [other.cost for other in others])
    best = quality >= quality.max(axis=1, keepdims=True)
    chosen = [
        np.where(cost <= cost.min(axis=1, keepdims=True), quality, -np.inf).argmax(axis=1),
        *((quality * price - cost).argmax(axis=1) for price in path),
        np.where(best, cost, np.inf).argmin(axis=1),
    ]
    rows = np.arange(len(quality))
    columns = np.array(chosen)
    return Series((0.0, *path, None), quality[rows, columns].T, cost[rows, columns].T)


def chosen_on_half(arrays: SampleArrays, plans: tuple[Plan, ...], path: tuple[float, ...]) -> Series:
    """Choose the best plan for each query at each price on one half of its samples; evaluate on the other half.

    Both halves take turns. Plans that need more samples than a half holds are left out.

    Raises:
        ValueError: If a record has a single sample of a model: it cannot be halved.
    """
    if int(arrays.sizes.min()) < 2:
        raise ValueError("a record with a single sample of a model cannot be halved")
    series = []
    halves = _halves(arrays)
    able = [plan for plan in plans if _fits(plan, halves[0]) and _fits(plan, halves[1])]
    tables = [label_plans(half, able, matches=False) for half in halves]
    for chooses, scores in ((0, 1), (1, 0)):
        quality, cost = tables[chooses].quality, tables[chooses].cost_usd
        chosen = np.array([(quality * price - cost).argmax(axis=1) for price in path])
        series.append(Series.chosen(tables[scores], chosen, path))
    return Series(path, (series[0].quality + series[1].quality) / 2, (series[0].cost + series[1].cost) / 2)


def _fits(plan: Plan, arrays: SampleArrays) -> bool:
    sizes = dict(zip(arrays.pool.models, arrays.sizes.min(axis=0), strict=True))
    return all(sum(s.n for s in plan.steps if s.model == model) <= sizes[model] for model in plan.models)


def _halves(arrays: SampleArrays) -> tuple[SampleArrays, SampleArrays]:
    """Divide every record's samples into two random halves, seeded, since files may have samples sorted by outcome."""
    keys = np.random.default_rng(0).random(arrays.quality.shape)
    keys[np.isnan(arrays.quality)] = 2.0
    order = keys.argsort(axis=2)
    half = (arrays.sizes // 2)[:, :, None]
    place = np.arange(arrays.quality.shape[2])
    masks = (place < half, (place >= half) & (place < 2 * half))
    return _picked(arrays, order, masks[0]), _picked(arrays, order, masks[1])


def _picked(arrays: SampleArrays, order: IntArray, mask: BoolArray) -> SampleArrays:
    """Keep the samples at some positions of an order, moved to the front."""
    first = np.argsort(~np.broadcast_to(mask, order.shape), axis=2, kind="stable")
    index = np.take_along_axis(order, first, axis=2)
    kept = np.take_along_axis(np.broadcast_to(mask, order.shape), first, axis=2)
    width = int(kept.sum(axis=2).max())

    def pick(values: FloatArray) -> FloatArray:
        taken = np.where(kept, np.take_along_axis(values, index, axis=2), np.nan)
        return np.asarray(taken[:, :, :width])

    answers = arrays.answers
    if answers is not None:
        answers = np.where(kept, np.take_along_axis(answers, index, axis=2), -1)[:, :, :width]
    return replace(
        arrays,
        quality=pick(arrays.quality),
        reward=None if arrays.reward is None else pick(arrays.reward),
        acceptance=None if arrays.acceptance is None else pick(arrays.acceptance),
        answers=answers,
        output_tokens=pick(arrays.output_tokens),
        sample_usd=pick(arrays.sample_usd),
    )
