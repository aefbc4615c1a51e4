"""Compute the report from the quality and cost of each way to answer, per query: means, intervals, tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bestroute.evaluation.mixtures import best_quality, least_cost, vertices
from bestroute.evaluation.series import Scored, Series
from bestroute.stats.bootstrap import interval95, resampled_means
from bestroute.stats.calibration_error import debiased_calibration_error
from bestroute.types.arrays import FloatArray, IntArray

DROPS = ("0", "0.01", "0.03", "0.05")
SAVINGS = ("0.1", "0.2", "0.4", "0.6")
BASELINES = (
    "n_class",
    "n_label",
    "kmeans_tfidf",
    "cascade",
    "hybrid_llm",
    "best_route",
    "random_mix",
    "query_statistics",
)


class _Means:
    """Means of every series: the first row is the records, the others are resamples."""

    def __init__(self, scored: Scored, resamples: int) -> None:
        series = scored.series
        columns = [part for s in series.values() for part in (s.quality, s.cost)]
        values, back = _without_repeats(np.hstack(columns))
        means = np.vstack([values.mean(axis=0), resampled_means(values, scored.groups, resamples=resamples)])
        self.all = means[:, back]
        edges = np.cumsum([0, *(part.shape[1] for part in columns)])
        self.at = {
            name: (slice(edges[2 * i], edges[2 * i + 1]), slice(edges[2 * i + 1], edges[2 * i + 2]))
            for i, name in enumerate(series)
        }

    def of(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Return quality and cost, each of shape ``(1 + resamples, C)``."""
        quality, cost = self.at[name]
        return self.all[:, quality], self.all[:, cost]


def _without_repeats(values: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the distinct columns, and the index of each column among them."""
    place: dict[bytes, int] = {}
    back = [place.setdefault(column.tobytes(), len(place)) for column in np.ascontiguousarray(values.T)]
    _, first = np.unique(back, return_index=True)
    return values[:, first], np.array(back, dtype=np.intp)


class _Hull:
    """Mixtures of fixed choices: vertices from the records, values in every resample."""

    def __init__(self, quality: FloatArray, cost: FloatArray, *, always: int | None = None) -> None:
        kept = vertices(cost[0], quality[0])
        if always is not None:  # a point that may be needed in a resample although it is not here
            kept = np.union1d(kept, [always % quality.shape[1]])
        self.kept: IntArray = kept[np.argsort(cost[0, kept], kind="stable")]
        self.quality, self.cost = quality[:, self.kept], cost[:, self.kept]

    def at(self, cost: FloatArray) -> FloatArray:
        """Return the best quality at a cost in every resample; below the cheapest choice, that choice's quality."""
        reached = best_quality(self.cost, self.quality, cost)
        cheapest = self.cost.argmin(axis=1)
        return np.where(np.isnan(reached), self.quality[np.arange(len(cost)), cheapest], reached)

    def points(self) -> list[dict[str, float]]:
        """Return the vertices, cheapest first."""
        return [{"cost_usd": float(c), "quality": float(q)} for c, q in zip(self.cost[0], self.quality[0], strict=True)]


def report_on(scored: Scored, frozen: Mapping[str, float | None], *, resamples: int) -> dict[str, Any]:
    """Compute the report.

    Args:
        scored: Every way to answer, on the same queries.
        frozen: The prices that training froze, by target drop.
        resamples: Number of paired bootstrap resamples over groups.
    """
    means = _Means(scored, resamples)
    q0, c0 = (part[:, 0] for part in means.of("reference"))
    candidates = _Hull(*means.of("arms"))
    fixed_plans = _Hull(*_with_reference(means, "plans"))
    arms, plans = scored.series["arms"], scored.series["plans"]
    result: dict[str, Any] = {
        "queries": len(scored.ids),
        "groups": len(set(scored.groups)),
        "resamples": resamples,
        "reference": {"quality": float(q0[0]), "cost_usd": float(c0[0])},
        "arms": [
            {"model": p.steps[0].model, "n": p.steps[0].n, "quality": float(q), "cost_usd": float(c)}
            for p, q, c in zip(arms.parameters, means.of("arms")[0][0], means.of("arms")[1][0], strict=True)
        ],
        "plans": _plan_points(plans, *means.of("plans")),
        "hull_candidates": candidates.points(),
        "hull_plans": fixed_plans.points(),
        "curve": _curve(scored.series["curve"], *means.of("curve"), q0, c0, candidates, fixed_plans),
        **_tables(*_with_reference(means, "curve"), q0, c0),
        "fixed_plans": _tables(*_with_reference(means, "plans"), q0, c0),
        "fixed_candidates": _tables(*_with_reference(means, "arms"), q0, c0),
        "frozen": {
            target: {"parameter": frozen.get(target), **_point(means, "frozen", i, q0, c0, candidates, fixed_plans)}
            for i, target in enumerate(scored.series["frozen"].parameters)
        },
        "baselines": {name: _baseline(name, scored, means, q0, c0, fixed_plans) for name in BASELINES},
        "oracle": _in_hindsight("oracle", scored, means, q0, c0),
        "chosen_on_half": _in_hindsight("chosen_on_half", scored, means, q0, c0),
        "calibration": calibration_of(scored),
    }
    if "frozen_plans" in scored.series:
        result["frozen_plans"] = {
            target: _point(means, "frozen_plans", i, q0, c0, candidates, fixed_plans)
            for i, target in enumerate(scored.series["frozen_plans"].parameters)
        }
    if "policy" in scored.series:
        point = _point(means, "policy", 0, q0, c0, candidates, fixed_plans)
        if scored.followed is not None:
            result["follow"] = scored.followed.report()
        result["policy"] = {"policy": scored.series["policy"].parameters[0] or "each fold's own policy", **point}
    return result


def calibration_of(scored: Scored) -> list[dict[str, Any]]:
    """Return, for each head of match probability, its debiased calibration error and a perfect head's plain one."""
    matches = scored.matches
    if matches is None or not matches.plans:
        return []
    errors, perfect = debiased_calibration_error(matches.predicted, matches.happened, scored.groups)
    return [
        {"plan": str(plan), "error": float(error), "perfect": float(chance)}
        for plan, error, chance in zip(matches.plans, errors, perfect, strict=True)
    ]


def _with_reference(means: _Means, name: str) -> tuple[FloatArray, FloatArray]:
    """Return a series extended by the reference, which every mixture may include."""
    (quality, cost), (q0, c0) = means.of(name), means.of("reference")
    return np.hstack([quality, q0]), np.hstack([cost, c0])


def _plan_points(series: Series, quality: FloatArray, cost: FloatArray) -> list[dict[str, Any]]:
    points: dict[Any, dict[str, Any]] = {}
    for plan, q, c in zip(series.parameters, quality[0], cost[0], strict=True):
        plan_json = None if plan is None else plan.to_json()  # folds that chose different plans name none
        points.setdefault((plan, q, c), {"plan": plan_json, "quality": float(q), "cost_usd": float(c)})
    return list(points.values())


def _point(
    means: _Means, name: str, column: int, q0: FloatArray, c0: FloatArray, candidates: _Hull, fixed_plans: _Hull
) -> dict[str, Any]:
    quality, cost = (part[:, column] for part in means.of(name))
    saving, drop = 1 - cost / c0, 1 - quality / q0
    over_plans, over_candidates = quality - fixed_plans.at(cost), quality - candidates.at(cost)
    more = saving - (1 - _least(fixed_plans, quality) / c0)
    return {
        "quality": float(quality[0]),
        "cost_usd": float(cost[0]),
        "saving": float(saving[0]),
        "saving_ci95": interval95(saving[1:]),
        "drop": float(drop[0]),
        "drop_ci95": interval95(drop[1:]),
        "gain_over_hull": float(over_candidates[0]),
        "gain_over_hull_ci95": interval95(over_candidates[1:]),
        "gain_over_hull_plans": float(over_plans[0]),
        "gain_ci95": interval95(over_plans[1:]),
        "saving_over_hull_plans": _number(more[0]),
        "saving_over_hull_plans_ci95": interval95(more[1:]),
    }


def _least(hull: _Hull, quality: FloatArray) -> FloatArray:
    """Return the hull's least cost at a quality; if it does not reach the quality, the cost of its best point."""
    least = least_cost(hull.cost, hull.quality, quality)
    best = hull.cost[np.arange(len(quality)), hull.quality.argmax(axis=1)]
    return np.where(np.isnan(least), best, least)


def _curve(
    series: Series,
    quality: FloatArray,
    cost: FloatArray,
    q0: FloatArray,
    c0: FloatArray,
    candidates: _Hull,
    fixed_plans: _Hull,
) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    for i, parameter in enumerate(series.parameters):
        q, c = quality[:, i], cost[:, i]
        if points and q[0] == points[-1]["quality"] and c[0] == points[-1]["cost_usd"]:
            continue  # the same choices for every query
        drop = 1 - q / q0
        gain, over_plans = q - candidates.at(c), q - fixed_plans.at(c)
        points.append(
            {
                "parameter": parameter,
                "quality": float(q[0]),
                "cost_usd": float(c[0]),
                "saving": float(1 - c[0] / c0[0]),
                "drop": float(drop[0]),
                "drop_ci95": interval95(drop[1:]),
                "gain_over_hull": float(gain[0]),
                "gain_ci95": interval95(gain[1:]),
                "gain_over_hull_plans": float(over_plans[0]),
                "gain_over_hull_plans_ci95": interval95(over_plans[1:]),
            }
        )
    return points


def _tables(quality: FloatArray, cost: FloatArray, q0: FloatArray, c0: FloatArray) -> dict[str, Any]:
    """Saving at target drops and drop at target savings, by mixtures of neighbouring points.

    The last column is the reference, which a coin may always fall for.
    """
    hull = _Hull(quality, cost, always=-1)
    savings = {d: 1 - least_cost(hull.cost, hull.quality, (1 - float(d)) * q0) / c0 for d in DROPS}
    drops = {s: 1 - best_quality(hull.cost, hull.quality, (1 - float(s)) * c0) / q0 for s in SAVINGS}
    return {
        "saving_at_drop": {d: _value(values) for d, values in savings.items()},
        "drop_at_saving": {s: _value(values) for s, values in drops.items()},
    }


def _value(values: FloatArray) -> dict[str, Any] | None:
    return {"value": float(values[0]), "ci95": interval95(values[1:])} if np.isfinite(values[0]) else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _baseline(
    name: str, scored: Scored, means: _Means, q0: FloatArray, c0: FloatArray, fixed_plans: _Hull
) -> dict[str, Any]:
    empty = {"curve": None, "saving_at_drop": None, "drop_at_saving": None}
    if name not in scored.series:
        return {**empty, "reason": scored.missing.get(name, "not in every fold")}
    quality, cost = means.of(name)
    curve = [
        {
            "parameter": str(parameter) if not isinstance(parameter, int | float | None) else parameter,
            "quality": float(q),
            "cost_usd": float(c),
            "saving": float(1 - c / c0[0]),
            "drop": float(1 - q / q0[0]),
        }
        for parameter, q, c in zip(scored.series[name].parameters, quality[0], cost[0], strict=True)
    ]
    return {"curve": curve, **_tables(*_with_reference(means, name), q0, c0)}


def _in_hindsight(name: str, scored: Scored, means: _Means, q0: FloatArray, c0: FloatArray) -> dict[str, Any]:
    if name not in scored.series:
        return {"quality": None, "cost_usd": None, "reason": scored.missing.get(name, "not in every fold")}
    quality, cost = means.of(name)
    enough = np.flatnonzero(quality[0] >= q0[0])
    best = int(enough[cost[0][enough].argmin()]) if len(enough) else int(quality[0].argmax())
    tables = _tables(*_with_reference(means, name), q0, c0)
    return {"quality": float(quality[0, best]), "cost_usd": float(cost[0, best]), **tables}
