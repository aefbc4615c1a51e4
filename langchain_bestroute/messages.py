"""Between LangChain's messages and the core: what a query is, what the reward reads, what a bill says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata, add_usage

from bestroute.query import Query
from bestroute.result import Result
from bestroute.usage import Usage, estimate_tokens

METADATA_KEY = "bestroute"


def to_query(messages: Sequence[BaseMessage], params: Mapping[str, Any]) -> Query:
    """Return the query that messages hold: the last human text decides, the size of all of them counts."""
    humans = [m for m in messages if isinstance(m, HumanMessage)]
    return Query(
        text=humans[-1].text if humans else "",
        messages=messages,
        tools=params.get("tools"),
        system="\n\n".join(m.text for m in messages if isinstance(m, SystemMessage)),
        input_tokens=sum(estimate_tokens(reward_text(m)) for m in messages),
        params=params,
    )


def reward_text(message: BaseMessage) -> str:
    """Return what a reward model reads: the text, and tool calls written out."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    rendered = [f"{c['name']}({json.dumps(c['args'], sort_keys=True, default=str)})" for c in calls]
    return "\n".join(part for part in (message.text, *rendered) if part)


def usage_of(message: BaseMessage) -> Usage | None:
    """Read a message's usage; ``None`` if the provider told none."""
    told = getattr(message, "usage_metadata", None)
    if told is None:
        return None
    input_details, output_details = told.get("input_token_details", {}), told.get("output_token_details", {})
    counts = [
        told["input_tokens"],
        told["output_tokens"],
        input_details.get("cache_read") or 0,
        input_details.get("cache_creation") or 0,
        output_details.get("reasoning") or 0,
    ]
    return None if min(counts) < 0 else Usage(*counts)


def as_usage_metadata(usage: Usage) -> UsageMetadata:
    """Write a usage the way LangChain does."""
    told = UsageMetadata(input_tokens=usage.input, output_tokens=usage.output, total_tokens=usage.total)
    if usage.cached_input or usage.cache_write:
        told["input_token_details"] = {"cache_read": usage.cached_input, "cache_creation": usage.cache_write}
    if usage.reasoning:
        told["output_token_details"] = {"reasoning": usage.reasoning}
    return told


def summed_usage(messages: Iterable[BaseMessage]) -> UsageMetadata | None:
    """Add what all samples were billed; ``None`` if no provider told anything."""
    total: UsageMetadata | None = None
    for message in messages:
        told = getattr(message, "usage_metadata", None)
        if told is not None:
            total = told if total is None else add_usage(total, told)
    return total


def winner(result: Result, model_name: str) -> AIMessage:
    """Return the chosen sample's message with the bill of all samples and how it came about."""
    message = result.payload if isinstance(result.payload, AIMessage) else AIMessage(result.text)
    payloads = [s.sample.payload for s in result.samples if isinstance(s.sample.payload, BaseMessage)]
    return message.model_copy(
        update={
            "usage_metadata": summed_usage(payloads) if payloads else as_usage_metadata(result.usage),
            "response_metadata": {
                "model_name": model_name,
                **message.response_metadata,
                METADATA_KEY: result.to_dict(),
            },
        }
    )


def turn_owner(messages: Sequence[BaseMessage]) -> str | None:
    """Return the pool name of the model whose tool calls the last messages answer, if they do.

    Read from the messages alone, so that it survives checkpoints and other processes.
    """
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            told = message.response_metadata.get(METADATA_KEY)
            return told.get("model") if message.tool_calls and isinstance(told, dict) else None
        if not isinstance(message, ToolMessage):
            return None
    return None
