"""OpenAI's batch files: inputs and outputs, joined by ``custom_id`` wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bestroute.records.logs.logged_call import LoggedCall, first, moment
from bestroute.records.logs.openai_bodies import call_of_bodies


def fits(row: Mapping[str, Any]) -> bool:
    """Whether a row is a line of a batch's input or output."""
    return "custom_id" in row and ("body" in row or "response" in row or "error" in row)


def joined(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one row for each ``custom_id``, its input and its output together, as soon as both are there."""
    pairs: dict[str, dict[str, Any]] = {}
    for row in rows:
        pair = pairs.setdefault(str(row.get("custom_id")), {"custom_id": row.get("custom_id")})
        pair |= {name: row[name] for name in ("body", "response", "error") if row.get(name) is not None}
        if "body" in pair and "response" in pair:
            yield pairs.pop(str(row.get("custom_id")))
    yield from pairs.values()


def call_of(row: Mapping[str, Any]) -> LoggedCall | None:
    """Return the call of a joined row; an output whose input is not among the files asks nothing that is known."""
    reply = first(row, "response.body")
    id_ = row.get("custom_id")
    return call_of_bodies(
        row.get("body"), reply, id=id_ if isinstance(id_, str) else None, at=moment(first(reply, "created"))
    )
