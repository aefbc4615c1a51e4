"""Fitting many heads at once: ridge regressions on several feature blocks and a forest, stacked.

The heads move together (a hard query is hard for every plan), so the labels are turned into their principal
directions first. For each direction the learners that predict it best on held-out folds are mixed with weights
that need not add up to 1: a direction that cannot be predicted is shrunk to its mean. What is said of a held-out
fold, its directions too, comes from the other folds alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bestroute.protocols import BoolArray, FloatArray, IntArray
from bestroute.router.forest import Forest

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
MOST_DIRECTIONS = 12
_VARIANCE_KEPT = 0.995


@dataclass(frozen=True, eq=False)
class Stack:
    """Fitted heads, and what they would have said of each training query without having seen its fold."""

    means: FloatArray
    """Training means of the labels, shape ``(H,)``."""
    weights: tuple[FloatArray, ...]
    """Of each block, shape ``(width, R)``."""
    offsets: FloatArray
    """Training means of the block columns times the weights, shape ``(R,)``; to be subtracted."""
    forest: Forest
    """Predicts the directions, its share of the mix already in it."""
    loadings: FloatArray
    """From directions to labels, shape ``(R, H)``."""
    held_out: FloatArray
    """Deviations from the training means predicted on held-out folds, shape ``(Q, H)``."""


def fit_stack(
    blocks: Sequence[NDArray[np.floating[Any]]],
    kernels: Sequence[FloatArray | None],
    forest_inputs: NDArray[np.floating[Any]] | None,
    labels: FloatArray,
    scales: Callable[[FloatArray], FloatArray],
    folds: IntArray,
    *,
    trusted: BoolArray | None = None,
    wary: Collection[int] = (),
    seed: int = 0,
) -> Stack:
    """Fit the heads.

    Args:
        blocks: Feature blocks of the training queries, each of shape ``(Q, width)``.
        kernels: Kernel among a block's landmarks, the norm its ridge penalises; ``None``: the plain norm.
        forest_inputs: What the trees may ask for, shape ``(Q, I)``; ``None``: no forest.
        labels: Shape ``(Q, H)``.
        scales: Gives, from labels, the weight of each in the choice of directions, shape ``(H,)``.
        folds: Fold of each query; folds keep groups together.
        trusted: Queries that the learners are mixed by, shape ``(Q,)``; ``None``: all. ``held_out`` may flatter the
            others.
        wary: Blocks, by their place, that learn from trusted queries alone.
        seed: Of the forest.

    Source:
        Breiman and Friedman, "Predicting multivariate responses" (1997), for shrinking along directions of the
        labels; Breiman, "Stacked regressions" (1996), for weights that are not negative.
    """
    space = LabelSpace.of(labels, scales(labels))
    targets = space.directions(labels)  # (Q, R)
    rank = targets.shape[1]
    trusted = np.ones(len(labels), dtype=bool) if trusted is None else trusted
    paths = [
        _RidgePath(block, kernel, trusted if i in wary else None)
        for i, (block, kernel) in enumerate(zip(blocks, kernels, strict=True))
    ]
    forests = [] if forest_inputs is None else [_Trees(forest_inputs, seed)]
    learners: list[_RidgePath | _Trees] = [*paths, *forests]
    guesses = _guesses(learners, targets, folds)
    mix = _mix(guesses[trusted], targets[trusted])
    edges = np.cumsum([0, *(path.columns for path in paths)])
    weights = tuple(
        (path.fit(targets) * mix[:, start : start + path.columns]).sum(axis=2)
        for path, start in zip(paths, edges[:-1], strict=True)
    )
    offsets = np.sum([path.mean @ w for path, w in zip(paths, weights, strict=True)], axis=0)
    forest = forests[0].fit(targets).scaled(mix[:, -1]) if forests else Forest.empty(rank)
    held_out = _held_out(learners, labels, scales, folds, trusted) - space.means
    return Stack(space.means, weights, offsets, forest, space.loadings, held_out)


@dataclass(frozen=True, eq=False)
class LabelSpace:
    """Principal directions of scaled labels: what heads have in common."""

    means: FloatArray
    """Shape ``(H,)``."""
    axes: FloatArray
    """From labels to directions, shape ``(H, R)``."""
    loadings: FloatArray
    """From directions to labels, shape ``(R, H)``."""

    @classmethod
    def of(cls, labels: FloatArray, scales: FloatArray) -> LabelSpace:
        """Find the directions of labels ``(Q, H)``, weighted by ``scales`` ``(H,)``."""
        means = labels.mean(axis=0)
        _, sizes, axes = np.linalg.svd((labels - means) * scales, full_matrices=False)
        share = np.cumsum(sizes**2) / max(float((sizes**2).sum()), 1e-300)
        rank = min(int(np.searchsorted(share, _VARIANCE_KEPT)) + 1, MOST_DIRECTIONS, len(sizes))
        return cls(means, (axes[:rank] * scales).T, axes[:rank] / np.where(scales > 0, scales, 1.0))

    def directions(self, labels: FloatArray) -> FloatArray:
        """Return labels ``(Q, H)`` as directions ``(Q, R)``."""
        return np.asarray((labels - self.means) @ self.axes)


def _guesses(
    learners: Sequence[_RidgePath | _Trees], targets: FloatArray, folds: IntArray, hidden_fold: int | None = None
) -> FloatArray:
    """Let learners guess every fold without having seen it, nor the hidden one, which is left at 0.

    Returns:
        Shape ``(Q, R, columns)``.
    """
    guesses = np.zeros((*targets.shape, sum(learner.columns for learner in learners)))
    for fold in np.unique(folds):
        if fold != hidden_fold:
            hidden = (folds == fold) | (folds == hidden_fold)
            guesses[folds == fold] = _guess(learners, targets, folds == fold, hidden)
    return guesses


def _guess(
    learners: Sequence[_RidgePath | _Trees], targets: FloatArray, inside: BoolArray, hidden: BoolArray
) -> FloatArray:
    return np.concatenate([learner.held_out(inside, hidden, targets) for learner in learners], axis=2)


def _mix(guesses: FloatArray, targets: FloatArray) -> FloatArray:
    """Return the weight of each guess for each direction, shape ``(R, columns)``."""
    return np.array([nonnegative(guesses[:, r], targets[:, r]) for r in range(targets.shape[1])])


def _held_out(
    learners: Sequence[_RidgePath | _Trees],
    labels: FloatArray,
    scales: Callable[[FloatArray], FloatArray],
    folds: IntArray,
    trusted: BoolArray,
) -> FloatArray:
    """Predict the labels of every fold from the others alone: directions, learners and their mix; shape ``(Q, H)``.

    The mix for a fold comes from guesses by learners that saw neither that fold nor the one they guess.
    """
    predicted = np.zeros_like(labels)
    for fold in np.unique(folds):
        inside = folds == fold
        known = ~inside & trusted
        space = LabelSpace.of(labels[~inside], scales(labels[~inside]))
        targets = space.directions(labels)
        mix = _mix(_guesses(learners, targets, folds, fold)[known], targets[known])
        guessed = _guess(learners, targets, inside, inside)
        predicted[inside] = space.means + np.einsum("qrc,rc->qr", guessed, mix) @ space.loadings
    return predicted


class _Trees:
    """A forest as one learner of the mix."""

    columns = 1

    def __init__(self, inputs: NDArray[np.floating[Any]], seed: int) -> None:
        self.inputs, self.seed = np.asarray(inputs, dtype=np.float32), seed

    def held_out(self, inside: BoolArray, hidden: BoolArray, targets: FloatArray) -> FloatArray:
        """Predict a fold by a forest grown on what is not hidden, shape ``(fold, R, 1)``."""
        grown = Forest.fit(self.inputs[~hidden], targets[~hidden], seed=self.seed)
        return grown.predict(self.inputs[inside])[:, :, None]

    def fit(self, targets: FloatArray) -> Forest:
        """Grow a forest on everything."""
        return Forest.fit(self.inputs, targets, seed=self.seed)


class _RidgePath:
    """Ridge regression of one block, for all penalties at once."""

    columns = len(PENALTIES)

    def __init__(
        self, block: NDArray[np.floating[Any]], kernel: FloatArray | None, rows: BoolArray | None = None
    ) -> None:
        """Prepare; ``rows`` are the queries that may be learnt from, ``None``: all."""
        self.raw = np.asarray(block, dtype=np.float64)
        self.whitening = np.eye(block.shape[1]) if kernel is None else _inverse_root(kernel)
        self.white = self.raw if kernel is None else self.raw @ self.whitening
        self.rows = np.ones(len(block), dtype=bool) if rows is None else rows
        self.mean = self.raw[self.rows].mean(axis=0)
        self._bases: dict[bytes, tuple[FloatArray, FloatArray, FloatArray]] = {}

    def held_out(self, inside: BoolArray, hidden: BoolArray, targets: FloatArray) -> FloatArray:
        """Predict a fold by regressions on what is not hidden, shape ``(fold, R, penalties)``."""
        known = ~hidden & self.rows
        center, target_means = self._basis(known)[0], targets[~hidden].mean(axis=0)
        solved = self._solve(known, targets)
        deviations = np.einsum("qd,drp->qrp", self.white[inside] - center, solved, optimize=True)
        return np.asarray(deviations + target_means[None, :, None])

    def fit(self, targets: FloatArray) -> FloatArray:
        """Return weights on the raw block, shape ``(width, R, penalties)``."""
        solved = self._solve(self.rows, targets)
        return np.asarray(np.einsum("de,erp->drp", self.whitening, solved, optimize=True))

    def _solve(self, known: BoolArray, targets: FloatArray) -> FloatArray:
        """Ridge weights for all penalties, shape ``(D, R, penalties)``."""
        center, values, vectors = self._basis(known)
        seen = targets[known] - targets[known].mean(axis=0)
        projected = vectors.T @ ((self.white[known] - center).T @ seen)
        damped = projected[:, :, None] / (values[:, None, None] + np.array(PENALTIES))
        return np.asarray(np.einsum("de,erp->drp", vectors, damped, optimize=True))

    def _basis(self, known: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean, eigenvalues and eigenvectors of known queries; kept, since targets change more often."""
        key = known.tobytes()
        if key not in self._bases:
            center = self.white[known].mean(axis=0)
            centered = self.white[known] - center
            values, vectors = np.linalg.eigh(centered.T @ centered)
            self._bases[key] = center, np.maximum(values, 0), vectors
        return self._bases[key]


def _inverse_root(kernel: FloatArray) -> FloatArray:
    """Return ``kernel ** -1/2``, small eigenvalues left out."""
    values, vectors = np.linalg.eigh(kernel)
    keep = values > 1e-5 * values[-1]
    return np.asarray(vectors[:, keep] / np.sqrt(values[keep]))


def nonnegative(columns: FloatArray, target: FloatArray) -> FloatArray:
    """Solve least squares with weights >= 0.

    Args:
        columns: Shape ``(Q, C)``.
        target: Shape ``(Q,)``.

    Returns:
        Weights, shape ``(C,)``.

    Source:
        Lawson and Hanson (1974), the active-set method.
    """
    gram, right = columns.T @ columns, columns.T @ target
    gram = gram + 1e-8 * np.trace(gram) / max(len(gram), 1) * np.eye(len(gram))
    weights, active = np.zeros(len(gram)), np.zeros(len(gram), dtype=bool)
    for _ in range(3 * len(gram)):
        slope = right - gram @ weights
        slope[active] = -np.inf
        enters = int(slope.argmax())
        if slope[enters] <= 1e-10 * max(1.0, float(np.abs(right).max())):
            break
        active[enters] = True
        while True:
            solved = np.zeros(len(gram))
            solved[active] = np.linalg.solve(gram[np.ix_(active, active)], right[active])
            if (solved[active] > 0).all():
                weights = solved
                break
            falls = active & (solved <= 0)
            step = float((weights[falls] / np.maximum(weights[falls] - solved[falls], 1e-300)).min())
            weights = weights + step * (solved - weights)
            active &= weights > 1e-12
            weights[~active] = 0.0
            if not active.any():
                break
    return weights
