"""Feature maps: from raw features to the inputs of the linear heads. Numpy only; fast enough for every query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bestroute.features.hash_rules import BUCKETS
from bestroute.features.query_statistics import STATISTICS
from bestroute.types.arrays import BoolArray, FloatArray

Float32Array = NDArray[np.float32]

DIMENSIONS = 128
"""Dimensions of the projection of the hashed text."""
FOREST_DIRECTIONS = 16
"""Leading directions of the text that trees use, besides the statistics."""
LANDMARKS = (300, 600)
"""Landmarks per kernel: one for every ``LANDMARK_EVERY`` queries, but at least the first number and at most the
second."""
LANDMARK_EVERY = 10
TEXT_GAMMA, STATISTICS_GAMMA, EMBEDDING_GAMMA = 6.0, 0.3, 1.0
SHARED_FROM = 4_000
"""From this many queries on, maps are fitted once for all folds: the influence of a single query is negligible."""
_LARGEST = 4.0
"""Standardised statistics are clipped to this absolute value."""
_STATISTICS_SCALE = 0.3
"""Weight of a statistic relative to the text in the linear block; the text's features have length about 1."""


def _none(*shape: int) -> Float32Array:
    return np.zeros(shape, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """Three feature blocks: linear in text and statistics, a kernel on statistics, a kernel on projected text.

    With an encoder there are two more: linear in its embedding, and a kernel on it.

    Args:
        projection: Leading directions of the hashed text, shape ``(BUCKETS, D)``.
        center: Training mean of the hashed text in those directions, shape ``(D,)``.
        mean, scale: Training mean and standard deviation of the statistics, shape ``(T,)``.
        text_landmarks: Shape ``(M, D)``.
        statistics_landmarks: Shape ``(M, T)``.
        embedding_center: Training mean of the embeddings, shape ``(E,)``; without an encoder ``E = 0``.
        embedding_landmarks: Shape ``(M, E)``; without an encoder ``(0, 0)``.
    """

    projection: Float32Array
    center: Float32Array
    mean: Float32Array
    scale: Float32Array
    text_landmarks: Float32Array
    statistics_landmarks: Float32Array
    embedding_center: Float32Array = field(default_factory=lambda: _none(0))
    embedding_landmarks: Float32Array = field(default_factory=lambda: _none(0, 0))

    @classmethod
    def fit(cls, features: Float32Array, *, embeddings: Float32Array | None = None, seed: int = 0) -> FeatureMaps:
        """Fit the maps: leading directions of the text, scale of the statistics, and landmarks among the queries.

        Args:
            features: Features of the training queries, shape ``(Q, WIDTH)``.
            embeddings: Embeddings of the training queries, shape ``(Q, E)``; ``None`` without an encoder.
            seed: Seed of the landmarks and of the randomised decomposition.

        Source:
            Halko, Martinsson, Tropp (2011) for the decomposition; Williams and Seeger (2001) for landmarks.
        """
        rng = np.random.default_rng(seed)
        text, statistics = features[:, :BUCKETS], features[:, BUCKETS:]
        mean_text = text.mean(axis=0)
        projection = _leading_directions(text - mean_text, min(DIMENSIONS, len(features) - 1, BUCKETS), rng)
        projection = projection.astype(np.float16).astype(np.float32)  # saved in half precision: most of the folder
        mean, scale = statistics.mean(axis=0), statistics.std(axis=0)
        scale = np.where(scale > 1e-6, scale, 1.0).astype(np.float32)
        rows = rng.choice(len(features), landmark_count(len(features)), replace=False)
        maps = cls(projection, mean_text @ projection, mean, scale, _none(0, 0), _none(0, 0))
        maps = replace(
            maps, text_landmarks=maps._text(features[rows]), statistics_landmarks=maps._statistics(features[rows])
        )
        if embeddings is None:
            return maps
        return replace(maps, embedding_center=embeddings.mean(axis=0), embedding_landmarks=embeddings[rows])

    @property
    def embedding_width(self) -> int:
        """Length of an embedding; 0 without an encoder."""
        return len(self.embedding_center)

    def blocks(self, features: Float32Array, embeddings: Float32Array | None = None) -> tuple[Float32Array, ...]:
        """Return the blocks: ``(Q, D + T)``, ``(Q, M)``, ``(Q, M)``; with embeddings also ``(Q, E)``, ``(Q, M)``."""
        text, statistics = self._text(features), self._statistics(features)
        light = (
            np.hstack([text, _STATISTICS_SCALE * statistics]),
            gaussian(statistics, self.statistics_landmarks, STATISTICS_GAMMA / len(STATISTICS)),
            gaussian(text, self.text_landmarks, TEXT_GAMMA),
        )
        if embeddings is None:
            return light
        near = gaussian(embeddings, self.embedding_landmarks, EMBEDDING_GAMMA)
        return (*light, np.asarray(embeddings - self.embedding_center), near)

    def forest_inputs(self, blocks: tuple[Float32Array, ...]) -> Float32Array:
        """Return the forest's inputs, from the blocks: leading directions of the text, and statistics; ``(Q, I)``."""
        linear = blocks[0]
        return np.hstack([linear[:, : self.forest_directions], linear[:, len(self.center) :]])

    def leading(self, features: Float32Array) -> Float32Array:
        """Return the forest's inputs, from raw features; shape ``(Q, I)``."""
        directions = self._text(features)[:, : self.forest_directions]
        return np.hstack([directions, _STATISTICS_SCALE * self._statistics(features)])

    @property
    def forest_directions(self) -> int:
        """Number of text directions among the inputs of the forest."""
        return min(FOREST_DIRECTIONS, len(self.center))

    def landmark_kernels(self) -> tuple[FloatArray | None, ...]:
        """Return the kernel matrices among landmarks, used as ridge penalties; ``None`` for the linear blocks."""
        s, t = self.statistics_landmarks, self.text_landmarks
        light = (
            None,
            gaussian(s, s, STATISTICS_GAMMA / len(STATISTICS)).astype(np.float64),
            gaussian(t, t, TEXT_GAMMA).astype(np.float64),
        )
        if not self.embedding_width:
            return light
        e = self.embedding_landmarks
        return (*light, None, gaussian(e, e, EMBEDDING_GAMMA).astype(np.float64))

    @property
    def width(self) -> int:
        """Columns of all blocks together."""
        return sum(self.widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each block."""
        light = (len(self.center) + len(self.mean), len(self.statistics_landmarks), len(self.text_landmarks))
        return (*light, self.embedding_width, len(self.embedding_landmarks)) if self.embedding_width else light

    def tensors(self) -> dict[str, Float32Array]:
        """Return the arrays by name, for saving; those of an encoder only if there is one."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {n: array for n, array in named.items() if self.embedding_width or not n.startswith("embedding_")}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> FeatureMaps:
        """Read saved maps; raises ``KeyError`` if an array is missing."""
        names = [f.name for f in fields(cls) if not f.name.startswith("embedding_") or f.name in tensors]
        return cls(**{name: tensors[name].astype(np.float32) for name in names})

    def _text(self, features: Float32Array) -> Float32Array:
        if len(features) == 1:  # a single query has few words: read only their rows of the projection
            used = np.flatnonzero(features[0, :BUCKETS])
            return np.asarray(features[:, used] @ self.projection[used] - self.center)
        return np.asarray(features[:, :BUCKETS] @ self.projection - self.center)

    def _statistics(self, features: Float32Array) -> Float32Array:
        standard = (features[:, BUCKETS:] - self.mean) / self.scale
        return np.asarray(np.clip(standard, -_LARGEST, _LARGEST))


@dataclass(frozen=True, eq=False)
class LearnerInputs:
    """The inputs of the stack's learners for ``Q`` queries."""

    blocks: Sequence[NDArray[np.floating[Any]]]
    """Feature blocks, each of shape ``(Q, width)``."""
    kernels: Sequence[FloatArray | None]
    """Kernel matrix among a block's landmarks, its ridge penalty; ``None``: the plain squared norm."""
    forest: Float32Array | None
    """Inputs of the trees, shape ``(Q, I)``; ``None`` without a forest."""


def learner_inputs(
    maps: FeatureMaps,
    features: Float32Array,
    embeddings: Float32Array | None = None,
    *,
    used: Sequence[int],
    forest: bool,
    seed: int = 0,
) -> Callable[[BoolArray], LearnerInputs]:
    """Return a function from a mask of queries to learner inputs whose maps are fitted on the masked queries alone.

    From ``SHARED_FROM`` queries on it uses the maps fitted on all of them.

    Args:
        maps: Feature maps fitted on all queries.
        features: Shape ``(Q, WIDTH)``.
        embeddings: Shape ``(Q, E)``, or ``None``.
        used: Indices of the blocks to use.
        forest: Whether trees are grown.
        seed: Seed of the maps.
    """

    def through(own: FeatureMaps) -> LearnerInputs:
        blocks, kernels = own.blocks(features, embeddings), own.landmark_kernels()
        trees = own.forest_inputs(blocks) if forest else None
        return LearnerInputs([blocks[b] for b in used], [kernels[b] for b in used], trees)

    whole = through(maps)

    def read(visible: BoolArray) -> LearnerInputs:
        if visible.all() or len(features) >= SHARED_FROM:
            return whole
        visible_embeddings = None if embeddings is None else embeddings[visible]
        return through(FeatureMaps.fit(features[visible], embeddings=visible_embeddings, seed=seed))

    return read


def landmark_count(queries: int) -> int:
    """Return the number of landmarks for that many queries."""
    fewest, most = LANDMARKS
    return min(max(fewest, queries // LANDMARK_EVERY), most, queries)


def gaussian(points: Float32Array, landmarks: Float32Array, gamma: float) -> Float32Array:
    """Return ``exp(-gamma |x - z|^2)`` of every point and landmark, shape ``(Q, M)``."""
    squares = (points**2).sum(axis=1)[:, None] + (landmarks**2).sum(axis=1) - 2 * points @ landmarks.T
    return np.asarray(np.exp(-np.float32(gamma) * np.maximum(squares, 0)))


def _leading_directions(centered: Float32Array, dimensions: int, rng: np.random.Generator) -> Float32Array:
    """Return orthonormal directions of largest variance, shape ``(BUCKETS, D)``, by randomised decomposition."""
    dimensions = max(dimensions, 1)
    sketch = centered @ rng.normal(size=(centered.shape[1], dimensions + 16)).astype(np.float32)
    for _ in range(2):
        sketch = centered @ (centered.T @ np.linalg.qr(sketch)[0])
    basis = np.linalg.qr(sketch)[0]
    return np.ascontiguousarray(np.linalg.svd(basis.T @ centered, full_matrices=False)[2][:dimensions].T)
