"""Simulate a change of traffic halfway: the loss of a frozen price, and of one that follows audits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bestroute.evaluation.followed import follow_stream
from bestroute.labels import PlanLabels
from bestroute.monitoring.steering import best_value
from bestroute.policies.policies import QualityPolicy, reference_column, where_known
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.pool import Pool
from bestroute.types.prediction import Prediction

if TYPE_CHECKING:
    from bestroute.router import MultiHeadRouter

SPANS = ("before", "after", "later")
"""The first half of a stream, the second half, and the last half of that."""


@dataclass(frozen=True, eq=False)
class SpanOutcome:
    """Outcome of one span of every stream; savings are net of the cost of audits."""

    drop: FloatArray
    saving: FloatArray
    audits: FloatArray
    """Their cost, as a share of the reference cost."""

    def __str__(self) -> str:
        """Render as means and standard deviations over streams."""
        drop, saving = self.drop, self.saving
        return (
            f"drop {100 * drop.mean():5.1f} % (+- {100 * drop.std():.1f}), saves {100 * saving.mean():5.1f} % "
            f"(+- {100 * saving.std():.1f})"
        )


@dataclass(frozen=True, eq=False)
class Shift:
    """The outcomes of both prices, by span."""

    target: float
    audit: float
    calls: int
    """Calls per half of a stream."""
    streams: int
    frozen: Mapping[str, SpanOutcome]
    follow: Mapping[str, SpanOutcome]


def shifted(
    router: MultiHeadRouter,
    pool: Pool,
    labels: PlanLabels,
    prediction: Prediction,
    cost_usd: FloatArray,
    likely_after: NDArray[np.bool_],
    *,
    target: float,
    audit: float = 0.05,
    mix: float = 0.9,
    calls: int = 10_000,
    streams: int = 20,
    seed: int = 0,
) -> Shift:
    """Simulate streams whose queries change halfway, at a frozen price and at one that follows audits.

    The frozen price is the cheapest that keeps the target on the traffic before the change, in hindsight: nobody's
    could be better. The other starts from the same price.

    Args:
        router: The router; the frozen price is chosen on its path.
        pool: The pool.
        labels: True labels of the router's plans.
        prediction: The router's predictions.
        cost_usd: Expected cost of each plan, shape ``(Q, P)``.
        likely_after: Whether a query is of the new kind, shape ``(Q,)``.
        target: The target drop.
        audit: Share of audited calls for the price that follows.
        mix: Share of the old kind in the first half, and of the new kind in the second.
        calls: Calls per half.
        streams: Number of streams.
        seed: Seed of all draws.

    Raises:
        ValueError: If all queries are of one kind.
    """
    is_new = np.asarray(likely_after, dtype=bool)
    old, new = np.flatnonzero(~is_new), np.flatnonzero(is_new)
    if not len(old) or not len(new):
        raise ValueError("a change of traffic needs queries of both kinds")
    own, known = reference_column(prediction, pool), where_known(prediction, cost_usd, pool)
    price = _price_in_hindsight(router, labels, prediction, known, own, (old, new), mix, target)
    policy = QualityPolicy(max_drop=target, follow=True)
    start = replace(router, frozen={f"{target:g}": price})
    made: dict[str, list[tuple[float, ...]]] = {f"{way} {part}": [] for way in ("frozen", "follow") for part in SPANS}
    for stream in range(streams):
        rng = np.random.default_rng((seed, stream))
        rows = np.concatenate([_drawn(rng, old, new, share, calls) for share in (mix, 1 - mix)])
        steering = policy.resolve(start, pool).steering
        assert steering is not None
        chosen, audits = follow_stream(steering, labels, prediction.expected_quality, known, own, rows, audit, rng)
        frozen = best_value(prediction.expected_quality[rows], known[rows], price)
        for name, part in zip(
            SPANS, (slice(None, calls), slice(calls, None), slice(calls * 3 // 2, None)), strict=True
        ):
            made[f"frozen {name}"].append(_outcome(labels, rows[part], frozen[part], own, 0.0))
            made[f"follow {name}"].append(_outcome(labels, rows[part], chosen[part], own, float(audits[part].mean())))
    found = {name: SpanOutcome(*np.array(of).T) for name, of in made.items()}
    return Shift(
        target,
        audit,
        calls,
        streams,
        {part: found[f"frozen {part}"] for part in SPANS},
        {part: found[f"follow {part}"] for part in SPANS},
    )


def _drawn(rng: np.random.Generator, old: IntArray, new: IntArray, share: float, calls: int) -> IntArray:
    return np.asarray(
        np.where(rng.random(calls) < share, rng.choice(old, calls), rng.choice(new, calls)), dtype=np.intp
    )


def _outcome(labels: PlanLabels, rows: IntArray, chosen: IntArray, own: int, audit_usd: float) -> tuple[float, ...]:
    quality, cost = labels.quality[rows, own].mean(), labels.cost_usd[rows, own].mean()
    drop = 1 - labels.quality[rows, chosen].mean() / quality
    return float(drop), float(1 - (labels.cost_usd[rows, chosen].mean() + audit_usd) / cost), float(audit_usd / cost)


def _price_in_hindsight(
    router: MultiHeadRouter,
    labels: PlanLabels,
    prediction: Prediction,
    known: FloatArray,
    own: int,
    kinds: tuple[IntArray, IntArray],
    mix: float,
    target: float,
) -> float:
    """Return the price that saves most among those that keep the target on the old mix."""
    weights = np.zeros(len(known))
    for rows, share in zip(kinds, (mix, 1 - mix), strict=True):
        weights[rows] = share / len(rows)
    every = np.arange(len(known))
    least = (1 - target) * (weights @ labels.quality[:, own])
    cost, best = float("inf"), max(router.path)
    for price in router.path:
        chosen = best_value(prediction.expected_quality, known, price)
        spent = float(weights @ labels.cost_usd[every, chosen])
        if weights @ labels.quality[every, chosen] >= least and spent < cost:
            cost, best = spent, price
    return float(best)
