"""Langfuse's observations and traces, as exported by its API, its interface or its blob storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bestroute.records.logs.logged_call import LoggedCall, first, logged_call, moment, number, text, tokens
from bestroute.records.logs.openai_bodies import own_answer, tools_of
from bestroute.records.logs.turns import decoded


def fits(row: Mapping[str, Any]) -> bool:
    """Return whether a row is an observation or a trace."""
    marks = ("traceId", "trace_id", "usageDetails", "usage_details", "totalCost", "total_cost", "observations")
    return "input" in row and ("output" in row or "type" in row) and any(mark in row for mark in marks)


def opened(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the generations inside a trace, or the row itself if it has none."""
    inner = decoded(row.get("observations"))
    generations = [one for one in inner if _is_generation(one)] if isinstance(inner, list) else []
    if not generations:
        yield row
    for one in generations:
        yield {"sessionId": row.get("sessionId"), "tags": row.get("tags"), **one}


def call_of(row: Mapping[str, Any]) -> LoggedCall | None:
    """Return the call of a generation, or of a trace without observations; ``None`` for spans and events."""
    if not _is_generation(row):
        return None
    prompt, offered = _without_tools(decoded(row.get("input")))
    usage = first(row, "usageDetails", "usage_details", "usage")
    usage = decoded(usage)
    answered = None if str(row.get("level")).upper() == "ERROR" else own_answer(row.get("output"))
    return logged_call(
        prompt,
        answered,
        id=text(first(row, "id")),
        model=text(first(row, "model", "providedModelName", "provided_model_name", "modelName")),
        input_tokens=_counted(usage, "input")
        or tokens(first(usage, "input", "prompt_tokens", "promptTokens") or first(row, "inputUsage", "promptTokens")),
        output_tokens=_counted(usage, "output")
        or tokens(
            first(usage, "output", "completion_tokens", "completionTokens")
            or first(row, "outputUsage", "completionTokens")
        ),
        cost_usd=number(
            first(decoded(first(row, "costDetails", "cost_details")), "total")
            or first(row, "totalCost", "total_cost", "calculatedTotalCost")
        ),
        at=moment(first(row, "startTime", "start_time", "timestamp")),
        session=text(first(row, "sessionId", "session_id") or first(row, "traceId", "trace_id")),
        tools=tools_of(offered or first(prompt, "tools") or first(decoded(row.get("modelParameters")), "tools")),
        task=text(first(row, "name")) or "",
    )


def _without_tools(prompt: Any) -> tuple[Any, list[Any]]:
    """Separate the tools, which Langfuse's handler for LangChain logs as tool turns after the others."""
    if not isinstance(prompt, list):
        return prompt, []
    offered = [turn for turn in prompt if _is_offer(turn)]
    return [turn for turn in prompt if not _is_offer(turn)], [turn["content"] for turn in offered]


def _is_offer(turn: Any) -> bool:
    if not isinstance(turn, Mapping) or turn.get("role") != "tool" or turn.get("tool_call_id"):
        return False
    tool = turn.get("content")
    names = ("function.name", "input_schema", "parameters")
    return isinstance(tool, Mapping) and first(tool, *names) is not None


def _counted(usage: Any, side: str) -> int | None:
    """Return the sum of a side's token counts, since Langfuse counts cached and reasoning tokens separately."""
    if not isinstance(usage, Mapping) or usage.get(side) is None:
        return None
    names = [name for name in usage if side in name.lower() and "cost" not in name.lower()]
    return sum(tokens(usage[name]) or 0 for name in names)


def _is_generation(row: Any) -> bool:
    """Return whether an observation is a generation, or a trace (which has no type)."""
    kind = row.get("type") if isinstance(row, Mapping) else "none"
    return str(kind or "GENERATION").upper() == "GENERATION"
