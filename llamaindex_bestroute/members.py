"""From what the user names as members to what the engine draws from, with prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import LLM

from bestroute import ConfigError, Price
from bestroute.adapters.known_prices import known_price
from bestroute.adapters.plain_member import PlainMember, is_generator
from bestroute.types.protocols import Generator
from llamaindex_bestroute.generator import LLMGenerator
from llamaindex_bestroute.messages import for_member, plain_dicts
from llamaindex_bestroute.structured import Structure

_PROVIDERS = {"openai_llm": ("openai", "api_base"), "Anthropic_LLM": ("anthropic", "base_url")}
"""Integrations of providers' own models, by class name: the provider, and the field of its address."""


def as_generator(
    name: str, member: Any, *, native_n: bool, timeout: float | None, settings: Mapping[str, Any]
) -> Generator:
    """Return what the engine draws samples from.

    Raises:
        ConfigError: If it is nothing that can be a member.
    """
    if isinstance(member, LLM):
        return LLMGenerator(name, member, native_n=native_n, timeout=timeout, settings=settings)
    if is_generator(member):
        return PlainMember(name, member, lambda messages: _plain(messages, name))
    raise ConfigError(
        f"models: {name!r} must be a LlamaIndex LLM or a bestroute.Generator, got {type(member).__name__}"
    )


def _plain(messages: Sequence[ChatMessage], name: str) -> list[dict[str, Any]]:
    """Return messages for a plain generator, which is asked for an object in words."""
    structure: Structure | None = getattr(messages, "structure", None)
    return plain_dicts(for_member(messages if structure is None else structure.in_words(messages), name))


def complete_prices(prices: Mapping[str, Price], members: Mapping[str, Any]) -> dict[str, Price]:
    """Add known prices of providers' own models, the caller's come first; an unknown one is the pool's to refuse."""
    complete = dict(prices)
    for name, member in members.items():
        if name in complete or not isinstance(member, LLM) or member.class_name() not in _PROVIDERS:
            continue
        provider, address = _PROVIDERS[member.class_name()]
        price = known_price(str(getattr(member, "model", "")), provider, getattr(member, address, None))
        if price is not None:
            complete[name] = price
    return complete
