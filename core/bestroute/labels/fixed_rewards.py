"""Exact expectations of plans whose samples have a fixed reward each and are drawn without replacement.

A model's samples are an urn, and drawing them one by one is a random order of it. A sample is rejected at a draw if
its reward is below the level of that draw, so the rejected sets of a model's draws are nested. The share of orders in
which draws ``1..k`` fall into nested sets of sizes ``b_1 <= b_2 <= ...`` is
``b_1 (b_2 - 1) (b_3 - 2) ... / (S (S - 1) (S - 2) ...)``. All functions here compute such products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bestroute.labels.sample_arrays import SampleArrays
from bestroute.types.arrays import FloatArray
from bestroute.types.plans import Plan


@dataclass(frozen=True, eq=False)
class PlanOdds:
    """The probabilities of each sample under a plan, and its expected draws."""

    answer: FloatArray
    """Probability that a sample is the answer, shape ``(Q, K, S)``; adds up to 1 over ``(K, S)``."""
    drawn: FloatArray
    """Probability that a sample is drawn, shape ``(Q, K, S)``."""
    draws: FloatArray
    """Expected draws of each step, shape ``(Q, steps)``."""


@dataclass(frozen=True)
class _Place:
    """One draw of a plan: its step, its model (an urn), and the reward from which it is accepted."""

    step: int
    model: int
    level: float


class _Urn:
    """One model's samples in all records."""

    def __init__(self, reward: FloatArray, acceptance: FloatArray) -> None:
        self.reward, self.acceptance = reward, acceptance
        self.present = ~np.isnan(reward)
        self.size = self.present.sum(axis=1).astype(np.float64)

    def below(self, level: float) -> FloatArray:
        """Return the number of samples rejected at a level, shape ``(Q,)``."""
        rejected = self.present if np.isinf(level) else self.acceptance < level
        return np.asarray(rejected.sum(axis=1), dtype=np.float64)

    def is_below(self, level: float) -> FloatArray:
        """Return 1.0 for each sample rejected at a level, else 0.0; shape ``(Q, S)``."""
        return np.asarray(self.present if np.isinf(level) else self.acceptance < level, dtype=np.float64)

    def orders(self, draws: int) -> FloatArray:
        """Return the number of ordered draws of that many samples, shape ``(Q,)``."""
        return np.asarray(np.prod([np.maximum(self.size - i, 1.0) for i in range(draws)], axis=0) + 0.0 * self.size)


def _nested(sizes: list[FloatArray]) -> FloatArray:
    """Return the product of ``b_(i) - i`` over set sizes sorted ascending; the sizes are broadcast together."""
    stacked = np.sort(np.stack(np.broadcast_arrays(*sizes)), axis=0)
    steps = np.arange(len(sizes), dtype=np.float64).reshape(-1, *[1] * (stacked.ndim - 1))
    return np.asarray(np.maximum(stacked - steps, 0.0).prod(axis=0))


def drawn_urns(arrays: SampleArrays, plan: Plan) -> list[int]:
    """Return the urn of each draw of a plan, in order.

    A model's first draw is its greedy answer, if it has one, unless it is the plan's only draw or one of several
    choices of one request.

    Source:
        The engine's rules (``bestroute.engine.draw_wishes``).
    """
    urns: list[int] = []
    is_one_draw = len(plan.steps) == 1 and plan.steps[0].n == 1
    for step in plan.steps:
        k = arrays.pool.models.index(step.model)
        is_one_request = step.accept is None and step.n > 1 and arrays.pool.bills(step.model) == "once"
        is_first = k not in urns and arrays.greedy_urns.get(k) not in urns
        begins = is_first and k in arrays.greedy_urns and not is_one_draw and not is_one_request
        urns += [arrays.greedy_urns[k] if begins else k, *[k] * (step.n - 1)]
    return urns


def plan_odds(arrays: SampleArrays, plan: Plan) -> PlanOdds:
    """Return the probabilities of each sample under a plan when every sample has a fixed reward.

    Args:
        arrays: Records with a reward (and an acceptance, if the plan accepts).
        plan: Draws at most as many samples of a model as every record has.

    Source:
        The executor's rules (``bestroute.engine.plan_executor``): the first accepted sample is the answer; if none is
        accepted, the best of the last step (``accept=None``) or the best of all. The earliest wins a tie.
    """
    blank = np.where(np.isnan(arrays.quality), np.nan, 0.0)
    reward = blank if arrays.reward is None else arrays.reward
    acceptance = reward if arrays.acceptance is None else arrays.acceptance
    urn_of = drawn_urns(arrays, plan)
    levels = [
        (s, np.inf if step.accept is None else step.accept) for s, step in enumerate(plan.steps) for _ in range(step.n)
    ]
    places = [_Place(s, k, level) for k, (s, level) in zip(urn_of, levels, strict=True)]
    urns = {k: _Urn(reward[:, k], acceptance[:, k]) for k in {p.model for p in places}}
    odds = PlanOdds(
        np.zeros(arrays.quality.shape), np.zeros(arrays.quality.shape), np.zeros((len(arrays), len(plan.steps)))
    )
    for i, place in enumerate(places):
        chance = _chance_of_draw(urns, places, i)
        odds.drawn[:, place.model] += chance
        odds.draws[:, place.step] += chance.sum(axis=1)
        odds.answer[:, place.model] += chance * (urns[place.model].present - urns[place.model].is_below(place.level))
    last = plan.steps[-1]
    contest = [i for i, p in enumerate(places) if last.accept is not None or p.step == len(plan.steps) - 1]
    is_simple = len(plan.models) == len(plan.steps) and not any(k in arrays.greedy_urns.values() for k in urn_of)
    for i in _first_of_each_step(places, contest) if is_simple else contest:
        win = _step_wins(urns, places, contest, i) if is_simple else _place_wins(urns, places, contest, i)
        odds.answer[:, places[i].model] += win
    return odds


def _chance_of_draw(urns: dict[int, _Urn], places: list[_Place], i: int) -> FloatArray:
    """Return the probability that draws before ``i`` are rejected and draw ``i`` is each sample, shape ``(Q, S)``."""
    own = urns[places[i].model]
    chance = np.ones_like(own.size)[:, None]
    for k, urn in urns.items():
        before = [p.level for p in places[:i] if p.model == k]
        if k == places[i].model:
            sizes = [urn.below(level)[:, None] - urn.is_below(level) for level in before]
            ways = _nested(sizes) if sizes else np.ones_like(urn.reward)
            chance = chance * ways / urn.orders(len(before) + 1)[:, None]
        elif before:
            chance = chance * (_nested([urn.below(level) for level in before]) / urn.orders(len(before)))[:, None]
    return np.where(own.present, chance, 0.0)


def _first_of_each_step(places: list[_Place], contest: list[int]) -> list[int]:
    return [i for i in contest if i == 0 or places[i - 1].step != places[i].step]


def _step_wins(urns: dict[int, _Urn], places: list[_Place], contest: list[int], i: int) -> FloatArray:
    """Return the probability that nothing is accepted and a sample of ``places[i]``'s step is the best, ``(Q, S)``.

    Holds only if no model is in two steps.
    """
    place, own = places[i], urns[places[i].model]
    value = own.reward[:, :, None]
    chance = np.ones_like(own.reward)
    for k, urn in urns.items():
        theirs = [j for j, p in enumerate(places) if p.model == k]
        level, step, n = places[theirs[0]].level, places[theirs[0]].step, len(theirs)
        limit, orders = urn.below(level)[:, None], urn.orders(n)[:, None]
        if theirs[0] not in contest:
            chance = chance * _nested([limit] * n) / orders
            continue
        lower = np.minimum(limit, (urn.reward[:, None, :] < value).sum(axis=2))
        equal_too = np.minimum(limit, (urn.reward[:, None, :] <= value).sum(axis=2))
        if step == place.step:
            ties = np.maximum(equal_too - lower, 1.0)
            chance = chance * (_nested([equal_too] * n) - _nested([lower] * n)) / orders / ties
        else:
            chance = chance * _nested([lower if step < place.step else equal_too] * n) / orders
    return np.where(own.is_below(place.level) > 0, chance, 0.0)


def _place_wins(urns: dict[int, _Urn], places: list[_Place], contest: list[int], i: int) -> FloatArray:
    """Return the probability that nothing is accepted and each sample, drawn at ``i``, is the best; ``(Q, S)``."""
    place, own = places[i], urns[places[i].model]
    value = own.reward[:, :, None]
    chance = np.ones_like(own.reward)
    for k, urn in urns.items():
        lower = (urn.reward[:, None, :] < value).sum(axis=2).astype(np.float64)
        equal_too = (urn.reward[:, None, :] <= value).sum(axis=2).astype(np.float64)
        theirs = [j for j, p in enumerate(places) if p.model == k]
        sizes = []
        for j in theirs:
            if j == i:
                continue
            limit = urn.below(places[j].level)[:, None]
            itself = urn.is_below(places[j].level) if k == place.model else 0.0
            if j not in contest:
                sizes.append(limit - itself)
            elif j < i:
                sizes.append(np.minimum(limit, lower))
            else:
                sizes.append(np.minimum(limit, equal_too) - itself)
        chance = chance * (_nested(sizes) if sizes else 1.0) / urn.orders(len(theirs))[:, None]
    return np.where(own.is_below(place.level) > 0, chance, 0.0)
