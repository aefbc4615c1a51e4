"""Fit many heads at once: ridge regressions on several feature blocks and a forest, combined by stacking.

The heads are correlated (a hard query is hard for every plan), so the labels are first turned into their principal
directions. For each direction the learners are mixed with non-negative weights fitted on held-out folds, which need not
add up to 1: a direction that cannot be predicted is shrunk to its mean. Predictions for a held-out fold use nothing
from it: feature maps, directions, learners and their mix are all fitted on the other folds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bestroute.router.feature_maps import LearnerInputs
from bestroute.router.forest import Forest
from bestroute.stats.label_directions import LabelSpace
from bestroute.types.arrays import BoolArray, FloatArray, IntArray

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
DECAYS = (0.5, 1.0)
"""Factors by which a direction of the labels may be shrunk relative to the one before, which varies more. The leading
direction separates queries, the others separate plans; among many small differences between plans, decisions would
pick those that look good by chance.
"""


@dataclass(frozen=True, eq=False)
class Stack:
    """Fitted heads, and their predictions for each training query from folds without it."""

    means: FloatArray
    """Training means of the labels, shape ``(H,)``."""
    weights: tuple[FloatArray, ...]
    """Weights of each block, shape ``(width, R)``."""
    offsets: FloatArray
    """Training means of the block columns times the weights, shape ``(R,)``; subtracted from the directions."""
    forest: Forest
    """Predicts the directions, already scaled by its weight in the mix."""
    loadings: FloatArray
    """From directions to labels, shape ``(R, H)``."""
    held_out: dict[float, FloatArray]
    """For each of ``DECAYS``, deviations from the training means predicted on held-out folds, shape ``(Q, H)``."""

    def decayed(self, decay: float) -> Stack:
        """Return the stack with each direction shrunk by ``decay`` relative to the one before."""
        factors = _factors(len(self.loadings), decay)
        return replace(
            self,
            weights=tuple(w * factors for w in self.weights),
            offsets=self.offsets * factors,
            forest=self.forest.scaled(factors),
        )


def _factors(rank: int, decay: float) -> FloatArray:
    return np.asarray(decay ** np.arange(rank))


def fit_stack(
    inputs_of: Callable[[BoolArray], LearnerInputs],
    labels: FloatArray,
    scales: Callable[[FloatArray], FloatArray],
    folds: IntArray,
    *,
    trusted: BoolArray | None = None,
    trusted_only: Collection[int] = (),
    seed: int = 0,
) -> Stack:
    """Fit the heads.

    Args:
        inputs_of: Returns the learners' inputs for all ``Q`` queries, with maps fitted on those of a mask ``(Q,)``
            alone, so that held-out queries are treated like new ones.
        labels: Shape ``(Q, H)``.
        scales: Returns, from labels, the weight of each in the choice of directions, shape ``(H,)``.
        folds: Fold of each query; folds keep groups together.
        trusted: Queries used to fit the mix, shape ``(Q,)``; ``None``: all. ``held_out`` may be biased for the others.
        trusted_only: Indices of blocks that learn from trusted queries only.
        seed: Seed of the forest.

    Source:
        Breiman and Friedman, "Predicting multivariate responses" (1997), for shrinking along directions of the
        labels; Breiman, "Stacked regressions" (1996), for non-negative weights.
    """
    trusted = np.ones(len(labels), dtype=bool) if trusted is None else trusted
    space = LabelSpace.of(labels, scales(labels))
    without = {fold: LabelSpace.of(labels[folds != fold], scales(labels[folds != fold])) for fold in np.unique(folds)}

    def learners_without(*hidden: int) -> _Learners:
        visible = ~np.isin(folds, hidden)
        return _Learners(inputs_of(visible), visible, trusted, trusted_only, seed)

    targets = space.directions(labels)  # (Q, R)
    held_out = {decay: np.zeros_like(labels) for decay in DECAYS}
    single, nested = _cross_fit(learners_without, targets, {f: s.directions(labels) for f, s in without.items()}, folds)
    for fold, own in without.items():
        inside = folds == fold
        known = ~inside & trusted
        mix = _mix(nested[fold][known], own.directions(labels[known]))
        predicted = np.einsum("qrc,rc->qr", nested[fold][inside], mix)
        for decay, deviations in held_out.items():
            factors = _factors(len(own.loadings), decay)
            deviations[inside] = own.means + predicted * factors @ own.loadings - space.means
    weights, offsets, forest = learners_without().combined(targets, _mix(single[trusted], targets[trusted]))
    return Stack(space.means, weights, offsets, forest, space.loadings, held_out)


def _cross_fit(
    learners_without: Callable[..., _Learners],
    targets: FloatArray,
    own_targets: Mapping[int, FloatArray],
    folds: IntArray,
) -> tuple[FloatArray, dict[int, FloatArray]]:
    """Return cross-fitted predictions: of every fold, by learners fitted without it.

    Args:
        learners_without: Fits learners on all folds but the given ones.
        targets: Shape ``(Q, R)``.
        own_targets: For each fold, targets computed without its labels.
        folds: Fold of each query.

    Returns:
        Predictions of ``targets``, shape ``(Q, R, columns)``; and for each fold, predictions of its own targets by
        learners fitted without that fold and without the fold that they predict.
    """
    names = list(own_targets)
    inside = {fold: folds == fold for fold in names}
    single: list[FloatArray] = []
    nested: dict[int, dict[int, FloatArray]] = {fold: {} for fold in names}
    for i, fold in enumerate(names):
        learners = learners_without(fold)
        single.append(learners.predict(inside[fold], targets))
        nested[fold][fold] = learners.predict(inside[fold], own_targets[fold])
        for other in names[i + 1 :]:
            learners = learners_without(fold, other)
            nested[fold][other] = learners.predict(inside[other], own_targets[fold])
            nested[other][fold] = learners.predict(inside[fold], own_targets[other])
    back = np.argsort(np.concatenate([np.flatnonzero(inside[fold]) for fold in names]))
    return np.concatenate(single)[back], {
        fold: np.concatenate([predictions[other] for other in names])[back] for fold, predictions in nested.items()
    }


def _mix(predictions: FloatArray, targets: FloatArray) -> FloatArray:
    """Return the weight of each learner's prediction for each direction, shape ``(R, columns)``."""
    return np.array([nonnegative(predictions[:, r], targets[:, r]) for r in range(targets.shape[1])])


class _Learners:
    """Ridge regressions of every block, for all penalties, and a forest, fitted on the visible queries.

    A query's predictions have a column for each block and penalty, and one for the forest.
    """

    def __init__(
        self, inputs: LearnerInputs, visible: BoolArray, trusted: BoolArray, trusted_only: Collection[int], seed: int
    ) -> None:
        self.ridges = [
            _RidgePath(block, kernel, visible, visible & trusted if i in trusted_only else visible)
            for i, (block, kernel) in enumerate(zip(inputs.blocks, inputs.kernels, strict=True))
        ]
        self.forest_inputs, self.visible, self.seed = inputs.forest, visible, seed

    def predict(self, inside: BoolArray, targets: FloatArray) -> FloatArray:
        """Predict the queries of a mask, shape ``(inside, R, columns)``."""
        predictions = [ridge.predict(inside, targets) for ridge in self.ridges]
        if self.forest_inputs is not None:
            predictions.append(self._fit_forest(targets).predict(self.forest_inputs[inside])[:, :, None])
        return np.concatenate(predictions, axis=2)

    def combined(self, targets: FloatArray, mix: FloatArray) -> tuple[tuple[FloatArray, ...], FloatArray, Forest]:
        """Return each block's weights ``(width, R)``, the offsets ``(R,)`` and the forest of a mix ``(R, columns)``."""
        mixes = np.split(mix, np.cumsum([len(PENALTIES)] * len(self.ridges)), axis=1)
        weights = tuple(
            (ridge.weights(targets) * part).sum(axis=2) for ridge, part in zip(self.ridges, mixes[:-1], strict=True)
        )
        offsets = np.sum([ridge.mean @ w for ridge, w in zip(self.ridges, weights, strict=True)], axis=0)
        if self.forest_inputs is None:
            return weights, offsets, Forest.empty(targets.shape[1])
        return weights, offsets, self._fit_forest(targets).scaled(mix[:, -1])

    def _fit_forest(self, targets: FloatArray) -> Forest:
        assert self.forest_inputs is not None
        return Forest.fit(self.forest_inputs[self.visible], targets[self.visible], seed=self.seed)


class _RidgePath:
    """Ridge regression of one block, for all penalties at once."""

    def __init__(
        self, block: NDArray[np.floating[Any]], kernel: FloatArray | None, visible: BoolArray, known: BoolArray
    ) -> None:
        """Fit; slopes are learnt from the ``known`` queries, means from the ``visible`` ones."""
        self.whitening = np.eye(block.shape[1]) if kernel is None else _inverse_root(kernel)
        self.white = np.asarray(block, dtype=np.float64)
        if kernel is not None:
            self.white = self.white @ self.whitening
        self.visible, self.known, self.mean = visible, known, block[known].mean(axis=0, dtype=np.float64)
        self.center = self.white[known].mean(axis=0)
        centered = self._centered()
        values, self.vectors = np.linalg.eigh(centered.T @ centered)
        self.values = np.maximum(values, 0)

    def predict(self, inside: BoolArray, targets: FloatArray) -> FloatArray:
        """Predict the queries of a mask, shape ``(inside, R, penalties)``."""
        solved = self._solve(targets)
        deviations = np.einsum("qd,drp->qrp", self.white[inside] - self.center, solved, optimize=True)
        return np.asarray(deviations + targets[self.visible].mean(axis=0)[None, :, None])

    def weights(self, targets: FloatArray) -> FloatArray:
        """Return weights on the raw block, shape ``(width, R, penalties)``."""
        return np.asarray(np.einsum("de,erp->drp", self.whitening, self._solve(targets), optimize=True))

    def _centered(self) -> FloatArray:
        """Return the known queries less their mean; computed when needed, since it is as large as the block."""
        return np.asarray(self.white[self.known] - self.center)

    def _solve(self, targets: FloatArray) -> FloatArray:
        """Return the ridge weights for all penalties, shape ``(D, R, penalties)``."""
        centered = targets[self.known] - targets[self.known].mean(axis=0)
        projected = self.vectors.T @ (self._centered().T @ centered)
        damped = projected[:, :, None] / (self.values[:, None, None] + np.array(PENALTIES))
        return np.asarray(np.einsum("de,erp->drp", self.vectors, damped, optimize=True))


def _inverse_root(kernel: FloatArray) -> FloatArray:
    """Return ``kernel ** -1/2`` without small eigenvalues."""
    values, vectors = np.linalg.eigh(kernel)
    keep = values > 1e-5 * values[-1]
    return np.asarray(vectors[:, keep] / np.sqrt(values[keep]))


def nonnegative(columns: FloatArray, target: FloatArray) -> FloatArray:
    """Solve non-negative least squares from the Gram matrix, whose size does not depend on the number of queries.

    Args:
        columns: Shape ``(Q, C)``.
        target: Shape ``(Q,)``.

    Returns:
        Weights, shape ``(C,)``.

    Source:
        Lawson and Hanson (1974), scipy's; on the Cholesky factor ``G = R' R``, ``|R w - R'^-1 X'y|`` differs from
        ``|X w - y|`` by a constant.
    """
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import nnls

    gram, right = columns.T @ columns, columns.T @ target
    scale = np.trace(gram) / max(len(gram), 1)
    if not scale > 0:
        return np.zeros(len(gram))
    upper = cholesky(gram + 1e-8 * scale * np.eye(len(gram)))
    weights, _ = nnls(upper, solve_triangular(upper, right, trans="T"))
    return np.asarray(weights)
