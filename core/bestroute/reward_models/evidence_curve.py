"""A logistic curve over evidence: what is known of an answer, as features, and the probability that they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestroute.types.arrays import FloatArray

LEAST = 1e-6
"""Probabilities are kept so far from 0 and 1."""


@dataclass(frozen=True, eq=False)
class FittedWeights:
    """A logistic curve over evidence: log-odds of each part, whether it is known, and the length of the answer."""

    weights: FloatArray
    """The intercept, then two for each part, then the length's; shape ``(2 + 2 K,)``."""
    ridge: float
    report: dict[str, Any]
    """What held-out folds say of it."""


def features(evidence: FloatArray, lengths: Sequence[int]) -> FloatArray:
    """Return a row for each sample: 1, log-odds and whether they are known for each part, the length's logarithm.

    A row of which nothing is known is NaN.
    """
    known = ~np.isnan(evidence)
    clipped = np.clip(np.where(known, evidence, 0.5), LEAST, 1 - LEAST)
    columns = [np.ones(len(evidence))]
    for k in range(evidence.shape[1]):
        columns += [np.log(clipped[:, k] / (1 - clipped[:, k])), known[:, k].astype(np.float64)]
    table = np.column_stack([*columns, np.log1p(np.asarray(lengths, dtype=np.float64)) - 2.0])
    table[~known.any(axis=1)] = np.nan
    return np.asarray(table)


def probabilities(weights: FloatArray, table: FloatArray) -> FloatArray:
    """Return the probability of each row; NaN stays NaN."""
    return np.asarray(1 / (1 + np.exp(-np.clip(table @ weights, -500, 500))))
