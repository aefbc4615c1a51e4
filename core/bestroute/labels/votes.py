"""Plans whose samples vote: exact for a candidate with few subsets, otherwise by seeded draws without replacement."""

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
"""Most and fewest random orders per record; the same orders for every plan, so that plans are compared in pairs."""
ORDERS = 128_000
"""Target number of orders of all records together: means over many records need few orders of each."""
_CHUNK = 250


def vote_odds(arrays: SampleArrays, plan: Plan, *, draws: int | None = None, seed: int = 0) -> PlanOdds:
    """Return the probabilities of each sample under a plan in which the samples drawn so far vote after every draw.

    Args:
        arrays: Records with answers.
        plan: Draws at most as many samples of a model as every record has.
        draws: Random orders per record, unless the plan is enumerated; default: 128 for up to 1,000 records, fewer
            for more, at least 8.
        seed: Seed of the orders.

    Source:
        ``bestroute.MajorityVote`` and the executor's rules (``bestroute.engine.plan_executor``).
    """
    odds = [chunk_odds(plays, plan) for _, plays in simulated_chunks(arrays, draws=draws, seed=seed)]
    return PlanOdds(*(np.concatenate([getattr(part, name) for part in odds]) for name in ("answer", "drawn", "draws")))


def vote_matches(
    arrays: SampleArrays, plan: Plan, model: int, *, margin: float = 0.0, draws: int | None = None, seed: int = 0
) -> FloatArray:
    """Return the probability that a plan's answer is at least as good as an undrawn sample of a model, shape ``(Q,)``.

    Args:
        arrays: Records with answers.
        plan: Leaves at least one sample of the model undrawn in every record.
        model: Index of the model whose sample is the opponent.
        margin: Shortfall still counted as a match, in quality units.
        draws: As in ``vote_odds``.
        seed: Seed of the orders.
    """
    matches = [
        chunk_matches(plays, plan, model, margin=margin)
        for _, plays in simulated_chunks(arrays, draws=draws, seed=seed)
    ]
    return np.concatenate(matches)


def simulated_chunks(
    arrays: SampleArrays, *, draws: int | None = None, seed: int = 0
) -> Iterator[tuple[IntArray, Plays]]:
    """Yield chunks of the records, small enough to simulate at once, each with the indices of its records.

    Args:
        arrays: The records; they need answers only if a plan is simulated.
        draws: As in ``vote_odds``.
        seed: Seed of the orders.
    """
    draws = draws or orders_per_record(len(arrays))
    for start in range(0, len(arrays), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(arrays)))
        yield rows, Plays(arrays.take(rows), draws=draws, seed=seed + start)


def orders_per_record(records: int) -> int:
    """Return the number of random orders per record."""
    return min(DRAWS, max(FEWEST_DRAWS, ORDERS // max(1, records)))


def chunk_odds(plays: Plays, plan: Plan) -> PlanOdds:
    """Return the probabilities of each sample of a chunk under a plan."""
    arrays = plays.arrays
    if (size := _enumerable(arrays, plan)) is None:
        return plays.odds(plan)
    assert arrays.answers is not None
    k, n = arrays.pool.models.index(plan.steps[0].model), plan.steps[0].n
    answer, drawn = np.zeros(arrays.quality.shape), np.zeros(arrays.quality.shape)
    answer[:, k, :size] = vote_shares(arrays.answers[:, k, :size], n)
    drawn[:, k, :size] = n / size
    return PlanOdds(answer, drawn, np.full((len(arrays), 1), float(n)))


def chunk_matches(plays: Plays, plan: Plan, model: int, *, margin: float = 0.0) -> FloatArray:
    """Return the probability that a plan's answer is as good as an undrawn sample of a model, for a chunk."""
    arrays = plays.arrays
    size = _enumerable(arrays, plan) if plan.models == (arrays.pool.models[model],) else None
    if size is None:
        return plays.matches(plan, model, margin=margin)
    assert arrays.answers is not None
    answers, quality = arrays.answers[:, model, :size], arrays.quality[:, model, :size]
    return matched_shares(answers, quality, plan.steps[0].n, margin=margin)


def _enumerable(arrays: SampleArrays, plan: Plan) -> int | None:
    """Return the number of samples per record, if the plan is a candidate with few enough subsets; else ``None``."""
    if (candidate := plan.candidate) is None or drawn_urns(arrays, plan)[0] in arrays.greedy_urns.values():
        return None
    sizes = arrays.sizes[:, arrays.pool.models.index(candidate.model)]
    size = int(sizes[0])
    return size if (sizes == size).all() and comb(size, candidate.n) <= MOST_SUBSETS else None
