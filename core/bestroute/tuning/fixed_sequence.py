"""Fixed-sequence testing: the order of the tested settings, and where testing stops. Pure functions."""

from __future__ import annotations

import numpy as np

from bestroute.types.arrays import BoolArray, FloatArray, IntArray

MOST_POINTS = 60
_LEAST_SPREAD = 0.02
"""Smallest assumed spread, as a share of the largest: a few equal losses do not prove safety."""


def order_settings(losses: FloatArray, progress: FloatArray, offered: BoolArray) -> IntArray:
    """Choose the settings to test, the safest first, then in equal steps of progress.

    The safest has the largest margin in units of its spread. Settings that are plainly too bold (mean loss two
    standard errors above zero) are not tested: the steps between the others are finer for it.

    Args:
        losses: Losses of each setting on the ordering part, shape ``(V, G)``; a mean below zero is a margin.
        progress: What is to be maximised (saving or quality), shape ``(V,)``.
        offered: Whether a setting is worth promising, shape ``(V,)``.

    Returns:
        Indices, at most ``MOST_POINTS``, none twice; empty if nothing is offered.

    Source:
        Learn then Test (arXiv:2110.01052), fixed-sequence testing.
    """
    able = np.flatnonzero(offered)
    if not len(able):
        return able
    mean, deviation = losses.mean(axis=1), losses.std(axis=1)
    safest = able[np.argmax(-mean[able] / np.maximum(deviation[able], _LEAST_SPREAD * deviation[able].max() + 1e-12))]
    hopeful = able[mean[able] <= 2 * deviation[able] / np.sqrt(losses.shape[1])]
    able = np.union1d(hopeful[progress[hopeful] >= progress[safest]], [safest])
    by_progress = able[np.argsort(progress[able], kind="stable")]
    steps = np.linspace(progress[safest], progress[by_progress[-1]], MOST_POINTS)[1:]
    found = by_progress[np.searchsorted(progress[by_progress], steps, side="left").clip(max=len(able) - 1)]
    _, first = np.unique(np.concatenate([[safest], found]), return_index=True)
    return np.concatenate([[safest], found])[np.sort(first)]


def passed_in_sequence(passes: BoolArray) -> int:
    """Return the number of tests passed before the first failure; passes after it do not count.

    The chance that any true claim is rejected is then at most the level of one test, however many there are.
    """
    failures = np.flatnonzero(~passes)
    return int(failures[0]) if len(failures) else len(passes)
