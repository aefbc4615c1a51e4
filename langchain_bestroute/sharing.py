"""What routers over the same members share: breakers, limits of concurrency, connections.

A call with ``configurable_fields`` is answered by a router that is built for it. It is another router, on the same
members and the same ledger, and has to know what is known of them.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from bestroute import BestRoute


@dataclass(eq=False)
class SharedMembers:
    """Members of a pool, and the engine that keeps their state.

    Whoever uses it holds it; the last one gone, it is forgotten.
    """

    members: Mapping[str, Any]
    held: tuple[Any, ...]
    """What the key names by its address, which must not be another object's meanwhile."""
    engine: BestRoute


_known: weakref.WeakValueDictionary[Hashable, SharedMembers] = weakref.WeakValueDictionary()


def key_of(models: Mapping[str, Any], held: tuple[Any, ...], settled: tuple[str, ...]) -> Hashable:
    """Return what tells the same members from others.

    Args:
        models: As the caller named them: an object is itself, a string what it says.
        held: Objects that have to be the same: the ledger, the settings.
        settled: What else has to be the same, in words.
    """
    named = tuple((name, model if isinstance(model, str) else id(model)) for name, model in models.items())
    return named, tuple(map(id, held)), settled


def shared(key: Hashable) -> SharedMembers | None:
    """Return the members that a router has under this key, if there is one."""
    return _known.get(key)


def share(key: Hashable, members: SharedMembers) -> SharedMembers:
    """Let others find these members."""
    return _known.setdefault(key, members)
