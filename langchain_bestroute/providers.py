"""What the classes of some providers do their own way, where LangChain has no common word for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

_FINISH_REASONS = ("finish_reason", "stop_reason", "done_reason")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
_OLLAMA_CALL = frozenset(
    {"tools", "format", "response_format", "reasoning", "logprobs", "top_logprobs", "keep_alive", "options", "strict"}
)
"""What Ollama's client takes in a call; anything else is a field of the model."""
_OLLAMA_FIELDS = {"max_tokens": "num_predict", "max_completion_tokens": "num_predict"}
_OLLAMA_CANNOT = frozenset({"tool_choice", "parallel_tool_calls", "stream_usage"})


def finish_reason(message: BaseMessage, info: Mapping[str, Any] | None = None) -> str | None:
    """Return why a reply ended, in the provider's own word, wherever it says so."""
    told = {**message.response_metadata, **(info or {})}
    if not told:
        return None
    if isinstance(details := told.get("incomplete_details"), Mapping):
        return details.get("reason")  # the Responses API
    return next((str(told[name]) for name in _FINISH_REASONS if told.get(name)), None)


def model_name(member: BaseChatModel) -> str:
    """Return the provider's name of a member's model, as far as the member tells."""
    told = (getattr(member, name) for name in _names_of_model(type(member)))
    return next((value for value in told if isinstance(value, str) and value), type(member).__name__)


@lru_cache(maxsize=256)
def _names_of_model(kind: type[BaseChatModel]) -> tuple[str, ...]:
    """Return where a class tells the model's name; asking an instance for what it lacks is slow."""
    return tuple(n for n in ("model_name", "model", "model_id") if n in kind.model_fields or hasattr(kind, n))


def token_limit(member: BaseChatModel) -> int | None:
    """Return the most tokens of one reply that a member's settings allow; ``None`` if they say nothing."""
    told = [getattr(member, name) for name in _LIMITS if name in type(member).model_fields]
    return next((limit for limit in told if isinstance(limit, int) and limit > 0), None)


def enforces_classes(member: BaseChatModel) -> bool:
    """Whether a member has the schema of a pydantic class enforced: OpenAI's, and what asks in the same way."""
    return type(member).with_structured_output.__module__.startswith("langchain_openai.")


def provider_of(member: BaseChatModel) -> str:
    """Return LangChain's name of a member's provider."""
    return str(member._get_ls_params().get("ls_provider", ""))


def base_url(member: BaseChatModel) -> str | None:
    """Return where a member is reached, as far as it tells."""
    told = getattr(getattr(member, "root_client", None), "base_url", None)
    for name in ("openai_api_base", "anthropic_api_url", "base_url"):
        told = told or getattr(member, name, None)
    return None if told is None else str(told)


def can_sample_natively(member: BaseChatModel) -> bool:
    """Whether one call can return several choices: the member has a field ``n``, and an API that takes it."""
    has_n = "n" in type(member).model_fields and member._llm_type != "groq-chat"
    return has_n and not uses_responses_api(member, {})


def uses_responses_api(member: BaseChatModel, kwargs: Mapping[str, Any]) -> bool:
    """Whether a call goes to OpenAI's Responses API, which knows no ``n``; some tools and names switch to it."""
    decide = getattr(member, "_use_responses_api", None)
    return bool(decide(dict(kwargs))) if callable(decide) else False


def adapt_call(
    member: BaseChatModel, stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool
) -> tuple[BaseChatModel, list[str] | None, dict[str, Any]]:
    """Return member, stop and arguments of a call as the member's class takes them.

    Ollama's client knows no ``temperature`` or ``max_tokens``: they are fields of the model, so that a copy of it is
    asked. ``stream_usage`` is an argument of streams of chat completions alone; there it is switched on, because
    without it OpenAI's API tells no usage.
    """
    known = type(member).model_fields
    if member._llm_type == "chat-ollama":
        fields = {_OLLAMA_FIELDS.get(name, name): v for name, v in kwargs.items() if name not in _OLLAMA_CALL}
        if stop is not None:
            fields["stop"] = stop
        changed = {name: value for name, value in fields.items() if name in known}
        rest = {n: v for n, v in kwargs.items() if n in _OLLAMA_CALL or _OLLAMA_FIELDS.get(n, n) not in known}
        taken = {name: value for name, value in rest.items() if name not in _OLLAMA_CANNOT}
        return (member.model_copy(update=changed) if changed else member), None, taken
    if not stream or "stream_usage" not in known or uses_responses_api(member, kwargs):
        kwargs.pop("stream_usage", None)
    elif "stream_usage" not in member.model_fields_set:
        kwargs.setdefault("stream_usage", True)
    return member, stop, kwargs
