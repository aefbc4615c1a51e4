"""Tool calls independent of any framework, and JSON in canonical form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """One tool call of a sample."""

    name: str
    arguments: Mapping[str, Any] | None
    """``None`` if the model's text is not a JSON object."""

    @classmethod
    def parse(cls, name: str, arguments: str | Mapping[str, Any] | None) -> Call:
        """Parse the arguments that a model wrote; ``""`` and ``None`` are no arguments.

        Example:
            >>> Call.parse("add", '{"a": 1'), Call.parse("now", "")
            (Call(name='add', arguments=None), Call(name='now', arguments={}))
        """
        if isinstance(arguments, str):
            value = read_json(arguments) if arguments.strip() else {}
        else:
            value = {} if arguments is None else arguments
        return cls(name, value if isinstance(value, Mapping) else None)


class NotJson:
    """Returned by ``read_json`` for a text that is not JSON (``None`` is JSON)."""


_THOUGHT = "</think>"


def without_thoughts(text: str) -> str:
    """Remove a reasoning model's thoughts, which some servers leave in the text.

    Some prompts end with the opening tag, so the text may begin inside of it.

    Example:
        >>> without_thoughts("<think>12 * 7 is 84</think>84"), without_thoughts('{"tag": "</think>"}')
        ('84', '{"tag": "</think>"}')
    """
    if _THOUGHT not in text or text.lstrip()[:1] in ("{", "[", '"', "`"):
        return text
    return text.partition(_THOUGHT)[2]


def read_json(text: str) -> Any:
    """Return the JSON value of a text, bare or in one fenced block; ``NotJson`` if it is not JSON."""
    text = without_thoughts(text).strip()
    if text.startswith("```") and text.endswith("```"):
        text = text.removesuffix("```").partition("\n")[2]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return NotJson


def canonical(value: Any) -> str:
    """Return the canonical JSON of a value: keys sorted, ``1.0`` as ``1``.

    Example:
        >>> canonical({"b": 1.0, "a": [True, None]})
        '{"a": [true, null], "b": 1}'
    """
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=_refused)
        if ".0" not in text and "e+" not in text:  # no whole number is written as a float
            return text
    except TypeError:  # it holds what JSON does not
        pass
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, default=str)


def _refused(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is not of JSON")


def render_calls(calls: Iterable[Call]) -> str:
    """Render calls as the text that a reward model reads, one per line.

    Example:
        >>> render_calls([Call("add", {"b": 3, "a": 2})])
        'add({"a": 2, "b": 3})'
    """
    return "\n".join(f"{call.name}({canonical(call.arguments or {})})" for call in calls)


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return int(value) if value.is_integer() else value
    if kind is list:
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
