"""Between LangChain's messages and the core: what a query is, what the reward reads, what a bill says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from pydantic import PrivateAttr

from bestroute.engine.result import Result
from bestroute.selection import Call, render_calls
from bestroute.types.query import Query
from bestroute.types.sample import Sample
from bestroute.types.usage import IMAGE_TOKENS, Usage, estimate_tokens, is_count
from langchain_bestroute.portability import METADATA_KEY, writer_of
from langchain_bestroute.structured import WANTED

IMAGES = ("image", "image_url", "input_image")
"""Types of blocks that are images."""
_OF_OPENAI = {"cache_read": "cached_tokens", "audio": "audio_tokens", "reasoning": "reasoning_tokens"}
"""What OpenAI calls LangChain's details of a usage."""
_CACHE_WRITES = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
"""Where ``langchain-anthropic`` tells the second or the third, the first is 0."""


def to_query(messages: Sequence[BaseMessage], params: Mapping[str, Any]) -> Query:
    """Return the query that messages hold: the last human text decides, the size of all of them counts."""
    humans = [m for m in messages if isinstance(m, HumanMessage)]
    return Query(
        text=humans[-1].text if humans else "",
        messages=messages,
        tools=params.get("tools"),
        system="\n\n".join(m.text for m in messages if isinstance(m, SystemMessage)),
        input_tokens=sum(estimate_tokens(reward_text(m)) + _tokens_of_images(m) for m in messages) + _tokens_of(params),
        params=params,
    )


def _tokens_of(params: Mapping[str, Any]) -> int:
    """Count what stands in the prompt besides the messages: tools and schemas."""
    written = [json.dumps(params[name], default=str) for name in ("tools", WANTED) if params.get(name)]
    return sum(map(estimate_tokens, written))


def _tokens_of_images(message: BaseMessage) -> int:
    blocks = message.content if isinstance(message.content, list) else []
    return IMAGE_TOKENS * sum(isinstance(block, Mapping) and block.get("type") in IMAGES for block in blocks)


def reward_text(message: BaseMessage) -> str:
    """Return what a reward model reads: the text, and tool calls written out."""
    if not isinstance(message, AIMessage) or not message.tool_calls:
        return message.text
    rendered = render_calls(Call(call["name"], call["args"]) for call in message.tool_calls)
    return f"{message.text}\n{rendered}" if message.text else rendered


def usage_of(message: BaseMessage) -> Usage | None:
    """Read a message's usage; ``None`` if the provider told none, or nothing that makes sense."""
    told = getattr(message, "usage_metadata", None)
    if told is None:
        return None
    input_details, output_details = told.get("input_token_details") or {}, told.get("output_token_details") or {}
    counts = [
        told.get("input_tokens"),
        told.get("output_tokens"),
        _detail(input_details, "cache_read"),
        _detail(input_details, *_CACHE_WRITES),
        _detail(output_details, "reasoning"),
    ]
    if not all(map(is_count, counts)):
        return None
    prompt, output, cached, written, reasoning = counts
    cached = min(cached, prompt)
    return Usage(prompt, output, cached, min(written, prompt - cached), min(reasoning, output))


def _detail(told: Mapping[str, Any], *names: str) -> int | None:
    """Sum what is told under some names, also with a service tier before them (``priority_cache_read``)."""
    counts = [count or 0 for key, count in told.items() if any(key == n or key.endswith(f"_{n}") for n in names)]
    return sum(counts) if all(map(is_count, counts)) else None


def as_usage_metadata(usage: Usage) -> UsageMetadata:
    """Write a usage the way LangChain does."""
    told = UsageMetadata(input_tokens=usage.input, output_tokens=usage.output, total_tokens=usage.total)
    if usage.cached_input or usage.cache_write:
        told["input_token_details"] = {"cache_read": usage.cached_input, "cache_creation": usage.cache_write}
    if usage.reasoning:
        told["output_token_details"] = {"reasoning": usage.reasoning}
    return told


class CutOff(AIMessage):
    """A reply that was cut off at its limit of length, as it stands in the error that the member raised for it."""

    _error: BaseException = PrivateAttr()

    @classmethod
    def of(cls, sample: Sample, error: BaseException) -> CutOff:
        """Make it from the sample that stands for the error."""
        message = cls(content=sample.text, response_metadata={"finish_reason": sample.finish_reason})
        if sample.usage is not None:
            message.usage_metadata = as_usage_metadata(sample.usage)
        message._error = error
        return message

    @property
    def error(self) -> BaseException:
        """What the member raised."""
        return self._error


def summed_usage(result: Result) -> UsageMetadata:
    """Say what all samples together were billed, with the providers' own details where they add up to it."""
    told = [getattr(s.sample.payload, "usage_metadata", None) for s in result.samples]
    total: UsageMetadata | None = None
    if not result.usage.estimated and all(s.error is None for s in result.samples):
        for usage in filter(None, told):
            total = usage if total is None else add_usage(total, usage)
    billed = as_usage_metadata(result.usage)
    counts = ("input_tokens", "output_tokens")
    return total if total is not None and all(total.get(c) == billed.get(c) for c in counts) else billed


def winner(result: Result, model_name: str) -> AIMessage:
    """Return the chosen sample's message with the bill of all samples and how it came about."""
    message = result.payload if isinstance(result.payload, AIMessage) else AIMessage(result.text)
    about = {"model_name": model_name, **message.response_metadata, METADATA_KEY: result.to_dict()}
    told = summed_usage(result)
    if len(result.samples) > 1 and "token_usage" in about:
        about["token_usage"] = token_usage(told)
    return message.model_copy(update={"usage_metadata": told, "response_metadata": about})


def token_usage(told: UsageMetadata) -> dict[str, Any]:
    """Say a usage in the words of OpenAI, where older callbacks look for it."""
    usage: dict[str, Any] = {
        "prompt_tokens": told["input_tokens"],
        "completion_tokens": told["output_tokens"],
        "total_tokens": told["total_tokens"],
    }
    for part, details in (("prompt", "input_token_details"), ("completion", "output_token_details")):
        counts: Mapping[str, Any] = told.get(details) or {}  # type: ignore[assignment]
        if named := {_OF_OPENAI[key]: count for key, count in counts.items() if key in _OF_OPENAI}:
            usage[f"{part}_tokens_details"] = named
    return usage


def summed_counts(told: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add token usages, name by name.

    Example:
        >>> summed_counts([{"total": 3, "details": {"audio": 1}}, {"total": 4, "details": {"audio": 2}}])
        {'total': 7, 'details': {'audio': 3}}
    """
    total: dict[str, Any] = {}
    for usage in told:
        for name, count in usage.items():
            so_far = total.get(name)
            if isinstance(count, Mapping):
                total[name] = summed_counts([so_far or {}, count])
            else:
                total[name] = (so_far or 0) + (count or 0)
    return total


def turn_owner(messages: Sequence[BaseMessage]) -> str | None:
    """Return the pool name of the model whose tool calls the last messages answer, if they do.

    Read from the messages alone, so that it survives checkpoints and other processes.
    """
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            return writer_of(message) if message.tool_calls else None
        if not isinstance(message, ToolMessage):
            return None
    return None
