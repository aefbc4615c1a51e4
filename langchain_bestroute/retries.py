"""A member whose own retries are off: the engine retries by its rules, and retries of retries would multiply.

Async connections belong to one event loop. The copy shares the member's in the loop where they are first used; in
another (a second ``asyncio.run``) it gets its own, because those of a loop that is over fail. Members made one by one
may share them too: ``langchain-openai`` has one set for each address.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

from bestroute.adapters import client_retries

_homes: weakref.WeakKeyDictionary[Any, Callable[[], asyncio.AbstractEventLoop | None]] = weakref.WeakKeyDictionary()
"""The loop where async connections were first used; none where that was before we saw them."""
_TIMEOUTS = ("request_timeout", "default_request_timeout", "timeout")
_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "langchain_litellm": {"num_retries": 0},
    "langchain_openrouter": {"retries": None},
}
"""Arguments that turn retries off where clients take them in a call, by the package of the chat model."""


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
        self._seen: dict[str, Any] = {}
        self._copy: BaseChatModel | None = None
        self._abroad: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[BaseChatModel, BaseChatModel]]
        self._abroad = weakref.WeakKeyDictionary()

    def get(self) -> BaseChatModel:
        """Return the copy, or the member itself where there is nothing to switch off."""
        if self._copy is None or self._seen != self.member.__dict__:
            self._seen = dict(self.member.__dict__)
            self._copy = without_retries(with_one_choice(self.member), self.timeout)
        return self._copy

    def aget(self) -> BaseChatModel:
        """Return the copy for the running event loop."""
        copied, loop = self.get(), asyncio.get_running_loop()
        connections = _connections(copied) or self
        if connections not in _homes:
            _homes[connections] = _nowhere if _are_open(connections) else weakref.ref(loop)
        if _homes[connections]() is loop:
            return copied
        made_of, own = self._abroad.get(loop, (None, None))
        if own is None or made_of is not copied:
            for closed in [other for other in self._abroad if other.is_closed()]:
                del self._abroad[closed]  # its connections hold on to it
            own = with_own_connections(copied)
            self._abroad[loop] = (copied, own)
        return own


def _nowhere() -> None:
    """Return the loop of connections that somebody opened in a loop we do not know: it may be over."""


def _are_open(connections: Any) -> bool:
    """Whether an httpx client has been used already."""
    return getattr(getattr(connections, "_state", None), "name", None) == "OPENED"


def _connections(member: BaseChatModel) -> Any:
    """Return the async connections that a member's client holds, ``None`` if it shows none."""
    getattr(member, "_async_client", None)  # ChatAnthropic makes its client when it is first looked at
    held = (
        getattr(value, "_client", None) for value in member.__dict__.values() if client_retries.takes_options(value)
    )
    return next((connections for connections in held if hasattr(connections, "aclose")), None)


def with_own_connections(member: BaseChatModel) -> BaseChatModel:
    """Return a copy whose async clients share no connection; what the user built (``http_async_client``) is kept."""
    if getattr(member, "http_async_client", None) or getattr(member, "openai_proxy", None):
        return member
    getattr(member, "_async_client", None)  # ChatAnthropic makes its client when it is first looked at
    copied = member.model_copy()
    for name, value in member.__dict__.items():
        copied.__dict__[name] = _reconnected(value)
    return copied


def _reconnected(value: Any) -> Any:
    if not client_retries.takes_options(value):
        client: Any = getattr(value, "_client", None)
        return type(value)(_reconnected(client)) if client_retries.takes_options(client) else value
    package = type(value).__module__.partition(".")[0]
    connections = getattr(importlib.import_module(package), "DefaultAsyncHttpxClient", None)
    if connections is None or not hasattr(getattr(value, "_client", None), "aclose"):
        return value
    return value.with_options(http_client=connections(timeout=value.timeout))


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
            kept[name] = changed[name] if name in changed else _with_options(value, options)
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
    told = getattr(member, "n", None) if field is not None else None
    if field is None or not isinstance(told, int) or told <= 1:
        return member
    return with_fields(member, {"n": field.default if isinstance(field.default, int) else None})


def _with_options(value: Any, options: Mapping[str, Any]) -> Any:
    """Return a client, or a resource of one, that does not retry; anything else as it is."""
    client: Any = getattr(value, "_client", None)
    if not client_retries.takes_options(value) and client_retries.takes_options(client):
        return type(value)(client_retries.without_retries(client, options))
    return client_retries.without_retries(value, options)
