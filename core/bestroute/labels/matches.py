"""Match probability of plans: the answer against one sample of the reference that the plan has not drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bestroute.labels.arrays import SampleArrays
from bestroute.labels.urns import PlanOdds, plan_odds
from bestroute.labels.votes import vote_odds
from bestroute.plans import Plan, Step
from bestroute.protocols import FloatArray

Number = TypeVar("Number", bound=np.number[Any])


def odds_of(arrays: SampleArrays, plan: Plan) -> PlanOdds:
    """Return what a plan does with each sample, by the records' kind of reward."""
    return vote_odds(arrays, plan) if arrays.answers is not None and plan.is_scored else plan_odds(arrays, plan)


def plan_matches(
    arrays: SampleArrays, plan: Plan, odds: PlanOdds, single: FloatArray, *, margin: float = 0.0
) -> FloatArray:
    """Return the chance that a plan's answer is at least as good as one sample of the reference, shape ``(Q,)``.

    A plan that draws the reference several times is played on all its samples but one, which is the opponent, and
    each takes its turn: an opponent that may be among the drawn would be worse than the best of them by choice. A
    plan that draws every sample a record holds leaves no opponent; the plan that draws one fewer stands for it.

    Args:
        arrays: The records.
        plan: The plan.
        odds: Its ``odds_of``.
        single: ``sample_matches`` of the same records and margin.
        margin: Shortfall still counted as a match, in quality units, ``>= 0``.
    """
    reference = arrays.pool.models.index(arrays.pool.reference)
    drawn = sum(step.n for step in plan.steps if step.model == arrays.pool.reference)
    if drawn < 2:
        return np.asarray((odds.answer * single).sum(axis=(1, 2)))
    sizes = arrays.sizes[:, reference]
    told = plan if drawn < int(sizes.min()) else _one_fewer(plan, arrays.pool.reference)
    total = np.zeros(len(arrays))
    for opponent in range(arrays.quality.shape[2]):
        theirs = arrays.quality[:, reference, opponent]
        others = _without(arrays, reference, opponent)
        reached = others.quality >= theirs[:, None, None] - margin
        total += (odds_of(others, told).answer * reached).sum(axis=(1, 2))  # an absent opponent is reached by nothing
    return np.asarray(total / sizes)


def sample_matches(arrays: SampleArrays, *, margin: float = 0.0) -> FloatArray:
    """Return how often each sample is at least as good as one sample of the reference, shape ``(Q, K, S)``.

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


def _one_fewer(plan: Plan, model: str) -> Plan:
    """Draw a model once less, in the first step that draws it several times; else leave its first step out."""
    several = [i for i, step in enumerate(plan.steps) if step.model == model and step.n > 1]
    if several:
        i = several[0]
        shorter = Step(model, plan.steps[i].n - 1, plan.steps[i].accept)
        return Plan((*plan.steps[:i], shorter, *plan.steps[i + 1 :]))
    i = next(i for i, step in enumerate(plan.steps) if step.model == model)
    return Plan((*plan.steps[:i], *plan.steps[i + 1 :]))


def _without(arrays: SampleArrays, model: int, sample: int) -> SampleArrays:
    """Take a sample of a model out of every record: it moves to the last place and is absent."""
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
        answers=None if arrays.answers is None else hidden(arrays.answers, -1),
    )
