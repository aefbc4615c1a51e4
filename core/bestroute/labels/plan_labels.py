"""Labels of many plans on many records: quality, match probability, cost and draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestroute.errors import RecordError
from bestroute.labels.fixed_rewards import PlanOdds
from bestroute.labels.matches import odds_of, plan_matches, sample_matches, with_opponent
from bestroute.labels.sample_arrays import SampleArrays
from bestroute.labels.votes import simulated_chunks
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.plans import Candidate, Plan
from bestroute.types.pool import Pool


@dataclass(frozen=True, eq=False)
class PlanLabels:
    """Expected quality, match probability, cost and draws of ``P`` plans on ``Q`` records."""

    plans: tuple[Plan, ...]
    quality: FloatArray
    """Shape ``(Q, P)``."""
    match_probability: FloatArray
    """Probability to be at least as good as a sample of the reference that was not drawn, shape ``(Q, P)``."""
    cost_usd: FloatArray
    """Shape ``(Q, P)``."""
    draws: FloatArray
    """Expected draws of each of up to ``S`` steps, shape ``(Q, P, S)``."""

    def take(self, rows: Sequence[int] | IntArray) -> PlanLabels:
        """Return the labels of some of the records."""
        tables = (self.quality, self.match_probability, self.cost_usd, self.draws)
        return PlanLabels(self.plans, *(part[np.asarray(rows, dtype=np.intp)] for part in tables))

    def columns(self, columns: Sequence[int] | IntArray) -> PlanLabels:
        """Return the labels of some of the plans."""
        keep = np.asarray(columns, dtype=np.intp)
        plans = tuple(self.plans[i] for i in keep)
        steps = max((len(plan.steps) for plan in plans), default=1)
        tables = (self.quality, self.match_probability, self.cost_usd, self.draws[:, :, :steps])
        return PlanLabels(plans, *(part[:, keep] for part in tables))

    def beside(self, other: PlanLabels) -> PlanLabels:
        """Return the labels of these plans and of others, on the same records."""
        steps = max(self.draws.shape[2], other.draws.shape[2])
        draws = [np.pad(part, ((0, 0), (0, 0), (0, steps - part.shape[2]))) for part in (self.draws, other.draws)]
        return PlanLabels(
            (*self.plans, *other.plans),
            np.hstack([self.quality, other.quality]),
            np.hstack([self.match_probability, other.match_probability]),
            np.hstack([self.cost_usd, other.cost_usd]),
            np.concatenate(draws, axis=1),
        )


def label_plans(
    arrays: SampleArrays,
    plans: Sequence[Plan],
    *,
    margin: float = 0.0,
    matches: bool = True,
) -> PlanLabels:
    """Compute the labels of plans: exact for fixed rewards and small votes, by seeded simulation for other votes.

    Args:
        arrays: The records.
        plans: Plans over the pool of the records.
        margin: Shortfall still counted as a match, in quality units, ``>= 0``.
        matches: Whether to compute match probabilities; otherwise they are NaN.

    Raises:
        RecordError: If a plan draws more samples than a record has, or needs a reward that the records lack.
    """
    check_samples(arrays, plans)
    arrays = arrays.with_greedy_urns()
    steps = max((len(plan.steps) for plan in plans), default=1)
    shape = (len(arrays), len(plans))
    quality, match, cost, draws = np.zeros(shape), np.full(shape, np.nan), np.zeros(shape), np.zeros((*shape, steps))
    opposed = [with_opponent(arrays, plan) for plan in plans] if matches else []
    by_first_steps = sorted(range(len(plans)), key=lambda p: str(plans[p]))  # neighbours share their first steps
    for rows, plays in simulated_chunks(arrays):
        part = plays.arrays
        truth, single = np.nan_to_num(part.quality), sample_matches(part, margin=margin) if matches else None
        for p in by_first_steps:
            plan = plans[p]
            odds = odds_of(part, plan, plays)
            quality[rows, p] = (odds.answer * truth).sum(axis=(1, 2))
            if single is not None:
                match[rows, p] = plan_matches(plays, opposed[p], odds, single, margin=margin)
            cost[rows, p] = cost_of(part, plan, odds)
            draws[rows, p, : len(plan.steps)] = odds.draws
    return PlanLabels(tuple(plans), quality, np.clip(match, 0.0, 1.0), cost, draws)


def cost_of(arrays: SampleArrays, plan: Plan, odds: PlanOdds) -> FloatArray:
    """Return the expected cost, USD, shape ``(Q,)``: of every sample drawn, with prompts as the provider bills them."""
    cost = (odds.drawn * np.nan_to_num(arrays.sample_usd)).sum(axis=(1, 2))
    for s, step in enumerate(plan.steps):
        if step.accept is None and step.n > 1 and arrays.pool.bills(step.model) == "once":
            k = arrays.pool.models.index(step.model)
            cost -= odds.draws[:, s] * (step.n - 1) / step.n * arrays.prompt_usd[:, k]
    return np.asarray(cost, dtype=np.float64)


def check_scale(arrays: SampleArrays) -> None:
    """Refuse records for which relative drops and savings are undefined.

    Raises:
        RecordError: If the reference's mean quality or mean cost is not above 0.
    """
    reference = arrays.pool.models.index(arrays.pool.reference)
    quality, cost = np.nanmean(arrays.quality[:, reference]), np.nanmean(arrays.sample_usd[:, reference])
    name = arrays.pool.reference
    if quality <= 0:
        raise RecordError(
            f"the reference {name!r} has mean quality {quality:.4g}, and a relative drop needs one above 0; bring "
            "'quality' to [0, 1], where 1 is right"
        )
    if cost <= 0:
        raise RecordError(f"the reference {name!r} costs nothing, so nothing can be saved; give its price in the pool")


def check_samples(arrays: SampleArrays, plans: Sequence[Plan]) -> None:
    """Refuse plans that cannot be evaluated on the records.

    Raises:
        RecordError: Names the record and the plan.
    """
    fewest = arrays.sizes.min(axis=0)
    for plan in plans:
        if plan.is_scored and not (arrays.can_accept if plan.has_accept else arrays.can_choose):
            raise RecordError(
                f"the plan '{plan}' needs a {'calibrated ' if plan.has_accept else ''}reward, and the records have "
                "none; choose --reward majority (a vote), --reward quality (a verifier) or, in train, --reward learn"
            )
        for k, model in enumerate(arrays.pool.models):
            wanted = sum(step.n for step in plan.steps if step.model == model)
            if wanted > fewest[k]:
                name = arrays.ids[int(arrays.sizes[:, k].argmin())]
                raise RecordError(
                    f"record {name!r}: the plan '{plan}' draws {wanted} samples of {model!r}, the record has "
                    f"{fewest[k]}; collect more, or lower the pool's max_n"
                )


def largest_n(pool: Pool, arrays: SampleArrays) -> dict[str, int]:
    """Return each model's largest n of a step, limited by the pool's ``max_n`` and the samples of every record."""
    return {model: int(min(pool.max_n, n)) for model, n in zip(pool.models, arrays.sizes.min(axis=0), strict=True)}


def fixed_candidates(arrays: SampleArrays) -> tuple[Plan, ...]:
    """Return every candidate (model, n) that the records have enough samples for, the reference's included."""
    tops = largest_n(arrays.pool, arrays)
    if not arrays.can_choose:
        tops = dict.fromkeys(tops, 1)
    return tuple(Plan.of(Candidate(model, n)) for model, top in tops.items() for n in range(1, top + 1))
