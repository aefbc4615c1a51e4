"""Recognise secrets in settings and objects, so that they are not shown, stored or used in keys."""

from __future__ import annotations

import re
from base64 import b64decode
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from bestroute.errors.facts import field

_SECRET = re.compile(
    r"(?:^|[_-])(?:api_?key|\w*access_key(?:_id)?|secret\w*|passwords?|credentials?|authorization|headers?|auth|"
    r"(?:access|auth|session|bearer|api|refresh)_?token|token|x-api-key)$",
    re.IGNORECASE,
)
_NAMES_KEY = re.compile(r"(?:key|token|secret|password|passwd|credentials?|authorization)$", re.IGNORECASE)
"""Names of environment variables that hold a key."""
_HEADERS = re.compile(r"headers?$", re.IGNORECASE)
_SECRET_HEADER = re.compile(r"key|token|secret|password|passwd|credential|auth|cookie|signature", re.IGNORECASE)
"""Headers whose values are secrets; values such as ``keep-alive`` are none."""
_SCHEME = re.compile(r"\s*(?:bearer|basic|digest|token|apikey)\s", re.IGNORECASE)
_SHORTEST, _SHORTEST_WITH_DIGIT = 8, 4
"""Fewest characters of a key; shorter ones are placeholders such as ``none`` or ``ollama``."""
_DEEPEST, _MOST_PARTS = 5, 2_000
"""Depth to which a member, its client and connection are searched for keys."""


def is_secret(name: str, value: Any = None) -> bool:
    """Return whether a setting is a secret, by its name, or by its type (pydantic's, duck-typed).

    Example:
        >>> [is_secret(name) for name in ("api_key", "aws_session_token", "default_headers", "max_tokens")]
        [True, True, True, False]
    """
    return callable(getattr(value, "get_secret_value", None)) or _SECRET.search(name) is not None


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the secrets among them, at any depth.

    Example:
        >>> without_secrets({"user": "ann", "extra": {"api_key": "sk-1", "seed": 3}, "tools": [{"token": "t"}]})
        {'user': 'ann', 'extra': {'seed': 3}, 'tools': [{}]}
    """
    kept = {name: value for name, value in settings.items() if not is_secret(str(name), value)}
    return {name: _inside(value) for name, value in kept.items()}


def _inside(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, list | tuple):
        items = [_inside(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def secrets_of(holders: Iterable[Any]) -> Iterator[str]:
    """Yield the texts that objects hold under the name of a secret, or as pydantic's secret type, at any depth.

    Example:
        >>> list(secrets_of([{"name": "a", "extra": {"api_key": "sk-1"}}]))
        ['sk-1']
    """
    visited: dict[int, Any] = {}
    for part in holders:
        yield from _secrets_of(part, visited)


def _secrets_of(holder: Any, visited: dict[int, Any]) -> Iterator[str]:
    for _, name, value in places_of(holder, visited):
        yield from texts_at(name, value)


def places_of(holder: Any, visited: dict[int, Any]) -> Iterator[tuple[Any, str, Any]]:
    """Yield ``(part, name, value)`` for each secret or URL in an object.

    Its parts have a limit of their own: no holder hides behind many others.
    """
    todo = deque([(holder, _DEEPEST)])
    most = len(visited) + _MOST_PARTS
    while todo and len(visited) < most:
        part, depth = todo.popleft()
        if id(part) in visited:
            continue
        visited[id(part)] = part
        for name, value in _settings(part):
            if is_secret(name, value) or isinstance(value, str) or _is_url(value):
                yield part, name, value
            if depth and not (isinstance(value, _SCALARS) or hasattr(value, "get_secret_value")):
                todo.append((value, depth - 1))


def texts_at(name: str, value: Any) -> Iterator[str]:
    """Yield the secrets in a value of that name; of headers, only those that are secrets.

    Example:
        >>> list(texts_at("default_headers", {"Authorization": "Bearer abc1", "Connection": "keep-alive"}))
        ['Bearer abc1', 'Bearer', 'abc1']
    """
    if _HEADERS.search(name) and isinstance(value, Mapping):
        for header, secret in _settings(value):
            if _SECRET_HEADER.search(header) or (isinstance(secret, str) and _SCHEME.match(secret)):
                yield from texts_of(secret)
    elif is_secret(name, value):
        yield from texts_of(value)
    elif isinstance(value, str) or _is_url(value):
        yield from in_url(str(value))


def _is_url(value: Any) -> bool:
    return type(value).__name__ == "URL"  # httpx's, yarl's


_SCALARS = (str, bytes, int, float, bool, type(None), type, ModuleType)


def _settings(part: Any) -> list[tuple[str, Any]]:
    """Return an object's attributes; empty if reading them raises, as for some cookie jars."""
    try:
        if isinstance(part, Mapping):
            items = dict.copy(part) if isinstance(part, dict) else part
            return [(str(name), value) for name, value in items.items()]
        if isinstance(part, list | tuple):
            return [("", value) for value in part]
        held = (getattr(part, name, None) for name in ("__dict__", "__pydantic_private__"))
        settings = [item for own in held if isinstance(own, dict) for item in own.copy().items()]
    except Exception:  # attributes of third-party objects may raise anything
        return []
    slots = [name for kind in type(part).__mro__ for name in _names(getattr(kind, "__slots__", ())) if name[:2] != "__"]
    return settings + [(name, value) for name in slots if (value := field(part, name)) is not None]


def _names(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else [str(name) for name in slots]


def in_url(text: str) -> Iterator[str]:
    """Yield the password and the keys in a URL, quoted and unquoted."""
    if "://" not in text or not ("@" in text or "?" in text):
        return
    try:
        url = urlsplit(text)
        keys = [url.password, *(value for name, value in parse_qsl(url.query) if is_secret(name) or name == "key")]
    except ValueError:  # no URL after all
        return
    for key in filter(None, keys):
        yield from {key, unquote(key), quote(key, safe="")}


def texts_of(value: Any, depth: int = 3) -> Iterator[str]:
    """Yield the texts of a secret, as they may be quoted."""
    if isinstance(value, type):  # of an annotation, which holds nothing
        return
    if callable(reveal := getattr(value, "get_secret_value", None)):
        try:
            value = reveal()
        except Exception:  # what answers to any name (an old client's stand-ins) holds nothing
            return
    if isinstance(value, str):
        yield value
        yield from (word for word in value.split() if word != value)  # "Bearer abc": the key alone, too
        yield from in_url(value)
        yield from _of_basic(value)
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif depth and isinstance(value, Mapping | list | tuple):
        for _, part in _settings(value):
            yield from texts_of(part, depth - 1)


def _of_basic(header: str) -> Iterator[str]:
    """Yield the password in ``Basic dXNlcjpwYXNz``."""
    scheme, _, coded = header.partition(" ")
    if scheme.lower() == "basic":
        with suppress(ValueError):
            yield b64decode(coded).decode().partition(":")[2]


def names_key(variable: str) -> bool:
    """Return whether an environment variable holds a key, by its name."""
    return _NAMES_KEY.search(variable) is not None


def is_key(text: str) -> bool:
    """Return whether a secret is long enough, and not a placeholder."""
    return len(text) >= (_SHORTEST_WITH_DIGIT if any(map(str.isdigit, text)) else _SHORTEST)
