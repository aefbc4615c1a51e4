"""Labels of single candidates: exact expectations of best-of-n and of votes. Pure functions on arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np

from bestroute.types.arrays import FloatArray


def winner_weights(rewards: FloatArray, n: int) -> FloatArray:
    """Return the probability that each sample is the best of ``n`` drawn without replacement.

    Sorted by reward, the i-th best of ``S`` samples (from 1) wins with probability ``C(S - i, n - 1) / C(S, n)``;
    samples of equal reward share the sum of their probabilities equally.

    Args:
        rewards: Reward of each sample, shape ``(S,)``.
        n: Samples drawn, ``1 <= n <= S``.

    Returns:
        Probabilities that add up to 1, shape ``(S,)``.

    Raises:
        ValueError: If ``n`` is out of range or a reward is NaN.

    Source:
        BEST-Route (arXiv:2506.22716) estimates the same expectation by drawing subsets.

    Example:
        >>> winner_weights(np.array([0.1, 0.9, 0.5]), 2).round(3).tolist()
        [0.0, 0.667, 0.333]
    """
    size = len(rewards)
    if not 1 <= n <= size:
        raise ValueError(f"n must be in 1..{size}, the number of samples, got {n}")
    if np.isnan(rewards).any():
        raise ValueError("rewards must not be NaN")
    by_place = np.array([comb(size - place, n - 1) for place in range(1, size + 1)]) / comb(size, n)
    _, tie_of = np.unique(-np.asarray(rewards, dtype=np.float64), return_inverse=True)
    order = np.argsort(tie_of, kind="stable")
    shares = np.bincount(tie_of[order], by_place) / np.bincount(tie_of)
    return np.asarray(shares[tie_of], dtype=np.float64)


def vote_weights(answers: Sequence[str], n: int) -> FloatArray:
    """Return the probability that each sample is the answer of a majority vote of ``n`` drawn without replacement.

    The earliest sample with a leading answer wins. Since the order of samples carries no information, the samples of
    all leading answers share a draw equally. Empty answers have no vote.

    Args:
        answers: The normalised answer of each sample, ``S`` of them.
        n: Samples drawn, ``1 <= n <= S``.

    Returns:
        Probabilities that add up to 1, shape ``(S,)``.

    Raises:
        ValueError: If ``n`` is out of range.

    Example:
        >>> vote_weights(["4", "5", "4"], 3).tolist()
        [0.5, 0.0, 0.5]
    """
    size = len(answers)
    if not 1 <= n <= size:
        raise ValueError(f"n must be in 1..{size}, the number of samples, got {n}")
    weights = np.zeros(size)
    for drawn in combinations(range(size), n):
        votes = Counter(answers[i] for i in drawn if answers[i])
        most = max(votes.values(), default=0)
        leading = [i for i in drawn if votes[answers[i]] == most] if most else list(drawn)
        weights[leading] += 1 / len(leading)
    return np.asarray(weights / comb(size, n))


def match_probability(
    weights: FloatArray, quality: FloatArray, reference_quality: FloatArray, *, margin: float = 0.0
) -> float:
    """Return the probability that the answer is at least as good as one sample of the reference.

    Args:
        weights: Probability that each sample is the answer, shape ``(S,)``.
        quality: Quality of each sample, shape ``(S,)``.
        reference_quality: Quality of the reference's samples, shape ``(R,)``.
        margin: Shortfall still counted as a match, in quality units, ``>= 0``.

    Returns:
        A probability; ties count as a match.

    Source:
        BEST-Route (arXiv:2506.22716); the margin is Hybrid LLM's (arXiv:2404.14618).

    Example:
        >>> match_probability(np.array([0.5, 0.5]), np.array([1.0, 0.0]), np.array([1.0, 0.0]))
        0.75
    """
    matches = (quality[:, None] >= reference_quality[None, :] - margin).mean(axis=1)
    return float(weights @ matches)
