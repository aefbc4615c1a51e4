"""Familiarity: how often a query like those of training is as unlike them as this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bestroute.policies.policies import NO_SAY, UNFAMILIAR
from bestroute.router.feature_maps import FeatureMaps, Float32Array
from bestroute.stats.folds import FOLDS, deal_folds
from bestroute.types.arrays import FloatArray, IntArray

QUANTILES = 400
_RIDGE = 0.002
"""Of the variances' mean, added to each: directions that hardly vary in training are no proof of anything."""
_PREFIX = "familiarity_"


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Squared distances from the training queries' mean, in their own spread, set against those of held-out queries.

    Familiarity is the share of held-out training queries, each judged by folds without its group, that lie at least
    as far out: among queries like those of training it is spread evenly over [0, 1], and one in twenty lies below
    0.05. Where groups are kinds of task, those held out are of kinds not seen, and a new kind is familiar; training
    takes single texts for groups instead where texts tell nothing of groups that it has not seen.

    Args:
        center: Mean of what trees read of the training queries, shape ``(I,)``.
        whitening: The inverse root of its covariance, shape ``(I, I)``.
        distances: Quantiles of held-out squared distances, rising, shape ``(QUANTILES + 1,)``.
    """

    center: Float32Array
    whitening: Float32Array
    distances: Float32Array

    @classmethod
    def fit(cls, maps: FeatureMaps, features: Float32Array, groups: Sequence[str], *, seed: int = 0) -> Familiarity:
        """Measure the training queries' spread, and how far out held-out ones lie.

        Args:
            maps: Found on all training queries.
            features: Of the training queries, shape ``(Q, WIDTH)``.
            groups: Of the training queries.
            seed: Of the folds.
        """
        leading, held_out = maps.leading(features), np.zeros(len(features))
        folds = deal_folds(groups, FOLDS, seed=seed)
        for fold in range(FOLDS):
            inside = folds == fold
            held_out[inside] = _squared(leading[inside], *_spread(leading[~inside]))
        center, whitening = _spread(leading)
        quantiles = np.quantile(held_out, np.linspace(0, 1, QUANTILES + 1))
        return cls(center.astype(np.float32), whitening.astype(np.float32), quantiles.astype(np.float32))

    def of(self, leading: Float32Array) -> FloatArray:
        """Return the familiarity of queries, shape ``(Q,)``, in [0, 1].

        Args:
            leading: What trees read of them (``FeatureMaps.leading``), shape ``(Q, I)``.
        """
        distances = _squared(leading, self.center, self.whitening)
        beyond = np.searchsorted(self.distances, distances, side="left")
        return np.asarray(1 - beyond / len(self.distances))

    def problem(self, width: int) -> str | None:
        """Say what is wrong with the arrays; ``None``: nothing."""
        if self.center.shape != (width,) or self.whitening.shape != (width, width) or not len(self.distances):
            return f"familiarity: its arrays must be of width {width}, got {self.center.shape}, {self.whitening.shape}"
        if not all(np.isfinite(getattr(self, f.name)).all() for f in fields(self)):
            return "familiarity: an array holds NaN or infinity"
        return None

    def tensors(self) -> dict[str, Float32Array]:
        """Return the arrays by name, to be saved."""
        return {_PREFIX + f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Familiarity | None:
        """Return what was saved; ``None`` if nothing was, as before there was any."""
        names = [f.name for f in fields(cls)]
        if not any(_PREFIX + name in tensors for name in names):
            return None
        return cls(**{name: tensors[_PREFIX + name].astype(np.float32) for name in names})


def held_out_familiarity(maps: FeatureMaps, features: Float32Array, dealt: Sequence[IntArray]) -> list[FloatArray]:
    """Return for each deal how familiar queries are to the other folds, whose held-out queries are single texts.

    Args:
        maps: Found on all training queries.
        features: Of the training queries, shape ``(Q, WIDTH)``.
        dealt: The fold of each query, deal by deal.
    """
    leading, found = maps.leading(features), []
    for folds in dealt:
        known = np.ones(len(features))
        for fold in np.unique(folds):
            inside = folds == fold
            others = [str(i) for i in np.flatnonzero(~inside)]
            known[inside] = Familiarity.fit(maps, features[~inside], others).of(leading[inside])
        found.append(known)
    return found


def trust(familiarity: FloatArray) -> FloatArray:
    """Return how far predictions are believed, in [0, 1]: not at all below ``NO_SAY``, in full from ``UNFAMILIAR`` on.

    Example:
        >>> trust(np.array([0.0, 0.03, 0.5])).round(2).tolist()
        [0.0, 0.5, 1.0]
    """
    return np.asarray(np.clip((familiarity - NO_SAY) / (UNFAMILIAR - NO_SAY), 0.0, 1.0))


def _spread(leading: Float32Array) -> tuple[FloatArray, FloatArray]:
    center = leading.mean(axis=0, dtype=np.float64)
    covariance = np.atleast_2d(np.cov(leading.T.astype(np.float64)))
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0) + _RIDGE * max(float(values.mean()), 1e-12)
    return center, vectors / np.sqrt(values)


def _squared(leading: Float32Array, center: NDArray[Any], whitening: NDArray[Any]) -> FloatArray:
    return np.asarray((((leading - center) @ whitening) ** 2).sum(axis=1), dtype=np.float64)
