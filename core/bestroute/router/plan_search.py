"""Plan search: find the few plans that are worth offering to a router.

Plans are grown step by step from prefixes: sequences of steps that may still accept. A prefix stores its outcome on
each record, so completing it in every possible way is cheap. Plans are compared by mean quality and cost on all records
and on strata of difficulty, because a router assigns plans to queries by difficulty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bestroute.labels.fixed_rewards import plan_odds
from bestroute.labels.plan_labels import fixed_candidates, label_plans, largest_n
from bestroute.labels.sample_arrays import SampleArrays
from bestroute.labels.simulation import Numbers, posterior_table, shuffled
from bestroute.stats.hull import hull_quality, upper_hull
from bestroute.types.arrays import BoolArray, FloatArray
from bestroute.types.plans import Candidate, Plan, Step

MOST_STEPS = 4
MOST_RECORDS = 500
"""Most records used; from more, a seeded sample is taken."""
BEAM = 40
"""Beam width: prefixes kept at each depth."""
STRATA = 5
"""Number of difficulty strata."""
OFFERED = 24
"""Plans offered besides the candidates."""
VOTE_LEVELS = (0.75, 0.85, 0.93, 0.96)
"""Reached by one, two, three or four votes for an answer and none against it; two to one (0.69) reaches none."""
RELABELLED = 60
"""Number of plans nearest to the hull that are labelled exactly, to find the hull itself."""
VOTE_DRAWS = 16
"""Seeded random orders in which votes are simulated during the search."""
_PRICES = 40
_NEVER = 1.0
"""A level that no vote reaches."""
_SAME = 1e-9
"""Means closer than this share of the largest differ only by rounding."""


class Prefix(Protocol):
    """Steps that may still accept, with their outcome on each record so far."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps."""
        ...

    def extended(self, model: str, level: float, most: int) -> Iterator[Prefix]:
        """Yield the prefix extended by a step with acceptance, of 1 to ``most`` draws."""
        ...

    def end(self, model: str | None) -> tuple[FloatArray, FloatArray]:
        """Return quality and cost per record, ending with a sample of ``model``, or (``None``) the best so far."""
        ...


@dataclass(frozen=True)
class PlanSearch:
    """The result of a search."""

    offered: tuple[Plan, ...]
    """Plans with acceptance worth offering to a router, cheapest first."""
    hull: tuple[Plan, ...]
    """Plans and candidates that are best at some price without a router, cheapest first."""


@dataclass(frozen=True, eq=False)
class _Found:
    """A complete plan with its mean quality and cost: over all records first, then over each stratum."""

    plan: Plan
    quality: FloatArray
    cost: FloatArray


def search_plans(
    arrays: SampleArrays,
    *,
    offered: int = OFFERED,
    most_steps: int = MOST_STEPS,
    levels: Mapping[str, float] | None = None,
    on_step: Callable[[int], object] | None = None,
) -> PlanSearch:
    """Find the plans worth offering: the Pareto set by expected quality and cost, reduced to the most useful.

    Args:
        arrays: Training records.
        offered: The most plans returned; candidates are not counted and not returned.
        most_steps: The most steps of a plan.
        levels: An additional acceptance level for some models, as chosen on held-out folds (``accept_levels``).
        on_step: Called with 1 after each depth, for a progress bar.

    Returns:
        No plan with acceptance if the records have neither calibrated rewards nor votes.
    """
    if not arrays.can_accept:
        return PlanSearch((), _hull_of(arrays, fixed_candidates(arrays)))
    arrays = _sampled(arrays)
    weights = _strata(arrays)
    root: Prefix = _VotePrefix.root(arrays) if arrays.answers is not None else _UrnPrefix.root(arrays)
    tops = largest_n(arrays.pool, arrays)
    levels_of = {model: _levels(arrays, (levels or {}).get(model)) for model in arrays.pool.models}
    candidates = [_Found(plan, weights @ quality, weights @ cost) for plan, quality, cost in _candidates(arrays, root)]
    found, prices = candidates, _price_grid(candidates)
    beam = [root]
    for depth in range(1, most_steps + 1):
        endings = [
            [_Found(plan, weights @ q, weights @ c) for plan, q, c in _endings(prefix, arrays, depth < most_steps)]
            for prefix in _grown(beam, levels_of, tops)
        ]
        if not endings:  # every model is in use
            break
        found = _near_hulls([*found, *_without_equivalents([f for plans in endings for f in plans], candidates)])
        if depth < most_steps:
            utilities = [np.max([_utility(f, prices) for f in plans], axis=0) for plans in endings]
            chosen = _cover(np.array(utilities), np.full(utilities[0].shape, -np.inf), BEAM)
            kept = {i: prefix for i, prefix in enumerate(_grown(beam, levels_of, tops)) if i in chosen}
            beam = [kept[i] for i in chosen]
        if on_step is not None:
            on_step(1)
    by_candidates = np.max([_utility(f, prices) for f in found if f.plan.candidate is not None], axis=0)
    plans = [f for f in found if f.plan.candidate is None]
    best = [plans[i] for i in _cover(np.array([_utility(f, prices) for f in plans]), by_candidates, offered)]
    by_cost = tuple(f.plan for f in sorted(best, key=lambda f: f.cost[0]))
    cost, quality = np.array([f.cost[0] for f in found]), np.array([f.quality[0] for f in found])
    behind = hull_quality(cost, quality, cost) - quality
    nearest = [found[i].plan for i in np.argsort(behind, kind="stable")[:RELABELLED]]
    return PlanSearch(by_cost, _hull_of(arrays, tuple(dict.fromkeys([*fixed_candidates(arrays), *by_cost, *nearest]))))


def _hull_of(arrays: SampleArrays, plans: tuple[Plan, ...]) -> tuple[Plan, ...]:
    """Return the plans on the upper hull of mean quality and cost, cheapest first."""
    labels = label_plans(arrays, plans, matches=False)
    hull = upper_hull(labels.cost_usd.mean(axis=0), labels.quality.mean(axis=0))
    return tuple(plans[i] for i in hull)


def _sampled(arrays: SampleArrays) -> SampleArrays:
    if len(arrays) <= MOST_RECORDS:
        return arrays
    return arrays.take(np.sort(np.random.default_rng(0).choice(len(arrays), MOST_RECORDS, replace=False)))


def _strata(arrays: SampleArrays) -> FloatArray:
    """Return record weights ``(1 + strata, Q)``: equal ones, then those of strata by the mean quality over models."""
    ease = np.nanmean(arrays.quality, axis=2).mean(axis=1)
    strata = np.array_split(np.argsort(ease, kind="stable"), min(STRATA, len(arrays)))
    weights = np.zeros((1 + len(strata), len(arrays)))
    weights[0] = 1 / len(arrays)
    for row, part in zip(weights[1:], strata, strict=True):
        row[part] = 1 / len(part)
    return weights


def _candidates(arrays: SampleArrays, root: Prefix) -> Iterator[tuple[Plan, FloatArray, FloatArray]]:
    """Yield every candidate with its quality and cost per record; votes are simulated in the orders used for plans."""
    if arrays.answers is not None:
        for model, top in largest_n(arrays.pool, arrays).items():
            for prefix in root.extended(model, _NEVER, top):
                yield Plan.of(Candidate(model, prefix.steps[0].n)), *prefix.end(None)
        return
    plans = fixed_candidates(arrays)
    labels = label_plans(arrays, plans, matches=False)
    for p, plan in enumerate(plans):
        yield plan, labels.quality[:, p], labels.cost_usd[:, p]


def _without_equivalents(found: Sequence[_Found], candidates: Sequence[_Found]) -> list[_Found]:
    """Leave out plans whose means equal those of a candidate on all records and on every stratum.

    Such a plan is equivalent to that candidate: for example one sample whose level is always or never reached. Its
    labels would differ from the candidate's by chance alone, and so would which of the two a query gets.
    """
    means = [np.concatenate([f.quality, f.cost]) for f in (*candidates, *found)]
    scale = np.abs(means).max(axis=0) + 1e-300
    known, new = np.split(np.array(means) / scale, [len(candidates)])
    return [f for f, own in zip(found, new, strict=True) if (np.abs(known - own).max(axis=1) > _SAME).all()]


def _levels(arrays: SampleArrays, own: float | None) -> tuple[float, ...]:
    if arrays.answers is not None:
        return VOTE_LEVELS
    assert arrays.acceptance is not None
    values = np.unique(arrays.acceptance[~np.isnan(arrays.acceptance)])
    if len(values) <= 2:
        return (float(values[-1]),)
    usual = np.quantile(values[1:], (0.2, 0.5, 0.7, 0.85, 0.95)).round(4).tolist()
    return tuple(sorted({*usual, *(() if own is None else (own,))}))


def _grown(beam: Sequence[Prefix], levels_of: Mapping[str, Sequence[float]], tops: dict[str, int]) -> Iterator[Prefix]:
    """Yield every extension of every prefix: thousands, which are cheaper to grow twice than to store."""
    for prefix in beam:
        yield from _extensions(prefix, levels_of, tops)


def _extensions(prefix: Prefix, levels_of: Mapping[str, Sequence[float]], tops: dict[str, int]) -> Iterator[Prefix]:
    """Yield a prefix extended by every step of a model not in it, even if only later votes can reach its level."""
    models = {step.model for step in prefix.steps}
    for model, levels in levels_of.items():
        if model not in models:
            for level in levels:
                yield from prefix.extended(model, level, tops[model])


def _endings(prefix: Prefix, arrays: SampleArrays, has_room: bool) -> Iterator[tuple[Plan, FloatArray, FloatArray]]:
    """Yield the plans that end a prefix: with the best sample so far, or with one sample of a model not in it."""
    yield Plan(prefix.steps), *prefix.end(None)
    models = {step.model for step in prefix.steps}
    for model in arrays.pool.models if has_room else ():
        if model not in models:
            yield Plan((*prefix.steps, Step(model))), *prefix.end(model)


def _near_hulls(found: Sequence[_Found], slack: float = 0.001) -> list[_Found]:
    """Keep the candidates, and plans close to the hull of all plans on all records or on a stratum."""
    quality = np.array([f.quality for f in found])
    cost = np.array([f.cost for f in found])
    keep = np.array([f.plan.candidate is not None for f in found])
    for stratum in range(quality.shape[1]):
        keep |= quality[:, stratum] >= hull_quality(cost[:, stratum], quality[:, stratum], cost[:, stratum]) - slack
    return [f for f, is_near in zip(found, keep, strict=True) if is_near]


def _price_grid(found: Sequence[_Found]) -> FloatArray:
    """Return prices of a unit of quality, from where the cheapest plan wins to where the best one does."""
    span = max(np.ptp([f.quality[0] for f in found]), 1e-9)
    return np.asarray(np.geomspace(1e-3, 30, _PRICES) * max(np.ptp([f.cost[0] for f in found]), 1e-12) / span)


def _utility(found: _Found, prices: FloatArray) -> FloatArray:
    """Return the utility of a plan at each price on each stratum, shape ``(prices, 1 + strata)``.

    Scaled between units of quality and of cost, so that neither the cheap end of the range, where plans differ in
    quality, nor the careful end, where they differ in cost, dominates.
    """
    root = np.sqrt(prices)[:, None]
    return np.asarray(found.quality * root - found.cost / root)


def _cover(utilities: FloatArray, best: FloatArray, most: int) -> list[int]:
    """Choose greedily the items that most increase the utility of the best choice, summed over prices and strata.

    Args:
        utilities: Utility of each item, shape ``(F, prices, 1 + strata)``.
        best: Utility of the best choice so far, shape ``(prices, 1 + strata)``.
        most: The most items.
    """
    if not len(utilities):
        return []
    scale = np.ones(utilities.shape[2])
    scale[0] = len(scale) - 1  # all records weigh as much as the strata together
    best = np.maximum(best, utilities.min(axis=0))
    chosen: list[int] = []
    while len(chosen) < most:
        gains = (np.maximum(utilities - best, 0) * scale).sum(axis=(1, 2))
        top = int(gains.argmax())
        if gains[top] <= 0:
            break
        best = np.maximum(best, utilities[top])
        chosen.append(top)
    return chosen


@dataclass(frozen=True, eq=False)
class _UrnPrefix:
    """A prefix over samples with fixed rewards, each step by another model: probabilities of rejection multiply."""

    arrays: SampleArrays
    steps: tuple[Step, ...]
    is_open: FloatArray
    """Probability that nothing was accepted so far, shape ``(Q,)``."""
    quality: FloatArray
    cost: FloatArray
    best_rejected: FloatArray
    """Mean quality of the best rejected sample, exact if the reward is the quality."""
    cache: dict[Step, tuple[FloatArray, FloatArray, FloatArray, FloatArray]]

    @classmethod
    def root(cls, arrays: SampleArrays) -> _UrnPrefix:
        zero = np.zeros(len(arrays))
        return cls(arrays, (), zero + 1, zero, zero, zero, {})

    def _given(self, step: Step) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return rejection probability, accepted quality, cost, and quality of the best rejected sample of a step."""
        if step not in self.cache:
            arrays, k = self.arrays, self.arrays.pool.models.index(step.model)
            odds = plan_odds(arrays, Plan((step,)))
            truth = np.nan_to_num(arrays.quality[:, k])
            if step.accept is None:
                is_accepted = np.ones_like(truth)
            else:
                assert arrays.acceptance is not None
                is_accepted = (np.nan_to_num(arrays.acceptance[:, k], nan=-np.inf) >= step.accept).astype(np.float64)
            accepted = odds.answer[:, k] * is_accepted
            rejected = odds.answer[:, k] * (1 - is_accepted)
            mass = rejected.sum(axis=1)
            best_rejected = np.divide((rejected * truth).sum(axis=1), mass, out=np.zeros_like(mass), where=mass > 1e-12)
            spent = (odds.drawn * np.nan_to_num(arrays.sample_usd)).sum(axis=(1, 2))
            self.cache[step] = (1 - accepted.sum(axis=1), (accepted * truth).sum(axis=1), spent, best_rejected)
        return self.cache[step]

    def extended(self, model: str, level: float, most: int) -> Iterator[_UrnPrefix]:
        for n in range(1, most + 1):
            step = Step(model, n, level)
            survives, quality, cost, best_rejected = self._given(step)
            yield replace(
                self,
                steps=(*self.steps, step),
                is_open=self.is_open * survives,
                quality=self.quality + self.is_open * quality,
                cost=self.cost + self.is_open * cost,
                best_rejected=np.maximum(self.best_rejected, best_rejected),
            )

    def end(self, model: str | None) -> tuple[FloatArray, FloatArray]:
        if model is None:
            return self.quality + self.is_open * self.best_rejected, self.cost
        _, quality, cost, _ = self._given(Step(model))
        return self.quality + self.is_open * quality, self.cost + self.is_open * cost


@dataclass(frozen=True, eq=False)
class _ShuffledSamples:
    """Every model's samples in seeded random orders; for each model an array of shape ``(S, Q, R)``."""

    answers: tuple[Numbers, ...]
    quality: tuple[FloatArray, ...]
    cost: tuple[FloatArray, ...]
    models: tuple[str, ...]
    least_votes: int
    """Fewest votes of an accepted answer."""

    @classmethod
    def of(cls, arrays: SampleArrays) -> _ShuffledSamples:
        assert arrays.answers is not None
        order = shuffled(arrays, draws=VOTE_DRAWS)  # (Q, R, K, S)
        recorded: tuple[NDArray[Any], ...] = (arrays.answers.astype(np.int16), arrays.quality, arrays.sample_usd)
        dealt: list[list[Any]] = [[], [], []]
        for k in range(len(arrays.pool.models)):
            index = order[:, :, k].transpose(2, 0, 1)
            rows = np.arange(len(arrays))[:, None]
            for arrays_of, values in zip(dealt, recorded, strict=True):
                arrays_of.append(values[:, k][rows, index])
        least_votes = arrays.votes.least_votes
        return cls(tuple(dealt[0]), tuple(dealt[1]), tuple(dealt[2]), arrays.pool.models, least_votes)


@dataclass(frozen=True, eq=False)
class _VotePrefix:
    """A prefix over samples that vote, simulated in seeded random orders; all arrays have shape ``(Q, R)``."""

    shuffled_samples: _ShuffledSamples
    steps: tuple[Step, ...]
    drawn: tuple[Numbers, ...]
    """Answers so far."""
    is_open: BoolArray
    quality: FloatArray
    """Quality of the accepted answer; 0 if none was accepted."""
    cost: FloatArray
    leader: Numbers
    """The leading answer; the earliest in a tie."""
    leading: FloatArray
    """Quality of the first sample that gave it."""
    votes: Numbers
    rival: Numbers
    """Votes of its strongest rival."""

    @classmethod
    def root(cls, arrays: SampleArrays) -> _VotePrefix:
        shuffled_samples = _ShuffledSamples.of(arrays)
        shape = shuffled_samples.answers[0].shape[1:]
        none, zero = np.zeros(shape, dtype=np.int16), np.zeros(shape)
        return cls(shuffled_samples, (), (), np.ones(shape, dtype=bool), zero, zero, none, zero, none, none)

    def extended(self, model: str, level: float, most: int) -> Iterator[_VotePrefix]:
        prefix, k = self, self.shuffled_samples.models.index(model)
        table = posterior_table(len(self.drawn) + most)
        for i in range(most):
            prefix = prefix._with(
                self.shuffled_samples.answers[k][i],
                self.shuffled_samples.quality[k][i],
                self.shuffled_samples.cost[k][i],
            )
            has_votes = (prefix.votes >= self.shuffled_samples.least_votes) & (prefix.leader > 0)
            accepts = prefix.is_open & (table[prefix.votes, prefix.rival] >= level) & has_votes
            prefix = replace(
                prefix,
                steps=(*self.steps, Step(model, i + 1, level)),
                is_open=prefix.is_open & ~accepts,
                quality=prefix.quality + accepts * prefix.leading,
            )
            yield prefix

    def _with(self, answer: Numbers, quality: FloatArray, cost: FloatArray) -> _VotePrefix:
        own = np.ones(answer.shape, dtype=np.int16)
        for earlier in self.drawn:
            own += earlier == answer
        own *= answer > 0
        is_leader = (answer == self.leader) & (answer > 0)
        takes_over = (own > self.votes) & ~is_leader
        first = not self.drawn
        return replace(
            self,
            drawn=(*self.drawn, answer),
            cost=self.cost + self.is_open * cost,
            leader=np.where(takes_over, answer, self.leader),
            leading=quality if first else np.where(takes_over, quality, self.leading),
            votes=np.where(is_leader | takes_over, own, self.votes),
            rival=np.where(takes_over, self.votes, np.where(is_leader, self.rival, np.maximum(self.rival, own))),
        )

    def end(self, model: str | None) -> tuple[FloatArray, FloatArray]:
        answer, cost = self.leading, self.cost
        if model is not None:
            k = self.shuffled_samples.models.index(model)
            answer, cost = self.shuffled_samples.quality[k][0], cost + self.is_open * self.shuffled_samples.cost[k][0]
        return (self.quality + self.is_open * answer).mean(axis=1), cost.mean(axis=1)
