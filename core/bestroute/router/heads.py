"""From the raw outputs of linear heads to a prediction: clip to ranges, make monotone in n, fill in known values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.plans import Plan, find_plan
from bestroute.types.pool import Pool
from bestroute.types.prediction import Prediction


@dataclass(frozen=True)
class HeadLayout:
    """Order of the heads: match probability, quality, and draws per step of every plan; tokens of every model."""

    plans: tuple[Plan, ...]
    models: tuple[str, ...]
    quality_range: tuple[float, float] = (-math.inf, math.inf)
    """Smallest and largest possible quality; predictions are clipped to it."""

    @cached_property
    def steps(self) -> int:
        """Largest number of steps of a plan."""
        return max(len(plan.steps) for plan in self.plans)

    @property
    def width(self) -> int:
        """Number of heads."""
        return len(self.plans) * (2 + self.steps) + len(self.models)

    @cached_property
    def names(self) -> tuple[tuple[str, Plan | str, int], ...]:
        """Kind, plan or model, and step of each head."""
        of_plans: list[tuple[str, Plan | str, int]] = [(w, p, 0) for w in ("match", "quality") for p in self.plans]
        draws = [("draws", plan, step) for plan in self.plans for step in range(self.steps)]
        return (*of_plans, *draws, *(("tokens", model, 0) for model in self.models))

    def arrange(self, blocks: Sequence[tuple[HeadLayout, FloatArray]]) -> FloatArray:
        """Arrange heads of other layouts in the order of this one.

        Args:
            blocks: Layouts and their heads, each of shape ``(N, width)``; together they must have every head of this
                layout. If two have the same head, the first counts.

        Returns:
            Shape ``(N, width)``; 0 for the draws of steps that no plan of a block has.
        """
        place: dict[tuple[str, Plan | str, int], int] = {}
        joined = np.hstack([*(heads for _, heads in blocks), np.zeros((len(blocks[0][1]), 1))])
        for column, name in enumerate(name for layout, _ in blocks for name in layout.names):
            place.setdefault(name, column)
        columns = [place.get(name, -1) if name[0] == "draws" else place[name] for name in self.names]
        return np.asarray(joined[:, columns])

    def join(self, match: FloatArray, quality: FloatArray, draws: FloatArray, tokens: FloatArray) -> FloatArray:
        """Return the labels joined to one row of heads per query, shape ``(Q, width)``."""
        return np.hstack([match, quality, draws.reshape(len(draws), -1), tokens])

    def split(self, heads: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return match probability, quality, draws ``(Q, P, S)`` and tokens; the inverse of ``join``."""
        p, s = len(self.plans), self.steps
        match, quality, draws, tokens = np.split(heads, (p, 2 * p, 2 * p + p * s), axis=1)
        return match, quality, draws.reshape(len(heads), p, s), tokens

    def scales(self, heads: FloatArray) -> FloatArray:
        """Return weights that equalise the total variance of each kind of head; tokens get half the weight."""

        def scale(part: FloatArray, weight: float) -> FloatArray:
            spread = float(np.sqrt(part.var(axis=0).sum()))
            return np.full(part[0].size, weight / spread if spread > 1e-9 else 0.0)

        blocks = self.split(heads)
        return np.concatenate(
            [scale(part.reshape(len(heads), -1), w) for part, w in zip(blocks, (1, 1, 1, 0.5), strict=True)]
        )

    def prediction(self, heads: FloatArray, pool: Pool) -> Prediction:
        """Turn heads into a valid prediction.

        Probabilities and qualities of one model's candidates are made non-decreasing in n (where they would fall, the
        router offers no such n); the reference matches itself with probability 1; draws lie within a plan's limits.
        """
        match, quality, draws, tokens = self.split(heads)
        match, draws = np.clip(match, 0.0, 1.0), draws.copy()
        quality = np.clip(quality, *self.quality_range)
        match[:, self._columns_by_n] = np.maximum.accumulate(match[:, self._columns_by_n], axis=2)
        quality[:, self._columns_by_n] = np.maximum.accumulate(quality[:, self._columns_by_n], axis=2)
        match[:, find_plan(self.plans, pool.reference_plan)] = 1.0
        return Prediction(self.plans, match, quality, np.maximum(tokens, 0.0), np.clip(draws, *self._draw_limits))

    @cached_property
    def _columns_by_n(self) -> IntArray:
        """Columns of each model's candidates by n, shape ``(K, N)``; the last is repeated for models with fewer."""
        columns = candidate_columns(self.plans)
        longest = max(map(len, columns), default=0)
        return np.array([[*own, *own[-1:] * (longest - len(own))] for own in columns], dtype=np.intp).reshape(
            len(columns), longest
        )

    @cached_property
    def _draw_limits(self) -> tuple[FloatArray, FloatArray]:
        least, most = np.zeros((2, len(self.plans), self.steps))
        for p, plan in enumerate(self.plans):
            most[p, : len(plan.steps)] = [step.n for step in plan.steps]
            least[p, 0] = plan.steps[0].n if plan.steps[0].accept is None else 1
        return least, most


def combine(directions: FloatArray, loadings: FloatArray) -> FloatArray:
    """Multiply two matrices so that each column of the result is bitwise independent of the other columns.

    Linear algebra libraries sum in an order that depends on the shapes; predictions must not change when a member is
    added or removed.

    Args:
        directions: Shape ``(Q, R)``.
        loadings: Shape ``(R, H)``.

    Returns:
        Shape ``(Q, H)``.
    """
    heads = np.zeros((len(directions), loadings.shape[1]))
    for direction, loading in zip(directions.T, loadings, strict=True):
        heads += direction[:, None] * loading
    return heads


def candidate_columns(plans: Sequence[Plan]) -> list[list[int]]:
    """Return, for each model, the columns of its candidates, ordered by n."""
    columns: dict[str, list[tuple[int, int]]] = {}
    for i, plan in enumerate(plans):
        if (candidate := plan.candidate) is not None:
            columns.setdefault(candidate.model, []).append((candidate.n, i))
    return [[i for _, i in sorted(found)] for found in columns.values()]
