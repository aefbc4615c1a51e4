"""The content of a page as data: figures, tables and charts, independent of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["line", "points", "bars"]
X = float | str


@dataclass(frozen=True)
class KeyFigure:
    """A figure shown large at the top."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Text:
    """One or several paragraphs."""

    lines: tuple[str, ...]
    is_list: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells, as text."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    """Number of columns from the left with text; the others have numbers."""
    shares: tuple[float, ...] = ()
    """A value in [0, 1] per row: the length of a bar behind its first number."""
    words_right: int = 0
    """Number of columns from the right with text."""


@dataclass(frozen=True)
class DataSeries:
    """A series of points in a chart."""

    name: str
    x: tuple[X, ...]
    y: tuple[float, ...]
    kind: Kind = "line"
    low: tuple[float, ...] = ()
    """Lower ends of the points' intervals, or empty."""
    high: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    """Labels of the points, shown on hover."""


@dataclass(frozen=True)
class Chart:
    """Series over an axis of numbers or of categories; bars of the same category are stacked."""

    title: str
    x_title: str
    y_title: str
    series: tuple[DataSeries, ...]
    y_percent: bool = False
    x_percent: bool = False

    @property
    def words(self) -> list[str] | None:
        """The categories of the axis, in order; ``None`` for an axis of numbers."""
        xs = [x for series in self.series for x in series.x]
        return list(dict.fromkeys(map(str, xs))) if any(isinstance(x, str) for x in xs) else None

    def table(self) -> Table:
        """Return every point as a row."""
        has_ends = any(series.low for series in self.series)
        has_labels = any(series.labels for series in self.series)
        columns = ("series", *(["point"] if has_labels else []), self.x_title, self.y_title)
        ends = ("from", "to") if has_ends else ()
        rows = []
        for series in self.series:
            for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
                cells = [series.name, *([series.labels[i] if series.labels else ""] if has_labels else [])]
                cells.append(x if isinstance(x, str) else shown(x, percent=self.x_percent))
                cells.append(shown(y, percent=self.y_percent))
                if has_ends:
                    pair = (series.low[i], series.high[i]) if series.low else None
                    cells += ["", ""] if pair is None else [shown(each, percent=self.y_percent) for each in pair]
                rows.append(tuple(cells))
        is_of_words = self.words is not None
        return Table(f"{self.title}: the points", (*columns, *ends), tuple(rows), 1 + has_labels + is_of_words)


Block = Text | Table | Chart


@dataclass(frozen=True)
class Section:
    """A section of the page with a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """The content of the page."""

    title: str
    subtitle: str
    figures: tuple[KeyFigure, ...]
    sections: tuple[Section, ...]


def shown(number: float | None, *, percent: bool = False) -> str:
    """Format a number with four digits.

    Example:
        >>> shown(0.123456), shown(0.5, percent=True), shown(1234567.0), shown(None)
        ('0.1235', '50 %', '1,234,567', 'unknown')
    """
    if number is None:
        return "unknown"
    if percent:
        return f"{100 * number:.3g} %" if abs(number) < 9.995 else f"{100 * number:,.0f} %"
    return f"{number:,.0f}" if abs(number) >= 10_000 or number == round(number) else f"{number:.4g}"


def usd(number: float | None) -> str:
    """Format dollars: cents for large amounts, more digits for small ones.

    Example:
        >>> usd(1234.5), usd(0.00012345), usd(0.0)
        ('$1,234.50', '$0.0001234', '$0.00')
    """
    if number is None:
        return "unknown"
    sign, size = ("-" if number < 0 else ""), abs(number)
    if size == 0 or size >= 1:
        return f"{sign}${size:,.2f}"
    return f"{sign}${size:.4g}" if size >= 1e-4 else f"{sign}${size:.3e}" if size < 1e-6 else f"{sign}${size:.7f}"


def interval(ends: Sequence[float] | None) -> str:
    """Format the ends of an interval of shares.

    Example:
        >>> interval((0.1, 0.25)), interval(None)
        ('10 % to 25 %', 'no interval')
    """
    return "no interval" if ends is None else f"{shown(ends[0], percent=True)} to {shown(ends[1], percent=True)}"
