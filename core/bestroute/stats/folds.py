"""Folds that keep groups together, and standard errors by group."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from bestroute._utils.text import utf8
from bestroute.types.arrays import FloatArray, IntArray

FOLDS = 5


def deal_folds(groups: Sequence[str], folds: int, *, seed: int = 0) -> IntArray:
    """Assign groups to folds, independent of their order; returns the fold of each query."""

    def key(group: str) -> str:
        return hashlib.sha256(utf8(f"{seed} {group}")).hexdigest()

    dealt = {group: i % folds for i, group in enumerate(sorted(set(groups), key=key))}
    return np.array([dealt[group] for group in groups], dtype=np.intp)


def standard_errors(values: FloatArray, groups: Sequence[str]) -> FloatArray:
    """Return the standard error of each column's mean, ``(C,)``, of values ``(Q, C)`` clustered by group.

    Source:
        Cochran, "Sampling techniques" (1977), the ratio estimator for clusters of unequal size.
    """
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, group_of, values - values.mean(axis=0))
    return np.asarray(np.sqrt(len(names) / max(len(names) - 1, 1) * (sums**2).sum(axis=0)) / len(values))
