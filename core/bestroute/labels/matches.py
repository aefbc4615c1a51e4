"""Match probability of plans: the answer compared with one sample of the reference that the plan has not drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bestroute.labels.fixed_rewards import PlanOdds, plan_odds
from bestroute.labels.sample_arrays import SampleArrays
from bestroute.labels.simulation import Plays
from bestroute.labels.votes import chunk_matches, chunk_odds, vote_odds
from bestroute.types.arrays import FloatArray
from bestroute.types.plans import Plan, Step

Number = TypeVar("Number", bound=np.number[Any])


def odds_of(arrays: SampleArrays, plan: Plan, plays: Plays | None = None) -> PlanOdds:
    """Return the probabilities of each sample under a plan, for the records' kind of reward.

    Args:
        arrays: The records.
        plan: The plan.
        plays: A simulation of the same records; used only if samples vote.
    """
    if arrays.answers is None or not plan.is_scored:
        return plan_odds(arrays, plan)
    return vote_odds(arrays, plan) if plays is None else chunk_odds(plays, plan)


def plan_matches(plays: Plays, plan: Plan, odds: PlanOdds, single: FloatArray, *, margin: float = 0.0) -> FloatArray:
    """Return the probability that a plan's answer is at least as good as one sample of the reference, shape ``(Q,)``.

    If a plan draws the reference several times, each sample of the reference is the opponent in turn and the plan is
    evaluated on the others: an opponent that may itself be drawn could never be better than the best draw.

    Args:
        plays: The records, simulated.
        plan: If it draws the reference several times, it must leave one sample undrawn; see ``with_opponent``.
        odds: Its ``odds_of``; used only if it draws the reference less than twice.
        single: ``sample_matches`` of the same records and margin.
        margin: Shortfall still counted as a match, in quality units, ``>= 0``.
    """
    arrays = plays.arrays
    reference = arrays.pool.models.index(arrays.pool.reference)
    if _draws_of(plan, arrays.pool.reference) < 2:
        return np.asarray((odds.answer * single).sum(axis=(1, 2)))
    if arrays.answers is not None:
        return chunk_matches(plays, plan, reference, margin=margin)
    total = np.zeros(len(arrays))
    for opponent in range(arrays.quality.shape[2]):
        theirs = arrays.quality[:, reference, opponent]
        others = _without(arrays, reference, opponent)
        reached = others.quality >= theirs[:, None, None] - margin
        total += (plan_odds(others, plan).answer * reached).sum(
            axis=(1, 2)
        )  # comparisons with an absent opponent are false
    return np.asarray(total / arrays.sizes[:, reference])


def with_opponent(arrays: SampleArrays, plan: Plan) -> Plan:
    """Return the plan by which a plan's matches are counted.

    This is the plan itself, unless it draws every sample of the reference that some record has and so leaves no
    opponent: then it is the plan with one draw less.
    """
    reference = arrays.pool.reference
    drawn, fewest = _draws_of(plan, reference), int(arrays.sizes[:, arrays.pool.models.index(reference)].min())
    return plan if drawn < 2 or drawn < fewest else _one_fewer(plan, reference)


def sample_matches(arrays: SampleArrays, *, margin: float = 0.0) -> FloatArray:
    """Return the probability that each sample is at least as good as one sample of the reference, ``(Q, K, S)``.

    A sample of the reference is compared with the reference's other samples; a single one matches itself.
    """
    reference = arrays.pool.models.index(arrays.pool.reference)
    theirs = arrays.quality[:, reference]
    size = arrays.sizes[:, reference]
    reached = arrays.quality[:, :, :, None] >= theirs[:, None, None, :] - margin
    matches = reached.sum(axis=3) / size[:, None, None]
    others = np.maximum(size - 1, 1)[:, None]
    matches[:, reference] = np.where(size[:, None] > 1, (reached[:, reference].sum(axis=2) - 1) / others, 1.0)
    return np.where(np.isnan(arrays.quality), 0.0, matches)


def _draws_of(plan: Plan, model: str) -> int:
    return sum(step.n for step in plan.steps if step.model == model)


def _one_fewer(plan: Plan, model: str) -> Plan:
    """Return a plan with one draw less of a model: of the first step with several, else without its first step."""
    several = [i for i, step in enumerate(plan.steps) if step.model == model and step.n > 1]
    if several:
        i = several[0]
        shorter = Step(model, plan.steps[i].n - 1, plan.steps[i].accept)
        return Plan((*plan.steps[:i], shorter, *plan.steps[i + 1 :]))
    i = next(i for i, step in enumerate(plan.steps) if step.model == model)
    return Plan((*plan.steps[:i], *plan.steps[i + 1 :]))


def _without(arrays: SampleArrays, model: int, sample: int) -> SampleArrays:
    """Return records without one sample of a model: it moves to the last place and is absent there."""
    most = arrays.quality.shape[2]
    order = [*(s for s in range(most) if s != sample), sample]

    def hidden(values: NDArray[Number], absent: float) -> NDArray[Number]:
        changed = values.copy()
        changed[:, model] = values[:, model][:, order]
        changed[:, model, -1] = absent
        return changed

    return replace(
        arrays,
        quality=hidden(arrays.quality, np.nan),
        reward=None if arrays.reward is None else hidden(arrays.reward, np.nan),
        acceptance=None if arrays.acceptance is None else hidden(arrays.acceptance, np.nan),
    )
