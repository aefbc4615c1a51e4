"""Attribute names of OpenTelemetry's GenAI conventions, by version; attributes that a version lacks are not sent."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bestroute._utils.text import brief
from bestroute.errors import ConfigError, named

_COMMON = {
    "operation": "gen_ai.operation.name",
    "provider": "gen_ai.provider.name",
    "workflow": "gen_ai.agent.name",
    "conversation": "gen_ai.conversation.id",
    "request_model": "gen_ai.request.model",
    "response_model": "gen_ai.response.model",
    "choices": "gen_ai.request.choice.count",
    "finish_reasons": "gen_ai.response.finish_reasons",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "input_messages": "gen_ai.input.messages",
    "output_messages": "gen_ai.output.messages",
    "token_type": "gen_ai.token.type",
    "evaluation_event": "gen_ai.evaluation.result",
    "evaluation_name": "gen_ai.evaluation.name",
    "evaluation_score": "gen_ai.evaluation.score.value",
    "token_metric": "gen_ai.client.token.usage",
    "duration_metric": "gen_ai.client.operation.duration",
    "workflow_duration_metric": "gen_ai.invoke_agent.duration",
    "error": "error.type",
}
_LATER = ("conversation", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "input_messages")
_OLD_LACKS = (*_LATER, "output_messages", "evaluation_event", "workflow", "workflow_duration_metric")

VERSIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "1.36": {**{k: v for k, v in _COMMON.items() if k not in _OLD_LACKS}, "provider": "gen_ai.system"},
        "1.41": {
            **{k: v for k, v in _COMMON.items() if k != "workflow_duration_metric"},
            "workflow": "gen_ai.workflow.name",
        },
        "genai-0.1": _COMMON,
    }
)
"""Versions of the conventions: 1.36 is what most back ends support, 1.41 the last before they got their own
repository."""
NEWEST = "genai-0.1"


def names_of(version: str | None) -> Mapping[str, str]:
    """Return the names of a version.

    Raises:
        ConfigError: If it is unknown.

    Example:
        >>> names_of("1.36")["provider"], names_of(None)["provider"]
        ('gen_ai.system', 'gen_ai.provider.name')
    """
    if (found := VERSIONS.get(version or NEWEST)) is None:
        raise ConfigError(f"version must be one of {named(VERSIONS)}, got {brief(version)}")
    return found
