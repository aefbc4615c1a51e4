"""What routers over the same members share: breakers, limits of concurrency, the members' connections.

A copy of a framework's model, or one whose fields are configured call by call, is another router on the same members
and the same ledger, and has to know what is known of them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


@dataclass(eq=False)
class Shared(Generic[Value]):
    """A value that several routers use. Whoever uses it holds it; the last one gone, it is forgotten."""

    value: Value
    held: tuple[Any, ...]
    """What its key names by address, which must not be another object's meanwhile."""


_known: weakref.WeakValueDictionary[Hashable, Shared[Any]] = weakref.WeakValueDictionary()


def shared(
    models: Mapping[str, Any], held: tuple[Any, ...], settled: tuple[str, ...], make: Callable[[], Value]
) -> Shared[Value]:
    """Return what another router over the same members has already, else what is made.

    Args:
        models: As the caller named them: an object is itself, a string what it says.
        held: Objects that have to be the same: the ledger, the settings.
        settled: What it is, and what else has to be the same, in words.
        make: Makes it.
    """
    named = tuple((name, model if isinstance(model, str) else id(model)) for name, model in models.items())
    key = named, tuple(map(id, held)), settled
    found: Shared[Value] | None = _known.get(key)
    return _known.setdefault(key, Shared(make(), (*held, *models.values()))) if found is None else found
