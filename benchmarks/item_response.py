"""How hard a query is, by how many models fare on it: the Rasch model, for the comparison of learners."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from bestroute.records.records import ModelSamples, read_records
from bestroute.types.arrays import FloatArray

STEPS = 30
PRIOR = 0.25
"""Inverse variance of easiness and of ability, log odds to the power of -2."""


def easiness(quality: FloatArray) -> FloatArray:
    """Return the log odds with which a middling model succeeds on each query, shape ``(Q,)``.

    Args:
        quality: Mean quality in [0, 1] of each model on each query, shape ``(Q, M)``; NaN where it was not asked.

    Source:
        Rasch (1960): the log odds of success are the query's easiness plus the model's ability. The most likely
        values under normal priors, by Newton steps in turn.
    """
    known = ~np.isnan(quality)
    observed = np.where(known, quality, 0.0)
    easy, able = np.zeros(len(quality)), np.zeros(quality.shape[1])
    for _ in range(STEPS):
        for values, axis in ((easy, 1), (able, 0)):
            p = np.where(known, 1 / (1 + np.exp(-easy[:, None] - able)), 0.0)
            slope = (observed - p).sum(axis=axis) - PRIOR * values
            values += slope / ((p * (1 - p)).sum(axis=axis) + PRIOR)
    return easy


def qualities(path: Path, ids: Sequence[str]) -> FloatArray:
    """Read what every model of a file reached on these queries, shape ``(Q, M)``; NaN where it was not asked."""
    found = _samples(path)
    models = sorted(set().union(*found.values()))
    return np.array(
        [[np.mean(found[i][m].quality) if m in found[i] else np.nan for m in models] for i in ids], dtype=np.float64
    )


@cache
def _samples(path: Path) -> dict[str, dict[str, ModelSamples]]:
    return {record.id: record.samples for record in read_records(path)}
