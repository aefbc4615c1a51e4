"""The plot of a report: quality kept against cost saved, relative to the reference.

Lines differ in their dashes and points in their shapes, so that it can be read in grey; colours are those that
Okabe and Ito chose for the colour-blind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bestroute._utils.extras import to_install

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "0.45"
_BASELINES = {
    "best_route": ("best route (the paper's)", ORANGE, (0, (6, 2))),
    "n_label": ("n label", GREEN, (0, (1, 1))),
    "kmeans_tfidf": ("k-means", PURPLE, (0, (6, 2, 1, 2))),
}
"""Baselines in the plot: label, colour and dashes."""
_WIDE, _HIGH = 8.0, 4.0
"""Points closer than this, in % of cost and quality, share a label."""
_LEFT = -30.0
"""Plans that cost this much more than the reference, in %, are not drawn."""

Point = tuple[float, float]


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Draw fixed choices, both hulls, the router's curve with its interval, baselines, the oracle.

    Raises:
        ImportError: If matplotlib is not installed; says what to install.
    """
    figure, axes, pyplot = canvas()
    reference = report["reference"]

    def at(points: Iterable[Mapping[str, Any]]) -> list[Point]:
        return sorted(_place(p["cost_usd"], p["quality"], reference) for p in points)

    axes.plot(*_columns(at(report["arms"])), "o", color=GREY, ms=4, mfc="white", label="fixed model and n")
    axes.plot(*_columns(at(report["hull_candidates"])), ":", color=GREY, lw=1.2, label="hull of these")
    axes.plot(*_columns(at(report["hull_plans"])), "-", color="black", lw=1.2, label="hull of fixed plans")
    for name, (label, color, dashes) in _BASELINES.items():
        if report["baselines"][name]["curve"]:
            axes.plot(*_columns(at(report["baselines"][name]["curve"])), ls=dashes, color=color, lw=1.2, label=label)
    curve = at(report["curve"])
    known = sorted((p for p in report["curve"] if p["drop_ci95"]), key=lambda p: -p["cost_usd"])
    axes.fill_between(
        [100 * (1 - p["cost_usd"] / reference["cost_usd"]) for p in known],
        [100 * (1 - p["drop_ci95"][1]) for p in known],
        [100 * (1 - p["drop_ci95"][0]) for p in known],
        color=BLUE,
        alpha=0.18,
        lw=0,
        label="95 % interval",
    )
    axes.plot(*_columns(curve), "-", color=BLUE, lw=2.5, label="this router")
    frozen = at(report["frozen"].values())
    axes.plot(*_columns(frozen), "^", color=BLUE, mec="black", ms=7, label="frozen for a drop")
    axes.plot(0, 100, "*", color="black", ms=13)
    points = [*curve, *at(report["hull_plans"])]
    names = [((0.0, 100.0), "the reference")]
    if report["oracle"]["quality"] is not None:
        oracle = _place(report["oracle"]["cost_usd"], report["oracle"]["quality"], reference)
        axes.plot(*oracle, "D", color="black", ms=5)
        names.append((oracle, "oracle, a bound"))
        points.append(oracle)
    hull = set(at(report["hull_candidates"]))
    for arm in report["arms"]:
        place = _place(arm["cost_usd"], arm["quality"], reference)
        if place in hull and max(abs(place[0]), abs(place[1] - 100)) > 0.01:
            names.append((place, f"{arm['model']} x {arm['n']}"))
    for target, point in report["frozen"].items():
        names.append((_place(point["cost_usd"], point["quality"], reference), f"{100 * float(target):g}"))
    shown = [(x, y) for x, y in points if x >= _LEFT]
    low, high = min(y for _, y in shown), max(y for _, y in shown)
    axes.set_xlim(min(-18, max(_LEFT, min(x for x, _ in shown) - 3)), 100)
    axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    _write_names(axes, names, frozen)
    axes.set_xlabel("saved of the reference's cost, %")
    axes.set_ylabel("kept of the reference's quality, %")
    axes.set_title(f"{report['queries']} queries of {report['groups']} groups", fontsize=11)
    axes.legend(fontsize=7.5, loc="lower left", framealpha=0.9)
    axes.grid(alpha=0.25)
    save(figure, path)
    pyplot.close(figure)


def canvas() -> tuple[Any, Any, Any]:
    """Return a figure, its axes and pyplot.

    Raises:
        ImportError: If matplotlib is not installed; says what to install.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(f"the plot needs matplotlib: {to_install('plots')}") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return *pyplot.subplots(figsize=(9, 5.5), layout="constrained"), pyplot


def save(figure: Any, path: Path) -> None:
    """Write a figure as a PNG with a small palette, less than a third of the usual size."""
    from PIL import Image  # matplotlib brings it

    figure.savefig(path, dpi=120)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def grouped(names: Sequence[tuple[Point, str]], *, wide: float = _WIDE, high: float = _HIGH) -> list[tuple[Point, str]]:
    """Merge the labels of points that are close together, from left to right, so that none overlap.

    Example:
        >>> grouped([((10, 99), "0"), ((12, 99), "1"), ((13, 99), "2"), ((60, 80), "3")])
        [((10, 99), '0 to 2'), ((60, 80), '3')]
    """
    found: list[tuple[Point, list[str]]] = []
    for (x, y), name in sorted(names):
        near = next((g for g in found if abs(g[0][0] - x) < wide and abs(g[0][1] - y) < high), None)
        if near is None:
            found.append(((x, y), [name]))
        else:
            near[1].append(name)
    return [(at, f"{few[0]} to {few[-1]}" if len(few) > 2 else ", ".join(few)) for at, few in found]


def _place(cost_usd: float, quality: float, reference: Mapping[str, float]) -> Point:
    return 100 * (1 - cost_usd / reference["cost_usd"]), 100 * quality / reference["quality"]


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _write_names(axes: Any, names: Sequence[tuple[Point, str]], frozen: Sequence[Point]) -> None:
    """Write drops above frozen points, the reference's name beside its point, and other names below theirs."""
    marks = set(frozen)
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    tall = _HIGH * (high - low) / 100
    paper = {"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 0.5}

    def write(at: Point, name: str, by: Point, ha: str, **options: Any) -> None:
        axes.annotate(name, at, by, textcoords="offset points", fontsize=7.5, ha=ha, bbox=paper, **options)

    drops = [named for named in names if named[0] in marks and not named[1][0].isalpha()]
    for at, name in grouped(sorted(drops, key=lambda named: (named[0][0], float(named[1]))), high=2 * tall):
        write(at, f"{name} %", (6, 8), "left", color=BLUE, weight="bold")
    others = [(at, name) for at, name in names if (at, name) not in drops and left <= at[0] <= right and at[1] >= low]
    for at, name in grouped(others, wide=0.5, high=tall):
        is_left = at[0] > right - 25 or max(abs(at[0]), abs(at[1] - 100)) < 0.01
        write(at, name, (-8 if is_left else 6, -13), "right" if is_left else "left")
