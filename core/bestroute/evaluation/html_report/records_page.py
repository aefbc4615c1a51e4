"""The page of an evaluation: quality against cost, frozen prices, calibration, and decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bestroute.evaluation.evaluate import Evaluation
from bestroute.evaluation.html_report.blocks import (
    Block,
    Chart,
    DataSeries,
    KeyFigure,
    Page,
    Section,
    Table,
    Text,
    interval,
    shown,
    usd,
)
from bestroute.evaluation.html_report.ledger_summary import MOST_EXPENSIVE
from bestroute.evaluation.html_report.promise_states import PromiseState, state_rows
from bestroute.evaluation.report import DROPS
from bestroute.evaluation.series import Scored
from bestroute.types.plans import Plan, Step

_BINS = 10
_SHOWN_BASELINES = ("best_route", "hybrid_llm", "n_label", "kmeans_tfidf", "cascade")


def records_page(evaluation: Evaluation, name: str, states: Sequence[PromiseState]) -> Page:
    """Return the page.

    Args:
        evaluation: The evaluation of a router on records.
        name: Name of the records.
        states: State of every promise.
    """
    report = evaluation.report
    reference, policy = report["reference"], report.get("policy")
    figures = [
        KeyFigure("Queries", f"{report['queries']:,}", f"of {report['groups']:,} groups"),
        KeyFigure(
            "The reference",
            usd(1000 * reference["cost_usd"]),
            f"per 1,000 queries, quality {shown(reference['quality'])}",
        ),
    ]
    if policy is not None:
        saved, drop = (shown(policy[each], percent=True) for each in ("saving", "drop"))
        figures += [
            KeyFigure("Spent", usd(1000 * policy["cost_usd"]), f"per 1,000 queries, by {policy['policy']}"),
            KeyFigure("Saved", saved, f"{interval(policy['saving_ci95'])} (95 %)"),
            KeyFigure("Drop in quality", drop, f"{interval(policy['drop_ci95'])} (95 %)"),
        ]
    sections = (
        Section("Promises", tuple(_promises(states))),
        Section("Quality against cost", tuple(_curve(report))),
        Section("What was frozen", (_frozen(report),)),
        Section("Beside every baseline", (_baselines(report),)),
        Section("Calibration", tuple(_calibration(report, evaluation.scored))),
        Section("Traffic by plan and model", tuple(_traffic(evaluation.decisions))),
        Section("By group", tuple(_groups(evaluation.scored))),
        Section("The most expensive decisions", (_most_expensive(evaluation.decisions, policy),)),
    )
    how = f", trained anew for each of {report['cross_fit']} folds" if "cross_fit" in report else ""
    subtitle = f"{name}{how}; intervals of 95 % by {report['resamples']:,} resamples of groups"
    return Page("What routing would spend and save", subtitle, tuple(figures), sections)


def _promises(states: Sequence[PromiseState]) -> Iterable[Block]:
    if states:
        yield state_rows(states)
    else:
        yield Text(("The router holds no promise; bestroute tune makes one.",))


def _curve(report: Mapping[str, Any]) -> Iterable[Block]:
    reference = report["reference"]
    unit, quality = reference["cost_usd"], reference["quality"]

    def series(name: str, points: Sequence[Mapping[str, Any]], **more: Any) -> DataSeries:
        ordered = sorted(points, key=lambda point: point["cost_usd"])
        x = tuple(point["cost_usd"] / unit for point in ordered)
        return DataSeries(name, x, tuple(point["quality"] for point in ordered), **more)

    curve = sorted(report["curve"], key=lambda point: point["cost_usd"])
    has_ends = all(point["drop_ci95"] for point in curve)
    low, high = (tuple(quality * (1 - p["drop_ci95"][i]) for p in curve) if has_ends else () for i in (1, 0))
    made = [
        series("this router", curve, low=low, high=high),
        series("hull of fixed candidates", report["hull_candidates"]),
        series("hull of fixed plans", report["hull_plans"]),
    ]
    arms = report["arms"]
    names = tuple(f"{arm['model']} x {arm['n']}" for arm in sorted(arms, key=lambda arm: arm["cost_usd"]))
    made.append(series("fixed (model, n)", arms, kind="points", labels=names))
    made += [
        series(name.replace("_", " "), report["baselines"][name]["curve"])
        for name in _SHOWN_BASELINES[:2]
        if report["baselines"].get(name, {}).get("curve")
    ]
    made.append(series("reference", [reference], kind="points"))
    if report["oracle"]["quality"] is not None:
        made.append(series("oracle", [report["oracle"]], kind="points"))
    yield Chart(
        "Quality against cost", "mean cost, as a share of the reference's", "mean quality", tuple(made), x_percent=True
    )


def _frozen(report: Mapping[str, Any]) -> Table:
    points = [(f"target drop {shown(float(target), percent=True)}", f) for target, f in report["frozen"].items()]
    points += [
        (f"fixed plan, target {shown(float(target), percent=True)}", f)
        for target, f in report.get("frozen_plans", {}).items()
    ]
    if "policy" in report:
        points.append((report["policy"]["policy"], report["policy"]))
    return Table(
        "Chosen on the training part, scored here",
        ("choice", "saved", "95 % interval", "drop", "95 % interval", "quality above the hull of fixed plans"),
        tuple(
            (
                name,
                shown(point["saving"], percent=True),
                interval(point["saving_ci95"]),
                shown(point["drop"], percent=True),
                interval(point["drop_ci95"]),
                f"{point['gain_over_hull_plans']:+.4f}",
            )
            for name, point in points
        ),
    )


def _baselines(report: Mapping[str, Any]) -> Table:
    rows = [
        ("this router", report),
        ("fixed plans", report["fixed_plans"]),
        ("fixed candidates", report["fixed_candidates"]),
    ]
    rows += [(name.replace("_", " "), baseline) for name, baseline in report["baselines"].items()]
    rows.append(("oracle", report["oracle"]))
    cells = []
    for name, row in rows:
        table = row.get("saving_at_drop")
        if table is None:
            cells.append((f"{name} (not available: {row.get('reason', '')})", *[""] * len(DROPS)))
            continue
        values = [table[drop] for drop in DROPS]
        known = [
            "none" if value is None else f"{shown(value['value'], percent=True)} ({interval(value['ci95'])})"
            for value in values
        ]
        cells.append((name, *known))
    columns = ("way", *(f"saved at a drop of {float(drop):.0%}" for drop in DROPS))
    return Table("The best mixtures, in hindsight", columns, tuple(cells))


def _calibration(report: Mapping[str, Any], scored: Scored) -> Iterable[Block]:
    if scored.matches is not None and scored.matches.plans:
        predicted, happened = scored.matches.predicted, scored.matches.happened
        made = []
        for i, plan in enumerate(scored.matches.plans[:6]):
            order = np.argsort(predicted[:, i], kind="stable")
            bins = [part for part in np.array_split(order, _BINS) if len(part)]
            x = tuple(float(predicted[part, i].mean()) for part in bins)
            made.append(DataSeries(str(plan), x, tuple(float(happened[part, i].mean()) for part in bins), "points"))
        made.append(DataSeries("as predicted", (0.0, 1.0), (0.0, 1.0)))
        yield Chart(
            "How often a plan matches the reference",
            "predicted probability",
            "share that matched",
            tuple(made),
            y_percent=True,
            x_percent=True,
        )
    yield Table(
        "Calibration error of each head of match probability, bias taken off",
        ("plan", "error", "of a perfect head, by chance"),
        tuple((each["plan"], shown(each["error"]), shown(each["perfect"])) for each in report["calibration"]),
    )


def _plan(decision: Mapping[str, Any]) -> str:
    return str(Plan(tuple(Step(step["model"], step["n"], step["accept"]) for step in decision["plan"])))


def _traffic(decisions: Sequence[Mapping[str, Any]]) -> Iterable[Block]:
    if not decisions:
        yield Text(("Each fold has its own policy, so no one decision is shown.",))
        return
    for name, counts in (
        ("plan", Counter(map(_plan, decisions))),
        ("first model", Counter(decision["plan"][0]["model"] for decision in decisions)),
    ):
        found = counts.most_common(20)
        shares = tuple(count / len(decisions) for _, count in found)
        bars = DataSeries("queries", tuple(each for each, _ in found), shares, "bars")
        yield Chart(f"Share of queries by {name}", name, "share of queries", (bars,), y_percent=True)


def _groups(scored: Scored) -> Iterable[Block]:
    if "policy" not in scored.series:
        yield Text(("Each fold has its own policy.",))
        return
    policy, reference = scored.series["policy"], scored.series["reference"]
    groups = np.asarray(scored.groups)
    rows = []
    for group in dict.fromkeys(scored.groups):
        of = groups == group
        cost, whole = float(policy.cost[of, 0].sum()), float(reference.cost[of, 0].sum())
        quality, best = float(policy.quality[of, 0].mean()), float(reference.quality[of, 0].mean())
        rows.append((group, int(of.sum()), cost, whole, quality, best))
    rows.sort(key=lambda row: (-row[2], row[0]))
    most = rows[0][2] or 1.0
    yield Table(
        f"Spent by group{f' (the 50 most expensive of {len(rows):,})' if len(rows) > 50 else ''}",
        ("group", "USD", "reference", "saved", "queries", "quality", "the reference's"),
        tuple(
            (
                *(str(group), usd(cost), usd(whole), shown(1 - cost / whole, percent=True) if whole else ""),
                *(f"{queries:,}", shown(quality), shown(best)),
            )
            for group, queries, cost, whole, quality, best in rows[:50]
        ),
        shares=tuple(row[2] / most for row in rows[:50]),
    )


def _most_expensive(decisions: Sequence[Mapping[str, Any]], policy: Mapping[str, Any] | None) -> Table:
    by_cost = sorted(decisions, key=lambda d: (-d["estimated_cost_usd"], str(d["id"])))[:MOST_EXPENSIVE]
    why = "" if policy is None else str(policy["policy"])
    return Table(
        "The decisions that are expected to cost most, and why",
        ("query", "expected USD", "match probability", "expected quality", "plan", "why"),
        tuple(
            (
                *(
                    str(d["id"]),
                    usd(d["estimated_cost_usd"]),
                    shown(d["match_probability"]),
                    shown(d["expected_quality"]),
                ),
                *(_plan(d), why),
            )
            for d in by_cost
        ),
        words_right=2,
    )
