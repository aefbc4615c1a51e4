"""Clients of providers that send every request once: the engine retries by its rules, and retries would multiply."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from typing import Any


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
