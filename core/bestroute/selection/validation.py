"""Whether a JSON value fits a JSON schema, and if not, the first thing that is wrong, in a few words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any


def misfit(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a value, without quoting it; ``None`` if it fits.

    A schema that is broken itself, or refers to something outside of it, cannot be checked: then nothing is wrong.

    Example:
        >>> schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        >>> misfit({}, schema), misfit({"a": "1"}, schema), misfit({"a": 1}, schema)
        ("'a' is missing", "'a' must be of type integer", None)
    """
    from referencing.exceptions import Unresolvable

    validator = _validator(json.dumps(schema, sort_keys=True, default=str))
    if validator is None:
        return None
    try:
        error = next(validator.iter_errors(value), None)
    except (Unresolvable, re.error, RecursionError):
        return None
    return None if error is None else _in_words(error)


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """Return a validator that fetches nothing; schemas come again and again."""
    from jsonschema import SchemaError, validators
    from referencing import Registry

    read = json.loads(schema)
    kind = validators.validator_for(read, default=validators.validator_for({"$schema": _DRAFT}))
    try:
        kind.check_schema(read)
    except SchemaError:
        return None
    return kind(read, registry=Registry())


_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def _in_words(error: Any) -> str:
    where = ".".join(map(str, error.absolute_path))
    rule, wanted = error.validator, error.validator_value
    if rule == "required":
        missing = next(name for name in wanted if name not in error.instance)
        return f"'{where + '.' if where else ''}{missing}' is missing"
    subject = f"'{where}'" if where else "the whole"
    if rule == "type":
        return f"{subject} must be of type {wanted if isinstance(wanted, str) else ' or '.join(wanted)}"
    return f"{subject} breaks the schema's {rule}"
