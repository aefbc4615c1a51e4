"""The report as a text table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bestroute.evaluation.report import DROPS, SAVINGS


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
