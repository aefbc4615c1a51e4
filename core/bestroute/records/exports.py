"""Recognise files that are not JSON Lines of ours, so that error messages can name their format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MAGIC = (
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "a zip archive (an Excel sheet is one, too)"),
    (b"\x1f\x8b", "gzipped although its name does not end in .gz; rename it"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"%PDF", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "an old Excel sheet"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
_WORDS = ("null", "true", "false", "NaN", "Infinity")
_EXPORTS: tuple[tuple[str, tuple[frozenset[str], ...]], ...] = (
    (
        "a LangSmith export ('inputs', 'outputs')",
        (frozenset({"inputs", "outputs"}), frozenset({"inputs", "run_type"})),
    ),
    (
        "a Langfuse export",
        (
            frozenset({"input", "usageDetails"}),
            frozenset({"input", "traceId"}),
            frozenset({"input", "output", "totalCost"}),
            frozenset({"input", "expectedOutput"}),
        ),
    ),
    ("an OpenAI batch input ('custom_id', 'body')", (frozenset({"custom_id", "body"}),)),
    ("an OpenAI batch output ('custom_id', 'response')", (frozenset({"custom_id", "response"}),)),
    ("a Helicone export", (frozenset({"request_body"}), frozenset({"request", "response"}))),
    (
        "a Phoenix export of spans",
        (frozenset({"context.span_id"}), frozenset({"span_kind"}), frozenset({"attributes.input.value"})),
    ),
    ("OpenTelemetry spans", (frozenset({"resourceSpans"}), frozenset({"trace_id", "span_id"}))),
    ("a ShareGPT file ('conversations')", (frozenset({"conversations"}),)),
    ("an Alpaca file ('instruction')", (frozenset({"instruction"}),)),
    ("chat messages ('messages'), as for fine-tuning", (frozenset({"messages"}),)),
    ("questions under 'question'", (frozenset({"question"}),)),
    ("texts under 'input'", (frozenset({"input"}),)),
    ("texts under 'text'", (frozenset({"text"}),)),
)
"""Names of export formats by keys of their lines; the first match counts."""


def export_named(line: Mapping[str, Any]) -> str | None:
    """Return the tool that an object without a query was probably exported from; ``None`` if unknown.

    Example:
        >>> export_named({"custom_id": "r-1", "body": {}})
        "an OpenAI batch input ('custom_id', 'body')"
    """
    return next((name for name, marks in _EXPORTS if any(mark <= line.keys() for mark in marks)), None)


def file_kind(raw: bytes) -> str | None:
    r"""Return the format of a file that is not JSON Lines; ``None`` if it may be, or is unknown.

    Example:
        >>> file_kind(b"id,query\n1,hello\n")
        'CSV (its first line is id,query)'
    """
    for magic, name in _MAGIC:
        if raw.startswith(magic):
            return name
    if b"\0" in raw[:1000]:
        return "a binary file"
    text = raw[:100_000].decode("utf-8", "replace").strip()
    first = text.partition("\n")[0].strip()
    if text.startswith("["):
        return _array_kind(raw)
    if first == "{":
        return "one JSON object over several lines, or several such objects"
    if first.startswith(("- ", "---")):
        return "YAML"
    if first.startswith("<"):
        return "XML or HTML"
    for separator, name in (("\t", "TSV"), (",", "CSV"), (";", "CSV with semicolons")):
        if separator in first and not first.startswith("{"):
            return f"{name} (its first line is {first if len(first) <= 60 else first[:57] + '...'})"
    return "plain text" if first[:1].isalpha() and not first.startswith(_WORDS) else None


def _array_kind(raw: bytes) -> str:
    """Describe a JSON array, with the probable origin of its first object."""
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError):
        return "a JSON array, or begins like one"
    first = values[0] if isinstance(values, list) and values else None
    export = export_named(first) if isinstance(first, dict) and not {"query", "prompt"} & first.keys() else None
    return "a JSON array" + (f", {export}" if export else "")
