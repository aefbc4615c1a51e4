"""OpenAI API requests with replies, one pair per line, and conversations for fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bestroute.records.logs.logged_call import LoggedCall, first, moment, text
from bestroute.records.logs.openai_bodies import call_of_bodies
from bestroute.records.logs.turns import decoded


def fits(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a request's body, alone or with its reply."""
    request = decoded(first(row, "request.body", "request", "body"))
    if isinstance(request, Mapping) and ("messages" in request or "input" in request):
        return True
    return isinstance(decoded(row.get("messages")), list) or ("input" in row and isinstance(row.get("output"), list))


def call_of(row: Mapping[str, Any]) -> LoggedCall | None:
    """Return the call of a row."""
    request = first(row, "request.body", "request", "body")
    reply = first(row, "response.body", "response", "completion", "reply")
    if not isinstance(decoded(request), Mapping):
        request, reply = row, reply or (row if "choices" in row or isinstance(row.get("output"), list) else None)
    at = first(row, "created_at", "timestamp", "time", "created") or first(decoded(reply), "created", "created_at")
    return call_of_bodies(
        request,
        reply,
        url=first(row, "url", "path", "endpoint"),
        id=text(first(row, "id", "request_id") or first(decoded(reply), "id")),
        at=moment(at),
        session=text(first(row, "session_id", "conversation_id", "user")),
        task=text(first(row, "task")) or "",
    )
