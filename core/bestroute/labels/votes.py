"""Plans over samples that vote: exact for a candidate with few subsets, seeded draws without replacement otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

import numpy as np

from bestroute.labels.enumeration import matched_shares, vote_shares
from bestroute.labels.fixed_rewards import PlanOdds, drawn_urns
from bestroute.labels.sample_arrays import SampleArrays
from bestroute.labels.simulation import Plays
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.plans import Plan

MOST_SUBSETS = 1000
"""Candidates with more subsets than this are estimated from seeded draws."""
DRAWS, FEWEST_DRAWS = 128, 8
"""Seeded orders a record is played in, the same for every plan, so that plans are compared in pairs."""
ORDERS = 128_000
"""Orders of all records together that are aimed at: means over many records need few orders of each."""
_CHUNK = 250


def vote_odds(arrays: SampleArrays, plan: Plan, *, draws: int | None = None, seed: int = 0) -> PlanOdds:
    """Return what a plan does with each sample when the samples drawn so far vote after every draw.

    Args:
        arrays: Records with answers.
        plan: At most as many draws of a model as every record holds samples of it.
        draws: Seeded orders per record, where the plan is not enumerated; default: 128 for up to 1,000 records, fewer
            for more, at least 8.
        seed: Of the orders.

    Source:
        ``bestroute.MajorityVote`` and the executor's rules (``bestroute.engine.plan_executor``).
    """
    odds = [part_odds(plays, plan) for _, plays in dealt(arrays, draws=draws, seed=seed)]
    return PlanOdds(*(np.concatenate([getattr(part, name) for part in odds]) for name in ("answer", "drawn", "draws")))


def vote_matches(
    arrays: SampleArrays, plan: Plan, model: int, *, margin: float = 0.0, draws: int | None = None, seed: int = 0
) -> FloatArray:
    """Return the chance that a plan's answer is at least as good as an undrawn sample of a model, shape ``(Q,)``.

    Args:
        arrays: Records with answers.
        plan: It leaves at least one sample of the model undrawn in every record.
        model: Whose sample is the opponent.
        margin: Shortfall still counted as a match, in quality units.
        draws: As in ``vote_odds``.
        seed: Of the orders.
    """
    matches = [part_matches(plays, plan, model, margin=margin) for _, plays in dealt(arrays, draws=draws, seed=seed)]
    return np.concatenate(matches)


def dealt(arrays: SampleArrays, *, draws: int | None = None, seed: int = 0) -> Iterator[tuple[IntArray, Plays]]:
    """Deal records in parts that are small enough to be played at once; a part tells which records are in it.

    Args:
        arrays: The records; they are dealt when the first plan is played, so they may lack answers if none is.
        draws: As in ``vote_odds``.
        seed: Of the orders.
    """
    draws = draws or usual_draws(len(arrays))
    for start in range(0, len(arrays), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(arrays)))
        yield rows, Plays(arrays.take(rows), draws=draws, seed=seed + start)


def usual_draws(records: int) -> int:
    """Return in how many seeded orders each record is played."""
    return min(DRAWS, max(FEWEST_DRAWS, ORDERS // max(1, records)))


def part_odds(plays: Plays, plan: Plan) -> PlanOdds:
    """Return what a plan does with each sample of a part."""
    arrays = plays.arrays
    if (size := _enumerable(arrays, plan)) is None:
        return plays.odds(plan)
    assert arrays.answers is not None
    k, n = arrays.pool.models.index(plan.steps[0].model), plan.steps[0].n
    answer, drawn = np.zeros(arrays.quality.shape), np.zeros(arrays.quality.shape)
    answer[:, k, :size] = vote_shares(arrays.answers[:, k, :size], n)
    drawn[:, k, :size] = n / size
    return PlanOdds(answer, drawn, np.full((len(arrays), 1), float(n)))


def part_matches(plays: Plays, plan: Plan, model: int, *, margin: float = 0.0) -> FloatArray:
    """Return the chance that a plan's answer is as good as an undrawn sample of a model, for the records of a part."""
    arrays = plays.arrays
    size = _enumerable(arrays, plan) if plan.models == (arrays.pool.models[model],) else None
    if size is None:
        return plays.matches(plan, model, margin=margin)
    assert arrays.answers is not None
    answers, quality = arrays.answers[:, model, :size], arrays.quality[:, model, :size]
    return matched_shares(answers, quality, plan.steps[0].n, margin=margin)


def _enumerable(arrays: SampleArrays, plan: Plan) -> int | None:
    """Return how many samples there are, if a plan is a candidate with few enough subsets of them."""
    if (candidate := plan.candidate) is None or drawn_urns(arrays, plan)[0] in arrays.greedy_urns.values():
        return None
    sizes = arrays.sizes[:, arrays.pool.models.index(candidate.model)]
    size = int(sizes[0])
    return size if (sizes == size).all() and comb(size, candidate.n) <= MOST_SUBSETS else None
