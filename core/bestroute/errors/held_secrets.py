"""The keys that members and the environment hold, by value: looked for rarely, read anew at each error."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bestroute.errors.credentials import in_url, is_key, names_key, places_of, texts_at, texts_of

_LOOKED_FOR_EVERY_S = 1.0
"""A key that is put where none was, deep inside a member, is found after so long at the latest."""

_holders: dict[int, weakref.ref[Any]] = {}
_findings: dict[int, _Findings] = {}
# Both are read as copies: while a list of items is made, a collection or a thread may remove some of them.


@dataclass(frozen=True)
class _Findings:
    """Where one member holds keys."""

    at: float
    shape: tuple[tuple[str, int], ...]
    """What the member itself held then: a client that it made since is looked through at once."""
    places: tuple[tuple[weakref.ref[Any], str], ...]
    """Attributes; they are read at each error, since clients change their tokens."""
    texts: frozenset[str]
    """What stands where it cannot be read again: in what allows no weak reference."""


def keep_hidden(holders: Iterable[Any]) -> None:
    """Hide, from now on, the keys that these objects hold, as long as they live; nothing is read before an error is."""
    for holder in holders:
        key = id(holder)
        try:
            _holders[key] = weakref.ref(holder, lambda _, key=key: _forget(key))  # type: ignore[misc]
        except TypeError:  # its type allows no weak reference; keys are still told by how they look
            continue
        _findings.pop(key, None)


def _forget(key: int) -> None:
    _holders.pop(key, None)
    _findings.pop(key, None)


def known_secrets() -> set[str]:
    """Return the keys that members hold and that the environment names, by value."""
    alive = [(key, holder) for key, ref in _holders.copy().items() if (holder := ref()) is not None]
    held = {text for key, holder in alive for text in _held(key, holder)}
    named = (
        text
        for name in list(os.environ)  # another thread may remove some of them
        if (value := os.environ.get(name)) is not None
        for text in (texts_of(value) if names_key(name) else in_url(value))
        if is_key(text)
    )
    return held.union(named)


def _held(key: int, holder: Any) -> Iterator[str]:
    findings = _findings.get(key)
    now, shape = time.monotonic(), _shape(holder)
    if findings is None or findings.shape != shape or now - findings.at > _LOOKED_FOR_EVERY_S:
        findings = _findings[key] = _find(holder, now, shape)
    yield from findings.texts
    for ref, name in findings.places:
        value = vars(part).get(name) if (part := ref()) is not None else None
        yield from filter(is_key, texts_at(name, value))


def _find(holder: Any, now: float, shape: tuple[tuple[str, int], ...]) -> _Findings:
    places, texts = [], set()
    for part, name, value in places_of(holder, {}):
        found = [text for text in texts_at(name, value) if is_key(text)]
        own = getattr(part, "__dict__", None)
        try:
            if isinstance(own, dict) and name in own and (found or value is None or value == ""):
                places.append((weakref.ref(part), name))
                continue
        except Exception:  # no weak reference, or nothing that can be compared
            pass
        texts.update(found)
    return _Findings(now, shape, tuple(places), frozenset(texts))


def _shape(holder: Any) -> tuple[tuple[str, int], ...]:
    own = getattr(holder, "__dict__", None)
    return tuple((name, id(value)) for name, value in own.copy().items()) if isinstance(own, dict) else ()
