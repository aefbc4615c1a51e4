"""Helicone's exported requests with their bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bestroute.records.logs.logged_call import LoggedCall, first, moment, number, text, tokens
from bestroute.records.logs.openai_bodies import call_of_bodies
from bestroute.records.logs.turns import decoded


def fits(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a Helicone request."""
    return "request_body" in row or "request_created_at" in row or "helicone_id" in row


def call_of(row: Mapping[str, Any]) -> LoggedCall | None:
    """Return the call of a request; ``None`` if its body was not exported."""
    status = tokens(first(row, "response_status"))
    reply = None if status is not None and status >= 400 else first(row, "response_body", "response")
    properties = decoded(first(row, "request_properties", "properties"))
    return call_of_bodies(
        first(row, "request_body", "request"),
        reply,
        url=first(row, "request_path", "path"),
        id=text(first(row, "request_id", "helicone_id", "response_id")),
        model=text(first(row, "response_model", "model", "request_model", "model_override")),
        input_tokens=tokens(first(row, "prompt_tokens")),
        output_tokens=tokens(first(row, "completion_tokens")),
        cost_usd=number(first(row, "cost_usd", "costUSD", "cost")),
        at=moment(first(row, "request_created_at", "created_at")),
        session=text(first(properties, "Helicone-Session-Id") or first(row, "session_id")),
        task=text(first(properties, "task", "Helicone-Session-Name")) or "",
    )
