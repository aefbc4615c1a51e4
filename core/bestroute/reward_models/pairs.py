"""Pairs of samples for training: in each, one sample is better than the other."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from bestroute._utils.text import brief
from bestroute.errors import ConfigError, RecordError, named
from bestroute.reward_models.samples import SampleTable
from bestroute.types.arrays import FloatArray, IntArray

PairScheme = Literal["auto", "ends", "all", "across"]
"""Which samples are paired.

- ``ends``: of each query and model the worst, the median and the best sample: (median > worst), (best > median).
- ``all``: of each query and model every two samples of unequal quality.
- ``across``: of each query every two samples of unequal quality, whichever models drew them.
- ``auto``: ``ends`` if some model has two unequal samples for a query, else ``across``.
"""


def make_pairs(
    table: SampleTable, scheme: PairScheme = "auto", *, most_per_query: int = 40, seed: int = 0
) -> tuple[IntArray, PairScheme]:
    """Pair samples of one query.

    Args:
        table: The samples.
        scheme: Which samples are paired; ties are dropped.
        most_per_query: Most pairs of a query for ``all`` and ``across``, drawn by the seed.
        seed: Seed of the draws, and of the choice among equally good samples.

    Returns:
        Rows ``(better, worse)`` of sample numbers, shape ``(P, 2)``, and the scheme that made them.

    Raises:
        RecordError: If there is no pair.
        ConfigError: If the scheme is unknown.

    Source:
        BEST-Route (arXiv:2506.22716) for ``ends``.
    """
    if scheme not in get_args(PairScheme):
        raise ConfigError(f"pairs must be one of {named(get_args(PairScheme))}, got {brief(scheme)}")
    if scheme == "auto":
        pairs = pairs_or_none(table, "ends", most_per_query=most_per_query, seed=seed)
        if len(pairs):
            return pairs, "ends"
        scheme = "across"
    pairs = pairs_or_none(table, scheme, most_per_query=most_per_query, seed=seed)
    if not len(pairs):
        whose = "query" if scheme == "across" else "query and model"
        more = "; give records of queries that are answered well and badly, with texts"
        hint = more if scheme == "across" else "; pairs across models may exist (--pairs across)"
        raise RecordError(f"no {whose} has two samples of unequal quality with texts, so nothing can be ranked{hint}")
    return pairs, scheme


def urns(table: SampleTable, *, across: bool) -> list[IntArray]:
    """Return the groups of samples that compete: those of each query and model, or of each query."""
    key = table.query_of * (1 if across else len(table.models)) + (0 if across else table.model_of)
    order = np.argsort(key, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(key[order])) + 1)


def pairs_or_none(table: SampleTable, scheme: str, *, most_per_query: int, seed: int) -> IntArray:
    """Pair samples like ``make_pairs``, but return an empty array if there is no pair; ``auto`` is not supported."""
    rng = np.random.default_rng(seed)
    found = []
    for urn in urns(table, across=scheme == "across"):
        quality = table.quality[urn]
        if quality.min() == quality.max():
            continue
        pairs = _ends(quality, rng) if scheme == "ends" else _sampled(quality, most_per_query, rng)
        found.append(urn[pairs])
    return np.concatenate(found) if found else np.zeros((0, 2), dtype=np.intp)


def _ends(quality: FloatArray, rng: np.random.Generator) -> IntArray:
    shuffled = rng.permutation(len(quality))
    order = shuffled[np.argsort(quality[shuffled], kind="stable")]
    worst, median, best = order[0], order[(len(order) - 1) // 2], order[-1]
    pairs = [(a, b) for a, b in ((median, worst), (best, median)) if quality[a] > quality[b]]
    return np.array(pairs, dtype=np.intp)  # not empty: not all qualities are equal


def _sampled(quality: FloatArray, most: int, rng: np.random.Generator) -> IntArray:
    pairs = np.argwhere(quality[:, None] > quality[None, :])
    if len(pairs) > most:
        pairs = pairs[rng.choice(len(pairs), most, replace=False)]
    return np.asarray(pairs, dtype=np.intp)
