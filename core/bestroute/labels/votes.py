"""Plans over samples that vote: exact for a candidate with few subsets, seeded draws without replacement otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from bestroute.labels.arrays import SampleArrays
from bestroute.labels.urns import PlanOdds
from bestroute.plans import Plan, Step
from bestroute.protocols import BoolArray, FloatArray, IntArray
from bestroute.rewards import beta_exceeds_half

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
        ``bestroute.rewards.MajorityVote`` and the executor's rules (``bestroute.execution``).
    """
    draws = draws or usual_draws(len(arrays))
    parts = [
        _odds(arrays.take(range(start, min(start + _CHUNK, len(arrays)))), plan, draws, seed + start)
        for start in range(0, len(arrays), _CHUNK)
    ]
    return PlanOdds(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("answer", "drawn", "draws")))


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
    draws = draws or usual_draws(len(arrays))
    parts = [
        _matches(arrays.take(range(start, min(start + _CHUNK, len(arrays)))), plan, model, margin, draws, seed + start)
        for start in range(0, len(arrays), _CHUNK)
    ]
    return np.concatenate(parts)


def usual_draws(records: int) -> int:
    """Return in how many seeded orders each record is played."""
    return min(DRAWS, max(FEWEST_DRAWS, ORDERS // max(1, records)))


def _matches(arrays: SampleArrays, plan: Plan, model: int, margin: float, draws: int, seed: int) -> FloatArray:
    size = _enumerable(arrays, plan) if plan.models == (arrays.pool.models[model],) else None
    if size is not None:
        return _enumerated_matches(arrays, model, size, plan.steps[0].n, margin)
    play = Play.start(arrays, draws=draws, seed=seed)
    opponent = play.order[:, :, model, sum(step.n for step in plan.steps if step.model == arrays.pool.models[model])]
    theirs = np.take_along_axis(arrays.quality[:, model], opponent, axis=1)
    play = replace(play, least=theirs - margin)
    for step in plan.steps:
        play = play.after(step)
    return play.with_best_seen().matched


def _enumerated_matches(arrays: SampleArrays, k: int, size: int, n: int, margin: float) -> FloatArray:
    """Go through all subsets of one model's samples; the others are the opponents."""
    subsets = np.array(list(combinations(range(size), n)), dtype=np.intp)
    quality = arrays.quality[:, k, :size]
    reached = (quality[:, :, None] >= quality[:, None, :] - margin).astype(np.float64)
    is_left = np.ones((len(subsets), size))
    is_left[np.arange(len(subsets))[:, None], subsets] = 0.0
    beaten = reached @ is_left.T / (size - n)  # (Q, S, subsets)
    won = beaten[:, subsets, np.arange(len(subsets))[:, None]]  # (Q, subsets, n)
    return np.asarray((_shares(arrays, k, subsets) * won).sum(axis=2).mean(axis=1))


def _shares(arrays: SampleArrays, k: int, subsets: IntArray) -> FloatArray:
    """Return the share of each drawn sample in the answer of a subset, shape ``(Q, subsets, n)``."""
    votes = _votes(arrays.answers[:, k][:, subsets])  # type: ignore[index]
    leads = votes == votes.max(axis=2, keepdims=True)
    return np.asarray(leads / leads.sum(axis=2, keepdims=True))


def _enumerable(arrays: SampleArrays, plan: Plan) -> int | None:
    """Return how many samples there are, if a plan is a candidate with few enough subsets of them."""
    if (candidate := plan.candidate) is None:
        return None
    sizes = arrays.sizes[:, arrays.pool.models.index(candidate.model)]
    size = int(sizes[0])
    return size if (sizes == size).all() and comb(size, candidate.n) <= MOST_SUBSETS else None


def _odds(arrays: SampleArrays, plan: Plan, draws: int, seed: int) -> PlanOdds:
    assert arrays.answers is not None
    if (size := _enumerable(arrays, plan)) is not None:
        return _enumerated(arrays, arrays.pool.models.index(plan.steps[0].model), size, plan.steps[0].n)
    return _played(arrays, plan, draws, seed)


def _enumerated(arrays: SampleArrays, k: int, size: int, n: int) -> PlanOdds:
    """Go through all subsets of one model's samples; the samples of all leading answers share a subset."""
    subsets = np.array(list(combinations(range(size), n)), dtype=np.intp)
    share = _shares(arrays, k, subsets)
    odds = _empty(arrays, 1)
    for position in range(n):
        for s in range(size):
            odds.answer[:, k, s] += share[:, subsets[:, position] == s, position].sum(axis=1) / len(subsets)
    odds.drawn[:, k, :size] = n / size
    odds.draws[:] = n
    return odds


def _played(arrays: SampleArrays, plan: Plan, draws: int, seed: int) -> PlanOdds:
    """Play the plan in seeded orders of every model's samples; all records and orders at once."""
    play = Play.start(arrays, draws=draws, seed=seed)
    for step in plan.steps:
        play = play.after(step)
    play = play.with_best_seen()
    return PlanOdds(play.answer, play.drawn, np.stack(play.draws, axis=1))


@dataclass(frozen=True, eq=False)
class Play:
    """A plan under way, in many seeded orders at once; every step makes a new one."""

    arrays: SampleArrays
    order: IntArray
    """Samples in drawing order, shape ``(Q, R, K, S)``."""
    answer: FloatArray
    """Chance that a sample has become the answer, shape ``(Q, K, S)``."""
    drawn: FloatArray
    """Chance that a sample was drawn, shape ``(Q, K, S)``."""
    is_open: BoolArray
    """Whether an order goes on, shape ``(Q, R)``."""
    used: tuple[int, ...]
    """Samples drawn of each model."""
    places: tuple[tuple[int, IntArray], ...] = ()
    """Model and sample ``(Q, R)`` of every draw so far."""
    draws: tuple[FloatArray, ...] = ()
    """Expected draws of each step so far, each of shape ``(Q,)``."""
    said: tuple[NDArray[np.int16], ...] = ()
    """Answer of every draw so far, each of shape ``(Q, R)``."""
    votes: tuple[NDArray[np.int16], ...] = ()
    """Votes for the answer of every draw so far, its own included; 0 for an empty one."""
    least: FloatArray | None = None
    """Quality that is a match, shape ``(Q, R)``; ``None``: nobody asks."""
    matched: FloatArray = field(default_factory=lambda: np.zeros(1))
    """Share of the orders whose answer was a match, shape ``(Q,)``."""

    @classmethod
    def start(cls, arrays: SampleArrays, *, draws: int, seed: int = 0) -> Play:
        """Shuffle every model's samples; absent samples come last."""
        shape = arrays.quality.shape
        keys = np.random.default_rng(seed).random((shape[0], draws, *shape[1:]), dtype=np.float32)
        keys[np.broadcast_to(np.isnan(arrays.quality)[:, None], keys.shape)] = 2.0
        nothing = np.zeros(shape)
        is_open = np.ones(keys.shape[:2], dtype=bool)
        return cls(arrays, keys.argsort(axis=3), nothing, nothing, is_open, (0,) * shape[1])

    def after(self, step: Step) -> Play:
        """Draw a step: what it accepts is answered; without acceptance the best of the step is."""
        arrays, k = self.arrays, self.arrays.pool.models.index(step.model)
        first = len(self.places)
        play, spent = self, np.zeros(len(arrays))
        for i in range(step.n):
            sample = play.order[:, :, k, play.used[k]]
            used = tuple(n + (j == k) for j, n in enumerate(play.used))
            drawn = play.drawn.copy()
            drawn[:, k] += play._share(sample, play.is_open)
            spent = spent + play.is_open.mean(axis=1)
            play = replace(play, drawn=drawn, used=used, places=(*play.places, (k, sample)))._voted(k, sample)
            if step.accept is not None:
                reached = play._posteriors() >= step.accept
                play = play._answered(reached.argmax(axis=2), play.is_open & reached.any(axis=2))
            elif i == step.n - 1:
                is_alone = step.n == 1
                best = 0 * sample if is_alone else play._posteriors()[:, :, first:].argmax(axis=2)
                play = play._answered(best + first, play.is_open)
        return replace(play, draws=(*play.draws, spent))

    def with_best_seen(self) -> Play:
        """Answer what is still open with the best seen."""
        return self._answered(self._posteriors().argmax(axis=2), self.is_open) if self.is_open.any() else self

    def _answered(self, position: IntArray, where: BoolArray) -> Play:
        answer, matched = self.answer.copy(), self.matched
        for p, (k, sample) in enumerate(self.places):
            at = where & (position == p)
            if at.any():
                answer[:, k] += self._share(sample, at)
                if self.least is not None:
                    reached = np.take_along_axis(self.arrays.quality[:, k], sample, axis=1) >= self.least
                    matched = matched + (at & reached).mean(axis=1)
        return replace(self, answer=answer, matched=matched, is_open=np.asarray(self.is_open & ~where, dtype=np.bool_))

    def _share(self, sample: IntArray, where: BoolArray) -> FloatArray:
        """Share of the orders in which each sample of a model is the one, shape ``(Q, S)``."""
        records, size = self.answer.shape[0], self.answer.shape[2]
        rows = np.broadcast_to(np.arange(records)[:, None], sample.shape)
        hits = np.bincount(rows[where] * size + sample[where], minlength=records * size)
        return np.asarray(hits.reshape(records, size) / sample.shape[1])

    def _voted(self, k: int, sample: IntArray) -> Play:
        assert self.arrays.answers is not None
        answer = np.take_along_axis(self.arrays.answers[:, k], sample, axis=1).astype(np.int16)
        agrees = [(answer == earlier) & (answer > 0) for earlier in self.said]
        own = np.sum(agrees, axis=0, dtype=np.int16) + (answer > 0)
        votes = tuple(count + agree for count, agree in zip(self.votes, agrees, strict=True))
        return replace(self, said=(*self.said, answer), votes=(*votes, own.astype(np.int16)))

    def _posteriors(self) -> FloatArray:
        """Return the reward of every draw so far, as ``MajorityVote`` gives it; shape ``(Q, R, draws)``."""
        votes, said = np.stack(self.votes, axis=2), np.stack(self.said, axis=2)
        leads = votes.argmax(axis=2, keepdims=True)
        is_leader = said == np.take_along_axis(said, leads, axis=2)
        second = np.where(is_leader, 0, votes).max(axis=2, keepdims=True)
        rival = np.where(is_leader, second, votes.max(axis=2, keepdims=True))
        return np.where(said > 0, posterior_table(votes.shape[2])[votes, rival], 0.0)


def _empty(arrays: SampleArrays, steps: int) -> PlanOdds:
    return PlanOdds(np.zeros(arrays.quality.shape), np.zeros(arrays.quality.shape), np.zeros((len(arrays), steps)))


def _votes(ids: IntArray) -> IntArray:
    """Count, for each drawn sample, the votes for its answer; an empty answer has none. Last axis: draws."""
    equal = (ids[..., :, None] == ids[..., None, :]) & (ids[..., :, None] > 0)
    return np.asarray(equal.sum(axis=-1), dtype=np.intp)


@cache
def posterior_table(most: int) -> FloatArray:
    """Return what ``MajorityVote`` gives an answer with ``a`` votes whose strongest rival has ``b``; ``[a, b]``."""
    return np.array([[beta_exceeds_half(a, b) for b in range(most + 1)] for a in range(most + 1)])
