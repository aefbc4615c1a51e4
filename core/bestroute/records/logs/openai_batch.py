"""OpenAI's batch files: inputs and outputs in any order and file, joined by ``custom_id``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bestroute.errors import RecordError
from bestroute.records.logs.logged_call import LoggedCall, first, moment
from bestroute.records.logs.openai_bodies import call_of_bodies

_TWICE = (
    "the batches have 'custom_id' {!r} more than once, with different contents, so which answer is whose cannot be "
    "known; import each batch's input and output by a command of its own, or give its output right behind its input"
)


def fits(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a line of a batch's input or output."""
    return "custom_id" in row and ("body" in row or "response" in row or "error" in row)


def joined(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one row for each ``custom_id``, with its input and output, once both are read.

    Raises:
        RecordError: If an id has two inputs or two outputs, so that pairs are ambiguous.
    """
    pairs: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.get("custom_id") is None:
            yield dict(row)
            continue
        pair = pairs.setdefault(str(row.get("custom_id")), {"custom_id": row.get("custom_id")})
        for name in ("url", "body", "response", "error"):
            if row.get(name) is None:
                continue
            if name in pair and pair[name] != row[name]:
                raise RecordError(_TWICE.format(row["custom_id"]))
            pair[name] = row[name]
        if "body" in pair and ("response" in pair or "error" in pair):
            yield pairs.pop(str(row.get("custom_id")))
    yield from pairs.values()


def call_of(row: Mapping[str, Any]) -> LoggedCall | None:
    """Return the call of a joined row; ``None`` if its input is missing."""
    reply = first(row, "response.body")
    id_ = row.get("custom_id")
    return call_of_bodies(
        row.get("body"),
        reply,
        url=row.get("url"),
        id=id_ if isinstance(id_, str) else None,
        at=moment(first(reply, "created")),
    )
