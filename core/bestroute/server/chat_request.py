"""Convert a chat completion request to a query, call options and parameters that are passed on unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bestroute.server.api_errors import RequestError
from bestroute.server.tool_turns import unmarked
from bestroute.types.content import content_tokens, text_of
from bestroute.types.query import Query
from bestroute.types.settings import check_amount
from bestroute.types.usage import estimate_tokens

_MOST_CHOICES = 128
_OWN = ("model", "messages", "tools", "stream", "bestroute")
"""Fields of a request that are ours, or are represented in the query."""
OPTIONS = ("session", "tags", "max_samples", "max_cost_usd", "deadline_s", "wave", "allow", "run_id")
"""Options of the engine's call allowed in a request's field ``bestroute``."""


@dataclass(frozen=True, eq=False)
class ChatRequest:
    """A parsed request."""

    model: str
    """The name of a policy, or of a member."""
    query: Query
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the engine's call."""
    choices: int = 1
    """Number of choices requested."""
    streams: bool = False
    wants_usage: bool = False
    """Whether a stream ends with the usage."""
    mark: str | None = None
    """Mark of the member whose tool calls the last message answers."""


def read_chat(body: Mapping[str, Any]) -> ChatRequest:
    """Parse the body of a chat completion request; fields that only concern the member are left to it.

    Raises:
        RequestError: Status 400, naming the field.
    """
    messages, tools = body.get("messages"), body.get("tools")
    if not isinstance(messages, list) or not messages or not all(map(_has_role, messages)):
        raise RequestError(400, "messages must be a list of objects with a role, at least one", param="messages")
    streams = _flag(body, "stream")
    stream_options = body.get("stream_options") or {}
    if not isinstance(stream_options, Mapping):
        raise RequestError(400, "stream_options must be an object", param="stream_options")
    plain, mark = unmarked(messages)
    takes_tools = isinstance(tools, list) and bool(tools)
    params = {name: value for name, value in body.items() if name not in _OWN}
    if "tools" in body and not takes_tools:
        params["tools"] = tools  # validated by the member
    return ChatRequest(
        model=read_model(body),
        query=chat_query(plain, tools if takes_tools else None, params),
        options=read_options(body),
        choices=_choices(body),
        streams=streams,
        wants_usage=streams and stream_options.get("include_usage") is True,
        mark=mark,
    )


def read_model(body: Mapping[str, Any]) -> str:
    """Return the model name of a request.

    Raises:
        RequestError: If it is not a name.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RequestError(400, "model must be the name of a policy or a member; /v1/models lists them", param="model")
    return model


def read_options(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the engine's call in a request's field ``bestroute``.

    Raises:
        RequestError: If it is not an object, or has other fields.
    """
    given = body.get("bestroute")
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not set(given) <= set(OPTIONS):
        raise RequestError(400, f"bestroute must be an object of {', '.join(OPTIONS)}", param="bestroute")
    if given.get("allow") is not None and not isinstance(given["allow"], list):
        raise RequestError(400, "bestroute.allow must be a list of members", param="bestroute")
    for name, unit in (("max_cost_usd", "USD"), ("deadline_s", "seconds")):
        if given.get(name) is not None:
            check_amount(given[name], f"bestroute.{name}", unit)
    tags = given.get("tags")
    if tags is not None and not (isinstance(tags, Mapping) and all(isinstance(value, str) for value in tags.values())):
        raise RequestError(400, "bestroute.tags must be an object of texts", param="bestroute")
    return {name: value for name, value in given.items() if value is not None}


def chat_query(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None, params: Mapping[str, Any]) -> Query:
    """Return the query of chat messages: its text is the user's last one, its length that of all messages.

    Where a query's own text and system prompt are the whole prompt its length is left to them, as in
    ``Query(text, system=...)``.
    """
    users = [message for message in messages if message.get("role") == "user"]
    systems = [text_of(m.get("content")) for m in messages if m.get("role") in ("system", "developer")]
    content = users[-1].get("content") if users else None
    written = [json.dumps(value, default=str) for value in (tools, params.get("response_format")) if value]
    is_whole = len(users) == 1 and len(systems) + 1 == len(messages) and isinstance(content, str) and not written
    tokens = sum(map(_tokens_of, messages)) + sum(map(estimate_tokens, written))
    return Query(
        text=text_of(content),
        messages=messages,
        tools=tools,
        system="\n\n".join(systems),
        input_tokens=None if is_whole else tokens,
        params=params,
    )


def _tokens_of(message: Mapping[str, Any]) -> int:
    content, calls = message.get("content"), message.get("tool_calls")
    rendered = json.dumps(calls, default=str) if calls else ""
    if not isinstance(content, list):
        return estimate_tokens(text_of(content) + rendered)
    return content_tokens(content) + (estimate_tokens(rendered) if rendered else 0)


def _choices(body: Mapping[str, Any]) -> int:
    n = body.get("n")
    if n is None:
        return 1
    if type(n) is not int or not 1 <= n <= _MOST_CHOICES:
        raise RequestError(400, f"n must be a whole number in 1..{_MOST_CHOICES}, got {n!r:.50}", param="n")
    return n


def _has_role(message: Any) -> bool:
    return isinstance(message, Mapping) and isinstance(message.get("role"), str)


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise RequestError(400, f"{name} must be true or false, got {value!r:.50}", param=name)
    return bool(value)
