"""LiteLLM's logging payloads, and its proxy's spend logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bestroute.records.logs.logged_call import LoggedCall, first, moment, number, text, tokens
from bestroute.records.logs.openai_bodies import call_of_bodies
from bestroute.records.logs.turns import decoded

_CHATS = (
    "completion",
    "acompletion",
    "responses",
    "aresponses",
    "anthropic_messages",
    "text_completion",
    "atext_completion",
)


def fits(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a LiteLLM payload."""
    marks = ("call_type", "response_cost", "spend", "model_group", "standard_logging_object")
    return any(mark in row for mark in marks) and ("messages" in row or "proxy_server_request" in row)


def call_of(row: Mapping[str, Any]) -> LoggedCall | None:
    """Return the call of a row; ``None`` for embeddings, images and the like."""
    row = first(row, "standard_logging_object") or row
    kind = first(row, "call_type")
    if isinstance(kind, str) and kind not in _CHATS:
        return None
    sent, params = decoded(row.get("proxy_server_request")), decoded(row.get("model_parameters"))
    request = {**(params if isinstance(params, Mapping) else {}), **(sent if isinstance(sent, Mapping) else {})}
    if messages := decoded(row.get("messages")):
        request["messages"] = messages
    is_failed = str(first(row, "status")).lower() == "failure"
    return call_of_bodies(
        request,
        None if is_failed else row.get("response"),
        id=text(first(row, "request_id", "id", "litellm_call_id")),
        model=text(first(row, "model", "model_group")),
        input_tokens=tokens(first(row, "prompt_tokens")),
        output_tokens=tokens(first(row, "completion_tokens")),
        cost_usd=number(first(row, "response_cost", "spend")),
        at=moment(first(row, "startTime", "start_time")),
        session=text(first(row, "session_id", "trace_id", "end_user")),
    )
