"""Clients of providers: sisters that send every request once, and async ones with connections for another event loop.

The engine retries by its rules, and retries of retries would multiply. Async connections belong to one event loop:
those of a loop that is over fail.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_homes: weakref.WeakKeyDictionary[Any, Callable[[], asyncio.AbstractEventLoop | None]] = weakref.WeakKeyDictionary()
"""The loop where async connections were first used; none where that was before we saw them."""


def without_retries(client: Any, options: Mapping[str, Any] | None = None) -> Any:
    """Return a sister of a client, on the same connections, that does not retry; anything else as it is.

    Known are clients of OpenAI's kind (``with_options``), clients of Amazon's ``botocore`` and the ``Config`` that it
    makes clients of. The client that is given is not changed.

    Args:
        client: Whatever an object keeps in a field.
        options: More for clients that take options, such as a timeout.
    """
    if takes_options(client):
        return client.with_options(**{"max_retries": 0, **(options or {})})
    if _is_botocore(client, "botocore.client", "BaseClient"):
        return _once(client)
    if _is_botocore(client, "botocore.config", "Config"):
        own = {name: value for name, value in (client.retries or {}).items() if name != "max_attempts"}
        return client.merge(type(client)(retries={**own, "total_max_attempts": 1}))
    return client


def resource_without_retries(value: Any, options: Mapping[str, Any] | None = None) -> Any:
    """Return a client, or a resource of one (``client.chat.completions``), that does not retry; anything else as it is.

    Args:
        value: Whatever an object keeps in a field.
        options: More for clients that take options, such as a timeout.
    """
    client: Any = getattr(value, "_client", None)
    if not takes_options(value) and takes_options(client):
        return type(value)(without_retries(client, options))
    return without_retries(value, options)


def reconnected(value: Any) -> Any:
    """Return a sister of an async client, or of a resource of one, on connections of its own; else what it was."""
    if not takes_options(value):
        client: Any = getattr(value, "_client", None)
        return type(value)(reconnected(client)) if takes_options(client) else value
    package = type(value).__module__.partition(".")[0]
    connections = getattr(importlib.import_module(package), "DefaultAsyncHttpxClient", None)
    if connections is None or not hasattr(getattr(value, "_client", None), "aclose"):
        return value
    return value.with_options(http_client=connections(timeout=value.timeout))


def async_connections(values: Iterable[Any]) -> Any:
    """Return the async connections that a client among some values holds, ``None`` if none shows any."""
    held = (getattr(value, "_client", None) for value in values if takes_options(value))
    return next((connections for connections in held if hasattr(connections, "aclose")), None)


def are_at_home(connections: Any, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether async connections belong to a loop: the one where they were first used, if we saw that.

    Objects that are made one by one may share connections: one set for each address of a server.
    """
    if connections not in _homes:
        _homes[connections] = _nowhere if _are_open(connections) else weakref.ref(loop)
    return _homes[connections]() is loop


def _nowhere() -> None:
    """Return the loop of connections that somebody opened in a loop we do not know: it may be over."""


def _are_open(connections: Any) -> bool:
    """Whether an httpx client has been used already."""
    return getattr(getattr(connections, "_state", None), "name", None) == "OPENED"


def takes_options(client: Any) -> bool:
    """Whether an object's class is of OpenAI's kind, which makes sisters of a client with other options.

    A mock, which has every attribute, is the one that is to be called.
    """
    return callable(getattr(type(client), "with_options", None)) and hasattr(client, "max_retries")


def _is_botocore(value: Any, module: str, name: str) -> bool:
    """Whether a value is of a class of botocore's, which is not imported for it."""
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


def _once(client: Any) -> Any:
    """Return a sister of a client of botocore's in which nobody hears the event that asks whether to retry."""
    sister = object.__new__(type(client))  # a copy asks for attributes that a client without any looks for in itself
    sister.__dict__.update(client.__dict__)
    sister._endpoint = endpoint = copy.copy(client._endpoint)
    endpoint._event_emitter = copy.copy(endpoint._event_emitter)
    service = client.meta.service_model.service_id.hyphenize()
    endpoint._event_emitter.unregister(f"needs-retry.{service}", unique_id=f"retry-config-{service}")
    return sister
