"""Render a chart as a static SVG, for printing and for browsers without scripts."""

from __future__ import annotations

import math
from html import escape

from bestroute.evaluation.html_report.blocks import Chart, DataSeries, shown

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 52
_MOST_WORDS = 8
COLOURS = 8
"""Number of series colours, defined by the CSS variables ``--series-1`` and so on."""


def svg(chart: Chart) -> str:
    """Return the chart as an SVG element; its colours are the page's.

    Example:
        >>> svg(Chart("empty", "x", "y", ()))[:4]
        '<svg'
    """
    words = chart.words
    axes = _Axes(chart, words)
    drawn = [*axes.drawn()]
    stacked: dict[float, float] = {}
    for i, series in enumerate(chart.series):
        drawn += _series(series, f"var(--series-{i % COLOURS + 1})", axes, stacked)
    label = escape(f"{chart.title}: {chart.y_title} by {chart.x_title}", quote=True)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(drawn)}</svg>'
    )


class _Axes:
    """Positions of points, and the lines and numbers of both axes."""

    def __init__(self, chart: Chart, words: list[str] | None) -> None:
        self.chart, self.words = chart, words
        self.place = {word: float(i) for i, word in enumerate(words or ())}
        xs = [self.x_of(x) for s in chart.series for x in s.x]
        self.x_range = (-0.5, len(words) - 0.5) if words else _range(xs)
        ys = [y for s in chart.series if s.kind != "bars" for y in (*s.y, *s.low, *s.high)]
        totals: dict[float, float] = {}
        for s in chart.series:
            for x, y in zip(s.x, s.y, strict=True) if s.kind == "bars" else ():
                totals[self.x_of(x)] = totals.get(self.x_of(x), 0.0) + y
        self.y_range = _range([*ys, *totals.values(), *([0.0] if totals else [])])

    def x_of(self, x: float | str) -> float:
        return float(x) if self.words is None else self.place[str(x)]

    def left(self, x: float) -> float:
        low, high = self.x_range
        return round(_LEFT + (x - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def top(self, y: float) -> float:
        low, high = self.y_range
        return round(_HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    def drawn(self) -> list[str]:
        chart, bottom = self.chart, _HEIGHT - _BOTTOM
        made = []
        for y in ticks(*self.y_range):
            at = self.top(y)
            made.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
            made.append(f'<text x="{_LEFT - 6}" y="{at + 4}" text-anchor="end">{_tick(y, chart.y_percent)}</text>')
        if self.words is None:
            marks = [(x, _tick(x, chart.x_percent)) for x in ticks(*self.x_range)]
        else:
            step = max(1, math.ceil(len(self.words) / _MOST_WORDS))
            marks = [(float(i), _short(self.words[i])) for i in range(0, len(self.words), step)]
        made += [f'<text x="{self.left(x)}" y="{bottom + 18}" text-anchor="middle">{text}</text>' for x, text in marks]
        middle = (_LEFT + _WIDTH) / 2
        made.append(f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(chart.x_title)}</text>')
        return made


def _series(series: DataSeries, colour: str, axes: _Axes, stacked: dict[float, float]) -> list[str]:
    points = [(axes.x_of(x), y) for x, y in zip(series.x, series.y, strict=True)]
    if series.kind == "bars":
        wide = 0.7 * (axes.left(1.0) - axes.left(0.0))
        made = []
        for x, y in points:
            low = stacked.get(x, 0.0)
            stacked[x] = low + y
            top, bottom = axes.top(max(low, low + y)), axes.top(min(low, low + y))
            made.append(
                f'<rect x="{axes.left(x) - wide / 2:.1f}" y="{top}" width="{wide:.1f}" height="{bottom - top:.1f}" '
                f'fill="{colour}"/>'
            )
        return made
    made = []
    if series.low and series.kind == "line":
        upper = [f"{axes.left(x)},{axes.top(h)}" for (x, _), h in zip(points, series.high, strict=True)]
        lower = [f"{axes.left(x)},{axes.top(w)}" for (x, _), w in zip(points, series.low, strict=True)]
        made.append(f'<polygon points="{" ".join([*upper, *lower[::-1]])}" fill="{colour}" opacity="0.15"/>')
    elif series.low:
        for (x, _), low, high in zip(points, series.low, series.high, strict=True):
            made.append(
                f'<line x1="{axes.left(x)}" x2="{axes.left(x)}" y1="{axes.top(low)}" y2="{axes.top(high)}" '
                f'stroke="{colour}" stroke-width="1.5"/>'
            )
    if series.kind == "line":
        way = " ".join(f"{axes.left(x)},{axes.top(y)}" for x, y in points)
        made.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
    else:
        made += [f'<circle cx="{axes.left(x)}" cy="{axes.top(y)}" r="4" fill="{colour}"/>' for x, y in points]
    return made


def _range(values: list[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return (low if low == 0 else low - margin), high + margin


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers within a range.

    Example:
        >>> ticks(0.0, 1.05)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(step * i, digits) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _tick(value: float, percent: bool) -> str:
    return shown(value, percent=percent)


def _short(text: str) -> str:
    return escape(text if len(text) <= 12 else f"{text[:11]}…")
