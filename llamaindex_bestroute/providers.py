"""What the integrations of some providers do their own way, where LlamaIndex has no common word for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.llms import LLM

from bestroute.faults.refusals import is_reasoning_model
from bestroute.types.usage import Usage

_RENAMED = {"Anthropic_LLM": {"stop": "stop_sequences"}}
"""Names of call arguments, by the integration's class name."""
_OF_RESPONSES = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
"""The same for OpenAI's Responses API, whichever class speaks it."""
_OPTIONS = {"Ollama_llm": {"max_tokens": "num_predict"}}
"""Integrations that take no call arguments but model options, and how these are called."""
_CONFIGURED = {
    "GenAI": {
        **{name: name for name in ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")},
        **{"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens", "stop": "stop_sequences"},
    }
}
"""Integrations that read options from the argument ``generation_config`` alone, and how these are called there."""
_ARGUMENTS = ("format", "think", "tools")
"""Call arguments that they do take."""
_REASONING = ("reasoning_effort", "thinking", "thinking_dict", "think")
"""Fields and arguments by which a model is told to reason."""
_ONCE: Mapping[str, Mapping[str, Any]] = {"litellm_llm": {"num_retries": 0}}
"""Arguments that turn retries off in a call, where the client has more of them than the integration's own."""
_TELLING_THE_END = ("Anthropic_LLM", "Ollama_llm", "MistralAI_LLM", "GenAI")
"""Integrations whose streams end with a reason, beside OpenAI's."""
_TELLING_USAGE_LAST = ("Bedrock_Converse_LLM",)
"""Integrations that keep the reason to themselves, and whose streams end with the usage."""


def arguments_without_retries(member: LLM) -> Mapping[str, Any]:
    """Return the arguments of a call that turn off retries which no field of the member's turns off."""
    return _ONCE.get(member.class_name(), {})


_LOGPROBS = "message.output_text.logprobs"


def is_openai(member: LLM) -> bool:
    """Whether a member is LlamaIndex's ``OpenAI`` or made of it: its calls take ``n`` and ``stream_options``."""
    return any(base.__module__ == "llama_index.llms.openai.base" for base in type(member).__mro__)


def logprobs_option(member: LLM, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the option of a call that asks a member for log-probabilities, if nobody has said whether it is.

    OpenAI's classes and those made of them take one, for chats; LlamaIndex hands such an option on to no other
    provider. Of the Responses API it is one of what a reply is to include beside the rest.
    """
    if reasons(member, params):
        return {}
    if _is_responses(member):
        included = list(getattr(member, "include", None) or ())
        return {} if "include" in params or _LOGPROBS in included else {"include": [*included, _LOGPROBS]}
    if not is_openai(member):
        return {}
    is_set = "logprobs" in params or "logprobs" in member.model_fields_set or getattr(member, "logprobs", None)
    try:
        return {"logprobs": True} if not is_set and member.metadata.is_chat_model else {}
    except ValueError:  # OpenAI(model="unknown") has no metadata
        return {}


def _is_responses(member: LLM) -> bool:
    return any(base.__module__ == "llama_index.llms.openai.responses" for base in type(member).__mro__)


def reasons(member: LLM, params: Mapping[str, Any]) -> bool:
    """Whether a call is one of a model that reasons: by its name, or because it is told to."""
    names = (getattr(member, name, None) for name in ("model", "model_name", "model_id"))
    if any(isinstance(name, str) and is_reasoning_model(name) for name in names):
        return True
    known = type(member).model_fields
    values = [params.get(name) or (getattr(member, name, None) if name in known else None) for name in _REASONING]
    return any(value and not (isinstance(value, Mapping) and value.get("type") == "disabled") for value in values)


def stream_options(member: LLM) -> dict[str, Any]:
    """Return the arguments by which a member's stream tells what it used."""
    return {"stream_options": {"include_usage": True}} if is_openai(member) else {}


def is_broken_off(member: LLM, finish_reason: str | None, usage: Usage | None) -> bool:
    """Whether a member's stream that ended so is one that broke off; many a client raises nothing then."""
    if member.class_name() in _TELLING_USAGE_LAST:
        return usage is None
    tells_its_end = is_openai(member) or member.class_name() in _TELLING_THE_END
    return tells_its_end and finish_reason is None


def adapt_call(member: LLM, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Say call arguments as the member's integration does.

    Returns:
        What the member's fields have to be for the call, where options are all it takes; and the arguments that are
        left.
    """
    renamed = _OF_RESPONSES if _is_responses(member) else _RENAMED.get(member.class_name(), {})
    named = {renamed.get(name, name): value for name, value in arguments.items()}
    if (names_there := _CONFIGURED.get(member.class_name())) is not None:
        config = {names_there[name]: named.pop(name) for name in names_there if name in named}
        if config:
            named["generation_config"] = {**config, **(named.get("generation_config") or {})}
    own = getattr(member, "additional_kwargs", None) or {}
    names = _OPTIONS.get(member.class_name())
    options = {} if names is None else {names.get(k, k): v for k, v in named.items() if k not in _ARGUMENTS}
    if options:
        return {"additional_kwargs": {**own, **options}}, {k: v for k, v in named.items() if k in _ARGUMENTS}
    if named.keys().isdisjoint(own):
        return {}, named
    return {
        "additional_kwargs": {k: v for k, v in own.items() if k not in named}
    }, named  # OpenAI's win over the call's
