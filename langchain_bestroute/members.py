"""From what the user names as members to what the engine draws from, with prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding

from bestroute import ConfigError, Price
from bestroute.adapters.known_prices import known_price
from bestroute.adapters.plain_member import is_generator
from bestroute.types.protocols import Generator
from langchain_bestroute import providers
from langchain_bestroute.fingerprint import fingerprint
from langchain_bestroute.generator import ChatModelGenerator, plain_member


def as_member(name: str, member: Any, for_strings: Mapping[str, Any]) -> Any:
    """Return a member as an object: a string becomes a chat model, anything else is checked.

    Raises:
        ConfigError: If it is nothing that can be a member.
    """
    if isinstance(member, str):
        return _from_string(member, {k: v for k, v in for_strings.items() if v is not None})
    model = chat_model_in(member)
    if isinstance(model, BaseChatModel):
        return member
    if isinstance(model, Runnable):  # it answers to any attribute's name, or fails in its own way
        raise ConfigError(
            f"models: {name!r} must be a chat model itself, got {type(model).__name__}; fallbacks, retries and "
            "configurable fields go around the BestRouteChat"
        )
    if is_generator(member):
        return member
    raise ConfigError(
        f"models: {name!r} must be a chat model, a string like 'openai:gpt-4o-mini' or a bestroute.Generator, "
        f"got {type(member).__name__}"
    )


def as_generator(name: str, member: Any, *, native_n: bool, timeout: Any) -> Generator:
    """Return what the engine draws samples from."""
    model = chat_model_in(member)
    if not isinstance(model, BaseChatModel):
        return plain_member(name, member)
    bound = member.kwargs if isinstance(member, RunnableBinding) else {}
    if "tools" in bound:
        raise ConfigError(f"models: {name!r} has tools bound; bind them to the BestRouteChat, for all members")
    return ChatModelGenerator(model, name=name, native_n=native_n, defaults=bound, timeout=timeout)


def chat_model_in(member: Any) -> Any:
    """Return the chat model inside ``model.bind(...)``, anything else as it is."""
    return member.bound if isinstance(member, RunnableBinding) else member


def complete_prices(prices: Mapping[str, Price], members: Mapping[str, Any]) -> dict[str, Price]:
    """Add known prices of providers' own models, the caller's come first; an unknown one is the pool's to refuse."""
    complete = dict(prices)
    for name, member in members.items():
        model = chat_model_in(member)
        if name not in complete and isinstance(model, BaseChatModel):
            told = providers.model_name(model), providers.provider_of(model), providers.base_url(model)
            if (price := known_price(*told)) is not None:
                complete[name] = price
    return complete


def shared_output_version(members: Mapping[str, Any]) -> str | None:
    """Return ``"v1"`` if every member was told to answer in LangChain's standard blocks."""
    versions = {getattr(chat_model_in(member), "output_version", None) for member in members.values()}
    return "v1" if versions == {"v1"} else None


def told_of(member: Any) -> dict[str, str]:
    """Return what a cache and a trace are told of a member."""
    model = chat_model_in(member)
    bound = member.kwargs if isinstance(member, RunnableBinding) else {}
    name = providers.model_name(model) if isinstance(model, BaseChatModel) else str(getattr(model, "model", ""))
    return {"class": type(model).__name__, "model": name, "digest": fingerprint([model, bound])}


def _from_string(name: str, told: dict[str, Any]) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise ImportError(f"the model string {name!r} needs langchain: pip install langchain") from error
    member: BaseChatModel = init_chat_model(name, **told)
    return member
