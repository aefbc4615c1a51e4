"""Members: what the user may name as one, what is known of it, and the copy of it that is called.

The copy does not retry by itself: the engine retries by its rules, and retries of retries would multiply. Its async
connections belong to one event loop: it shares the member's in the loop where they are first used; in another (a
second ``asyncio.run``) it gets its own, because those of a loop that is over fail, and closes them when that loop
ends. Members made one by one may share them too: ``langchain-openai`` has one set for each address.

``temperature=0.2`` in the router's constructor is not the same as in a call: the class of a reasoning model drops it,
another knows it under a name of its own. So the member's own constructor is asked what it makes of it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from collections.abc import Collection, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding

from bestroute import ToolsInPrompt
from bestroute._utils.loops import forget_ended
from bestroute.adapters import clients
from bestroute.adapters.capabilities import Abilities
from bestroute.adapters.connections import close_at_loop_end
from bestroute.adapters.fingerprint import fingerprint as fingerprint_of
from bestroute.adapters.framework import Listing
from bestroute.errors import ConfigError
from langchain_bestroute import providers

_TIMEOUTS = ("request_timeout", "default_request_timeout", "timeout")
_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "langchain_litellm": {"num_retries": 0},
    "langchain_openrouter": {"retries": None},
}
"""Arguments that turn retries off where clients take them in a call, by the package of the chat model."""
_NAMES = {
    "temperature": ("temperature",),
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict"),
    "stop": ("stop", "stop_sequences"),
}
"""Under which names the classes know them."""


def openai_member(arguments: Mapping[str, Any]) -> BaseChatModel:
    """Make a member that speaks OpenAI's protocol.

    Raises:
        ImportError: If ``langchain-openai`` is not installed.
    """
    try:
        from langchain_openai import ChatOpenAI
    except ImportError as error:
        raise ImportError(
            "members of a router's folder are ChatOpenAI: pip install langchain-openai, or give models=..."
        ) from error
    return ChatOpenAI(**arguments)


def as_object(name: str, member: Any, for_strings: Mapping[str, Any]) -> Any:
    """Return a member as an object: a string becomes a chat model.

    Args:
        name: Pool name.
        member: As the caller named it.
        for_strings: Arguments for chat models made of strings.

    Raises:
        ConfigError: If it is a chat model inside of something that hides it.
    """
    if isinstance(member, str):
        return _from_string(member, {k: v for k, v in for_strings.items() if v is not None})
    model = chat_model_in(member)
    if isinstance(model, Runnable) and not isinstance(model, BaseChatModel):  # it answers to any attribute's name
        raise ConfigError(
            f"models: {name!r} must be a chat model itself, got {type(model).__name__}; fallbacks, retries and "
            "configurable fields go around the BestRouteChat"
        )
    return member


def chat_model_in(member: Any) -> Any:
    """Return the chat model inside ``model.bind(...)`` or ``ToolsInPrompt(model)``, anything else as it is."""
    member = member.member if isinstance(member, ToolsInPrompt) else member
    return member.bound if isinstance(member, RunnableBinding) else member


def listing_of(model: BaseChatModel) -> Listing:
    """Return under what a provider lists a chat model."""
    return Listing(providers.model_name(model), providers.provider_of(model), providers.base_url(model))


def shared_output_version(members: Mapping[str, Any]) -> str | None:
    """Return ``"v1"`` if every member was told to answer in LangChain's standard blocks."""
    versions = {getattr(chat_model_in(member), "output_version", None) for member in members.values()}
    return "v1" if versions == {"v1"} else None


def fingerprint(part: Any) -> str:
    """Return a digest of a part of the router, which equal parts share and different ones never do."""
    return fingerprint_of(part, lambda part: part._get_llm_string() if isinstance(part, BaseChatModel) else None)


def identity_of(member: Any) -> dict[str, str]:
    """Return what a cache and a trace are told of a member."""
    model = chat_model_in(member)
    bound = member.kwargs if isinstance(member, RunnableBinding) else {}
    name = providers.model_name(model) if isinstance(model, BaseChatModel) else str(getattr(model, "model", ""))
    mode = [member.tools_mode] if isinstance(member, ToolsInPrompt) else []
    return {"class": type(model).__name__, "model": name, "digest": fingerprint([model, bound, *mode])}


def _from_string(name: str, settings: dict[str, Any]) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise ImportError(f"the model string {name!r} needs langchain: pip install langchain") from error
    member: BaseChatModel = init_chat_model(name, **settings)
    return member


def abilities_of(member: BaseChatModel) -> Abilities:
    """Return what a member can do, as its class and its profile tell."""
    profile = member.profile or {}
    has_tools = type(member).bind_tools is not BaseChatModel.bind_tools
    has_schemas = has_tools or type(member).with_structured_output is not BaseChatModel.with_structured_output
    return Abilities(
        tools=profile.get("tool_calling") if has_tools else False,
        tool_choice=profile.get("tool_choice") if has_tools else False,
        structured_output=profile.get("structured_output") if has_schemas else False,
        images=profile.get("image_inputs"),
        audio=profile.get("audio_inputs"),
        files=profile.get("pdf_inputs"),
        context_window=profile.get("max_input_tokens"),
    )


class Quiet:
    """Hands out a copy of a member that does not retry; the member itself is never changed.

    The copy shares the member's connections. It is made once, and again if the member's fields have changed since.

    Args:
        member: The caller's chat model.
        timeout: Seconds for one request, or the client's own object, where the caller wants another than the member's.
    """

    def __init__(self, member: BaseChatModel, timeout: Any = None) -> None:
        """Keep the member; the copy is made at the first call."""
        self.member, self.timeout = member, timeout
        self._snapshot: dict[str, Any] = {}
        self._copy: BaseChatModel | None = None
        self._abroad: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[BaseChatModel, BaseChatModel]]
        self._abroad = weakref.WeakKeyDictionary()

    def get(self) -> BaseChatModel:
        """Return the copy, or the member itself where there is nothing to switch off."""
        if self._copy is None or self._snapshot != self.member.__dict__:
            self._snapshot = dict(self.member.__dict__)
            self._copy = without_retries(with_one_choice(self.member), self.timeout)
        return self._copy

    def aget(self) -> BaseChatModel:
        """Return the copy for the running event loop."""
        copied, loop = self.get(), asyncio.get_running_loop()
        getattr(copied, "_async_client", None)  # ChatAnthropic makes its client when it is first looked at
        if clients.are_at_home(clients.async_connections(list(copied.__dict__.values())) or self, loop):
            return copied
        made_of, own = self._abroad.get(loop, (None, None))
        if own is None or made_of is not copied:
            forget_ended(self._abroad)
            own = with_own_connections(copied)
            if own is not copied:
                close_at_loop_end(own, copied)
            self._abroad[loop] = (copied, own)
        return own


def with_own_connections(member: BaseChatModel) -> BaseChatModel:
    """Return a copy whose async clients share no connection; what the user built (``http_async_client``) is kept."""
    if getattr(member, "http_async_client", None) or getattr(member, "openai_proxy", None):
        return member
    getattr(member, "_async_client", None)  # ChatAnthropic makes its client when it is first looked at
    copied = member.model_copy()
    for name, value in member.__dict__.copy().items():
        copied.__dict__[name] = clients.reconnected(value)
    return copied


def without_retries(member: BaseChatModel, timeout: Any = None) -> BaseChatModel:
    """Return a copy of a chat model whose clients send every request once; itself where there is nothing to change.

    A client of OpenAI's or Anthropic's kind is replaced by a sister on the same connections (``with_options``);
    what the copy can build anew from its fields (cached properties) it builds anew, when it is first used. Whatever
    else the member keeps, in fields, private attributes or beside them, the copy keeps.
    """
    known = type(member).model_fields
    changed: dict[str, Any] = {"max_retries": 0} if "max_retries" in known else {}
    if timeout is not None:
        changed |= {name: timeout for name in _TIMEOUTS if name in known}
    if arguments := _call_arguments(type(member)):
        changed["model_kwargs"] = {**(getattr(member, "model_kwargs", None) or {}), **arguments}
    options = {} if timeout is None else {"timeout": timeout}
    copied, is_other = copy_of(member), bool(changed)
    for kept in (copied.__dict__, copied.__pydantic_private__ or {}):
        for name, value in kept.items():
            kept[name] = changed[name] if name in changed else clients.resource_without_retries(value, options)
            is_other |= kept[name] is not value
    return copied if is_other else member


def _call_arguments(kind: type[BaseChatModel]) -> Mapping[str, Any]:
    """Return the arguments that turn the retries of a class off in a call."""
    packages = [base.__module__.partition(".")[0] for base in kind.__mro__]
    return next((_ARGUMENTS[package] for package in packages if package in _ARGUMENTS), {})


def copy_of(member: BaseChatModel) -> BaseChatModel:
    """Return a copy that keeps all attributes but cached properties, which were made from the old fields."""
    copied = member.model_copy()  # without ``update``: what the user has set stays what the user has set
    for name in member.__dict__:
        if isinstance(inspect.getattr_static(type(member), name, None), functools.cached_property):
            del copied.__dict__[name]
    return copied


def with_fields(member: BaseChatModel, fields: Mapping[str, Any]) -> BaseChatModel:
    """Return a copy with other values in some fields, on the same connections."""
    for client in ("_client", "_async_client"):  # ChatAnthropic makes its clients when they are first looked at
        getattr(member, client, None)
    copied = member.model_copy()
    copied.__dict__.update(fields)
    return copied


def with_one_choice(member: BaseChatModel) -> BaseChatModel:
    """Return a member that answers a call once: how many samples are drawn is the router's to say, and to pay."""
    field = type(member).model_fields.get("n")
    choices = getattr(member, "n", None) if field is not None else None
    if field is None or not isinstance(choices, int) or choices <= 1:
        return member
    return with_fields(member, {"n": field.default if isinstance(field.default, int) else None})


class CallParams(dict[str, Any]):
    """Parameters of a call that know which of them the router's constructor said.

    Args:
        params: All of them.
        constructed: Names of those that the call itself did not set.
    """

    def __init__(self, params: Mapping[str, Any], constructed: Collection[str] = ()) -> None:
        """Keep both."""
        super().__init__(params)
        self.constructed = frozenset(constructed)


def constructed_in(params: Mapping[str, Any], call_params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the constructor in ``params``, which may hold another limit than ``call_params`` did."""
    names: Collection[str] = getattr(call_params, "constructed", ())
    return {name: params[name] for name in names if name in params and params[name] == call_params.get(name)}


def translated(member: BaseChatModel, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the member's fields for some values of the constructor, and the values it has no field for.

    Args:
        member: The chat model; it is not changed.
        values: ``temperature``, ``max_tokens``, ``stop``.
    """
    known = type(member).model_fields
    fields = {name: found for name in values if (found := next((n for n in _NAMES[name] if n in known), None))}
    rest = {name: value for name, value in values.items() if name not in fields}
    if not fields:
        return {}, rest
    wanted = {fields[name]: values[name] for name in fields}
    set_before = {name: member.__dict__[name] for name in member.model_fields_set if name in member.__dict__}
    try:
        made: Any = type(member)(**_by_alias(member, {**set_before, **wanted}))
    except Exception:  # a class whose constructor wants more than its fields
        return wanted, rest
    return {name: made.__dict__[name] for name in {*wanted, "model_kwargs"} if name in made.__dict__}, rest


def _by_alias(member: BaseChatModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values under the names that the constructor takes."""
    config, known = type(member).model_config, type(member).model_fields
    if config.get("populate_by_name") or config.get("validate_by_name"):
        return dict(values)
    return {known[name].alias or name: value for name, value in values.items()}
