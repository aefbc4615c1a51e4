"""A logistic curve over evidence about an answer: its features, and the probability that it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestroute.types.arrays import FloatArray

LEAST = 1e-6
"""Probabilities are clipped to ``[LEAST, 1 - LEAST]``."""


@dataclass(frozen=True, eq=False)
class FittedWeights:
    """Weights of a logistic curve over each reward's log-odds, whether it is known, and the answer's length."""

    weights: FloatArray
    """Intercept, two weights for each reward, and the length's weight; shape ``(2 + 2 K,)``."""
    ridge: float
    report: dict[str, Any]
    """Figures from held-out folds."""


def features(evidence: FloatArray, lengths: Sequence[int]) -> FloatArray:
    """Return a row of features for each sample: 1, each reward's log-odds and whether it is known, and the log length.

    Rows without any known reward are NaN.
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
