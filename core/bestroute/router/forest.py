"""A forest of randomised trees: fitted by scikit-learn, stored as arrays, evaluated with numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bestroute.types.arrays import FloatArray

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]

TREES = 100
SMALLEST_LEAF = 15
"""Fewest queries in a leaf."""
FEATURES_TRIED = 0.4
"""Share of the inputs that a split chooses from."""
THREADED_FROM = 2000
"""From this many queries on, trees are grown on all cores; with fewer, threads cost more than they save."""


@dataclass(frozen=True, eq=False)
class Forest:
    """``T`` trees with ``N`` nodes in total that predict ``R`` numbers; a leaf is its own child.

    Args:
        roots: Root node of each tree, shape ``(T,)``.
        inputs: Input that a node compares, shape ``(N,)``.
        limits: Largest value of it for which the left child follows, shape ``(N,)``.
        left, right: The node's children, shape ``(N,)``.
        values: What a leaf adds to the sum over trees, shape ``(N, R)``.
    """

    roots: Int32Array
    inputs: Int32Array
    limits: Float32Array
    left: Int32Array
    right: Int32Array
    values: Float32Array

    @classmethod
    def empty(cls, outputs: int) -> Forest:
        """Return a forest without trees, which predicts 0."""
        none, zero = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
        return cls(none, none, zero, none, none, np.zeros((0, outputs), dtype=np.float32))

    @classmethod
    def fit(
        cls, inputs: NDArray[np.floating[Any]], targets: FloatArray, *, seed: int = 0, trees: int = TREES
    ) -> Forest:
        """Grow the trees.

        Args:
            inputs: Shape ``(Q, I)``.
            targets: Shape ``(Q, R)``.
            seed: Seed of the splits.
            trees: Number of trees.

        Source:
            Geurts, Ernst, Wehenkel, "Extremely randomized trees" (2006).
        """
        from sklearn.ensemble import ExtraTreesRegressor

        threads = -1 if len(inputs) >= THREADED_FROM else 1  # the trees do not depend on the number of threads
        model = ExtraTreesRegressor(
            trees, min_samples_leaf=SMALLEST_LEAF, max_features=FEATURES_TRIED, random_state=seed, n_jobs=threads
        ).fit(np.asarray(inputs, dtype=np.float32), targets[:, 0] if targets.shape[1] == 1 else targets)
        return cls._joined([estimator.tree_ for estimator in model.estimators_], targets.shape[1])

    @classmethod
    def _joined(cls, trees: list[Any], outputs: int) -> Forest:
        roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        own = np.concatenate([np.arange(tree.node_count) + root for tree, root in zip(trees, roots, strict=True)])
        left, right = (
            np.concatenate([getattr(tree, side) + root for tree, root in zip(trees, roots, strict=True)])
            for side in ("children_left", "children_right")
        )
        is_leaf = np.concatenate([tree.children_left < 0 for tree in trees])
        values = np.vstack([tree.value.reshape(tree.node_count, outputs) for tree in trees]) / len(trees)
        return cls(
            roots.astype(np.int32),
            np.where(is_leaf, 0, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
            np.where(is_leaf, 0, np.concatenate([tree.threshold for tree in trees])).astype(np.float32),
            np.where(is_leaf, own, left).astype(np.int32),
            np.where(is_leaf, own, right).astype(np.int32),
            np.where(is_leaf[:, None], values, 0).astype(np.float32),
        )

    def predict(self, inputs: Float32Array) -> FloatArray:
        """Return the sum of the leaves' values, shape ``(Q, R)``."""
        if not len(self.roots):
            return np.zeros((len(inputs), self.values.shape[1]))
        rows = np.arange(len(inputs))[:, None]
        nodes = np.broadcast_to(self.roots, (len(inputs), len(self.roots)))
        while True:
            goes_left = inputs[rows, self.inputs[nodes]] <= self.limits[nodes]
            below = np.where(goes_left, self.left[nodes], self.right[nodes])
            if (below == nodes).all():
                break
            nodes = below
        return np.asarray(self.values[nodes].sum(axis=1, dtype=np.float64))

    def scaled(self, factors: FloatArray) -> Forest:
        """Return the forest with every output multiplied by its factor, shape ``(R,)``."""
        return replace(self, values=(self.values * factors).astype(np.float32))

    def problem(self, inputs: int, outputs: int) -> str | None:
        """Return what is invalid in the arrays, or ``None``; every path through a tree must end inside them."""
        nodes = np.arange(len(self.inputs))
        same = len(self.limits) == len(self.left) == len(self.right) == len(self.values) == len(nodes)
        if not same or self.values.ndim != 2 or self.values.shape[1] != outputs:
            return "its arrays do not fit together"
        if not (np.isfinite(self.limits).all() and np.isfinite(self.values).all()):
            return "it holds NaN or infinity"
        for name, array, most in (("roots", self.roots, len(nodes)), ("inputs", self.inputs, inputs)):
            if len(array) and not ((array >= 0) & (array < most)).all():
                return f"its {name} point outside"
        is_leaf = (self.left == nodes) & (self.right == nodes)
        later = (self.left > nodes) & (self.right > nodes) & (self.left < len(nodes)) & (self.right < len(nodes))
        return None if (is_leaf | later).all() else "a node's children do not come after it"
