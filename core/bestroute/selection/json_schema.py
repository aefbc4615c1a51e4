"""Check a JSON value against a JSON schema within a time limit, and describe the first violation briefly.

Schemas and their patterns are untrusted input, so a check may take arbitrarily long. Therefore ``uniqueItems`` compares
canonical forms, patterns are matched by an engine with a timeout, and a check that exceeds its time raises
``Unchecked``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from threading import local
from typing import Any

from bestroute.selection.tool_calls import canonical

LIMIT_S = 0.05
"""Processor time of a check on the thread that the call runs on, possibly an event loop."""
LIMIT_OFF_LOOP_S = 1.0
"""Processor time of a check in a thread of its own, within the call's deadline."""


class Unchecked(Exception):
    """A check did not finish; the message says why."""


class Uncheckable(Unchecked):
    """No value can be checked against the schema; the message says why."""


def misfit(value: Any, schema: Mapping[str, Any], *, limit_s: float | None = None) -> str | None:
    """Return how a value violates a schema, without quoting it; ``None`` if it fits.

    Args:
        value: A JSON value.
        schema: The schema.
        limit_s: Processor time, seconds; default: the thread's limit.

    Raises:
        Uncheckable: If the schema is invalid, refers to something outside of it, or mixes ``patternProperties``
            with ``unevaluatedProperties``.
        Unchecked: If the time is used up, or the value is nested too deeply.

    Example:
        >>> schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        >>> misfit({}, schema), misfit({"a": "1"}, schema), misfit({"a": 1}, schema)
        ("'a' is missing", "'a' must be of type integer", None)
    """
    import regex
    from referencing.exceptions import Unresolvable

    try:
        validator = _validator(json.dumps(schema, sort_keys=True, default=str))
        if isinstance(validator, str):
            raise Uncheckable(validator)
        _clock.end = time.thread_time() + (getattr(_clock, "limit_s", LIMIT_S) if limit_s is None else limit_s)
        error = next(validator.iter_errors(value), None)
    except RecursionError:
        raise Unchecked("it is nested too deeply") from None
    except Unresolvable:
        raise Uncheckable("its schema refers to something outside of it") from None
    except (re.error, regex.error):
        raise Uncheckable("a pattern of its schema is none") from None
    return None if error is None else _in_words(error)


_clock = local()


def allow_more() -> None:
    """Raise the time limit of this thread's checks to ``LIMIT_OFF_LOOP_S``; only its own call waits for it."""
    _clock.limit_s = LIMIT_OFF_LOOP_S


def _left_s() -> float:
    """Return the seconds left of this thread's check.

    Raises:
        Unchecked: If none is.
    """
    left: float = _clock.end - time.thread_time()
    if left <= 0:
        raise Unchecked("its schema takes too long to check")
    return left


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """Return a validator that fetches nothing, or why there is none; cached, as schemas recur."""
    from jsonschema import SchemaError, validators
    from referencing import Registry

    read = json.loads(schema)
    if '"patternProperties": ' in schema and '"unevaluatedProperties": ' in schema:
        # the library matches their patterns in its own way, without end
        return "its schema has both patternProperties and unevaluatedProperties"
    kind = validators.validator_for(read, default=validators.validator_for({"$schema": _DRAFT}))
    try:
        kind.check_schema(read)
    except SchemaError:
        return "its schema is no JSON schema"
    return _bounded(kind)(read, registry=Registry())


@cache
def _bounded(kind: Any) -> Any:
    """Return a validator class whose rules check the time limit."""
    from jsonschema import validators

    rules = {**kind.VALIDATORS, **{name: rule for name, rule in _OWN.items() if name in kind.VALIDATORS}}
    return validators.extend(kind, {name: _timed(rule) for name, rule in rules.items()})  # type: ignore[no-untyped-call]


def _timed(rule: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def timed(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _left_s()
        yield from rule(validator, wanted, instance, schema) or ()

    return timed


def _found(pattern: str, text: str) -> bool:
    """Return whether a pattern is found in a text."""
    import regex

    try:
        return regex.search(pattern, text, timeout=_left_s()) is not None
    except TimeoutError:
        raise Unchecked("a pattern of its schema takes too long to match") from None


def _pattern(validator: Any, wanted: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _found(wanted, instance):
        yield ValidationError("does not match")


def _pattern_properties(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, inner in wanted.items():
            for name, value in instance.items():
                if _found(pattern, name):
                    yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    patterns = schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in schema.get("properties", {}) or any(_found(pattern, name) for pattern in patterns):
            continue
        if validator.is_type(wanted, "object"):
            yield from validator.descend(value, wanted, path=name)
        elif not wanted:
            yield ValidationError("not allowed")


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not wanted or not validator.is_type(instance, "array"):
        return
    forms: set[str] = set()
    for item in instance:
        _left_s()
        forms.add(canonical(item))
    if len(forms) < len(instance):
        yield ValidationError("has equal items")


_OWN: Mapping[str, Callable[..., Iterator[Any]]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}

_LONGEST_PATH = 200
"""Most characters shown of the path to a violation, since property names may be anything."""
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def _in_words(error: Any) -> str:
    where = ".".join(map(str, error.absolute_path))[:_LONGEST_PATH]
    rule, wanted = error.validator, error.validator_value
    if rule == "required":
        missing = next(name for name in wanted if name not in error.instance)
        return f"'{where + '.' if where else ''}{missing}' is missing"
    subject = f"'{where}'" if where else "the whole"
    if rule == "type":
        return f"{subject} must be of type {wanted if isinstance(wanted, str) else ' or '.join(wanted)}"
    return f"{subject} breaks the schema's {rule}"
