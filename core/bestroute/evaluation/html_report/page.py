"""Render the page as one self-contained HTML file: all text is escaped, and no other script can run."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib import resources

from bestroute.evaluation.html_report.blocks import Block, Chart, Page, Section, Table, Text
from bestroute.evaluation.html_report.svg import COLOURS, svg

_IN_SCRIPT = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def plotting_script() -> str | None:
    """Return the plotting library's script from its installed package; ``None`` if not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        return None
    return str(get_plotlyjs())


def html(page: Page, *, script: str | None = None) -> str:
    """Render the page.

    Args:
        page: The content; its texts are untrusted.
        script: The plotting library's (``plotting_script``); without it charts are static.

    Example:
        >>> "<b>" in html(Page("<b>", "", (), ()))
        False
    """
    scripts = [*([script] if script else []), _resource("page.js")]
    hashes = " ".join(f"'sha256-{_hash(each)}'" for each in scripts)
    rules = (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {hashes}; base-uri 'none'; "
    )
    figures = "".join(
        f"<div><dt>{escape(f.name)}</dt><dd>{escape(f.value)}</dd>"
        + (f'<dd class="quiet">{escape(f.note)}</dd>' if f.note else "")
        + "</div>"
        for f in page.figures
    )
    links = "".join(f'<li><a href="#part-{i}">{escape(s.title)}</a></li>' for i, s in enumerate(page.sections))
    sections = "".join(_section(section, i) for i, section in enumerate(page.sections))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{rules}form-action \'none\'">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}</title>\n<style>{_resource('page.css')}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">To the content</a>\n'
        f'<header><h1>{escape(page.title)}</h1><p class="quiet">{escape(page.subtitle)}</p>'
        f'<nav aria-label="Parts of this page"><ul>{links}</ul></nav></header>\n'
        f'<main id="content"><dl class="figures">{figures}</dl>\n{sections}</main>\n'
        "<footer><p>Made by BestRoute. This page fetches nothing and sends nothing.</p></footer>\n"
        + "".join(f"<script>{each}</script>\n" for each in scripts)
        + "</body>\n</html>\n"
    )


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _section(section: Section, number: int) -> str:
    blocks = "".join(_block(block, f"part-{number}-{i}") for i, block in enumerate(section.blocks))
    name = f"part-{number}"
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(section.title)}</h2>{blocks}</section>\n'


def _block(block: Block, name: str) -> str:
    if isinstance(block, Text):
        if block.is_list:
            return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in block.lines)}</ul>"
        return "".join(f"<p>{escape(line)}</p>" for line in block.lines)
    return _chart(block) if isinstance(block, Chart) else _table(block)


def _table(table: Table) -> str:
    if not table.rows:
        return f'<p class="quiet">{escape(table.caption)}: nothing to show.</p>'
    first_right = len(table.columns) - table.words_right

    def is_word(column: int) -> bool:
        return column < table.words or column >= first_right

    head = "".join(
        f'<th scope="col"{"" if is_word(i) else " class=number"}>{escape(c)}</th>' for i, c in enumerate(table.columns)
    )
    rows = []
    for r, row in enumerate(table.rows):
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        for i, cell in enumerate(row[1:], 1):
            if is_word(i):
                cells.append(f'<td class="word{" long" if i >= first_right else ""}">{escape(cell)}</td>')
            elif i == table.words and table.shares:
                share = max(0.0, min(1.0, table.shares[r]))
                cells.append(f'<td class="number share" style="--share:{100 * share:.1f}%">{escape(cell)}</td>')
            else:
                cells.append(f'<td class="number">{escape(cell)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    label = escape(table.caption, quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>'
        f"<caption><span>{escape(table.caption)}</span></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _chart(chart: Chart) -> str:
    if not any(series.x for series in chart.series):
        return f'<p class="quiet">{escape(chart.title)}: nothing to show.</p>'
    key = "".join(
        f'<li><span class="swatch" style="background:var(--series-{i % COLOURS + 1})"></span>{escape(s.name)}</li>'
        for i, s in enumerate(chart.series)
    )
    title = escape(chart.title)
    return (
        f'<figure class="chart"><figcaption>{title}</figcaption><ul class="key">{key}</ul>'
        f'<div class="still scroll" tabindex="0" role="region" aria-label="{title}">{svg(chart)}'
        f'</div><script type="application/json">{_data(chart)}</script></figure>'
        f"<details><summary>{title}: the numbers</summary>{_table(chart.table())}</details>"
    )


def _data(chart: Chart) -> str:
    """Return the chart as JSON that cannot end the script; text that the library renders as HTML is escaped."""
    data = {
        "title": chart.title,
        "x_title": escape(chart.x_title),
        "y_title": escape(chart.y_title),
        "x_percent": chart.x_percent,
        "y_percent": chart.y_percent,
        "words": chart.words is not None,
        "series": [
            {
                "name": escape(s.name),
                "label": s.name,
                "kind": s.kind,
                "x": [escape(x) if isinstance(x, str) else x for x in s.x],
                "y": s.y,
                "low": s.low,
                "high": s.high,
                "labels": [escape(label) for label in s.labels],
            }
            for s in chart.series
        ],
    }
    return json.dumps(data, allow_nan=False).translate(_IN_SCRIPT)
