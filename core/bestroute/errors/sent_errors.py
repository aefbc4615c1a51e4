"""Errors as JSON, for what was raised on another machine: clients' own classes cannot always be pickled.

What arrives has the name, the words and the facts of what was raised: ``errors.facts`` reads the same of it.
"""

from __future__ import annotations

import builtins
import json
from typing import Any

import bestroute.errors
from bestroute._utils.text import text_of
from bestroute.errors.facts import Facts, bodies, causes, field

_HOMES = {"builtins": builtins, "bestroute": bestroute.errors, "bestroute.errors": bestroute.errors}
"""Modules whose classes are the same on every machine."""


def as_data(error: BaseException) -> list[dict[str, Any]]:
    """Convert an error and its causes to JSON.

    Args:
        error: Cleared of what it quotes (``errors.redaction``).

    Example:
        >>> as_data(ValueError("no"))[0]["text"]
        'no'
    """
    return [
        {
            "types": [[kind.__module__, kind.__name__] for kind in _kinds(one)],
            "text": text_of(one),
            "status": Facts.of(one).status,
            "code": _plain(field(one, "code")),
            "body": _plain(next(reversed(list(bodies(one))), None)),
        }
        for one in causes(error)
    ]


def _kinds(error: BaseException) -> list[type[BaseException]]:
    """Return the classes of an error, most specific first, without ``object``."""
    return [kind for kind in type(error).__mro__ if issubclass(kind, BaseException) and kind is not BaseException]


def of_data(data: list[dict[str, Any]]) -> BaseException:
    """Restore an error from JSON.

    Example:
        >>> of_data(as_data(TimeoutError("late")))
        TimeoutError('late')
    """
    error: BaseException | None = None
    for one in reversed(data):
        led, error = error, _made(one)
        error.__cause__ = led
    return error or RuntimeError("an error that says nothing")


def _made(one: dict[str, Any]) -> BaseException:
    kind: type[BaseException] = BaseException
    for module, name in reversed(one["types"]):
        own = getattr(_HOMES.get(module), name, None)
        kind = own or type(name, (kind,), {"__module__": module})
    kind = type(kind.__name__, (kind,), {"__module__": kind.__module__, "__str__": lambda _: one["text"]})
    try:
        error = kind(one["text"])
    except TypeError:  # one that is made of more than its words
        try:
            error = kind.__new__(kind, one["text"])
        except TypeError:  # a group, which is made of others: its name and words are left
            error = type(kind.__name__, (Exception,), {"__module__": kind.__module__})(one["text"])
    facts = {"status_code": one["status"], "code": one["code"], "body": one["body"]}
    vars(error).update({name: value for name, value in facts.items() if value is not None})
    return error


def _plain(value: Any) -> Any:
    """Return a value if it is plain JSON, else ``None``."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return None
