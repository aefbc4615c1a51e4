"""Find the API keys held by members and the environment, so that errors can be redacted."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bestroute.errors.credentials import in_url, is_key, names_key, places_of, texts_at, texts_of

_LOOKED_FOR_EVERY_S = 1.0
"""How often members are searched for keys in new places, seconds."""

_holders: dict[int, weakref.ref[Any]] = {}
_findings: dict[int, _Findings] = {}
# Both are read as copies: while a list of items is made, a collection or a thread may remove some of them.


@dataclass(frozen=True)
class _Findings:
    """The places in which a member holds keys."""

    at: float
    shape: tuple[tuple[str, int], ...]
    """The member's own attributes at the last search: a client created since then is searched at once."""
    places: tuple[tuple[weakref.ref[Any], str], ...]
    """Attributes with keys; read at each error, since clients refresh tokens."""
    texts: frozenset[str]
    """Keys in objects that do not allow weak references, by value."""


def keep_hidden(holders: Iterable[Any]) -> None:
    """Register objects whose keys are to be hidden while they live; they are searched only once an error occurs."""
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
    """Return the keys held by registered objects and the environment."""
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
