# ruff: noqa: E501 - the page is prose
"""Writes ``docs/experiments.md`` from ``docs/experiments.json``: every figure on the page is read from there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bestroute.evaluation.plots import plot

DOCS = Path(__file__).parent.parent / "docs"
Json = Mapping[str, Any]

INTRO = """# Experiments

`make experiments SHARED=...` reproduces this page and its plots (`benchmarks/experiments.py`). The data sets are public and
not part of the project ([Data](data.md)).

Every router is trained for each of five folds by group. Three or five seeds assign the folds and train; the results of a
query are averaged over the seeds. Intervals are 95 %, over paired resamples of groups.

| term | meaning |
|---|---|
| frozen | the price of quality was chosen for a target drop on held-out folds of the training part, then scored here once |
| hull of fixed plans | the best that needs no router: plans of up to four steps, searched on the training part, and random mixes of them |
| hull of candidates | the same with a fixed model and number of samples |
| gain | quality above the hull of fixed plans; it counts only if its interval is clearly above 0 |
| best route | the paper's method (match probability, Algorithm 1) on our features |
| query statistics | our router without the words of the text |
| columns headed by a drop | mixes of points chosen in hindsight, in the same way for every row; the rows above them are frozen |
"""


@dataclass(frozen=True)
class Check:
    """A target and its result."""

    data: str
    target: str
    found: str
    missed: str | None
    """By how much, if it was missed."""


def percent(value: float, digits: int = 1) -> str:
    """Write a share."""
    return f"{100 * value:.{digits}f} %"


def with_interval(value: float, interval: list[float] | None, digits: int = 1) -> str:
    """Write a share and its interval."""
    if interval is None:
        return percent(value, digits)
    return f"{percent(value, digits)} [{100 * interval[0]:.{digits}f}, {100 * interval[1]:.{digits}f}]"


def signed(value: float, interval: list[float] | None) -> str:
    """Write a difference in quality and its interval."""
    return f"{value:+.4f}" + ("" if interval is None else f" [{interval[0]:+.4f}, {interval[1]:+.4f}]")


def _short(names: list[tuple[str, float]]) -> str | None:
    """Say what is short of its target, and by how much; names with what is left to the target, >= 0 is met."""
    short = [f"{name} by {percent(-left, 2)}" for name, left in names if left < 0]
    return ", ".join(short) or None


def _frozen(results: Json, data: str, target: str, saved: float, drop: float, rows: str = "frozen") -> Check:
    point = results[data][rows][target]
    return Check(
        data,
        f"{'fixed plans alone, ' if rows != 'frozen' else ''}frozen at {percent(float(target))}: "
        f"saves >= {percent(saved)} at a measured drop <= {percent(drop)}",
        f"saves {with_interval(point['saving'], point['saving_ci95'])}, "
        f"drop {with_interval(point['drop'], point['drop_ci95'])}",
        _short([("saving", point["saving"] - saved), ("drop", drop - point["drop"])]),
    )


def checks(results: Json) -> Iterator[Check]:
    """Hold the results against the targets."""
    if "livecodebench" in results:
        yield _frozen(results, "livecodebench", "0", 0.65, 0.005)
        p = results["livecodebench"]["frozen"]["0"]
        more, interval = p["saving_over_hull_plans"], p["saving_over_hull_plans_ci95"]
        yield Check(
            "livecodebench",
            "at that point >= 13 points of saving beyond the hull of fixed plans, lower end >= 8",
            with_interval(more, interval),
            _short([("gain", more - 0.13), ("lower end", interval[0] - 0.08)]),
        )
    if "cruxeval_input" in results:
        yield _frozen(results, "cruxeval_input", "0", 0.975, 0.005, "frozen_plans")
        yield _frozen(results, "cruxeval_input", "0.005", 0.975, 0.005, "frozen_plans")
        lowest = min(p["gain_ci95"][0] for p in results["cruxeval_input"]["frozen"].values())
        yield Check(
            "cruxeval_input",
            "the router never more than 0.2 points below the hull of fixed plans (lower end, any frozen point)",
            f"lowest lower end {100 * lowest:+.2f} points",
            _short([("lower end", lowest + 0.002)]),
        )
    if "cruxeval_output" in results:
        yield _frozen(results, "cruxeval_output", "0.02", 0.12, 0.02)
        yield _frozen(results, "cruxeval_output", "0.015", 0.12, 0.02)
        yield _frozen(results, "cruxeval_output", "0.045", 0.28, 0.045)
        yield _frozen(results, "cruxeval_output", "0.04", 0.28, 0.045)
        for target in ("0.02", "0.045"):
            p = results["cruxeval_output"]["frozen"][target]
            yield Check(
                "cruxeval_output",
                f"frozen at {percent(float(target))}: quality above the hull of candidates, interval clear of 0",
                signed(p["gain_over_hull"], p["gain_over_hull_ci95"]),
                _short([("lower end", p["gain_over_hull_ci95"][0])]),
            )
    if "routellm_mmlu_shares" in results:
        s = results["routellm_mmlu_shares"]
        limits = (
            ("drop_at_20_share", "drop at a 20 % share to Mixtral <= 0.6 %", lambda v, _: 0.006 - v),
            ("apgr", "APGR >= 0.68", lambda v, _: v - 0.68),
            ("share_over_coin", "share at a drop <= 1 % >= 15 points over the coin", lambda v, _: v - 0.15),
            ("share_over_coin", "its lower end >= 10 points", lambda _, interval: interval[0] - 0.10),
        )
        for name, target, left in limits:
            value, interval = s[name]["value"], s[name]["ci95"]
            missed = _short([("it", left(value, interval))])
            yield Check("routellm_mmlu", target, with_interval(value, interval, 2), missed)
    for data, report in results.items():
        if report.get("calibration"):
            worst = max(report["calibration"], key=lambda head: head["error"] - max(head["perfect"], 0.03))
            yield Check(
                data,
                "debiased calibration error <= 0.03, or what a perfect head of that size scores; worst head",
                f"{worst['plan']}: {worst['error']:.3f}, a perfect head {worst['perfect']:.3f}",
                _short([("error", max(worst["perfect"], 0.03) - worst["error"])]),
            )


def page(results: Json, notes: str) -> str:
    """Return the page."""
    lines = [INTRO, "## Targets and results\n", "| data | target | result | |", "|---|---|---|---|"]
    for check in checks(results):
        verdict = "met" if check.missed is None else f"**missed**: {check.missed}"
        lines.append(f"| {check.data} | {check.target} | {check.found} | {verdict} |")
    lines += ["", notes.strip(), ""]
    for data, report in results.items():
        if "frozen" in report:
            lines += _section(data, report)
        else:
            lines += ["## routellm_mmlu by share of traffic\n", "| | |", "|---|---|"]
            for name, v in report.items():
                lines.append(f"| {name.replace('_', ' ')} | {with_interval(v['value'], v['ci95'], 2)} |")
            lines.append("")
    if (DOCS / "encoders_table.md").exists():
        lines.append((DOCS / "encoders_table.md").read_text())
    return "\n".join(lines).rstrip() + "\n"


def _section(data: str, report: Json) -> list[str]:
    lines = [
        f"## {data}\n",
        f"{report['note']}. {report['queries']} queries of {report['groups']} groups, {report['seeds']} seeds, "
        f"{report['resamples']} resamples. The reference: quality {report['reference']['quality']:.4f}, "
        f"{report['reference']['cost_usd']:.3g} USD a query.\n",
        "| frozen | saved | drop | quality above the hull of fixed plans | above the hull of candidates | "
        "saving beyond the hull of fixed plans |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in (("router", report["frozen"]), ("fixed plan", report["frozen_plans"])):
        for target, p in rows.items():
            lines.append(
                f"| {name}, {percent(float(target))} | {with_interval(p['saving'], p['saving_ci95'])} | "
                f"{with_interval(p['drop'], p['drop_ci95'])} | {signed(p['gain_over_hull_plans'], p['gain_ci95'])} | "
                f"{signed(p['gain_over_hull'], p['gain_over_hull_ci95'])} | "
                f"{with_interval(p['saving_over_hull_plans'], p['saving_over_hull_plans_ci95'])} |"
            )
    drops = ("0", "0.01", "0.03", "0.05")
    lines += ["", "| saved at a drop of | " + " | ".join(percent(float(d), 0) for d in drops) + " |"]
    lines.append("|---|" + "---|" * len(drops))
    rows = {
        "this router": report,
        "fixed plans": report["fixed_plans"],
        "fixed candidates": report["fixed_candidates"],
        **{name.replace("_", " "): b for name, b in report["baselines"].items()},
        "best in hindsight, chosen on half of the samples and scored on the other": (
            report.get("chosen_on_half", report["oracle"])
        ),
    }
    if "chosen_on_half" in report:
        rows["oracle: best in hindsight on the same samples, a bound"] = report["oracle"]
    for name, row in rows.items():
        values = row.get("saving_at_drop")
        if values is None:
            lines.append(f"| {name} | {row.get('reason', '')} | | | |")
            continue
        cells = ["-" if values[d] is None else with_interval(values[d]["value"], values[d]["ci95"]) for d in drops]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, "", f"![{data}](images/{data}.png)", ""]


def main() -> None:
    """Write the page, and its plots."""
    results = json.loads((DOCS / "experiments.json").read_text())
    for name, report in results.items():
        if "curve" in report:
            plot(report, DOCS / "images" / f"{name}.png")
    (DOCS / "experiments.md").write_text(page(results, (DOCS / "experiments_notes.md").read_text()))


if __name__ == "__main__":
    main()
