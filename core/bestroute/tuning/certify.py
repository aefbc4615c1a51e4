"""The procedure: order the settings on one part, bet on the other, stop at the first that does not pass. Pure.

What is drawn independently is a group of queries (one text, one contest), so one group is one draw: its mean loss.
Where groups differ in size, the mean over groups and the mean over queries differ too, and a setting has to pass for
both. The first is a bound whatever queries of one group have in common; the second is one if they are no more alike
than any others, and guards against large groups that are harder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bestroute.tuning.betting import best_log_wealth, needed_log_wealth
from bestroute.tuning.fixed_sequence import order_settings, passed_in_sequence
from bestroute.tuning.sample_size import draws_needed, fewest_for_budget, fewest_for_drop
from bestroute.tuning.splits import group_means
from bestroute.types.arrays import FloatArray, IntArray

BELOW_THE_FLOOR = 0.1
"""Share of the level spent on testing for no drop at all, if records are too few for the requested drop."""
LEAST_SAVING = 0.01
"""Smallest saving worth a promise, as a share of the reference's cost."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Outcomes of ``V`` settings of a policy on ``Q`` queries, in betting order."""

    quality: FloatArray
    """Expected, in [0, 1], shape ``(V, Q)``."""
    cost: FloatArray
    """Expected, USD, shape ``(V, Q)``."""
    reference_quality: FloatArray
    """Quality of one sample of the reference, shape ``(Q,)``."""
    reference_cost: FloatArray
    """USD, shape ``(Q,)``."""
    groups: IntArray
    """Group of each query."""

    def take(self, rows: IntArray) -> Outcomes:
        """Return the outcomes on some of the queries."""
        return Outcomes(
            self.quality[:, rows],
            self.cost[:, rows],
            self.reference_quality[rows],
            self.reference_cost[rows],
            self.groups[rows],
        )

    @property
    def units(self) -> int:
        """Number of groups."""
        return len(np.unique(self.groups))


@dataclass(frozen=True)
class Certificate:
    """The result of the procedure."""

    setting: int | None
    """The last setting that passed; ``None`` means refusal."""
    tested: int
    passed: int
    fewest: int
    """Fewest groups for calibration with which any bound could establish the promise."""
    needed: float
    """Groups to calibrate on with which the easiest setting offered would pass four times in five; infinite where
    none has a margin. An estimate."""
    estimates: dict[str, float]
    """Estimates for the setting, on the calibration part."""
    cap: float | None = None
    """Highest cost of a query, USD; for a budget."""


def certify_drop(order: Outcomes, calibrate: Outcomes, *, max_drop: float, confidence: float) -> Certificate:
    """Find the setting with the largest saving that is shown to lose at most ``max_drop`` of the reference's quality.

    The loss of a query is ``(1 - max_drop) * reference - policy``, so that its mean is at most zero where the promise
    holds; no ratio of means is needed. Of expected qualities in [0, 1] it is in ``[-1, 1 - max_drop]``, as it is of
    sampled ones.

    With fewer groups than any bound needs, only a policy that is plainly better than the reference can be promised:
    that there is no drop at all is tested instead, at a tenth of the level. Which of the two is tested is told by the
    ordering part: told by the calibration part, the levels of both would add up.
    """
    fewest = fewest_for_drop(float(calibrate.reference_quality.mean()), max_drop, confidence)
    allowed, sure = max_drop, confidence
    if calibrate.units < fewest_for_drop(float(order.reference_quality.mean()), max_drop, confidence):
        allowed, sure = 0.0, 1 - (1 - confidence) * BELOW_THE_FLOOR

    def losses(part: Outcomes) -> FloatArray:
        return np.asarray((1 - allowed) * part.reference_quality - part.quality)

    saving = 1 - order.cost.sum(axis=1) / order.reference_cost.sum()
    verdict = _certify(
        order,
        calibrate,
        (losses(order), losses(calibrate)),
        order_on=(saving, saving >= LEAST_SAVING),
        largest=1 - allowed,
        confidence=sure,
        fewest=fewest,
    )
    if verdict.setting is not None or allowed == max_drop:
        return verdict
    saves = 1 - calibrate.cost.sum(axis=1) / calibrate.reference_cost.sum() >= LEAST_SAVING
    shortfall = (1 - max_drop) * calibrate.reference_quality - calibrate.quality[saves]
    margins = group_means(shortfall, calibrate.groups)
    needed = draws_needed(margins.mean(axis=1), margins.std(axis=1), confidence).min(initial=np.inf)
    return replace(verdict, needed=max(float(needed), fewest))


def certify_budget(order: Outcomes, calibrate: Outcomes, *, budget: float, confidence: float) -> Certificate:
    """Find the setting with the best quality that is shown to cost at most ``budget`` USD per query on average.

    The loss of a query is its cost minus the budget. A bound needs to know what a query can cost at most: twice what
    any setting within the budget costs on any query of the ordering part, and what is dearer counts as that.
    """
    within = order.cost[order.cost.mean(axis=1) <= budget]
    cap = 2 * max(float(within.max(initial=0.0)), budget)

    def losses(part: Outcomes) -> FloatArray:
        return np.asarray((np.minimum(part.cost, cap) - budget) / cap)

    quality = order.quality.mean(axis=1)
    verdict = _certify(
        order,
        calibrate,
        (losses(order), losses(calibrate)),
        order_on=(quality, np.ones(len(quality), dtype=bool)),
        largest=1 - budget / cap,
        confidence=confidence,
        fewest=fewest_for_budget(budget, cap, confidence),
    )
    return replace(verdict, cap=cap)


def _certify(
    order: Outcomes,
    calibrate: Outcomes,
    losses: tuple[FloatArray, FloatArray],
    *,
    order_on: tuple[FloatArray, Any],
    largest: float,
    confidence: float,
    fewest: int,
) -> Certificate:
    first = group_means(losses[0], order.groups)
    points = order_settings(first, *order_on)
    by_group = group_means(losses[1][points], calibrate.groups)
    spread = by_group.std(axis=1)
    needed = draws_needed(by_group.mean(axis=1), spread, confidence).min(initial=np.inf)
    if not len(points):
        return Certificate(None, 0, 0, fewest, max(float(needed), fewest), {})
    wealth = best_log_wealth(
        by_group,
        largest=largest,
        confidence=confidence,
        mean=first[points].mean(axis=1),
        variance=first[points].var(axis=1),
    )
    if len(set(np.unique(calibrate.groups, return_counts=True)[1].tolist())) > 1:
        by_query = best_log_wealth(
            losses[1][points],
            largest=largest,
            confidence=confidence,
            mean=losses[0][points].mean(axis=1),
            variance=losses[0][points].var(axis=1),
        )
        wealth = np.minimum(wealth, by_query)
    passed = passed_in_sequence(wealth >= needed_log_wealth(confidence))
    if not passed:
        return Certificate(None, len(points), 0, fewest, max(float(needed), fewest), {})
    setting = int(points[passed - 1])
    return Certificate(setting, len(points), passed, fewest, needed, estimates(calibrate, setting))


def estimates(part: Outcomes, setting: int) -> dict[str, float]:
    """Return saving, drop and cost of a setting on some queries."""
    quality, reference = float(part.quality[setting].mean()), float(part.reference_quality.mean())
    cost = float(part.cost[setting].mean())
    return {
        "saving": 1 - cost / max(float(part.reference_cost.mean()), math.ulp(0.0)),
        "drop": 1 - quality / max(reference, math.ulp(0.0)),
        "usd_per_1k": 1000 * cost,
    }
