"""Compare two routers on the same records, query by query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestroute.errors import ConfigError, RecordError
from bestroute.evaluation.evaluate import refuse_seen, refuse_tuned
from bestroute.labels import SampleArrays, label_plans
from bestroute.router import MultiHeadRouter
from bestroute.router.predicting import predicted
from bestroute.stats.bootstrap import RESAMPLES, interval95, resampled_means
from bestroute.stats.single_thread import on_one_core
from bestroute.types.arrays import FloatArray
from bestroute.types.bases import PolicyBase, completed
from bestroute.types.plans import Plan
from bestroute.types.protocols import Policy


@dataclass(frozen=True, eq=False)
class Decided:
    """The decisions of a router on records, with their expected quality and cost."""

    plans: tuple[Plan, ...]
    quality: FloatArray
    """Shape ``(Q,)``."""
    cost: FloatArray
    """USD, shape ``(Q,)``."""


@dataclass(frozen=True)
class Comparison:
    """The second router compared with the first; 95 % intervals by paired bootstrap over groups."""

    queries: int
    groups: int
    quality: tuple[float, float]
    cost_usd: tuple[float, float]
    """Mean cost per query, USD, of the first and the second."""
    quality_gain: float
    quality_interval: tuple[float, float] | None
    saved: float
    """Share of the first's cost that the second saves; below 0 it costs more."""
    saved_interval: tuple[float, float] | None
    same: float
    """Share of queries for which both choose the same plan."""

    @property
    def verdict(self) -> str:
        """The conclusion, in one sentence."""
        quality, saved = self.quality_interval, self.saved_interval
        if quality is None or saved is None:
            return "one group tells nothing about others: give records of more groups"
        better = "better" if quality[0] > 0 else "worse" if quality[1] < 0 else "as good, as far as this tells"
        cheaper = "cheaper" if saved[0] > 0 else "dearer" if saved[1] < 0 else "at the same cost, as far as this tells"
        return f"the second is {better}, and {cheaper}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        fields: Mapping[str, Any] = vars(self)
        return {**{k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}, "verdict": self.verdict}


def decided(router: MultiHeadRouter, records: SampleArrays, policy: Policy | None = None) -> Decided:
    """Return a router's decisions on records that it was not trained on.

    Args:
        router: The router; it gets only the text of queries.
        records: Records of its pool.
        policy: The policy; default: the router's own.

    Raises:
        RecordError: If it was trained or tuned on one of them.
        ConfigError: If there is no policy.
    """
    refuse_seen(router, records)
    refuse_tuned(router, records, policy)
    router.check_pool(records.pool)
    chosen_by = policy or router.default_policy
    if chosen_by is None:
        raise ConfigError("the router has no policy of its own; give --policy")
    labels = label_plans(records, router.plans, margin=router.settings.margin, matches=False)
    prediction, cost = predicted(router, records)
    decides = completed(chosen_by, PolicyBase).resolve(router, records.pool)
    taken = np.asarray(decides.choose(prediction, cost, records.pool), dtype=np.intp)
    rows = np.arange(len(taken))
    return Decided(
        tuple(router.plans[plan] for plan in taken), labels.quality[rows, taken], labels.cost_usd[rows, taken]
    )


@on_one_core
def compare(
    first: MultiHeadRouter,
    second: MultiHeadRouter,
    records: tuple[SampleArrays, SampleArrays],
    *,
    policies: tuple[Policy | None, Policy | None] = (None, None),
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two routers on the same records.

    Args:
        first: The current router.
        second: Its possible replacement.
        records: The same records, each with the models of one router's pool, as that router's reward scores them.
        policies: A policy for each; default: the router's own.
        resamples: Number of bootstrap resamples.

    Raises:
        RecordError: If the records differ, or a router was trained on one of them.
    """
    if records[0].ids != records[1].ids:
        raise RecordError("the routers were not given the same records, in the same order")
    one, other = (decided(r, a, p) for r, a, p in zip((first, second), records, policies, strict=True))
    columns = np.column_stack([one.quality, other.quality, one.cost, other.cost])
    mean = columns.mean(axis=0)
    drawn = resampled_means(columns, records[0].groups, resamples=resamples)
    gain, saved = interval95(drawn[:, 1] - drawn[:, 0]), interval95(1 - drawn[:, 3] / drawn[:, 2])
    return Comparison(
        queries=len(columns),
        groups=len(set(records[0].groups)),
        quality=(float(mean[0]), float(mean[1])),
        cost_usd=(float(mean[2]), float(mean[3])),
        quality_gain=float(mean[1] - mean[0]),
        quality_interval=None if gain is None else (gain[0], gain[1]),
        saved=float(1 - mean[3] / mean[2]),
        saved_interval=None if saved is None else (saved[0], saved[1]),
        same=float(np.mean([a == b for a, b in zip(one.plans, other.plans, strict=True)])),
    )
