"""Familiarity: how typical a query is of the training queries, as the share of them that are at least as unusual."""

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
"""Share of the mean variance that is added to each variance, so that directions with hardly any variance do not
dominate."""
_PREFIX = "familiarity_"


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Mahalanobis distances of queries from the training mean, compared with those of held-out training queries.

    Familiarity is the share of held-out training queries, each measured by folds without its group, that are at least
    as distant. Among queries like those of training it is uniform over [0, 1], so one in twenty is below 0.05. If
    groups are kinds of task, the held-out ones are of new kinds, and a new kind counts as familiar. If texts do not
    predict quality on new groups, training uses single texts as groups instead.

    Args:
        center: Mean of the forest's inputs over the training queries, shape ``(I,)``.
        whitening: Inverse square root of their covariance, shape ``(I, I)``.
        distances: Quantiles of held-out squared distances, ascending, shape ``(QUANTILES + 1,)``.
    """

    center: Float32Array
    whitening: Float32Array
    distances: Float32Array

    @classmethod
    def fit(cls, maps: FeatureMaps, features: Float32Array, groups: Sequence[str], *, seed: int = 0) -> Familiarity:
        """Estimate mean and covariance of the training queries, and the distances of held-out ones.

        Args:
            maps: Feature maps fitted on all training queries.
            features: Features of the training queries, shape ``(Q, WIDTH)``.
            groups: Groups of the training queries.
            seed: Seed of the folds.
        """
        leading, held_out = maps.leading(features), np.zeros(len(features))
        folds = deal_folds(groups, FOLDS, seed=seed)
        for fold in range(FOLDS):
            inside = folds == fold
            held_out[inside] = _squared_distances(leading[inside], *_mean_and_whitening(leading[~inside]))
        center, whitening = _mean_and_whitening(leading)
        quantiles = np.quantile(held_out, np.linspace(0, 1, QUANTILES + 1))
        return cls(center.astype(np.float32), whitening.astype(np.float32), quantiles.astype(np.float32))

    def of(self, leading: Float32Array) -> FloatArray:
        """Return the familiarity of queries, shape ``(Q,)``, in [0, 1].

        Args:
            leading: Their forest inputs (``FeatureMaps.leading``), shape ``(Q, I)``.
        """
        distances = _squared_distances(leading, self.center, self.whitening)
        beyond = np.searchsorted(self.distances, distances, side="left")
        return np.asarray(1 - beyond / len(self.distances))

    def problem(self, width: int) -> str | None:
        """Return a description of what is invalid in the arrays; ``None`` if they are valid."""
        if self.center.shape != (width,) or self.whitening.shape != (width, width) or not len(self.distances):
            return f"familiarity: its arrays must be of width {width}, got {self.center.shape}, {self.whitening.shape}"
        if not all(np.isfinite(getattr(self, f.name)).all() for f in fields(self)):
            return "familiarity: an array holds NaN or infinity"
        return None

    def tensors(self) -> dict[str, Float32Array]:
        """Return the arrays by name, for saving."""
        return {_PREFIX + f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Familiarity | None:
        """Read saved arrays; ``None`` if there are none, as in folders of earlier versions."""
        names = [f.name for f in fields(cls)]
        if not any(_PREFIX + name in tensors for name in names):
            return None
        return cls(**{name: tensors[_PREFIX + name].astype(np.float32) for name in names})


def held_out_familiarity(maps: FeatureMaps, features: Float32Array, dealt: Sequence[IntArray]) -> list[FloatArray]:
    """Return, for each deal of the folds, how familiar queries are to the other folds, with single texts as groups.

    Args:
        maps: Feature maps fitted on all training queries.
        features: Features of the training queries, shape ``(Q, WIDTH)``.
        dealt: The fold of each query, for each deal.
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
    """Return the weight of predictions, in [0, 1]: 0 below ``NO_SAY``, 1 from ``UNFAMILIAR`` on, linear between.

    Example:
        >>> trust(np.array([0.0, 0.03, 0.5])).round(2).tolist()
        [0.0, 0.5, 1.0]
    """
    return np.asarray(np.clip((familiarity - NO_SAY) / (UNFAMILIAR - NO_SAY), 0.0, 1.0))


def _mean_and_whitening(leading: Float32Array) -> tuple[FloatArray, FloatArray]:
    center = leading.mean(axis=0, dtype=np.float64)
    covariance = np.atleast_2d(np.cov(leading.T.astype(np.float64)))
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0) + _RIDGE * max(float(values.mean()), 1e-12)
    return center, vectors / np.sqrt(values)


def _squared_distances(leading: Float32Array, center: NDArray[Any], whitening: NDArray[Any]) -> FloatArray:
    return np.asarray((((leading - center) @ whitening) ** 2).sum(axis=1), dtype=np.float64)
