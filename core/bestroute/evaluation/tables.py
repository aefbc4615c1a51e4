"""The report for people: a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bestroute._utils.extras import to_install
from bestroute.evaluation.report import DROPS, SAVINGS

_CLOSE = 0.03
"""Of the reference's cost: labels of a plot that lie nearer would cover each other."""


def table(report: Mapping[str, Any]) -> str:
    """Return the report as a table."""
    reference = report["reference"]
    how = f", trained anew for each of {report['cross_fit']} folds" if "cross_fit" in report else ""
    lines = [
        f"{report['queries']} queries of {report['groups']} groups{how}. Intervals: 95 %, {report['resamples']} "
        "paired resamples of groups.",
        f"reference: quality {reference['quality']:.4f}, {reference['cost_usd']:.3g} USD a query",
        "",
        "frozen on the training part     saved                    drop                     "
        "quality above the hull of fixed plans   saved beyond that hull",
    ]
    lines += [_frozen(f"target drop {float(target):.1%}", f) for target, f in report["frozen"].items()]
    lines += [
        _frozen(f"fixed plan, target {float(target):.1%}", f) for target, f in report.get("frozen_plans", {}).items()
    ]
    if "policy" in report:
        lines.append(_frozen(report["policy"]["policy"], report["policy"]))
    if "follow" in report:
        lines += ["", *_followed(report["follow"])]
    lines += [
        "",
        "saved at a drop of      " + "".join(f"{float(d):>26.0%}" for d in DROPS) + "   (best mixtures, in hindsight)",
    ]
    rows = [
        ("this router", report),
        ("fixed plans", report["fixed_plans"]),
        ("fixed candidates", report["fixed_candidates"]),
    ]
    rows += [(name.replace("_", " "), b) for name, b in report["baselines"].items()]
    if report["chosen_on_half"].get("saving_at_drop"):
        rows.append(("chosen on half", report["chosen_on_half"]))
    rows.append(("oracle", report["oracle"]))
    for name, row in rows:
        lines.append(f"  {name:<22}" + _cells(row, "saving_at_drop", DROPS))
    lines += ["", "drop at a saving of     " + "".join(f"{float(s):>26.0%}" for s in SAVINGS)]
    lines += [f"  {name:<22}" + _cells(row, "drop_at_saving", SAVINGS) for name, row in rows]
    lines += [
        "",
        "oracle: the best plan for each query, chosen on the samples that it is scored on; no choice among these",
        "plans is above it, and a part of it is luck. chosen on half: the same on one half of each query's samples,",
        "scored on the other, without plans that need more than a half; no bound, least of all with few samples.",
    ]
    return "\n".join(lines)


def _frozen(name: str, point: Mapping[str, Any]) -> str:
    more = point["saving_over_hull_plans"]
    return (
        f"  {name:<29} {_with_interval(point['saving'], point['saving_ci95'])}  "
        f"{_with_interval(point['drop'], point['drop_ci95'])}  "
        f"{point['gain_over_hull_plans']:+.4f} {_signed(point['gain_ci95']):<22}        "
        + ("" if more is None else f"{_with_interval(more, point['saving_over_hull_plans_ci95'])}")
    )


def _followed(of: Mapping[str, Any]) -> list[str]:
    return [
        f"following a drop of {of['target']:.1%}: the last half of streams of {of['calls']:,} calls from these "
        f"records, {of['audit']:.0%} of them audited,",
        f"whose cost is taken off   saved {_with_interval(of['saving'], of['saving_ci95'])}   "
        f"drop {_with_interval(of['drop'], of['drop_ci95'])}   (of {of['streams']} streams, each of groups drawn anew)",
    ]


def _cells(row: Mapping[str, Any], name: str, keys: tuple[str, ...]) -> str:
    values = row.get(name)
    if values is None:
        return f"  not available: {row.get('reason', '')}"
    return "".join(
        f"{'-':>26}" if values[k] is None else f"{_with_interval(values[k]['value'], values[k]['ci95']):>26}"
        for k in keys
    )


def _with_interval(value: float, interval: list[float] | None) -> str:
    return f"{value:6.1%} " + ("[no interval]    " if interval is None else f"[{interval[0]:6.1%}, {interval[1]:6.1%}]")


def _signed(interval: list[float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:+.4f}, {interval[1]:+.4f}]"


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Draw quality against cost: fixed choices, both hulls, the curve with its interval, baselines, the oracle.

    Raises:
        ImportError: If matplotlib is missing; says what to install.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(f"the plot needs matplotlib: {to_install('plots')}") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    unit = report["reference"]["cost_usd"]
    q0 = report["reference"]["quality"]
    figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")

    def draw(points: list[dict[str, Any]], style: str, **options: Any) -> None:
        ordered = sorted(points, key=lambda p: p["cost_usd"])
        axes.plot([p["cost_usd"] / unit for p in ordered], [p["quality"] for p in ordered], style, **options)

    draw(report["arms"], "o", color="0.6", ms=4, label="fixed (model, n)")
    draw(report["hull_candidates"], "-", color="0.6", lw=1, label="hull of fixed candidates")
    draw(report["hull_plans"], "k.-", lw=1, label="hull of fixed plans, searched on training records")
    for name, color in (("best_route", "tab:blue"), ("n_label", "tab:green"), ("kmeans_tfidf", "tab:purple")):
        if report["baselines"][name]["curve"]:
            draw(report["baselines"][name]["curve"], "-", color=color, lw=1, alpha=0.8, label=name.replace("_", " "))
    curve = sorted(report["curve"], key=lambda p: p["cost_usd"])
    draw(curve, "-", color="tab:red", lw=2, label="this router")
    with_interval = [p for p in curve if p["drop_ci95"]]
    axes.fill_between(
        [p["cost_usd"] / unit for p in with_interval],
        [q0 * (1 - p["drop_ci95"][1]) for p in with_interval],
        [q0 * (1 - p["drop_ci95"][0]) for p in with_interval],
        color="tab:red",
        alpha=0.12,
        lw=0,
        label="95 % interval of its drop",
    )
    axes.plot(1, q0, "k*", ms=12, label="reference")
    if report["oracle"]["quality"] is not None:
        axes.plot(report["oracle"]["cost_usd"] / unit, report["oracle"]["quality"], "kD", ms=5, label="oracle")
    frozen = report["frozen"].values()
    marks = [p["cost_usd"] / unit for p in frozen], [p["quality"] for p in frozen]
    axes.plot(*marks, "r^", ms=6, label="frozen for a drop of")
    for at, name in _labels(report["frozen"], unit):
        axes.annotate(name, at, (5, -10), textcoords="offset points", fontsize=7)
    points = [*curve, *report["hull_plans"]]
    axes.set_xlim(0, max(1.25, min(2.0, max(p["cost_usd"] for p in points) / unit)))
    low = min(p["quality"] for p in points if p["cost_usd"] <= 1.25 * unit)
    high = max(p["quality"] for p in points if p["cost_usd"] <= 2.0 * unit)
    axes.set_ylim(low - 0.05 * (high - low), max(high, q0) + 0.1 * (high - low))
    axes.set_xlabel("mean cost, as a share of the reference's")
    axes.set_ylabel("mean quality")
    axes.set_title(f"{report['queries']} queries of {report['groups']} groups", fontsize=11)
    axes.legend(fontsize=7, loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _labels(frozen: Mapping[str, Mapping[str, Any]], unit: float) -> list[tuple[tuple[float, float], str]]:
    """Name the frozen points, those that lie close together once."""
    labels: list[tuple[tuple[float, float], list[str]]] = []
    for target, point in sorted(frozen.items(), key=lambda item: -item[1]["cost_usd"]):
        at = point["cost_usd"] / unit, point["quality"]
        if not labels or labels[-1][0][0] - at[0] > _CLOSE:
            labels.append((at, []))
        labels[-1][1].append(f"{100 * float(target):g}")
    return [(at, f"{', '.join(names)} %") for at, names in labels]
