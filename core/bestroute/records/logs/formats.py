"""The log formats that can be read, and how a row's format is recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bestroute.records.logs import (
    columns,
    helicone,
    langfuse,
    langsmith,
    litellm,
    openai_batch,
    openai_logs,
    otel,
    phoenix,
)
from bestroute.records.logs.logged_call import LoggedCall

Row = Mapping[str, Any]


@dataclass(frozen=True)
class LogFormat:
    """How rows of one tool are recognised and read."""

    name: str
    what: str
    fits: Callable[[Row], bool]
    call_of: Callable[[Row], LoggedCall | None]
    opened: Callable[[Row], Iterable[Row]] = lambda row: (row,)
    """Splits a row that has several rows inside."""
    joined: Callable[[Iterable[Row]], Iterable[Row]] | None = None
    """Joins rows that belong to one call."""


FORMATS: Mapping[str, LogFormat] = {
    one.name: one
    for one in (
        LogFormat(
            "openai-batch",
            "OpenAI's batch files, inputs and outputs together",
            openai_batch.fits,
            openai_batch.call_of,
            joined=openai_batch.joined,
        ),
        LogFormat("litellm", "LiteLLM's logging payloads and spend logs", litellm.fits, litellm.call_of),
        LogFormat("helicone", "Helicone's requests with their bodies", helicone.fits, helicone.call_of),
        LogFormat("langsmith", "LangSmith's runs", langsmith.fits, langsmith.call_of),
        LogFormat("otel", "OpenTelemetry's spans with GenAI names", otel.fits, otel.call_of, otel.opened),
        LogFormat("phoenix", "Phoenix's spans with OpenInference's names", phoenix.fits, phoenix.call_of),
        LogFormat("langfuse", "Langfuse's observations or traces", langfuse.fits, langfuse.call_of, langfuse.opened),
        LogFormat(
            "openai-logs", "requests and replies of OpenAI's API, or chats", openai_logs.fits, openai_logs.call_of
        ),
    )
}
"""In the order in which they are tried; the most distinctive come first."""
TABLES = ("jsonl", "csv", "parquet")
"""Users' own rows, whose columns are read by name."""


def names() -> tuple[str, ...]:
    """Return the allowed values of ``--from``."""
    return (*FORMATS, *TABLES)


def recognised(row: Row) -> str | None:
    """Return the name of a row's format; ``None`` if unknown.

    Example:
        >>> recognised({"custom_id": "1", "body": {}}), recognised({"question": "Why?"}), recognised({"a": 1})
        ('openai-batch', 'jsonl', None)
    """
    for one in FORMATS.values():
        if one.fits(row):
            return one.name
    return "jsonl" if columns.fits(row) else None


def calls_of(rows: Iterable[Row], name: str, chosen: Mapping[str, str]) -> Iterator[LoggedCall | None]:
    """Yield the call of each row of a format; ``None`` for a row that is not a model call or has no query."""
    if name in TABLES:
        yield from columns.calls_of(rows, chosen)
        return
    one = FORMATS[name]
    opened = (inner for row in rows for inner in one.opened(row))
    for row in one.joined(opened) if one.joined else opened:
        yield one.call_of(row)
