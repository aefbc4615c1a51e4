"""Exact votes of one model's samples, by enumerating all subsets once for each pattern of votes."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np

from bestroute.types.arrays import FloatArray, IntArray


def vote_shares(answers: IntArray, n: int) -> FloatArray:
    """Return the probability that each sample is the answer of a vote of ``n`` drawn without replacement, ``(Q, S)``.

    Args:
        answers: Answers of one model's samples; equal numbers are equal answers, 0 is none; shape ``(Q, S)``.
        n: Samples drawn, ``1 <= n <= S``.
    """
    order, which, patterns = _patterns(answers)
    shares = np.empty(answers.shape)
    known = np.array([_shares(pattern, n)[0] for pattern in patterns])
    np.put_along_axis(shares, order, known[which], axis=1)
    return shares


def matched_shares(answers: IntArray, quality: FloatArray, n: int, *, margin: float = 0.0) -> FloatArray:
    """Return the probability that the answer of a vote of ``n`` is as good as a sample not drawn, shape ``(Q,)``.

    Args:
        answers: As in ``vote_shares``.
        quality: Quality of the same samples, shape ``(Q, S)``.
        n: Samples drawn, ``1 <= n < S``.
        margin: Shortfall still counted as a match, in quality units.
    """
    order, which, patterns = _patterns(answers)
    qualities = np.take_along_axis(quality, order, axis=1)
    known = np.array([_shares(pattern, n)[1] for pattern in patterns])
    is_match = qualities[:, :, None] >= qualities[:, None, :] - margin
    return np.asarray((known[which] * is_match).sum(axis=(1, 2)))


def _patterns(answers: IntArray) -> tuple[IntArray, IntArray, list[tuple[int, ...]]]:
    """Sort each record's samples by the votes for their answer, equal answers together, and find the distinct patterns.

    Returns:
        The order ``(Q, S)``; the index of each record's pattern ``(Q,)``; and the patterns. A pattern is the sorted
        number of votes for each sample's answer, which is all that a vote depends on.
    """
    votes = ((answers[:, :, None] == answers[:, None, :]) & (answers[:, :, None] > 0)).sum(axis=2)
    order = np.lexsort((answers, votes))
    rows, which = np.unique(np.take_along_axis(votes, order, axis=1), axis=0, return_inverse=True)
    return order, which.reshape(-1), [tuple(row) for row in rows.tolist()]


@lru_cache(maxsize=2000)
def _shares(pattern: tuple[int, ...], n: int) -> tuple[FloatArray, FloatArray]:
    """Enumerate all subsets of samples with a vote pattern; the samples of all leading answers share a subset equally.

    Returns:
        The probability that each sample is the answer ``(S,)``, and its joint probability with each sample being the
        opponent, drawn from those left over ``(S, S)``.
    """
    size, votes = len(pattern), np.array(pattern)
    run = np.arange(size) - np.searchsorted(votes, votes)  # place among the samples whose answers have as many votes
    answers = np.where(votes > 0, votes * (size + 1) + run // np.maximum(votes, 1), 0)
    subsets = np.array(list(combinations(range(size), n)), dtype=np.intp)
    drawn = answers[subsets]
    own = ((drawn[:, :, None] == drawn[:, None, :]) & (drawn[:, :, None] > 0)).sum(axis=2)
    leads = own == own.max(axis=1, keepdims=True)
    won = np.zeros((len(subsets), size))
    np.put_along_axis(won, subsets, leads / leads.sum(axis=1, keepdims=True), axis=1)
    is_left = np.ones((len(subsets), size))
    np.put_along_axis(is_left, subsets, 0.0, axis=1)
    return won.mean(axis=0), won.T @ is_left / len(subsets) / max(1, size - n)
