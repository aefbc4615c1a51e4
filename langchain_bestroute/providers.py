"""What the classes of some providers do their own way, where LangChain has no common word for it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from bestroute.faults.refusals import is_reasoning_model

CACHE_MARK = "cache_control"
_KNOWING_CACHE_MARKS = frozenset({"langchain_anthropic", "langchain_aws", "langchain_google_vertexai"})
"""Packages whose classes take Anthropic's marks of what is to be cached as an argument of a call."""
_FINISH_REASONS = ("finish_reason", "stop_reason", "done_reason", "stopReason")
_TELLING_THEIR_END = frozenset(
    {"langchain_openai", "langchain_anthropic", "langchain_google_genai", "langchain_aws", "langchain_mistralai"}
    | {"langchain_groq", "langchain_fireworks", "langchain_openrouter", "langchain_ollama", "langchain_cohere"}
    | {"langchain_perplexity", "langchain_huggingface", "langchain_litellm", "langchain_deepseek", "langchain_xai"}
    | {"langchain_together"}
)
"""Packages whose streams say why they ended."""
FOR_TRACES = frozenset({"lc_gateway_metadata"})
"""What LangChain notes of a generation for traces, and keeps out of its message."""
_REASONING = ("reasoning_effort", "reasoning", "thinking")
"""Fields by which a model is told to reason."""
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
_OLLAMA_CALL = frozenset(
    {"tools", "format", "response_format", "reasoning", "logprobs", "top_logprobs", "keep_alive", "options", "strict"}
)
"""What Ollama's client takes in a call; anything else is a field of the model."""
_OLLAMA_FIELDS = {"max_tokens": "num_predict", "max_completion_tokens": "num_predict"}
_OLLAMA_CANNOT = frozenset({"tool_choice", "parallel_tool_calls", "stream_usage"})


def finish_reason(message: BaseMessage) -> str | None:
    """Return why a reply ended, in the provider's own word, wherever it says so."""
    metadata: Mapping[str, Any] = message.response_metadata
    if not metadata:
        return None
    if isinstance(details := metadata.get("incomplete_details"), (dict, Mapping)):  # the Responses API
        metadata = {"finish_reason": details.get("reason")}
    reason = next((str(metadata[name]) for name in _FINISH_REASONS if metadata.get(name)), None)
    return "completed" if reason is None and metadata.get("status") == "completed" else reason


def tells_its_end(member: BaseChatModel) -> bool:
    """Whether a stream without a finish reason is one that was cut off: such classes tell one in every whole stream.

    A class that is made of one of them, and streams in a way of its own, need not.
    """
    methods = (getattr(type(member), name) for name in ("_stream", "_astream"))
    packages = {method.__module__.partition(".")[0] for method in methods} - {"langchain_core"}
    return bool(packages) and packages <= _TELLING_THEIR_END


def model_name(member: BaseChatModel) -> str:
    """Return the provider's name of a member's model, as far as the member tells."""
    for attribute in _names_of_model(type(member)):
        name = getattr(member, attribute)
        if isinstance(name, str) and name:
            return name
    return type(member).__name__


@lru_cache(maxsize=256)
def _names_of_model(kind: type[BaseChatModel]) -> tuple[str, ...]:
    """Return where a class tells the model's name; asking an instance for what it lacks is slow."""
    return tuple(n for n in ("model_name", "model", "model_id") if n in kind.model_fields or hasattr(kind, n))


def token_limit(member: BaseChatModel) -> int | None:
    """Return the most tokens of one reply that a member's settings allow; ``None`` if they say nothing."""
    limits = [getattr(member, name) for name in _LIMITS if name in type(member).model_fields]
    return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)


def is_of_openai(member: BaseChatModel) -> bool:
    """Whether a member is one of LangChain's classes for OpenAI, or made of one."""
    return any(kind.__module__.startswith("langchain_openai.") for kind in type(member).__mro__)


def validates_objects(member: BaseChatModel) -> bool:
    """Whether a member reads the object of a class by its client, which raises pydantic's own error."""
    return type(member).with_structured_output.__module__.startswith("langchain_openai.")


def provider_of(member: BaseChatModel) -> str:
    """Return LangChain's name of a member's provider."""
    return str(member._get_ls_params().get("ls_provider", ""))


def base_url(member: BaseChatModel) -> str | None:
    """Return where a member is reached, as far as it tells."""
    url = getattr(getattr(member, "root_client", None), "base_url", None)
    for name in ("openai_api_base", "anthropic_api_url", "base_url"):
        url = url or getattr(member, name, None)
    return None if url is None else str(url)


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
    asked. ``stream_usage`` is an argument of streams of chat completions alone, and only where the class takes it. A
    class that leaves it to the server (OpenAI's, at an address that is not OpenAI's) is told to ask for the usage.
    Cohere's client is told in the call to send it once; no field of its class says so. A class that calls its limit of
    length ``max_output_tokens`` (Google's) takes no other name in a call.
    """
    if "max_tokens" in kwargs and _calls_limit_output(type(member)):
        limit = kwargs.pop("max_tokens")
        kwargs.setdefault("max_output_tokens", limit)
    kind = member._llm_type
    if kind == "cohere-chat":
        kwargs["request_options"] = {**(kwargs.get("request_options") or {}), "max_retries": 0}
    if kind == "chat-ollama":
        known = type(member).model_fields
        fields = {_OLLAMA_FIELDS.get(name, name): v for name, v in kwargs.items() if name not in _OLLAMA_CALL}
        if stop is not None:
            fields["stop"] = stop
        changed = {name: value for name, value in fields.items() if name in known}
        rest = {n: v for n, v in kwargs.items() if n in _OLLAMA_CALL or _OLLAMA_FIELDS.get(n, n) not in known}
        taken = {name: value for name, value in rest.items() if name not in _OLLAMA_CANNOT}
        return (member.model_copy(update=changed) if changed else member), None, taken
    if not stream or not takes_stream_usage(type(member)) or uses_responses_api(member, kwargs):
        kwargs.pop("stream_usage", None)
    elif _is_silent_of_usage(member, kwargs):
        kwargs["stream_options"] = {"include_usage": True}
    return member, stop, kwargs


def _calls_limit_output(kind: type[BaseChatModel]) -> bool:
    return "max_output_tokens" in kind.model_fields and "max_tokens" not in kind.model_fields


def without_cache_marks(
    member: BaseChatModel, messages: list[BaseMessage], kwargs: dict[str, Any]
) -> tuple[list[BaseMessage], dict[str, Any]]:
    """Return messages and arguments of a call without Anthropic's marks, where the member's class does not know them.

    Only where the call itself is marked, as Anthropic's middleware marks it: then it was made for members of theirs.
    """
    if CACHE_MARK not in kwargs or any(_is_of(member, package) for package in _KNOWING_CACHE_MARKS):
        return messages, kwargs
    return list(map(_unmarked, messages)), {name: value for name, value in kwargs.items() if name != CACHE_MARK}


def _unmarked(message: BaseMessage) -> BaseMessage:
    blocks = message.content
    if not isinstance(blocks, list) or not any(isinstance(block, dict) and CACHE_MARK in block for block in blocks):
        return message
    plain = [{k: v for k, v in b.items() if k != CACHE_MARK} if isinstance(b, dict) else b for b in blocks]
    return message.model_copy(update={"content": plain})


def _is_silent_of_usage(member: BaseChatModel, kwargs: Mapping[str, Any]) -> bool:
    """Whether nobody has said if a stream is to tell its usage: neither the call nor the user nor the class."""
    own = getattr(member, "model_kwargs", None) or {}
    is_in_call = "stream_usage" in kwargs or "stream_options" in kwargs or "stream_options" in own
    is_set = "stream_usage" in member.model_fields_set or getattr(member, "stream_usage", None)
    return not (is_in_call or is_set)


def option_names(member: BaseChatModel, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options under every name that the member's class may send them by; some send a limit by the newer one."""
    body = options.get("extra_body") or {}
    names = {**options, **(body if isinstance(body, Mapping) else {})}
    if is_of_openai(member) and "max_tokens" in options:
        names["max_completion_tokens"] = options["max_tokens"]
    return names


def with_limit_name(member: BaseChatModel, kwargs: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return a call's arguments with ``max_tokens`` where a server knows no newer name of it.

    OpenAI's class sends the limit by the newer name whatever it is called; only ``extra_body`` goes as it is.
    """
    if renamed.get("max_completion_tokens") != "max_tokens" or not is_of_openai(member) or "max_tokens" not in kwargs:
        return kwargs
    body = {**(kwargs.get("extra_body") or {}), "max_tokens": kwargs["max_tokens"]}
    return {**{name: value for name, value in kwargs.items() if name != "max_tokens"}, "extra_body": body}


def takes_logprobs(member: BaseChatModel, kwargs: Mapping[str, Any]) -> bool:
    """Whether a member may be asked for log-probabilities, and nobody has said whether it is.

    Classes that hand them on have a field for it, but for Fireworks'; Anthropic's, Groq's and Mistral's have none.
    LangChain keeps those of the Responses API to itself, and models that reason give none.
    """
    is_known = "logprobs" in type(member).model_fields or _is_of(member, "langchain_fireworks")
    is_in_call = "logprobs" in kwargs or "logprobs" in member.model_fields_set or getattr(member, "logprobs", None)
    return is_known and not is_in_call and not reasons(member, kwargs) and not uses_responses_api(member, kwargs)


def with_logprobs(member: BaseChatModel, kwargs: dict[str, Any]) -> tuple[BaseChatModel, dict[str, Any]]:
    """Return member and arguments of a call that asks for log-probabilities.

    Vertex's class reads them only where its field says so.
    """
    if _is_of(member, "langchain_google_vertexai"):
        copied = member.model_copy()
        copied.__dict__["logprobs"] = True
        return copied, kwargs
    return member, {**kwargs, "logprobs": True}


def reasons(member: BaseChatModel, kwargs: Mapping[str, Any]) -> bool:
    """Whether a call is one of a model that reasons: by its name, or because it is told to."""
    if is_reasoning_model(model_name(member)):
        return True
    values = [
        kwargs.get(name) or getattr(member, name, None) for name in _REASONING if name in type(member).model_fields
    ]
    return any(value and not (isinstance(value, Mapping) and value.get("type") == "disabled") for value in values)


def _is_of(member: BaseChatModel, package: str) -> bool:
    return any(kind.__module__.partition(".")[0] == package for kind in type(member).__mro__)


@lru_cache(maxsize=256)
def takes_stream_usage(kind: type[BaseChatModel]) -> bool:
    """Whether the streams of a class take ``stream_usage``: its method, or one that it hands its arguments on to."""
    for base in kind.__mro__:
        if (method := base.__dict__.get("_stream")) is None or base is BaseChatModel:
            continue
        parameters = inspect.signature(method).parameters
        if "stream_usage" in parameters:
            return True
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            return False
    return False
