"""The report of a reward model as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {"reward": "this reward", "random": "random", "majority": "majority", "oracle": "oracle"}

_PAIRS = {"ends": "of one model (worst, median, best)", "across": "of any models"}


def summarise(report: Mapping[str, Any]) -> str:
    """Return the report as text."""
    pairs, accuracy, curve = report["pairs"], report["pair_accuracy"], report["calibration"]
    lines = [
        f"  {pairs['made']} pairs ({pairs['scheme']}) of {report['samples']} samples, {report['groups']} groups; "
        f"{report['samples_without_text']} samples have no text",
        *(
            f"  accuracy on {accuracy[scheme]['pairs']} held-out pairs {of}: "
            f"{interval(accuracy[scheme]['value'], accuracy[scheme]['ci95'], percent=True)}"
            for scheme, of in _PAIRS.items()
            if accuracy[scheme]["pairs"]
        ),
        f"  calibration ({curve['method']}): error {number(curve['error'])}, a perfect one of that size "
        f"{number(curve['perfect'])}",
    ]
    best = report["best_of_n"]
    if not best["n"]:
        return "\n".join([*lines, "  no query has two held-out samples that compete"])
    shown = [name for name in _NAMES if best[name] is not None]
    lines.append(f"  true quality of the best of n, {best['queries']} held-out queries:")
    lines.append("     n  " + "".join(f"{_NAMES[name]:<27}" for name in shown) + "reward less random")
    for i, n in enumerate(best["n"]):
        cells = "".join(f"{_cell(best[name][i]):<27}" for name in shown)
        lines.append(f"    {n:>2}  {cells}{_cell(best['gain'][i], signed=True)}")
    falls = best["falls"]
    capped = f"  n is capped at {best['cap_n']}, where true quality is highest"
    if best["cap_n"] < best["n"][-1]:
        capped += f"; at n = {best['n'][-1]} it is {interval(falls['quality'], falls['ci95'], signed=True)} from there"
    return "\n".join([*lines, capped])


def interval(value: float | None, ci95: list[float] | None, *, percent: bool = False, signed: bool = False) -> str:
    """Format a figure with its interval."""
    if value is None:
        return "not known"
    form = ("+" if signed else "") + (".1%" if percent else ".4f")
    in_brackets = "" if ci95 is None else f" ({ci95[0]:{form}} to {ci95[1]:{form}})"
    return f"{value:{form}}{in_brackets}"


def number(value: float | None) -> str:
    """Format a figure that may be missing."""
    return "not known" if value is None else f"{value:.3f}"


def _cell(point: Mapping[str, Any], *, signed: bool = False) -> str:
    return interval(point["quality"], point["ci95"], signed=signed)
