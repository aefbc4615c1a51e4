"""Streams of 50,000 calls: a frozen price, one that follows audits, and one chosen in hindsight."""

from __future__ import annotations

from typing import Any

import numpy as np
from live_tables import TARGETS, Table

from bestroute.monitoring import Audit
from bestroute.monitoring.steering import Steering, best_value
from bestroute.types.arrays import IntArray

CALLS, SHARE = 50_000, 0.04
MARGINS = tuple(np.linspace(0, 0.5, 11))


def stream_rows(table: Table, seed: int, calls: int) -> IntArray:
    """Draw the queries of a stream: kinds follow each other in their order, each query drawn near its place."""
    rng, size = np.random.default_rng(seed), len(table.quality)
    place = np.arange(calls) / calls * size + rng.normal(0, size / 10, calls)
    return np.abs((place + size) % (2 * size) - size).astype(int).clip(0, size - 1)


def hindsight(table: Table, rows: IntArray, target: float) -> float:
    """Return the saving of the best price and margin, known in hindsight, that keep the target on these queries."""
    own, (quality, cost) = int(table.own), (table.quality[rows], table.cost[rows])
    best, each = 0.0, np.unique(rows, return_counts=True)
    q, n = each[0], each[1] / len(rows)
    least = (1 - target) * quality[:, own].mean()
    for margin in MARGINS:
        worse = table.expected_quality[q] - margin
        worse[:, own] += margin
        for price in table.path:
            chosen = best_value(worse, table.expected_cost[q], price)
            if (n * table.quality[q, chosen]).sum() >= least:
                best = max(best, 1 - (n * table.cost[q, chosen]).sum() / cost[:, own].mean())
    return float(best)


def run(table: Table, target_index: int, *, seed: int, calls: int = CALLS, share: float = SHARE) -> dict[str, Any]:
    """Follow a target over one stream; figures are of the last half."""
    target, own = float(TARGETS[target_index]), int(table.own)
    rng, rows = np.random.default_rng((seed, 1)), stream_rows(table, seed, calls)
    start, finite = table.frozen[target_index], table.frozen[np.isfinite(table.frozen)]
    highest = float(finite.max()) if len(finite) else float(table.path[50])
    steering = Steering(target, None if np.isinf(start) else float(start), lowest=float(table.path[0]), highest=highest)
    audited = np.flatnonzero(rng.random(calls) < share)
    is_audited = set(audited.tolist())
    chosen, begin, audits_usd, at_lowest = np.zeros(calls, dtype=int), 0, 0.0, 0
    for end in (*(audited + 1).tolist(), calls):
        part = rows[begin:end]
        at_lowest += (end - begin) * (end > calls // 2 and steering.price_usd <= 1.001 * table.path[0])
        chosen[begin:end] = steering.choose(table.expected_quality[part], table.expected_cost[part], own)
        steering.observe_certain(int((chosen[begin:end] == own).sum()), share)
        plan, q = chosen[end - 1], rows[end - 1]
        if begin < end and end - 1 in is_audited and plan != own:
            right, reference = rng.random(2) < (table.quality[q, plan], table.quality[q, own])
            steering.observe(Audit("", 0.0, float(reference) - float(right), share, reference_quality=float(reference)))
            audits_usd += table.cost[q, own] * (end > calls // 2)
        begin = end
    late = rows[calls // 2 :]
    frozen = (
        np.full(len(late), own)
        if np.isinf(start)
        else best_value(table.expected_quality[late], table.expected_cost[late], float(start))
    )
    paid = table.cost[late, own].sum()
    quality = table.quality[late, own].mean()

    def of(plans: IntArray, extra: float = 0.0) -> tuple[float, float]:
        drop = 1 - table.quality[late, plans].mean() / quality
        return float(drop), float(1 - (table.cost[late, plans].sum() + extra) / paid)

    (drop, saving), (frozen_drop, frozen_saving) = of(chosen[calls // 2 :], audits_usd), of(frozen)
    return {
        "target": target,
        "drop": drop,
        "saving": saving,
        "audits": float(audits_usd / paid),
        "at_lowest": at_lowest / (calls - calls // 2),
        "frozen_drop": frozen_drop,
        "frozen_saving": frozen_saving,
        "hindsight_saving": hindsight(table, late, target),
    }
