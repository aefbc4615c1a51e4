# ruff: noqa: E501 - the page is prose
"""Writes ``docs/encoders_table.md`` from ``docs/encoders.json``: every figure on the page is read from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from experiments_page import DOCS, percent, signed, with_interval

INTRO = """## Features and encoders of a router

`make encoders SHARED=...` reproduces these tables (`benchmarks/encoders.py`). They use five folds by group. The rows of a
set share folds, plans and labels; each row chooses its own shrinkage and prices on held-out folds of the training part.

| column | meaning |
|---|---|
| explained | share of the variance of the plans' quality that predictions explain on the outer held-out folds, before shrinkage |
| frozen: saved, drop, gain | results at the price frozen for a drop of 1 % or 3 %; the gain is the quality above the hull of fixed plans, with its 95 % interval over groups |
| hindsight | the saving at that drop on the curve itself |
| ms | processor time of one decision, prediction and policy together (median over queries of the set) |
"""
HEADER = ("reads", "explained", "frozen 1 %: saved", "drop", "gain", "frozen 3 %: saved", "drop", "gain")
HINDSIGHT = ("hindsight 1 %", "3 %", "ms")
TITLES = {
    "frozen": "",
    "fine-tuned": ", fine-tuned at 64 tokens",
    "boosted": ", with boosted trees",
    "many models": ", difficulty from many models",
}


def table(data: str, rows: Mapping[str, Mapping[str, Any]], part: str) -> list[str]:
    """Return the table of a data set."""
    any_row = next(iter(rows.values()))
    seeds = any_row["seeds"]
    lines = [f"### {data}{TITLES[part]}", "", f"{any_row['queries']} queries, {seeds} seed{'s' * (seeds > 1)}.", ""]
    lines += [f"| {' | '.join((*HEADER, *HINDSIGHT))} |", "|---" * 11 + "|"]
    for name, row in rows.items():
        cells = [percent(row["explained"])]
        for target in ("0.01", "0.03"):
            p = row["frozen"][target]
            cells += [percent(p["saving"]), percent(p["drop"]), signed(p["gain_over_hull_plans"], p["gain_ci95"])]
        for target in ("0.01", "0.03"):
            found = row["saving_at_drop"][target]
            cells.append("-" if found is None else percent(found["value"]))
        lines.append(f"| {name} | {' | '.join(cells)} | {row['decision_p50_ms']:.2f} |")
    shares = [
        f"- {name}: APGR {with_interval(row['apgr']['value'], row['apgr']['ci95'], 2)}, drop at a 20 % share "
        f"{with_interval(row['drop_at_20_share']['value'], row['drop_at_20_share']['ci95'], 2)}"
        for name, row in rows.items()
        if "apgr" in row
    ]
    return [*lines, "", *shares, *([""] if shares else [])]


def page(results: Mapping[str, Any], notes: str) -> str:
    """Return the page: what the figures say, then the figures."""
    lines = [INTRO, notes.strip(), ""]
    for part in TITLES:
        for data, rows in results.get(part, {}).items():
            lines += table(data, rows, part)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page."""
    results = json.loads((DOCS / "encoders.json").read_text())
    (DOCS / "encoders_table.md").write_text(page(results, (DOCS / "encoders_notes.md").read_text()))


if __name__ == "__main__":
    main()
