"""Plans over samples that vote: exact for a candidate with few subsets, seeded draws without replacement otherwise."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from math import comb

import numpy as np

from bestroute.labels.arrays import SampleArrays
from bestroute.labels.urns import PlanOdds
from bestroute.plans import Plan
from bestroute.protocols import BoolArray, FloatArray, IntArray
from bestroute.rewards import beta_exceeds_half

MOST_SUBSETS = 1000
"""Candidates with more subsets than this are estimated from seeded draws."""
DRAWS = 128
"""Seeded orders a record is played in, the same for every plan, so that plans are compared in pairs."""
_CHUNK = 250


def vote_odds(arrays: SampleArrays, plan: Plan, *, draws: int = DRAWS, seed: int = 0) -> PlanOdds:
    """Return what a plan does with each sample when the samples drawn so far vote after every draw.

    Args:
        arrays: Records with answers.
        plan: At most as many draws of a model as every record holds samples of it.
        draws: Seeded orders per record, where the plan is not enumerated.
        seed: Of the orders.

    Source:
        ``bestroute.rewards.MajorityVote`` and the executor's rules (``bestroute.execution``).
    """
    parts = [
        _odds(arrays.take(range(start, min(start + _CHUNK, len(arrays)))), plan, draws, seed + start)
        for start in range(0, len(arrays), _CHUNK)
    ]
    return PlanOdds(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("answer", "drawn", "draws")))


def _odds(arrays: SampleArrays, plan: Plan, draws: int, seed: int) -> PlanOdds:
    assert arrays.answers is not None
    candidate = plan.candidate
    sizes = arrays.sizes
    if candidate is not None:
        k = arrays.pool.models.index(candidate.model)
        size = int(sizes[0, k])
        if (sizes[:, k] == size).all() and comb(size, candidate.n) <= MOST_SUBSETS:
            return _enumerated(arrays, k, size, candidate.n)
    return _played(arrays, plan, draws, seed)


def _enumerated(arrays: SampleArrays, k: int, size: int, n: int) -> PlanOdds:
    """Go through all subsets of one model's samples; the samples of all leading answers share a subset."""
    answers = arrays.answers[:, k]  # type: ignore[index]
    subsets = np.array(list(combinations(range(size), n)), dtype=np.intp)
    drawn = answers[:, subsets]  # (Q, subsets, n)
    votes = _votes(drawn)
    leads = votes == votes.max(axis=2, keepdims=True)
    share = leads / leads.sum(axis=2, keepdims=True)
    odds = _empty(arrays, 1)
    for position in range(n):
        for s in range(size):
            odds.answer[:, k, s] += share[:, subsets[:, position] == s, position].sum(axis=1) / len(subsets)
    odds.drawn[:, k, :size] = n / size
    odds.draws[:] = n
    return odds


def _played(arrays: SampleArrays, plan: Plan, draws: int, seed: int) -> PlanOdds:
    """Play the plan in seeded orders of every model's samples; all records and orders at once."""
    answers = arrays.answers
    assert answers is not None
    order = _orders(arrays.quality.shape, draws, seed, arrays.quality)
    models = arrays.pool.models
    odds = _empty(arrays, len(plan.steps))
    shape = (len(arrays), draws)
    rows = np.arange(len(arrays))[:, None]
    each = np.broadcast_to(rows, shape)
    size = arrays.quality.shape[2]
    is_open: BoolArray = np.ones(shape, dtype=bool)
    used = dict.fromkeys(models, 0)
    ids: list[IntArray] = []
    places: list[tuple[int, IntArray]] = []  # model and sample of every draw so far
    posterior: FloatArray = np.zeros((*shape, 0))

    def count(sample: IntArray, where: BoolArray) -> FloatArray:
        """Share of the orders in which each sample of a model is the one, shape (Q, S)."""
        hits = np.bincount(each[where] * size + sample[where], minlength=shape[0] * size)
        return np.asarray(hits.reshape(shape[0], size) / draws)

    def answer_with(position: IntArray, where: BoolArray) -> None:
        for p, (k, sample) in enumerate(places):
            odds.answer[:, k] += count(sample, where & (position == p))

    for s, step in enumerate(plan.steps):
        k = models.index(step.model)
        first = len(places)
        for i in range(step.n):
            sample = order[:, :, k, used[step.model]]
            used[step.model] += 1
            places.append((k, sample))
            ids.append(answers[rows, k, sample])
            odds.drawn[:, k] += count(sample, is_open)
            odds.draws[:, s] += is_open.mean(axis=1)
            is_wave_over = step.accept is not None or i == step.n - 1
            if not (is_wave_over and step.is_scored):
                continue
            posterior = _posteriors(np.stack(ids, axis=2))
            if step.accept is not None:
                reached = posterior >= step.accept
                ends: BoolArray = is_open & reached.any(axis=2)
                answer_with(reached.argmax(axis=2), ends)
                is_open = is_open & ~ends
        if step.accept is None:
            position = np.full(shape, first) if step.n == 1 else posterior[:, :, first:].argmax(axis=2) + first
            answer_with(position, is_open)
            return odds
    answer_with(posterior.argmax(axis=2), is_open)
    return odds


def _empty(arrays: SampleArrays, steps: int) -> PlanOdds:
    return PlanOdds(np.zeros(arrays.quality.shape), np.zeros(arrays.quality.shape), np.zeros((len(arrays), steps)))


def _orders(shape: tuple[int, ...], draws: int, seed: int, quality: FloatArray) -> IntArray:
    """Return seeded orders of every model's samples, absent ones last; shape ``(Q, draws, K, S)``."""
    keys = np.random.default_rng(seed).random((shape[0], draws, *shape[1:]), dtype=np.float32)
    keys[np.broadcast_to(np.isnan(quality)[:, None], keys.shape)] = 2.0
    return keys.argsort(axis=3)


def _votes(ids: IntArray) -> IntArray:
    """Count, for each drawn sample, the votes for its answer; an empty answer has none. Last axis: draws."""
    equal = (ids[..., :, None] == ids[..., None, :]) & (ids[..., :, None] > 0)
    return np.asarray(equal.sum(axis=-1), dtype=np.intp)


def _posteriors(ids: IntArray) -> FloatArray:
    """Return the reward of each drawn sample, as ``MajorityVote`` gives it; shape as ``ids``."""
    own = _votes(ids)
    is_rival = ids[..., :, None] != ids[..., None, :]
    rival = np.where(is_rival, own[..., None, :], 0).max(axis=-1)
    return np.where(ids > 0, _table(ids.shape[-1])[own, rival], 0.0)


@cache
def _table(most: int) -> FloatArray:
    return np.array([[beta_exceeds_half(a, b) for b in range(most + 1)] for a in range(most + 1)])
