"""Split records for tuning: groups are assigned to the ordering and the calibration part, and a group is one draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bestroute.types.arrays import FloatArray, IntArray

ORDER_SHARE = 0.15
"""Share of the groups for ordering; the others are for calibration."""


def deal_parts(groups: Sequence[str], *, seed: int, share: float = ORDER_SHARE) -> tuple[IntArray, IntArray]:
    """Assign groups to the ordering and the calibration part; returns the rows of each, group by group.

    The assignment does not depend on the order of the records.

    Args:
        groups: Group of each query.
        seed: Seed of the permutation of the groups, which assigns them and orders the bets.
        share: Share of the groups for ordering.
    """
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(names))[group_of]
    rows = np.argsort(place, kind="stable")
    first = round(share * len(names))
    return rows[place[rows] < first], rows[place[rows] >= first]


def group_means(values: FloatArray, groups: Sequence[str] | IntArray) -> FloatArray:
    """Return the mean of every group, in order of its first query; ``(V, Q)`` in, ``(V, G)`` out.

    Queries of one group (questions on one text, problems of one contest) are alike, so a group is what is drawn
    independently, and one group is one draw.
    """
    _, first, group_of = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    column = rank[group_of]
    if len(order) == values.shape[1]:
        return values[:, np.argsort(column)]
    by_group = np.argsort(column, kind="stable")
    starts = np.searchsorted(column[by_group], np.arange(len(order)))
    return np.asarray(np.add.reduceat(values[:, by_group], starts, axis=1) / np.bincount(column))
