"""The oracle: who knew each query's samples, but had to choose on one half of them and is scored on the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bestroute.arrays import BoolArray, FloatArray, IntArray
from bestroute.evaluation.series import Series
from bestroute.labels import SampleArrays, label_plans
from bestroute.plans import Plan


def oracle(arrays: SampleArrays, plans: tuple[Plan, ...], path: tuple[float, ...]) -> Series:
    """Choose the best plan for each query at each price on one half of its samples, score it on the other half.

    Both halves take turns. Plans that need more samples than a half holds are left out.

    Raises:
        ValueError: If a record has a single sample of a model: it cannot be halved.
    """
    if int(arrays.sizes.min()) < 2:
        raise ValueError("a record with a single sample of a model cannot be halved")
    parts = []
    halves = _halves(arrays)
    able = [plan for plan in plans if _fits(plan, halves[0]) and _fits(plan, halves[1])]
    tables = [label_plans(half, able, matches=False) for half in halves]
    for chooses, scores in ((0, 1), (1, 0)):
        quality, cost = tables[chooses].quality, tables[chooses].cost_usd
        chosen = np.array([(quality * price - cost).argmax(axis=1) for price in path])
        parts.append(Series.chosen(tables[scores], chosen, path))
    return Series(path, (parts[0].quality + parts[1].quality) / 2, (parts[0].cost + parts[1].cost) / 2)


def _fits(plan: Plan, arrays: SampleArrays) -> bool:
    sizes = dict(zip(arrays.pool.models, arrays.sizes.min(axis=0), strict=True))
    return all(sum(s.n for s in plan.steps if s.model == model) <= sizes[model] for model in plan.models)


def _halves(arrays: SampleArrays) -> tuple[SampleArrays, SampleArrays]:
    """Deal every record's samples into two halves, seeded; samples of one outcome stand in clumps in the files."""
    keys = np.random.default_rng(0).random(arrays.quality.shape)
    keys[np.isnan(arrays.quality)] = 2.0
    order = keys.argsort(axis=2)
    half = (arrays.sizes // 2)[:, :, None]
    place = np.arange(arrays.quality.shape[2])
    masks = (place < half, (place >= half) & (place < 2 * half))
    return _picked(arrays, order, masks[0]), _picked(arrays, order, masks[1])


def _picked(arrays: SampleArrays, order: IntArray, mask: BoolArray) -> SampleArrays:
    """Keep the samples at some places of an order, moved to the front."""
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
