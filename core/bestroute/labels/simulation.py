"""Simulation of plans whose samples vote, in seeded random orders of each model's samples.

Consecutive plans reuse the draws of the steps that they have in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bestroute.labels.fixed_rewards import PlanOdds, drawn_urns
from bestroute.labels.sample_arrays import SampleArrays
from bestroute.stats.vote_posterior import beta_exceeds_half
from bestroute.types.arrays import BoolArray, FloatArray, IntArray
from bestroute.types.plans import Plan

Numbers = NDArray[np.int16]
"""Answers and vote counts, in a small type since there are many plays."""


@dataclass(frozen=True, eq=False)
class _Draw:
    """The state of all ``N`` plays after a draw: ``M`` continue, ``E`` ended at this draw."""

    drawn: FloatArray
    """Share of the orders in which each sample of its model was this draw, shape ``(Q, S)``."""
    ended: IntArray
    """Plays whose answer was accepted at this draw, shape ``(E,)``."""
    answer: IntArray
    """Index of the draw that is the answer of each of them, from 0."""
    going_on: IntArray
    """Plays that continue, shape ``(M,)``."""
    given: Numbers
    """Answers of all draws so far in the plays that continue, shape ``(draws, M)``."""
    leading: Numbers
    """Votes of the leading answer, shape ``(M,)``."""
    rival: Numbers
    """Votes of its strongest rival; the same number if several lead."""
    token_probability: FloatArray | None = None
    """Token probability of all draws so far, NaN if unknown, shape ``(draws, M)``; ``None`` if it does not count."""


class Plays:
    """Some records in ``R`` random orders each, with the draws of the last plan simulated.

    Args:
        arrays: ``Q`` records with answers.
        draws: Orders per record.
        seed: Seed of the orders.
    """

    def __init__(self, arrays: SampleArrays, *, draws: int, seed: int = 0) -> None:
        """Set up; nothing is simulated yet."""
        self.arrays, self.orders, self.seed = arrays, draws, seed
        self._wanted: list[tuple[int, float | None]] = []
        self._path: list[_Draw] = []

    def odds(self, plan: Plan) -> PlanOdds:
        """Return the probabilities of each sample under a plan."""
        path, shape = self._play(plan), self.arrays.quality.shape
        drawn, draws = np.zeros(shape), np.zeros((len(self.arrays), len(plan.steps)))
        step_of = [s for s, step in enumerate(plan.steps) for _ in range(step.n)]
        for (model, _), step, draw in zip(self._wanted, step_of, path, strict=True):
            drawn[:, model] += draw.drawn
            draws[:, step] += draw.drawn.sum(axis=1)
        model_of, sample = self._answers(plan)
        places = (self._records * shape[1] + model_of) * shape[2] + sample
        answer = np.bincount(places, minlength=int(np.prod(shape))).reshape(shape) / self.orders
        return PlanOdds(answer, drawn, draws)

    def matches(self, plan: Plan, model: int, *, margin: float = 0.0) -> FloatArray:
        """Return how often a plan's answer is as good as the next undrawn sample of a model, shape ``(Q,)``."""
        self._play(plan)
        model_of, sample = self._answers(plan)
        theirs = self._drawing_order[model, sum(k == model for k, _ in self._wanted)]
        quality, records = self.arrays.quality, self._records
        is_match = quality[records, model_of, sample] >= quality[records, model, theirs] - margin
        return np.asarray(is_match.reshape(-1, self.orders).mean(axis=1))

    @cached_property
    def _drawing_order(self) -> IntArray:
        """Samples in drawing order, shape ``(K, S, N)``; the orders of a record are adjacent."""
        order = shuffled(self.arrays, draws=self.orders, seed=self.seed)
        return np.ascontiguousarray(order.transpose(2, 3, 0, 1).reshape(*order.shape[2:], -1))

    @cached_property
    def _records(self) -> IntArray:
        """Index of the record of each play, shape ``(N,)``."""
        return np.repeat(np.arange(len(self.arrays)), self.orders)

    @cached_property
    def _answers_drawn(self) -> Numbers:
        """Answers in drawing order, shape ``(K, S, N)``."""
        assert self.arrays.answers is not None
        models = np.arange(self.arrays.quality.shape[1])[:, None, None]
        return self.arrays.answers.astype(np.int16)[self._records, models, self._drawing_order]

    def _play(self, plan: Plan) -> list[_Draw]:
        """Simulate a plan and return the state after each draw; draws in common with the last plan are reused."""
        accepts = [step.accept for step in plan.steps for _ in range(step.n)]
        wanted = list(zip(drawn_urns(self.arrays, plan), accepts, strict=True))
        same = next((i for i, (a, b) in enumerate(zip(wanted, self._wanted, strict=False)) if a != b), len(wanted))
        self._path = self._path[:same]
        for i in range(len(self._path), len(wanted)):
            model, accept = wanted[i]
            self._path.append(self._drawn(model, sum(k == model for k, _ in wanted[:i]), accept))
        self._wanted = wanted
        return self._path

    def _drawn(self, model: int, place: int, accept: float | None) -> _Draw:
        """Draw a model's next sample in every play that continues, and end the plays that accept an answer."""
        if self._path:
            before = self._path[-1]
            plays, given, leading, rival = before.going_on, before.given, before.leading, before.rival
            token_probability = before.token_probability
        else:
            plays = np.arange(len(self._records))
            given, leading = np.zeros((0, len(plays)), dtype=np.int16), np.zeros(len(plays), dtype=np.int16)
            rival, token_probability = leading, np.zeros((0, len(plays)))
        shape = (len(self.arrays), self.arrays.quality.shape[2])
        samples, new = self._drawing_order[model, place, plays], self._answers_drawn[model, place, plays]
        hits = np.bincount(self._records[plays] * shape[1] + samples, minlength=shape[0] * shape[1])
        given = np.concatenate([given, new[None]])
        own = ((given == new).sum(axis=0, dtype=np.int16) * (new > 0)).astype(np.int16)
        rival = np.where(own > leading, rival, np.maximum(rival, own))
        leading = np.maximum(leading, own)
        ended, answer = plays[:0], plays[:0]
        if self.arrays.probability is None:
            token_probability = None
        else:
            probability = self.arrays.probability[self._records[plays], model, samples]
            token_probability = np.concatenate(
                [np.zeros((0, len(plays))) if token_probability is None else token_probability, probability[None]]
            )
        if accept is not None and token_probability is not None:
            is_good = combined(given, token_probability) >= accept
            accepts = is_good.any(axis=0)
            ended, answer = plays[accepts], _first(is_good[:, accepts])
            plays, given, token_probability = plays[~accepts], given[:, ~accepts], token_probability[:, ~accepts]
            leading, rival = leading[~accepts], rival[~accepts]
        elif accept is not None:
            fewest = np.maximum(votes_to_reach(accept, len(given)), np.int16(self.arrays.votes.least_votes))
            accepts = leading >= fewest[rival]
            enough = np.minimum(leading, fewest[leading])[accepts]
            ended, answer = plays[accepts], _first(_votes(given[:, accepts]) >= enough)
            plays, given, leading, rival = plays[~accepts], given[:, ~accepts], leading[~accepts], rival[~accepts]
        return _Draw(hits.reshape(shape) / self.orders, ended, answer, plays, given, leading, rival, token_probability)

    def _answers(self, plan: Plan) -> tuple[IntArray, IntArray]:
        """Return model and sample of each play's answer, for the plan that was simulated last; shape ``(N,)``."""
        answer = np.zeros(len(self._records), dtype=np.intp)
        for draw in self._path:
            answer[draw.ended] = draw.answer
        left, step = self._path[-1], plan.steps[-1]
        first = 0 if step.accept is not None else len(self._path) - step.n  # without acceptance, the best of the step
        votes = _votes(left.given)[first:]
        answer[left.going_on] = first + _first(votes == votes.max(axis=0))
        model_of = np.array([k for k, _ in self._wanted])
        place_of = np.array([sum(k == model for k, _ in self._wanted[:i]) for i, (model, _) in enumerate(self._wanted)])
        models = model_of[answer]
        return models, self._drawing_order[models, place_of[answer], np.arange(len(answer))]


def shuffled(arrays: SampleArrays, *, draws: int, seed: int = 0) -> IntArray:
    """Return every model's samples in seeded random orders, absent samples last; shape ``(Q, R, K, S)``."""
    shape = arrays.quality.shape
    keys = np.random.default_rng(seed).random((shape[0], draws, *shape[1:]), dtype=np.float32)
    return in_order_of(keys, np.isnan(arrays.quality)[:, None])


def in_order_of(keys: NDArray[np.floating[Any]], is_absent: BoolArray) -> IntArray:
    """Return samples sorted by their random keys, absent ones last.

    Callers draw the keys themselves, since published figures depend on how each draws them.

    Args:
        keys: In [0, 1), samples along the last axis; modified in place.
        is_absent: Broadcastable to the shape of the keys.
    """
    keys[np.broadcast_to(is_absent, keys.shape)] = 2.0
    return np.asarray(keys.argsort(axis=-1), dtype=np.intp)


@cache
def posterior_table(most: int) -> FloatArray:
    """Return ``MajorityVote``'s reward for ``a`` votes against a strongest rival with ``b``, as a table ``[a, b]``."""
    return np.array([[beta_exceeds_half(a, b) for b in range(most + 1)] for a in range(most + 1)])


@cache
def votes_to_reach(accept: float, most: int) -> Numbers:
    """Return the fewest votes with which an answer is accepted, by the votes of its strongest rival.

    An answer needs at least one vote, unless ``accept`` is 0; ``most + 1`` means unreachable.
    """
    if accept <= 0:
        return np.zeros(most + 1, dtype=np.int16)
    reached = posterior_table(most)[1:] >= accept
    return np.where(reached.any(axis=0), 1 + reached.argmax(axis=0), most + 1).astype(np.int16)


def combined(given: Numbers, token_probability: FloatArray) -> FloatArray:
    """Return the reward of every draw as ``Confidence.of(LogprobConfidence(), Agreement())`` computes it.

    Args:
        given: Answers, shape ``(draws, M)``; 0 is none.
        token_probability: Token probabilities of the answers, NaN if unknown, of the same shape.
    """
    own = _votes(given)
    rivals = np.zeros_like(own)
    for answer, votes in zip(given, own, strict=True):
        rivals = np.where((given != answer) & (answer > 0), np.maximum(rivals, votes), rivals)
    table = posterior_table(len(given))
    agreed = np.where(own > 1, table[own, rivals], np.where((own > 0) & (rivals > 0), table[0, rivals], np.nan))
    total, weight = np.zeros(given.shape), np.zeros(given.shape)
    for share, part in ((2.0, token_probability), (1.0, agreed)):
        clipped = np.clip(np.where(np.isnan(part), 0.5, part), 1e-6, 1 - 1e-6)
        total += share * np.log(clipped / (1 - clipped))
        weight += share * ~np.isnan(part)
    odds = np.divide(total, weight, out=np.full(given.shape, np.nan), where=weight > 0)
    return np.asarray(1 / (1 + np.exp(-odds)))


def _votes(given: Numbers) -> Numbers:
    """Count, for each draw, the votes for its answer; an empty answer has none. First axis: draws."""
    votes = np.zeros_like(given)
    for answer in given:
        votes += given == answer
    return np.where(given > 0, votes, 0).astype(np.int16)


def _first(is_one: BoolArray) -> IntArray:
    """Return the row of the first ``True`` in each column."""
    return np.asarray(is_one.argmax(axis=0), dtype=np.intp)
