"""True quality of best-of-n by a reward, compared with a random choice, a majority vote and an oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from bestroute.labels import winner_weights
from bestroute.reward_models.pairs import urns
from bestroute.reward_models.samples import SampleTable
from bestroute.stats.bootstrap import interval95, resampled_means
from bestroute.types.arrays import FloatArray, IntArray

MOST_N = 10
MOST_SUBSETS = 300
"""Votes with more subsets than this are estimated from this many, drawn by the seed."""
COMPARABLE = 0.2
"""Answers are comparable if at least this share of samples is identical to a rival's."""


def quality_by_n(
    table: SampleTable,
    rewards: FloatArray,
    *,
    across: bool,
    most_n: int = MOST_N,
    normalise: Callable[[str], str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the quality of best-of-n for n up to ``most_n``.

    Args:
        table: The samples.
        rewards: Held-out reward of each, shape ``(N,)``; queries with NaN are left out.
        across: Whether samples of one query compete across models; otherwise only within one model.
        most_n: The largest n; at most the size of the smallest group of rivals.
        normalise: Brings answers to canonical form, for the vote; default: their stripped text.
        resamples: Number of bootstrap resamples over groups.
        seed: Seed of the vote's subsets.

    Returns:
        ``{"n": [...], "reward" | "random" | "majority" | "oracle": [{"quality", "ci95"}, ...], "gain" ...,
        "cap_n": n, "falls": ..., "queries": ...}``. ``gain`` is the reward's quality less the random choice's,
        ``over_majority`` less the vote's; ``majority`` is ``None`` if answers cannot be compared. ``cap_n`` is
        the n of the best mean quality, the smallest of equals; ``falls`` the quality at the largest n less that at
        the cap, on the same resamples.
    """
    rivals = [urn for urn in urns(table, across=across) if len(urn) > 1 and not np.isnan(rewards[urn]).any()]
    if not rivals:
        return {"n": [], "cap_n": 1, "queries": 0}
    top = min(most_n, min(map(len, rivals)))
    answers = _answers(table, rivals, normalise)
    names = ("reward", "random", "oracle", *(("majority",) if answers is not None else ()))
    rng = np.random.default_rng(seed)
    totals = {name: np.zeros((len(table.ids), top)) for name in names}
    counts = np.zeros(len(table.ids))
    for i, urn in enumerate(rivals):
        q, quality = table.query_of[urn[0]], table.quality[urn]
        counts[q] += 1
        totals["random"][q] += quality.mean()
        for n in range(1, top + 1):
            totals["reward"][q, n - 1] += winner_weights(rewards[urn], n) @ quality
            totals["oracle"][q, n - 1] += winner_weights(quality, n) @ quality
            if answers is not None:
                totals["majority"][q, n - 1] += vote_quality(answers[i], quality, n, rng)
    counted = counts > 0
    groups = [g for g, is_counted in zip(table.groups, counted, strict=True) if is_counted]
    curves = {name: total[counted] / counts[counted, None] for name, total in totals.items()}
    columns = {**curves, "gain": (curves["reward"] - curves["random"]).round(12)}
    if answers is not None:
        columns["over_majority"] = curves["reward"] - curves["majority"]
    drawn = resampled_means(np.hstack(list(columns.values())), groups, resamples=resamples)
    report: dict[str, Any] = {"n": list(range(1, top + 1)), "queries": int(counted.sum()), "majority": None}
    for i, (name, values) in enumerate(columns.items()):
        part = drawn[:, i * top : (i + 1) * top]
        report[name] = [{"quality": float(values[:, j].mean()), "ci95": interval95(part[:, j])} for j in range(top)]
    mean = curves["reward"].mean(axis=0)
    cap = int(np.argmax(mean >= mean.max() - 1e-9))
    report["cap_n"] = cap + 1
    report["falls"] = {"quality": float(mean[-1] - mean[cap]), "ci95": interval95(drawn[:, top - 1] - drawn[:, cap])}
    return report


def pair_accuracy(table: SampleTable, rewards: FloatArray, pairs: IntArray, *, resamples: int = 2000) -> dict[str, Any]:
    """Return how often the better sample of a pair has the higher reward; equal rewards count half.

    Args:
        table: The samples.
        rewards: Held-out reward of each, shape ``(N,)``; pairs with NaN are left out.
        pairs: Rows ``(better, worse)``, shape ``(P, 2)``.
        resamples: Number of bootstrap resamples over groups.
    """
    better, worse = rewards[pairs].T
    known = ~(np.isnan(better) | np.isnan(worse))
    if not known.any():
        return {"value": None, "ci95": None, "pairs": 0}
    right = (better > worse) + 0.5 * (better == worse)
    query = table.query_of[pairs[:, 0]][known]
    sums, sizes = np.bincount(query, right[known], len(table.ids)), np.bincount(query, minlength=len(table.ids))
    drawn = resampled_means(np.column_stack([sums, sizes]).astype(np.float64), table.groups, resamples=resamples)
    shares = np.divide(drawn[:, 0], drawn[:, 1], out=np.full(len(drawn), np.nan), where=drawn[:, 1] > 0)
    return {"value": float(right[known].mean()), "ci95": interval95(shares), "pairs": int(known.sum())}


def vote_quality(answers: IntArray, quality: FloatArray, n: int, rng: np.random.Generator) -> float:
    """Return the mean quality of a majority vote of n; leading answers share a draw, empty ones (0) have no vote.

    Args:
        answers: Equal numbers are equal answers, shape ``(S,)``.
        quality: Shape ``(S,)``.
        n: Samples drawn, without replacement.
        rng: Draws subsets if there are too many to enumerate.
    """
    size = len(answers)
    if comb(size, n) <= MOST_SUBSETS:
        subsets = np.array(list(combinations(range(size), n)), dtype=np.intp)
    else:
        subsets = rng.random((MOST_SUBSETS, size)).argpartition(n - 1, axis=1)[:, :n]
    drawn = answers[subsets]
    votes = ((drawn[:, :, None] == drawn[:, None, :]) & (drawn[:, :, None] > 0)).sum(axis=2)
    leads = votes == votes.max(axis=1, keepdims=True)
    return float(((leads * quality[subsets]).sum(axis=1) / leads.sum(axis=1)).mean())


def _answers(
    table: SampleTable, rivals: Sequence[IntArray], normalise: Callable[[str], str] | None
) -> list[IntArray] | None:
    """Number the answers of each group of rivals; ``None`` if too few are equal to compare them."""
    form = normalise or str.strip
    numbered, equal, total = [], 0, 0
    for urn in rivals:
        number: dict[str, int] = {"": 0}
        own = np.array([number.setdefault(form(table.texts[i]), len(number)) for i in urn], dtype=np.intp)
        counts = np.bincount(own)
        equal += int(counts[1:][counts[1:] > 1].sum())
        total += len(urn)
        numbered.append(own)
    return numbered if equal >= COMPARABLE * total else None
