"""Phoenix's spans with OpenInference attributes: nested objects, or a column per attribute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bestroute.records.logs.logged_call import LoggedCall, first, items, logged_call, moment, number, text, tokens
from bestroute.records.logs.openai_bodies import tools_of
from bestroute.records.logs.otel import attributes_of, numbered
from bestroute.records.logs.turns import decoded


def fits(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a span with OpenInference attributes."""
    span = attributes_of(row)
    names = ("openinference.span.kind", "llm.model_name", "llm.input_messages", "input.value")
    return "span_kind" in row or any(first(span, name) is not None for name in names) or _numbered(span)


def call_of(row: Mapping[str, Any]) -> LoggedCall | None:
    """Return the call of a span; ``None`` if it is not a model's."""
    span = attributes_of(row)
    kind = first(row, "span_kind") or first(span, "openinference.span.kind")
    if isinstance(kind, str) and kind.upper() != "LLM":
        return None
    prompt = decoded(first(span, "llm.input_messages")) or numbered(span, "llm.input_messages")
    answered = decoded(first(span, "llm.output_messages")) or numbered(span, "llm.output_messages")
    parameters = decoded(first(span, "llm.invocation_parameters"))
    tools = items(decoded(first(span, "llm.tools"))) or numbered(span, "llm.tools")
    schemas = [decoded(first(tool, "tool.json_schema", "json_schema")) for tool in tools]
    output = first(span, "output.value")
    return logged_call(
        prompt or first(span, "input.value"),
        answered or ({"role": "assistant", "content": output} if isinstance(output, str) else output),
        id=text(first(row, "context.span_id", "span_id", "spanId", "id")),
        model=text(first(span, "llm.model_name") or first(parameters, "model")),
        input_tokens=tokens(first(span, "llm.token_count.prompt")),
        output_tokens=tokens(first(span, "llm.token_count.completion")),
        cost_usd=number(first(span, "llm.cost.total")),
        at=moment(first(row, "start_time", "startTime", "startTimeUnixNano")),
        session=text(
            first(span, "session.id") or first(row, "context.trace_id", "trace_id", "traceId"),
        ),
        tools=tools_of(schemas or first(parameters, "tools")),
        task=text(first(row, "name")) or "",
    )


def _numbered(span: Mapping[str, Any]) -> bool:
    return any(name.startswith("llm.input_messages.") for name in span)
