"""OpenTelemetry spans with GenAI attributes: OTLP's JSON, or one span per object.

Contents are read from the span's messages, from its events, or from OpenLLMetry's numbered attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bestroute.records.logs.logged_call import LoggedCall, first, items, logged_call, moment, number, text, tokens
from bestroute.records.logs.openai_bodies import tools_of
from bestroute.records.logs.turns import decoded, turns_of

_CHATS = ("chat", "text_completion", "generate_content")
_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


def fits(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a span of a model, or an OTLP request with spans."""
    if "resourceSpans" in row or "resource_spans" in row:
        return True
    return any(name.startswith("gen_ai.") for name in attributes_of(row))


def opened(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the spans of an OTLP request, or the row itself."""
    resources = first(row, "resourceSpans", "resource_spans")
    if not isinstance(resources, list):
        yield row
        return
    for resource in resources:
        for scope in items(first(resource, "scopeSpans", "scope_spans", "instrumentationLibrarySpans")):
            yield from (span for span in items(first(scope, "spans")) if isinstance(span, Mapping))


def call_of(row: Mapping[str, Any]) -> LoggedCall | None:
    """Return the call of a span; ``None`` for a span of another kind, or without contents."""
    span = attributes_of(row)
    operation = span.get("gen_ai.operation.name")
    if operation is not None and operation not in _CHATS:
        return None
    prompt, answered = _contents(span, row)
    return logged_call(
        prompt,
        answered,
        id=text(first(row, "spanId", "span_id", "context.span_id")),
        model=text(first(span, "gen_ai.response.model", "gen_ai.request.model")),
        input_tokens=tokens(first(span, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")),
        output_tokens=tokens(first(span, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")),
        cost_usd=number(first(span, "gen_ai.usage.cost", "operation.cost")),
        at=moment(first(row, "startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime")),
        session=text(
            first(span, "gen_ai.conversation.id", "session.id") or first(row, "traceId", "trace_id", "context.trace_id")
        ),
        tools=tools_of(
            first(span, "gen_ai.tool.definitions", "llm.request.functions") or numbered(span, "llm.request.functions")
        ),
    )


def attributes_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a span's attributes by name, from OTLP's key-value pairs or an object."""
    attributes = decoded(row.get("attributes"))
    if isinstance(attributes, list):
        return {str(one.get("key")): _value(one.get("value")) for one in attributes if isinstance(one, Mapping)}
    own = dict(attributes) if isinstance(attributes, Mapping) else {}
    for name, value in row.items():  # a table has a column for each
        if name.startswith("attributes."):
            own.setdefault(name.removeprefix("attributes."), value)
        elif name.startswith("gen_ai."):
            own.setdefault(name, value)
    return own


def _value(value: Any) -> Any:
    """Convert an OTLP JSON value to plain JSON."""
    if not isinstance(value, Mapping):
        return value
    if isinstance(value.get("arrayValue"), Mapping):
        return [_value(one) for one in items(value["arrayValue"].get("values"))]
    if isinstance(value.get("kvlistValue"), Mapping):
        pairs = items(value["kvlistValue"].get("values"))
        return {str(one.get("key")): _value(one.get("value")) for one in pairs if isinstance(one, Mapping)}
    return next(iter(value.values()), None)


def _contents(span: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return prompt and answer, from wherever the span has them."""
    span = {**_details(row), **span}
    if prompt := items(decoded(first(span, "gen_ai.input.messages"))):
        instructions = decoded(first(span, "gen_ai.system_instructions"))
        instructions = [instructions] if isinstance(instructions, str) else instructions
        system = {"role": "system", "parts": instructions} if isinstance(instructions, list) else None
        return turns_of([*([system] if system else []), *prompt]), decoded(first(span, "gen_ai.output.messages"))
    if numbered(span, "gen_ai.prompt"):
        prompt = [_opened(turn) for turn in numbered(span, "gen_ai.prompt")]
        return prompt, numbered(span, "gen_ai.completion")
    return _of_events(items(first(row, "events")))


def _details(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of the details event, for spans whose contents are stored there."""
    events = [event for event in items(first(row, "events")) if isinstance(event, Mapping)]
    return {
        name: value
        for event in events
        if event.get("name") == "gen_ai.client.inference.operation.details"
        for name, value in attributes_of(event).items()
    }


def _opened(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn with its content parsed, if that is the JSON of its parts."""
    inner = decoded(turn.get("content"))
    if isinstance(inner, list) and inner and all(isinstance(one, Mapping) and "type" in one for one in inner):
        return {**turn, "content": inner}
    return turn


def _of_events(events: list[Any]) -> tuple[list[Any], list[Any]]:
    prompt: list[Any] = []
    answered: list[Any] = []
    for event in (event for event in events if isinstance(event, Mapping)):
        name, own = str(event.get("name")), attributes_of(event) or first(event, "body") or {}
        if name in _EVENTS:
            prompt.append({"role": _EVENTS[name], **{key.removeprefix("gen_ai."): own[key] for key in own}})
        elif name == "gen_ai.choice":
            answered.append(decoded(first(own, "message")) or {"role": "assistant", "content": first(own, "content")})
        elif name in ("gen_ai.content.prompt", "gen_ai.content.completion"):
            turns = turns_of(first(own, "gen_ai.prompt", "gen_ai.completion"))
            (prompt if name.endswith("prompt") else answered).extend(turns)
    return prompt, [one if isinstance(one, Mapping) else {"role": "assistant", "content": one} for one in answered]


def numbered(span: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Return objects whose fields are stored under a prefix, a number and a name.

    Example:
        >>> numbered({"p.0.role": "user", "p.0.content": "hi"}, "p")
        [{'role': 'user', 'content': 'hi'}]
    """
    tree: dict[int, dict[str, Any]] = {}
    for name, value in span.items():
        place, _, inner = name.removeprefix(prefix + ".").partition(".")
        if name.startswith(prefix + ".") and place.isdigit() and inner:
            _put(tree.setdefault(int(place), {}), inner.split("."), value)
    return [_lists(tree[place]) for place in sorted(tree)]


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = tree.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        tree = inner
    tree[path[-1]] = value


def _lists(value: Any) -> Any:
    """Convert objects whose keys are numbers to lists."""
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(part) for key, part in value.items()}
    return [inner[key] for key in sorted(inner, key=int)] if inner and all(map(str.isdigit, inner)) else inner
