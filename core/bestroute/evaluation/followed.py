"""Simulate a price that follows audits, on streams of calls drawn from records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from bestroute.labels import PlanLabels
from bestroute.monitoring.audits import Audit
from bestroute.monitoring.steering import Steering
from bestroute.policies.policies import QualityPolicy, reference_column, where_known
from bestroute.stats.bootstrap import interval95
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.pool import Pool
from bestroute.types.prediction import Prediction

AUDIT, CALLS, STREAMS = 0.03, 10_000, 100


@dataclass(frozen=True, eq=False)
class Followed:
    """Means over the calls of the last half of each stream; arrays have one value per stream."""

    quality: FloatArray
    cost_usd: FloatArray
    """Cost of answers, USD per call."""
    audit_usd: FloatArray
    """Cost of audits, USD per call."""
    reference_quality: FloatArray
    reference_usd: FloatArray
    queries: int
    """Number of queries that the streams were drawn from."""
    target: float
    audit: float
    """Share of audited calls."""
    calls: int
    """Calls per stream."""

    @classmethod
    def joined(cls, folds: Sequence[Followed]) -> Followed:
        """Pool folds, weighted by their number of queries."""
        total = sum(part.queries for part in folds)
        means = [f.name for f in fields(cls)][:5]
        pooled = {
            name: np.sum([part.queries / total * getattr(part, name) for part in folds], axis=0) for name in means
        }
        return replace(folds[0], **pooled, queries=total)

    def report(self) -> dict[str, Any]:
        """Return drop and saving, net of the cost of audits, as plain JSON."""
        drop = np.asarray(1 - self.quality / self.reference_quality)
        saving = np.asarray(1 - (self.cost_usd + self.audit_usd) / self.reference_usd)
        return {
            "target": self.target,
            "audit": self.audit,
            "calls": self.calls,
            "streams": len(drop),
            "drop": float(drop.mean()),
            "drop_ci95": interval95(drop),
            "saving": float(saving.mean()),
            "saving_ci95": interval95(saving),
            "audit_cost_usd": float(self.audit_usd.mean()),
        }


def followed(
    policy: QualityPolicy,
    router: object,
    pool: Pool,
    labels: PlanLabels,
    prediction: Prediction,
    cost_usd: FloatArray,
    groups: Sequence[str],
    *,
    audit: float = AUDIT,
    calls: int = CALLS,
    streams: int = STREAMS,
    seed: int = 0,
) -> Followed:
    """Simulate a price that follows audits over streams of calls, drawn from resampled groups of queries.

    An audit sees one answer of the plan and one of the reference, right or wrong by a coin of their quality. So the
    streams differ by the luck of the records, as a bootstrap over groups does, and of the audits.

    Args:
        policy: A policy with ``follow``.
        router: The router, which has the initial price.
        pool: The pool.
        labels: True labels of the router's plans.
        prediction: The router's predictions.
        cost_usd: Expected cost of each plan, shape ``(Q, P)``.
        groups: Group of each query.
        audit: Share of audited calls.
        calls: Calls per stream.
        streams: Number of streams.
        seed: Seed of all draws.
    """
    of_group: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        of_group.setdefault(group, []).append(row)
    members, rng = list(of_group.values()), np.random.default_rng(seed)
    own = reference_column(prediction, pool)
    known = where_known(prediction, cost_usd, pool)
    made = []
    for _ in range(streams):
        drawn = [row for i in rng.integers(len(members), size=len(members)) for row in members[i]]
        rows = rng.choice(np.array(drawn, dtype=np.intp), size=calls)
        steering = replace(policy, steering=None).resolve(router, pool).steering
        assert steering is not None
        chosen, audit_usd = follow_stream(steering, labels, prediction.expected_quality, known, own, rows, audit, rng)
        made.append(_late_half(labels, own, rows, chosen, audit_usd))
    assert policy.max_drop is not None
    quality, cost, audits, reference_quality, reference = np.array(made).T
    return Followed(
        quality, cost, audits, reference_quality, reference, len(groups), policy.max_drop, audit=audit, calls=calls
    )


def _late_half(
    labels: PlanLabels, own: int, rows: IntArray, chosen: IntArray, audit_usd: FloatArray
) -> tuple[float, ...]:
    """Return the means over the last half of one stream, in the order of ``Followed``."""
    half = len(rows) // 2
    late, plans = rows[half:], chosen[half:]
    return (
        float(labels.quality[late, plans].mean()),
        float(labels.cost_usd[late, plans].mean()),
        float(audit_usd[half:].mean()),
        float(labels.quality[late, own].mean()),
        float(labels.cost_usd[late, own].mean()),
    )


def follow_stream(
    steering: Steering,
    labels: PlanLabels,
    quality: FloatArray,
    cost_usd: FloatArray,
    own: int,
    rows: IntArray,
    audit: float,
    rng: np.random.Generator,
) -> tuple[IntArray, FloatArray]:
    """Let a price follow audits over one stream.

    Args:
        steering: The price.
        labels: What each plan truly gives.
        quality: What is predicted that each gives, shape ``(Q, P)``.
        cost_usd: What is predicted that each costs, shape ``(Q, P)``.
        own: The reference's column.
        rows: The query of each call.
        audit: Share of audited calls.
        rng: Of audits.

    Returns:
        The plan of each call, and what its audit cost.
    """
    calls, begin = len(rows), 0
    chosen, audit_usd = np.zeros(calls, dtype=np.intp), np.zeros(calls)
    audited = np.flatnonzero(rng.random(calls) < audit)
    for i, end in enumerate([*(audited + 1).tolist(), calls]):
        if begin < end:
            between = rows[begin:end]
            chosen[begin:end] = steering.choose(quality[between], cost_usd[between], own)
            steering.observe_certain(int((chosen[begin:end] == own).sum()), audit)
        plan, query, begin = chosen[end - 1], rows[end - 1], end
        if i < len(audited) and plan != own:
            right, reference = (rng.random(2) < labels.quality[query, [plan, own]]).astype(float).tolist()
            steering.observe(Audit("", 0.0, reference - right, audit, reference_quality=reference))
            audit_usd[end - 1] = labels.cost_usd[query, own]
    return chosen, audit_usd
