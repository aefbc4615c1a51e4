"""Where providers' integrations differ in what they call a call's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.llms import LLM

from bestroute.types.usage import Usage
from llamaindex_bestroute.pickling import StoredLLM

_RENAMED = {"Anthropic_LLM": {"stop": "stop_sequences"}}
"""Names of call arguments, by the integration's class name."""
_OPTIONS = {"Ollama_llm": {"max_tokens": "num_predict"}}
"""Integrations that take no call arguments but model options, and how these are called."""
_ARGUMENTS = ("format", "think", "tools")
"""Call arguments that they do take."""
_ONCE: Mapping[str, Mapping[str, Any]] = {"litellm_llm": {"num_retries": 0}}
"""Arguments that turn retries off in a call, where the client has more of them than the integration's own."""
_TELLING_THE_END = ("Anthropic_LLM", "Ollama_llm", "MistralAI_LLM", "GenAI")
"""Integrations whose streams end with a reason, beside OpenAI's."""
_TELLING_USAGE_LAST = ("Bedrock_Converse_LLM",)
"""Integrations that keep the reason to themselves, and whose streams end with the usage."""


def arguments_without_retries(member: LLM) -> Mapping[str, Any]:
    """Return the arguments of a call that turn off retries which no field of the member's turns off."""
    return _ONCE.get(member.class_name(), {})


def is_openai(member: LLM) -> bool:
    """Whether a member is LlamaIndex's ``OpenAI`` or made of it: its calls take ``n`` and ``stream_options``."""
    return any(base.__module__ == "llama_index.llms.openai.base" for base in type(member).__mro__)


def stream_options(member: LLM) -> dict[str, Any]:
    """Return the arguments by which a member's stream tells what it used."""
    return {"stream_options": {"include_usage": True}} if is_openai(member) else {}


def is_broken_off(member: LLM, finish_reason: str | None, usage: Usage | None) -> bool:
    """Whether a member's stream that ended so is one that broke off; many a client raises nothing then."""
    if member.class_name() in _TELLING_USAGE_LAST:
        return usage is None
    tells_its_end = is_openai(member) or member.class_name() in _TELLING_THE_END
    return tells_its_end and finish_reason is None


def for_provider(member: LLM, arguments: Mapping[str, Any]) -> tuple[LLM, dict[str, Any]]:
    """Say call arguments as the member's integration does.

    Returns:
        The member, or one with other options where options are all it takes; and the arguments that are left.
    """
    renamed = _RENAMED.get(member.class_name(), {})
    said = {renamed.get(name, name): value for name, value in arguments.items()}
    own = getattr(member, "additional_kwargs", None) or {}
    if not said.keys().isdisjoint(own):  # OpenAI's lets the member's win over the call's
        member = variant(member, {"additional_kwargs": {k: v for k, v in own.items() if k not in said}})
    names = _OPTIONS.get(member.class_name())
    options = {} if names is None else {names.get(k, k): v for k, v in said.items() if k not in _ARGUMENTS}
    if not options:
        return member, said
    changed = {"additional_kwargs": {**own, **options}}
    return variant(member, changed), {name: value for name, value in said.items() if name in _ARGUMENTS}


def variant(member: LLM, settings: Mapping[str, Any]) -> LLM:
    """Return the member with other settings; clients it makes are the member's own, and outlive the variant."""
    changed = {name: value for name, value in settings.items() if getattr(member, name) != value}
    if not changed:
        return member
    copied = member.model_copy(update=changed)
    object.__setattr__(copied, "__pydantic_private__", member.__pydantic_private__)
    return copied


def constructed(member: LLM, settings: Mapping[str, Any]) -> LLM:
    """Return the member as its own constructor makes it of other settings; clients stay the member's own.

    A constructor may translate a setting (a reasoning model takes no temperature), or keep it in a place of its own.
    """
    if not settings:
        return member
    try:
        plain, twin = (StoredLLM(type(member), {**vars(member), **told}).restore() for told in ({}, settings))
    except Exception:  # of a class whose constructor wants what its fields do not tell
        return variant(member, settings)
    copied = member.model_copy(update={name: getattr(twin, name) for name in settings})
    for kept, before, after in (
        (copied.__dict__, vars(plain), vars(twin)),
        (copied.__pydantic_private__ or {}, plain.__pydantic_private__ or {}, twin.__pydantic_private__ or {}),
    ):
        changed = {name for name in kept if name in before and name in after and _is_plain(after[name])}
        kept.update({name: after[name] for name in changed if before[name] != after[name]})
    return copied


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | tuple | dict)
